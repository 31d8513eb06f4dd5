//! Looks up who an app runs as: once, by the runner, so that no name service is asked in a cage.

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::file::UserChoice;
use super::folders::shell_word;
use crate::model::Identity;

/// An identity, or why there is none.
#[derive(Debug)]
pub(super) struct LookUp {
    pub(super) identity: Result<Identity, (String, Option<String>)>,
    /// Groups that open more of the host than an app needs.
    pub(super) wide_groups: Vec<String>,
}

/// Groups of Debian whose members can become root or read what is root's.
const WIDE: [&str; 12] = [
    "adm",
    "disk",
    "docker",
    "incus-admin",
    "kmem",
    "kvm",
    "libvirt",
    "lxd",
    "shadow",
    "staff",
    "sudo",
    "wheel",
];

/// Looks the user up; `base` is the home of a uid without an entry in the user database.
pub(super) fn look_up(user: &UserChoice, auto_uid: Option<u32>, base: &Path) -> LookUp {
    let found = match user {
        UserChoice::Named(name) => User::from_name(name).map_err(|errno| (name.clone(), errno)),
        UserChoice::Number(uid) => {
            User::from_uid(Uid::from_raw(*uid)).map_err(|errno| (uid.to_string(), errno))
        }
        UserChoice::Auto => Ok(None),
    };
    let failed = |text: String, hint: Option<String>| LookUp {
        identity: Err((text, hint)),
        wide_groups: Vec::new(),
    };
    match (found, user) {
        (Err((who, errno)), _) => failed(
            format!("cannot look up the user \"{who}\": {}", errno.desc()),
            Some("see whether `getent passwd` works on this host".to_owned()),
        ),
        (Ok(Some(entry)), _) => known(&entry),
        (Ok(None), UserChoice::Named(name)) => failed(
            format!("there is no user \"{name}\" on this host"),
            Some(format!(
                "`swrun setup` makes it, as does: useradd --system --user-group --home-dir {} \
                 --no-create-home --shell /usr/sbin/nologin {name}",
                shell_word(base)
            )),
        ),
        (Ok(None), UserChoice::Number(uid)) => unknown(*uid, base),
        (Ok(None), UserChoice::Auto) => match auto_uid {
            Some(uid) => unknown(uid, base),
            None => failed(
                "no uid has been found for user = \"auto\"".to_owned(),
                Some("every number set aside for it is taken; name a user".to_owned()),
            ),
        },
    }
}

/// A uid that the user database does not know: its group has the same number.
fn unknown(uid: u32, base: &Path) -> LookUp {
    let home = base.to_owned();
    let identity = Identity { user: uid.to_string(), uid, gid: uid, groups: Vec::new(), home };
    LookUp { identity: no_root(identity), wide_groups: Vec::new() }
}

fn known(entry: &User) -> LookUp {
    let list = CString::new(entry.name.as_str())
        .map_err(|_| nix::errno::Errno::EINVAL)
        .and_then(|name| getgrouplist(&name, entry.gid));
    let identity = match list {
        Err(errno) => Err((
            format!("cannot look up the groups of the user \"{}\": {}", entry.name, errno.desc()),
            None,
        )),
        Ok(list) => {
            let mut groups: Vec<u32> = list.into_iter().map(Gid::as_raw).collect();
            groups.retain(|gid| *gid != entry.gid.as_raw());
            groups.sort_unstable();
            groups.dedup();
            no_root(Identity {
                user: entry.name.clone(),
                uid: entry.uid.as_raw(),
                gid: entry.gid.as_raw(),
                groups,
                home: entry.dir.clone(),
            })
        }
    };
    let groups = identity.iter().flat_map(|id| id.groups.iter().chain([&id.gid]));
    let names = groups.filter_map(|gid| Group::from_gid(Gid::from_raw(*gid)).ok().flatten());
    let wide_groups =
        names.map(|group| group.name).filter(|name| WIDE.contains(&name.as_str())).collect();
    LookUp { identity, wide_groups }
}

fn no_root(identity: Identity) -> Result<Identity, (String, Option<String>)> {
    let user = &identity.user;
    if identity.uid == 0 {
        let hint = "give the app a user of its own, as in user = \"deploy-prod\"";
        return Err((format!("the user \"{user}\" is root (uid 0)"), Some(hint.to_owned())));
    }
    if identity.gid == 0 || identity.groups.contains(&0) {
        let hint = if identity.gid == 0 {
            format!(
                "give it a group of its own: groupadd --system {user}; usermod -g {user} {user}"
            )
        } else {
            format!("take it out of the group: gpasswd -d {user} root")
        };
        return Err((format!("the user \"{user}\" is in the group root (gid 0)"), Some(hint)));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        user: UserChoice,
        auto_uid: Option<u32>,
    ) -> Result<Identity, (String, Option<String>)> {
        look_up(&user, auto_uid, Path::new("/srv/a b")).identity
    }

    #[test]
    fn users_are_looked_up_by_name_and_number() {
        let daemon = found(UserChoice::Named("daemon".to_owned()), None).expect("Debian has it");
        assert_eq!((daemon.user.as_str(), daemon.uid, daemon.gid), ("daemon", 1, 1));
        assert!(!daemon.groups.contains(&1), "the primary group is no supplementary one");
        assert_eq!(found(UserChoice::Number(1), None), Ok(daemon));

        for numeric in
            [found(UserChoice::Number(61001), None), found(UserChoice::Auto, Some(61001))]
        {
            let numeric = numeric.expect("a number needs no entry");
            assert_eq!((numeric.uid, numeric.gid, numeric.user.as_str()), (61001, 61001, "61001"));
            assert_eq!((numeric.groups, numeric.home), (Vec::new(), "/srv/a b".into()));
        }
        assert!(found(UserChoice::Auto, None).is_err());
    }

    #[test]
    fn a_missing_user_comes_with_the_way_to_make_it() {
        let (text, hint) =
            found(UserChoice::Named("deploy-none".to_owned()), None).expect_err("none");
        assert_eq!(text, "there is no user \"deploy-none\" on this host");
        let hint = hint.expect("a hint");
        assert!(hint.contains("swrun setup") && hint.contains("--home-dir '/srv/a b'"), "{hint}");
    }

    #[test]
    fn root_is_refused_under_every_name() {
        let of = |uid, gid, groups: &[u32]| {
            let (user, home) = ("toor".to_owned(), "/".into());
            no_root(Identity { user, uid, gid, groups: groups.to_vec(), home }).is_ok()
        };
        assert!(of(1, 1, &[2]));
        assert!(!of(0, 1, &[]) && !of(1, 0, &[]) && !of(1, 1, &[2, 0]));
        // "sync" of Debian has a group of the system's own, root itself is uid 0.
        assert!(found(UserChoice::Named("root".to_owned()), None).is_err());
    }
}

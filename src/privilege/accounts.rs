//! The users and groups that an app sees: its own.

use std::fmt::Write as _;

use crate::model::Identity;

/// The texts of passwd(5) and group(5): root, nobody, the user with its groups, and nobody else of the host.
pub fn accounts(identity: &Identity, environment: &str, groups: &str) -> [String; 2] {
    // A number alone is no name to programs.
    let is_number = identity.user.bytes().all(|byte| byte.is_ascii_digit());
    let user = if is_number { environment } else { &identity.user };
    let Identity { uid, gid, home, .. } = identity;
    let mut passwd = "root:x:0:0:root:/root:/usr/sbin/nologin\n".to_owned();
    // A field ends at a colon.
    let home = home.to_str().filter(|home| !home.contains([':', '\n'])).unwrap_or("/nonexistent");
    let _ = writeln!(passwd, "{user}:x:{uid}:{gid}::{home}:/bin/sh");
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    let mut group = "root:x:0:\n".to_owned();
    let name_of = |wanted: u32| {
        groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(wanted)).then_some(name)
        })
    };
    let _ = writeln!(group, "{}:x:{gid}:", name_of(*gid).unwrap_or(user));
    for other in identity.groups.iter().filter(|other| *other != gid) {
        let number = format!("group{other}");
        let _ = writeln!(group, "{}:x:{other}:{user}", name_of(*other).unwrap_or(&number));
    }
    group.push_str("nogroup:x:65534:\n");
    [passwd, group]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::spec_for_tests;

    #[test]
    fn a_cage_knows_its_own_user_and_no_other() {
        let identity = Identity {
            user: "deploy-prod".to_owned(),
            uid: 990,
            gid: 991,
            groups: vec![991, 44, 1234],
            home: PathBuf::from("/srv/prod"),
        };
        let groups = "root:x:0:\nvideo:x:44:anna\ndeploy-prod:x:991:\nsudo:x:27:anna\n";
        let [passwd, group] = accounts(&identity, "prod", groups);
        assert!(passwd.contains("\ndeploy-prod:x:990:991::/srv/prod:/bin/sh\n"), "{passwd}");
        assert_eq!(passwd.lines().count(), 3);
        assert!(group.contains("\ndeploy-prod:x:991:\nvideo:x:44:deploy-prod\n"), "{group}");
        assert!(group.contains("group1234:x:1234:deploy-prod\n") && !group.contains("anna"));
        let number = Identity { user: "990".to_owned(), ..spec_for_tests("shop").identity };
        assert!(accounts(&number, "shop", "")[0].contains("\nshop:x:"));
    }
}

//! Landlock, a second wall behind the mounts: what is outside of the cage's root cannot be opened even by a
//! descriptor of a host's folder, and abstract unix sockets and processes of others are out of reach.
//!
//! As much of it as the kernel has (landlock(7)): files since ABI 1, TCP ports since 4, the rest since 6.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope, make_bitflags,
};

/// What the rules know; a newer kernel is asked for no more.
const KNOWN: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
/// `> /dev/null` and `echo > /proc/self/…` truncate.
const DEVICES: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});

/// Folders of the cage that every app may write.
const PRIVATE: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

/// Restricts this process and its children for good, from inside the cage. `ports` are the TCP ports that it
/// may bind, where nothing else sees to that.
///
/// # Errors
/// landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).
pub fn enter(writable: &[PathBuf], ports: Option<&[u16]>) -> io::Result<()> {
    restrict(writable, ports).map_err(io::Error::other)
}

fn restrict(writable: &[PathBuf], ports: Option<&[u16]>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?;
    if ports.is_some() {
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    let mut rules = rules.create()?;
    let data = AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    rules = allow(rules, Path::new("/"), READ)?;
    for path in ["/dev", "/proc"] {
        rules = allow(rules, Path::new(path), DEVICES)?;
    }
    let private = PRIVATE.iter().map(Path::new);
    for path in private.chain(writable.iter().map(PathBuf::as_path)) {
        rules = allow(rules, path, data)?;
    }
    // 0 is any ephemeral port.
    for port in ports.into_iter().flatten().copied().chain(ports.map(|_| 0)) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    rules.restrict_self().map(drop)
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    // A writable file has fewer rights than a folder.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    match PathFd::new(path) {
        Ok(place) => rules.add_rule(PathBeneath::new(place, access)),
        // What is not there needs no rule.
        Err(_) => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    #[test]
    fn a_thread_opens_and_binds_what_it_was_given_and_no_more() {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let other = tempfile::tempdir_in("/var/tmp").expect("a folder");
        // The rules hold for the thread that takes them.
        let bound = std::thread::spawn(move || {
            let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let own = first.local_addr().expect("bound").port();
            drop(first);
            super::enter(&[folder.path().to_owned()], Some(&[own])).expect("the kernel takes it");
            let Some(version) = crate::sys::landlock::version() else {
                println!("skipped: this kernel has no Landlock");
                return;
            };
            let write =
                |path: &std::path::Path| fs::write(path.join("file"), "").map_err(|e| e.kind());
            assert_eq!(write(folder.path()), Ok(()));
            assert_eq!(write(other.path()), Err(std::io::ErrorKind::PermissionDenied));
            fs::write("/dev/null", "").expect("a device");
            fs::read("/etc/hosts").expect("it may be read");
            if version >= 4 {
                let errno = |port| TcpListener::bind(("127.0.0.1", port)).err()?.raw_os_error();
                assert_eq!((errno(own), errno(0), errno(9)), (None, None, Some(libc::EACCES)));
            }
        });
        bound.join().expect("its assertions hold");
    }
}

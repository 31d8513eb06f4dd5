//! Does what `swrun setup` has planned: groups, users, folders.
//!
//! Folders are made from `/` down without following a link (openat2(2)), and never changed when
//! they are there already: a tenant that can write one on the way gains nothing from the race.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::model::SetupStep;

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A program that makes users or groups is not on this host.
    #[error("cannot run \"{program}\": {error}; install it (Debian: passwd, Alpine: shadow)")]
    NoProgram {
        /// Its name.
        program: String,
        /// Of execve(2).
        error: io::Error,
    },
    /// It ran and failed.
    #[error("\"{command}\" failed ({status}): {said}")]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote on stderr.
        said: String,
    },
    /// The owner of a folder is not known.
    #[error("cannot give \"{path}\" to \"{owner}\": there is no such user; make it first", path = path.display())]
    NoOwner {
        /// The folder.
        path: PathBuf,
        /// The user.
        owner: String,
    },
    /// A folder could not be made.
    #[error("cannot {what} \"{path}\": {error}", path = path.display())]
    Folder {
        /// What was being done.
        what: &'static str,
        /// To which folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Does one step, as root.
///
/// # Errors
/// The step could not be done; what was done of it stays.
pub fn apply(step: &SetupStep) -> Result<(), SetupError> {
    match step {
        SetupStep::MakeGroup { .. } | SetupStep::MakeUser { .. } => run(&step.command()),
        SetupStep::MakeFolder { path, owner, mode } => {
            let (uid, gid) = find_owner(path, owner)?;
            make_folder(path, uid, gid, *mode)
        }
    }
}

/// Runs a program of the system's own folders, with nothing of the caller's environment.
#[expect(clippy::disallowed_methods, reason = "its own errors, which tell a missing program apart")]
fn run(command: &[String]) -> Result<(), SetupError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Path::new);
    let whole = folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    let ran = Command::new(whole.unwrap_or_else(|| folders[0].join(program)))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| SetupError::NoProgram { program: program.clone(), error })?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "; ");
    Err(SetupError::Failed { command: command.join(" "), status: ran.status, said })
}

/// Uid and primary group of a user; for a number that the user database does not know, itself.
fn find_owner(path: &Path, owner: &str) -> Result<(u32, u32), SetupError> {
    let number: Option<u32> = owner.parse().ok();
    let found = match number {
        Some(uid) => User::from_uid(Uid::from_raw(uid)),
        None => User::from_name(owner),
    };
    match (found, number) {
        (Ok(Some(user)), _) => Ok((user.uid.as_raw(), user.gid.as_raw())),
        (Ok(None), Some(uid)) => Ok((uid, uid)),
        (Ok(None), None) => {
            Err(SetupError::NoOwner { path: path.to_owned(), owner: owner.to_owned() })
        }
        (Err(errno), _) => {
            let error = errno.into();
            Err(SetupError::Folder { what: "look up the owner of", path: path.to_owned(), error })
        }
    }
}

/// Makes one folder in one that is there. A folder that is there is left as it is.
fn make_folder(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), SetupError> {
    let failed = |what, error: rustix::io::Errno| SetupError::Folder {
        what,
        path: path.to_owned(),
        error: error.into(),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = open_folder(parent).map_err(|error| failed("open the folder above", error))?;
    // Closed to all but root until its owner is set.
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(error) => return Err(failed("make the folder", error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())
        .map_err(|error| failed("open the new folder", error))?;
    // In a folder of the user's own another could have been put in its place meanwhile: what is not
    // root's, empty and closed is not the one just made.
    let found =
        rustix::fs::fstat(&made).map_err(|error| failed("look at the new folder", error))?;
    let is_empty = || {
        let entries = rustix::fs::Dir::read_from(&made);
        entries.is_ok_and(|entries| {
            let names = entries.flatten();
            names
                .map(|entry| entry.file_name().to_owned())
                .all(|name| name.as_c_str() == c"." || name.as_c_str() == c"..")
        })
    };
    if found.st_uid != 0 || found.st_mode & 0o7777 != 0o700 || !is_empty() {
        return Err(failed("trust the new folder, which was exchanged,", rustix::io::Errno::PERM));
    }
    // The mode first: once it has its owner, it is in the owner's hands.
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))
        .map_err(|error| failed("set the mode of", error))?;
    nix::unistd::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(
        |errno| failed("set the owner of", rustix::io::Errno::from_raw_os_error(errno as i32)),
    )
}

/// Opens an absolute path in which no part is a link.
fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let top = File::open("/").map_err(|error| {
        rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
    })?;
    let inside = path.strip_prefix("/").unwrap_or(path);
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(top.as_fd(), inside, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_folder_gets_owner_and_mode_and_is_then_left_alone() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().canonicalize().expect("it is there").join("new");
        let step = |owner: &str, mode| {
            apply(&SetupStep::MakeFolder { path: path.clone(), owner: owner.to_owned(), mode })
        };
        let state = || {
            let metadata = fs::metadata(&path).expect("it was made");
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
        };
        step("daemon", 0o750).expect("root may make it");
        assert_eq!(state(), (1, 1, 0o750));
        step("61001", 0o700).expect("it is there");
        assert_eq!(state(), (1, 1, 0o750));
        fs::remove_dir(&path).expect("it is empty");
        step("61001", 0o755).expect("root may make it");
        assert_eq!(state(), (61_001, 61_001, 0o755));
        assert!(matches!(step("deploy-none", 0o755), Err(SetupError::NoOwner { .. })));
    }

    #[test]
    fn no_link_is_followed() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there");
        fs::create_dir(top.join("real")).expect("a folder is made");
        symlink("real", top.join("link")).expect("a link is made");
        symlink("nowhere", top.join("dangling")).expect("a link is made");
        let make = |name: &str| {
            let (path, owner) = (top.join(name), "daemon".to_owned());
            apply(&SetupStep::MakeFolder { path, owner, mode: 0o750 })
        };
        let error = make("link/new").expect_err("it leads over a link");
        assert!(error.to_string().starts_with("cannot open the folder above"), "{error}");
        assert!(make("none/new").is_err());
        // A link in its place counts as there; nothing is made where it leads.
        make("dangling").expect("something is there");
        assert!(!top.join("nowhere").exists() && !top.join("real/new").exists());
        make("real/new").expect("no link on the way");
        assert!(top.join("real/new").is_dir());
    }

    #[test]
    fn a_failing_program_is_quoted_in_its_own_words() {
        // Names that the tools themselves refuse: nothing is made on this host.
        let error = apply(&SetupStep::MakeGroup { name: "not a group".to_owned() });
        let error = error.expect_err("the name is not valid").to_string();
        assert!(
            error.contains("groupadd --system not a group") && error.contains("not a valid"),
            "{error}"
        );
        let home = PathBuf::from("/nonexistent");
        let step = SetupStep::MakeUser { name: "not:a user".to_owned(), home, has_group: false };
        assert!(matches!(apply(&step), Err(SetupError::Failed { .. })));
    }

    #[test]
    fn a_user_and_its_group_are_made() {
        let name = format!("swrun-t{}", std::process::id() % 1_000_000);
        struct Made(String);
        impl Drop for Made {
            fn drop(&mut self) {
                let _ = Command::new("/usr/sbin/userdel").arg(&self.0).output();
                let _ = Command::new("/usr/sbin/groupdel").arg(&self.0).output();
            }
        }
        let made = Made(name.clone());
        let home = PathBuf::from("/opt/none such");
        // The group first, as on a host where it is there without the user.
        apply(&SetupStep::MakeGroup { name: name.clone() }).expect("root may make groups");
        apply(&SetupStep::MakeUser { name: name.clone(), home: home.clone(), has_group: true })
            .expect("root may make users");
        let user = User::from_name(&name).expect("the database is there").expect("it was made");
        assert_eq!((user.dir, user.shell), (home, PathBuf::from("/usr/sbin/nologin")));
        assert_ne!((user.uid.as_raw(), user.gid.as_raw()), (0, 0));
        let group = nix::unistd::Group::from_gid(user.gid).expect("the database is there");
        assert_eq!(group.map(|group| group.name), Some(name.clone()));
        drop(made);
        assert_eq!(User::from_name(&name).expect("the database is there"), None);
    }
}

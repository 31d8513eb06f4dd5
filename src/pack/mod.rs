//! Packs the logs of an environment that were put aside: a process of its own, at the lowest priority, that the
//! monitor starts. It reads and writes root's files in a folder of root's alone.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cgroup;
use crate::formats::log_file::open_log;
use crate::formats::log_pack::pack;
use crate::formats::log_store::{PACKED, PARTIAL, older};
use crate::sys::{files, memory};

use crate::wire::pack::GROUP;
pub use crate::wire::pack::ROLE;

/// Runs the role: `__pack FOLDER`.
#[must_use]
pub fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(2).map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    let _ = rustix::thread::set_name(c"swrun-pack");
    // Nothing waits for it.
    let _ = rustix::process::setpriority_process(None, 19);
    let _ = give_way();
    let _ = memory::set_oom_score(memory::USUAL);
    // One at a time, and none without a monitor that knows of it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let lock = File::open(&folder);
    if !lock.as_ref().is_ok_and(|folder| folder.try_lock().is_ok()) {
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for log in ["out.log", "err.log"] {
        if let Err(error) = pack_all(&folder.join(log)) {
            eprintln!(
                "swrun: could not pack what was before \"{}/{log}\": {error}",
                folder.display()
            );
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// nice(2) counts among the processes of one cgroup, or of one session (sched(7), autogroup): it has one of its
/// own of either, with the least share.
fn give_way() -> Result<(), Box<dyn Error>> {
    // Not there on every kernel.
    let _ = fs::write("/proc/self/autogroup", "19");
    let driver = cgroup::detect_own()?;
    let own = driver.own_group()?;
    // The monitor started it.
    let Some(base) = own.parent().filter(|_| own.ends_with("monitor")) else { return Ok(()) };
    let group = base.join(GROUP);
    driver.join(&group, std::process::id())?;
    driver.yield_cpu(&group)?;
    Ok(())
}

fn pack_all(log: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for older in older(log)? {
        match pack_one(&older.path, older.is_packed) {
            // Removed meanwhile, since there were too many.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Those after it may work.
            other => result = result.and(other),
        }
    }
    result
}

fn pack_one(path: &Path, is_packed: bool) -> io::Result<()> {
    if is_packed {
        return Ok(());
    }
    let partial = files::with_suffix(path, PARTIAL);
    // Of one that was ended at its work.
    files::remove_if_there(&partial)?;
    let from = open_log(path)?;
    let result = write(&from, &partial)
        .and_then(|()| fs::rename(&partial, files::with_suffix(path, PACKED)))
        .and_then(|()| files::remove_if_there(path));
    if result.is_err() {
        let _ = files::remove_if_there(&partial);
    }
    result
}

fn write(from: &File, partial: &Path) -> io::Result<()> {
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
        .open(partial)?;
    fchown(&to, None, Some(from.metadata()?.gid()))?;
    pack(from, &to)?;
    // The unpacked one goes next: a power cut is to leave one of the two.
    to.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::log_store::{Body, aside};

    #[test]
    fn what_was_put_aside_is_packed_and_what_was_left_half_done_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        fs::write(&log, "now").expect("ours");
        for at in [1, 2] {
            fs::write(aside(&log, at), format!("text {at}")).expect("ours");
        }
        fs::write(files::with_suffix(&aside(&log, 1), PARTIAL), "half").expect("ours");
        pack_all(&log).expect("packed");
        // Packed, but ended before the unpacked one was removed.
        fs::write(aside(&log, 2), "text 2").expect("ours");
        pack_all(&log).expect("packed");
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .expect("ours")
            .map(|entry| entry.expect("ours").file_name().into_string().expect("plain"))
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["out.log", "out.log.19700101T000000.001Z.gz", "out.log.19700101T000000.002Z.gz"]
        );
        for (older, wanted) in older(&log).expect("readable").iter().zip(["text 1", "text 2"]) {
            let body = Body::open(older).expect("readable").expect("there");
            let mut buffer = [0; 32];
            let read = body.read_at(&mut buffer, 0).expect("whole");
            assert_eq!(&buffer[..read], wanted.as_bytes());
        }
    }
}

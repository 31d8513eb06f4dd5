//! What ps(1) shows as this process's name and command line.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Puts `words` in the place of the command line that this process, or the one it was forked from,
/// was executed with; as much of it as fits there (proc_pid_stat(5), `arg_start` and `arg_end`).
///
/// # Errors
/// `/proc` is not mounted, or the kernel forbids it: nothing but a name is lost.
pub fn set(name: &CStr, words: &[&str]) -> io::Result<()> {
    rustix::thread::set_name(name)?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field may hold anything, a parenthesis too; so counted from the last one on.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
    let place: Vec<u64> = fields.skip(45).take(2).filter_map(|field| field.parse().ok()).collect();
    let [start, end] = place[..] else { return Err(io::ErrorKind::InvalidData.into()) };
    let room = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let mut line = words.join("\0").into_bytes();
    line.resize(room, 0);
    if let Some(last) = line.last_mut() {
        *last = 0;
    }
    OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&line, start)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ps_shows_what_was_set() {
        let before = std::fs::read("/proc/self/cmdline").expect("there");
        super::set(c"swrun-test", &["swrun", "__init"]).expect("allowed");
        let line = std::fs::read("/proc/self/cmdline").expect("there");
        let kept = std::fs::read_to_string("/proc/thread-self/comm").expect("there");
        super::set(c"swrun-test", &["x".repeat(1 << 16).as_str()]).expect("cut");
        assert!(line.starts_with(b"swrun\0__init\0"), "{line:?}");
        assert_eq!(line.len(), before.len());
        assert_eq!(kept, "swrun-test\n");
    }
}

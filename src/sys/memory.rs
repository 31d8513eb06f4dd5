//! The memory of this process.

use std::fs;
use std::io;

use rustix::mm::{Advice, madvise};

/// What runs environments goes last when the host has no memory left (proc_pid_oom_score_adj(5)).
pub const LAST: i16 = -900;

/// As likely as anything else.
pub const USUAL: i16 = 0;

/// How likely this process, and what it starts, is ended when the host has no memory left: from -1000 (never)
/// to 1000.
///
/// # Errors
/// To become less likely takes CAP_SYS_RESOURCE.
pub fn set_oom_score(score: i16) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Gives back what was needed once: freed memory that the C library keeps (malloc_trim(3)), and the pages of the
/// program and its libraries. What is used again is mapped again out of the page cache, without a disk. For a
/// process of one thread that sits and waits.
///
/// # Errors
/// `/proc/self/smaps` could not be read (proc_pid_smaps(5)), or madvise(2).
#[expect(unsafe_code, reason = "a mapping is told by its address")]
pub fn give_back() -> io::Result<()> {
    // SAFETY: it takes any number, and touches only what is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    for (start, length) in of_files(&fs::read_to_string("/proc/self/smaps")?) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: nothing was written to the mapping since it was made of a file, and nothing can be: what is read
        // there next is the same. (Relocations are written: those pages are anonymous.)
        unsafe { madvise(start, length, Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// Start and length of the mappings that hold nothing but what is in a file: `START-END r-xp OFFSET DEV INODE PATH`,
/// then the counts of each.
fn of_files(smaps: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut last = None;
    smaps.lines().filter_map(move |line| {
        if let Some(count) = line.strip_prefix("Anonymous:") {
            return last.take().filter(|_| count.trim() == "0 kB");
        }
        // Of the lines with counts none has a dash in its first word.
        if let Some((start, end)) = line.split(' ').next()?.split_once('-') {
            let mut words = line.split_ascii_whitespace().skip(1);
            let is_read_only = ["r-xp", "r--p"].contains(&words.next()?);
            let is_a_files = words.nth(3).is_some_and(|path| path.starts_with('/'));
            let address = |text| usize::from_str_radix(text, 16).ok();
            last = address(start).zip(address(end)).map(|(start, end)| (start, end - start));
            last = last.filter(|_| is_read_only && is_a_files);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_files_alone_is_found_and_given_back() {
        let smaps = "\
7f1000-7f3000 r-xp 00001000 08:01 42                 /usr/lib/libc.so.6
Size:                  8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
7f3000-7f4000 r--p 00003000 08:01 42                 /usr/lib/libc.so.6
Anonymous:             4 kB
7f4000-7f5000 rw-p 00004000 08:01 42                 /usr/lib/libc.so.6
Anonymous:             0 kB
7f5000-7f6000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f6000-7f7000 r--s 00000000 00:0e 9                  anon_inode:bpf-map
Anonymous:             0 kB
7f7000-7f8000 r--p 00005000 08:01 42                 /usr/lib/with space
Anonymous:             0 kB
7f8000-7f9000 r-xp 00000000 00:00 0                  [vdso]
Anonymous:             0 kB
";
        let found: Vec<_> = of_files(smaps).collect();
        assert_eq!(found, [(0x7f_1000, 0x2000), (0x7f_7000, 0x1000)]);
        let mapped = || {
            let status = fs::read_to_string("/proc/self/status").expect("readable");
            let line =
                status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("there");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        let before = mapped();
        give_back().expect("allowed");
        // Other tests run beside this one, and map theirs.
        assert!(mapped() < before, "{before}");
    }
}

//! The formats of cgroup files: text in, values out, no I/O.
//!
//! What is missing or garbled is `None`, never 0: a ceiling that is compared with a 0 never fires.

/// The numbers of `keys` in a flat-keyed file (`memory.stat`, `memory.events`, `cpu.stat`, `memory.oom_control`): a key
/// and a number a line (Linux, Documentation/admin-guide/cgroup-v2.rst, "Format").
pub fn numbers<const N: usize>(text: &str, keys: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    let mut rest = text;
    while let Some(end) = memchr::memchr(b'\n', rest.as_bytes()) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        for (key, found) in keys.iter().zip(&mut found) {
            // One byte first: most lines are another key's.
            if line.as_bytes().get(key.len()) == Some(&b' ') && line.starts_with(key) {
                *found = number(&line[key.len()..]);
            }
        }
    }
    found
}

/// The number of one key.
pub fn number_of(text: &str, key: &str) -> Option<u64> {
    numbers(text, [key])[0]
}

/// The sum of `keys` that must be there and of `others` that not every kernel has.
pub fn sum(text: &str, keys: &[&str], others: &[&str]) -> Option<u64> {
    let (mut sum, mut found) = (0_u64, 0);
    for (key, value) in text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
        let is_needed = keys.contains(&key);
        if is_needed || others.contains(&key) {
            sum = sum.checked_add(number(value)?)?;
            found += usize::from(is_needed);
        }
    }
    (found == keys.len()).then_some(sum)
}

/// A file of one number; `None` for `max` too, which is no limit.
pub fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A v1 limit: none is written as the largest multiple of a page.
pub fn legacy_limit(text: &str) -> Option<u64> {
    number(text).filter(|limit| *limit < 1 << 62)
}

/// `some avg10` of a PSI file, in percent (Linux, Documentation/accounting/psi.rst).
pub fn pressure_some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    value.parse().ok().filter(|percent: &f64| percent.is_finite())
}

/// Bytes read and written, of all devices of an `io.stat` (Linux, Documentation/admin-guide/cgroup-v2.rst, "IO").
/// An empty file is one of a group that did nothing yet.
pub fn io(text: &str) -> Option<(u64, u64)> {
    text.lines().try_fold((0_u64, 0_u64), |(read, written), line| {
        let field = |name: &str| {
            let found = line.split(' ').find_map(|field| field.strip_prefix(name));
            // A device without counters has its number alone.
            found.map_or(Some(0), |value| value.parse::<u64>().ok())
        };
        Some((read.checked_add(field("rbytes=")?)?, written.checked_add(field("wbytes=")?)?))
    })
}

/// The words of a list (`cgroup.controllers`, `cgroup.subtree_control`).
pub fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|other| other == word)
}

/// The pids of a `cgroup.procs`; 0 stands for a process outside our pid namespace and is left out,
/// since a signal to 0 would hit our own process group.
pub fn pids(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_garbled_line_is_unknown_and_spoils_no_other() {
        let file = "low 0\noom 2\noom_kill x\nhigh\nmax 18446744073709551616\n";
        assert_eq!(numbers(file, ["oom", "low"]), [Some(2), Some(0)]);
        assert_eq!(numbers(file, ["oom_kill", "high", "max", "absent"]), [None; 4]);
        assert_eq!(number_of(file, "oom"), Some(2));
    }

    #[test]
    fn a_sum_lacks_no_part_that_the_kernel_has() {
        let file = "anon 5\nshmem 7\nsock 1\npercpu ?\nslab\n";
        assert_eq!(sum(file, &["anon", "shmem"], &["sock", "vmalloc"]), Some(13));
        assert_eq!(sum(file, &["anon", "shmem"], &["percpu"]), None);
        assert_eq!(sum(file, &["anon", "shmem"], &["slab"]), None);
        assert_eq!(sum(file, &["anon", "kernel"], &[]), None);
    }

    #[test]
    fn no_limit_is_no_number() {
        assert_eq!(number("max\n"), None);
        assert_eq!(number("4096\n"), Some(4096));
        assert_eq!(number(""), None);
        assert_eq!(legacy_limit("9223372036854771712\n"), None);
        assert_eq!(legacy_limit("67108864\n"), Some(64 << 20));
    }

    #[test]
    fn pressure_is_the_some_line() {
        let text = "some avg10=1.25 avg60=0.10 avg300=0.00 total=99\nfull avg10=9.00 avg60=0 avg300=0 total=1\n";
        assert_eq!(pressure_some_avg10(text), Some(1.25));
        assert_eq!(pressure_some_avg10("full avg10=9.00\n"), None);
        assert_eq!(pressure_some_avg10("some avg10=NaN\n"), None);
    }

    #[test]
    fn bytes_of_all_devices_are_added_up() {
        let text = "259:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:0\n8:16 rbytes=1 wbytes=2\n";
        assert_eq!(io(text), Some((4097, 8194)));
        assert_eq!(io(""), Some((0, 0)));
        assert_eq!(io("8:0 rbytes=x wbytes=1\n"), None);
    }

    #[test]
    fn a_process_of_another_namespace_is_no_pid() {
        assert_eq!(pids("0\n12\n-4\nx\n7\n"), [12, 7]);
    }
}

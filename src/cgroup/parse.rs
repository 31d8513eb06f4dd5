//! The formats of cgroup files: text in, values out, no I/O.
//!
//! What is missing or garbled is `None`, never 0: a ceiling that is compared with a 0 never fires.

/// A flat-keyed file (`memory.stat`, `memory.events`, `cpu.stat`, `memory.oom_control`): a key and
/// a number a line (Linux, Documentation/admin-guide/cgroup-v2.rst, "Format").
#[derive(Debug)]
pub struct FlatKeyed<'a>(&'a str);

impl<'a> FlatKeyed<'a> {
    /// Reads `text`.
    pub fn parse(text: &'a str) -> Self {
        Self(text)
    }

    /// The text of the value of `key`.
    fn value(&self, key: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    }

    /// The number of `key`.
    pub fn get(&self, key: &str) -> Option<u64> {
        self.value(key)?.trim().parse().ok()
    }

    /// The sum of `keys` that must be there and of `others` that not every kernel has.
    pub fn sum(&self, keys: &[&str], others: &[&str]) -> Option<u64> {
        let known = others.iter().filter(|key| self.value(key).is_some());
        keys.iter().chain(known).try_fold(0_u64, |sum, key| sum.checked_add(self.get(key)?))
    }
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
        let file = FlatKeyed::parse("low 0\noom 2\noom_kill x\nhigh\nmax 18446744073709551616\n");
        assert_eq!(file.get("oom"), Some(2));
        assert_eq!(file.get("low"), Some(0));
        for unknown in ["oom_kill", "high", "max", "absent"] {
            assert_eq!(file.get(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_sum_lacks_no_part_that_the_kernel_has() {
        let file = FlatKeyed::parse("anon 5\nshmem 7\nsock 1\npercpu ?\n");
        assert_eq!(file.sum(&["anon", "shmem"], &["sock", "vmalloc"]), Some(13));
        assert_eq!(file.sum(&["anon", "shmem"], &["percpu"]), None);
        assert_eq!(file.sum(&["anon", "kernel"], &[]), None);
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

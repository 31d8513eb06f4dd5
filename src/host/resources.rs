//! What there is to share out: memory, swap, overcommit, open files, the ports of clients.

use nix::sys::resource::{Resource, getrlimit};

use super::{Finding, read};
use crate::model::format_bytes;

/// The open files that an app of many connections wants.
const OPEN_FILES: u64 = 65_536;

/// Less free memory than this, and the kernel kills by its own choice.
const LITTLE_MEMORY: u64 = 256 << 20;

/// Looks at the host's resources.
pub fn examine() -> Vec<Finding> {
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    vec![
        judge_memory(bytes_of(&meminfo, "MemAvailable:"), bytes_of(&meminfo, "MemTotal:")),
        judge_swap(bytes_of(&meminfo, "SwapTotal:")),
        judge_overcommit(read("/proc/sys/vm/overcommit_memory").as_deref()),
        judge_open_files(getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard)),
        judge_port_range(read("/proc/sys/net/ipv4/ip_local_port_range").as_deref()),
    ]
}

/// A line of `/proc/meminfo`, which is in kB (proc_meminfo(5)).
fn bytes_of(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn judge_memory(available: Option<u64>, total: Option<u64>) -> Finding {
    let (Some(available), Some(total)) = (available, total) else {
        return Finding::unknown("memory", "the host's memory");
    };
    let text = format!("{} of {} are available", format_bytes(available), format_bytes(total));
    if available < LITTLE_MEMORY {
        let advice = "lower the memory ceilings or give the machine more: when it has none left, the kernel chooses whom to kill";
        return Finding::degraded("memory", text, advice);
    }
    Finding::good("memory", text)
}

fn judge_swap(total: Option<u64>) -> Finding {
    match total {
        None => Finding::unknown("swap", "the swap"),
        Some(0) => Finding::good("swap", "there is none; apps of swrun use none anyway"),
        Some(bytes) => {
            Finding::good("swap", format!("{}; apps of swrun use none of it", format_bytes(bytes)))
        }
    }
}

/// `vm.overcommit_memory` (Linux, Documentation/mm/overcommit-accounting.rst).
fn judge_overcommit(mode: Option<&str>) -> Finding {
    match mode {
        Some("0" | "1") => {
            Finding::good("overcommit", "memory may be promised beyond what there is")
        }
        Some("2") => Finding::degraded(
            "overcommit",
            "memory is never promised beyond what there is: runtimes such as Node, which reserve much and use little, may fail to start",
            "sysctl vm.overcommit_memory=0",
        ),
        _ => Finding::unknown("overcommit", "vm.overcommit_memory"),
    }
}

fn judge_open_files(hard: Option<u64>) -> Finding {
    match hard {
        None => Finding::unknown("open files", "the limit of open files"),
        Some(hard) if hard < OPEN_FILES => Finding::degraded(
            "open files",
            format!("the hard limit is {hard}: an app can have no more, whatever its profile says"),
            "under systemd: LimitNOFILE=524288; in a shell as root: \"ulimit -Hn 65536\"",
        ),
        Some(hard) => Finding::good("open files", format!("the hard limit is {hard}")),
    }
}

/// Ports in this range are handed to clients, and may be taken when an app wants to bind.
fn judge_port_range(range: Option<&str>) -> Finding {
    let numbers = range.and_then(|text| {
        let mut words = text.split_whitespace().map(str::parse::<u16>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    });
    match numbers {
        None => Finding::unknown("client ports", "net.ipv4.ip_local_port_range"),
        Some((low, high)) if low < 10_000 => Finding::degraded(
            "client ports",
            format!(
                "clients get ports {low} to {high}, among which apps like to listen: one may be taken just when an app binds it"
            ),
            "sysctl net.ipv4.ip_local_port_range=\"32768 60999\"",
        ),
        Some((low, high)) => {
            Finding::good("client ports", format!("clients get ports {low} to {high}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn meminfo_is_in_kilobytes_and_garbage_is_unknown() {
        let text = "MemTotal:       1024 kB\nMemAvailable:   x kB\nSwapTotal: 5\n";
        assert_eq!(bytes_of(text, "MemTotal:"), Some(1 << 20));
        for key in ["MemAvailable:", "SwapTotal:", "MemFree:"] {
            assert_eq!(bytes_of(text, key), None, "{key}");
        }
    }

    #[test]
    fn memory_and_swap() {
        assert_eq!(judge_memory(Some(1 << 30), Some(2 << 30)).level, Level::Good);
        assert_eq!(judge_memory(Some(100 << 20), Some(2 << 30)).level, Level::Degraded);
        assert_eq!(judge_memory(None, Some(1)).level, Level::Degraded);
        assert_ne!(judge_swap(Some(0)).text, judge_swap(Some(1 << 30)).text);
        assert_eq!(judge_swap(None).level, Level::Degraded);
    }

    #[test]
    fn overcommit_open_files_and_ports() {
        assert_eq!(judge_overcommit(Some("2")).level, Level::Degraded);
        assert_eq!(judge_overcommit(Some("0")).level, Level::Good);
        assert_eq!(judge_overcommit(Some("?")).text, "vm.overcommit_memory could not be read");
        assert_eq!(judge_open_files(Some(4096)).level, Level::Degraded);
        assert_eq!(judge_open_files(Some(65_536)).level, Level::Good);
        assert_eq!(judge_port_range(Some("32768\t60999")).level, Level::Good);
        assert_eq!(judge_port_range(Some("1024\t60999")).level, Level::Degraded);
        assert_eq!(judge_port_range(Some("x")).level, Level::Degraded);
    }
}

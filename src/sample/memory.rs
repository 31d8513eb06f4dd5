//! What the sample sees of its own memory and its limits, as any app would look for them.
//!
//! The cgroup files are looked for where a caged app finds its own: `/sys/fs/cgroup` on a unified
//! host, the `memory` folder below it on a hybrid one.

use std::fs;
use std::path::Path;

/// v1 writes "no limit" as the largest number of pages; what is near it is no limit either.
const V1_UNLIMITED: u64 = 1 << 62;

/// The answer to `/memory`: bytes; `null` is unknown, and a limit of `"max"` is none.
pub fn report() -> serde_json::Value {
    let status = fs::read_to_string("/proc/self/status").ok();
    serde_json::json!({
        "rss": status.as_deref().and_then(resident),
        "limit": limit(Path::new("/sys/fs/cgroup")),
        "cpus": std::thread::available_parallelism().ok(),
    })
}

/// Resident memory in bytes, from the text of `/proc/self/status` (proc_pid_status(5)).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The memory limit that the cgroup folder `root` shows.
fn limit(root: &Path) -> serde_json::Value {
    let unified = fs::read_to_string(root.join("memory.max"));
    let text = unified.or_else(|_| fs::read_to_string(root.join("memory/memory.limit_in_bytes")));
    let Ok(text) = text else { return serde_json::Value::Null };
    match text.trim() {
        "max" => "max".into(),
        number => match number.parse::<u64>() {
            Ok(bytes) if bytes >= V1_UNLIMITED => "max".into(),
            Ok(bytes) => bytes.into(),
            Err(_) => serde_json::Value::Null,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t    5120 kB\n"), Some(5_242_880));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
        assert_eq!(resident("VmRSS:\t many kB\n"), None);
    }

    #[test]
    fn the_limit_is_found_on_both_layouts_and_never_guessed() {
        let root = tempfile::tempdir().unwrap();
        assert!(limit(root.path()).is_null());

        fs::create_dir(root.path().join("memory")).unwrap();
        let v1 = root.path().join("memory/memory.limit_in_bytes");
        fs::write(&v1, "268435456\n").unwrap();
        assert_eq!(limit(root.path()), 268_435_456);
        fs::write(&v1, "9223372036854771712\n").unwrap();
        assert_eq!(limit(root.path()), "max");

        let v2 = root.path().join("memory.max");
        fs::write(&v2, "1048576\n").unwrap();
        assert_eq!(limit(root.path()), 1_048_576);
        fs::write(&v2, "max\n").unwrap();
        assert_eq!(limit(root.path()), "max");
        fs::write(&v2, "").unwrap();
        assert!(limit(root.path()).is_null());
    }
}

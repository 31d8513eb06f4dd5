//! What the kernel says of a process.

use std::fs;

/// A line of `status` (proc_pid_status(5)) or `smaps_rollup` (Linux, Documentation/filesystems/proc.rst), in KiB; `None` of
/// a process that has gone.
pub fn kib(pid: u32, file: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Nanoseconds on a CPU of its first thread (Linux, Documentation/scheduler/sched-stats.rst).
pub fn on_cpu(pid: u32) -> u64 {
    schedstat(&format!("/proc/{pid}/schedstat")).expect("it runs")
}

/// The same of all its threads.
pub fn on_cpus(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| schedstat(task.path().join("schedstat").to_str()?)).sum()
}

fn schedstat(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

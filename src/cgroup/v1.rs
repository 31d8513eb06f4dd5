//! Limits in v1 hierarchies, set with the crate cgroups-rs (0.3.4): its controllers, one at a time,
//! on a folder that is ours.
//!
//! Not used of it, for what its source does: `Cgroup` makes the group in every mounted hierarchy
//! and takes the v2 mount point for a constant; `create` only logs an error; `apply` drops that of
//! an attribute; `memory_stat` reads 0 where it fails; `delete` sleeps; OOM events start a thread.

use std::error::Error as _;
use std::io::Error;
use std::path::Path;

use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;

use super::{CgroupError, files};

/// The period of the CPU quota, in microseconds.
pub const CPU_PERIOD: u64 = 100_000;

/// Sets the ceiling of a memory group, in bytes, and keeps it out of swap as far as v1 can:
/// memory and swap together get the same ceiling where swap is accounted, and the kernel is told
/// to swap last. The OOM killer stays on: with it off the app hangs at the ceiling.
///
/// # Errors
/// The kernel refused a value.
pub fn limit_memory(folder: &Path, ceiling: u64) -> Result<(), CgroupError> {
    let group = MemController::new(folder.to_path_buf(), false);
    let ceiling = i64::try_from(ceiling).unwrap_or(i64::MAX);
    // In this order: the kernel refuses a sum of memory and swap below the limit of memory.
    report(folder, "memory.limit_in_bytes", group.set_limit(ceiling))?;
    if has_swap_accounting(folder) {
        report(folder, "memory.memsw.limit_in_bytes", group.set_memswap_limit(ceiling))?;
    }
    report(folder, "memory.swappiness", group.set_swappiness(0))
}

/// Whether memory and swap together can be limited in the memory group `folder`.
pub fn has_swap_accounting(folder: &Path) -> bool {
    folder.join("memory.memsw.limit_in_bytes").exists()
}

/// Sets the CPU limit, in percent of one CPU; `None` lifts it.
///
/// # Errors
/// The kernel refused it (a group above may have a smaller one).
pub fn limit_cpu(folder: &Path, percent: Option<u32>) -> Result<(), CgroupError> {
    let group = CpuController::new(folder.to_path_buf(), false);
    let quota = percent.map_or(-1, |percent| i64::from(percent) * 1000);
    report(folder, "cpu.cfs_period_us", group.set_cfs_period(CPU_PERIOD))?;
    report(folder, "cpu.cfs_quota_us", group.set_cfs_quota(quota))
}

/// Sets the limit of processes and threads.
///
/// # Errors
/// The kernel refused it.
pub fn limit_pids(folder: &Path, pids: u32) -> Result<(), CgroupError> {
    let group = PidController::new(folder.to_path_buf(), false);
    report(folder, "pids.max", group.set_pid_max(MaxValue::Value(i64::from(pids))))
}

/// The crate's error in our words, with the kernel's as the reason.
fn report(
    folder: &Path,
    file: &str,
    result: cgroups_rs::error::Result<()>,
) -> Result<(), CgroupError> {
    result.map_err(|error| {
        let reason = error.source().and_then(|cause| cause.downcast_ref::<Error>());
        let source = match reason.and_then(Error::raw_os_error) {
            Some(code) => Error::from_raw_os_error(code),
            None => Error::other(error.to_string()),
        };
        files::failed("set the limit", &folder.join(file), source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_limit_names_file_and_reason() {
        let error =
            limit_pids(Path::new("/proc/swrun-none"), 5).expect_err("there is no such group");
        let text = error.to_string();
        assert!(text.contains("could not set the limit \"/proc/swrun-none/pids.max\""), "{text}");
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOENT), "{text}");
    }
}

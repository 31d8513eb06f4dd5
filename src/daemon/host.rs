//! The machine under all environments.

use procfs::{Current as _, LoadAverage, Meminfo};

use crate::model::HostStatus;

/// As the kernel has it.
fn hundredths(load: f32) -> f64 {
    (f64::from(load) * 100.0).round() / 100.0
}

/// Its memory and load now.
pub fn status() -> HostStatus {
    let memory = Meminfo::current().ok();
    let load = LoadAverage::current().ok();
    HostStatus {
        memory_total: memory.as_ref().map(|memory| memory.mem_total),
        memory_available: memory.and_then(|memory| memory.mem_available),
        load: load.map(|load| [load.one, load.five, load.fifteen].map(hundredths)),
        cpus: std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()),
    }
}

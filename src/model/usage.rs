//! What an environment used: at one moment, and over a time.

use serde::{Deserialize, Serialize};

/// What all instances of an environment use at one moment. `None`: it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Seconds since the epoch.
    pub at: u64,
    /// The newest instance: another one is another life.
    pub life: u32,
    /// How many instances run.
    pub instances: u16,
    /// All memory that is charged, in bytes.
    pub current: Option<u64>,
    /// Anonymous memory, in bytes.
    pub anon: Option<u64>,
    /// Page cache, in bytes.
    pub file: Option<u64>,
    /// Shared memory and tmpfs, in bytes.
    pub shmem: Option<u64>,
    /// Kernel memory, in bytes.
    pub kernel: Option<u64>,
    /// CPU since the sample before, in percent of one.
    pub cpu: Option<f64>,
    /// Milliseconds that the CPU limit held it back since the sample before.
    pub throttled_ms: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Stalls for want of memory, CPU and I/O: PSI `some avg10`, in percent.
    pub pressure: [Option<f64>; 3],
    /// Bytes read from disks since the sample before.
    pub read: Option<u64>,
    /// Bytes written to disks since the sample before.
    pub written: Option<u64>,
    /// Connections that wait in the queues of its ports.
    pub queue: Option<u64>,
    /// Instances that ended since the sample before.
    pub restarts: u16,
}

/// What the cgroup of an environment says of all its instances together, beyond the status. `None`: it could not be
/// read, or this host does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Page cache, in bytes.
    pub file: Option<u64>,
    /// Shared memory and tmpfs, in bytes.
    pub shmem: Option<u64>,
    /// Kernel memory, in bytes.
    pub kernel: Option<u64>,
    /// Stalls for want of CPU: PSI `some avg10`, in percent.
    pub cpu_pressure: Option<f64>,
    /// For want of I/O.
    pub io_pressure: Option<f64>,
    /// Bytes read from disks.
    pub read: Option<u64>,
    /// Bytes written to disks.
    pub written: Option<u64>,
}

/// The same over a time, of which there were several samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UsageSpan {
    /// When it begins, in seconds since the epoch.
    pub at: u64,
    /// How many seconds it is long.
    pub step_s: u32,
    /// How many samples it is made of.
    pub samples: u32,
    /// The newest instance at its end.
    pub life: u32,
    /// The most instances.
    pub instances: u16,
    /// Instances that ended.
    pub restarts: u16,
    /// The least anonymous memory, in bytes: where a garbage collector gets it down to.
    pub anon_min: Option<u64>,
    /// Its mean.
    pub anon: Option<u64>,
    /// The most.
    pub anon_max: Option<u64>,
    /// The mean of page cache.
    pub file: Option<u64>,
    /// The mean of shared memory and tmpfs.
    pub shmem: Option<u64>,
    /// The mean of kernel memory.
    pub kernel: Option<u64>,
    /// The most of all that is charged.
    pub current_max: Option<u64>,
    /// The mean CPU, in percent of one.
    pub cpu_percent: Option<f64>,
    /// Milliseconds that it was held back.
    pub throttled_ms: Option<u64>,
    /// The most processes and threads.
    pub pids_max: Option<u64>,
    /// The mean stall for want of memory, in percent.
    pub memory_pressure: Option<f64>,
    /// For want of CPU.
    pub cpu_pressure: Option<f64>,
    /// For want of I/O.
    pub io_pressure: Option<f64>,
    /// Bytes read.
    pub read: Option<u64>,
    /// Bytes written.
    pub written: Option<u64>,
    /// The most connections that waited.
    pub queue_max: Option<u64>,
}

impl UsageSpan {
    /// A span of one sample.
    #[must_use]
    pub fn of(usage: &Usage, step_s: u32) -> Self {
        let [memory_pressure, cpu_pressure, io_pressure] = usage.pressure;
        Self {
            at: usage.at - usage.at % u64::from(step_s),
            step_s,
            samples: 1,
            life: usage.life,
            instances: usage.instances,
            restarts: usage.restarts,
            anon_min: usage.anon,
            anon: usage.anon,
            anon_max: usage.anon,
            file: usage.file,
            shmem: usage.shmem,
            kernel: usage.kernel,
            current_max: usage.current,
            cpu_percent: usage.cpu,
            throttled_ms: usage.throttled_ms,
            pids_max: usage.pids,
            memory_pressure,
            cpu_pressure,
            io_pressure,
            read: usage.read,
            written: usage.written,
            queue_max: usage.queue,
        }
    }

    /// Adds what was seen later in the same span. Of another life the least memory counts anew: what a new
    /// instance begins with is no trough of the old one.
    pub fn add(&mut self, later: &Self) {
        let (old, new) = (f64::from(self.samples), f64::from(later.samples));
        let mean = |before: Option<f64>, after: Option<f64>| match (before, after) {
            (Some(before), Some(after)) => Some((before * old + after * new) / (old + new)),
            (before, after) => before.or(after),
        };
        let whole = |before: Option<u64>, after: Option<u64>| {
            mean(before.map(|n| n as f64), after.map(|n| n as f64)).map(|n| n.round() as u64)
        };
        let sum = |before: Option<u64>, after: Option<u64>| match (before, after) {
            (Some(before), Some(after)) => Some(before.saturating_add(after)),
            (before, after) => before.or(after),
        };
        self.anon_min = match (self.anon_min, later.anon_min) {
            (Some(before), Some(after)) if self.life == later.life => Some(before.min(after)),
            (before, after) => after.or(before),
        };
        self.anon = whole(self.anon, later.anon);
        self.anon_max = self.anon_max.max(later.anon_max);
        self.file = whole(self.file, later.file);
        self.shmem = whole(self.shmem, later.shmem);
        self.kernel = whole(self.kernel, later.kernel);
        self.current_max = self.current_max.max(later.current_max);
        self.cpu_percent = mean(self.cpu_percent, later.cpu_percent);
        self.throttled_ms = sum(self.throttled_ms, later.throttled_ms);
        self.pids_max = self.pids_max.max(later.pids_max);
        self.memory_pressure = mean(self.memory_pressure, later.memory_pressure);
        self.cpu_pressure = mean(self.cpu_pressure, later.cpu_pressure);
        self.io_pressure = mean(self.io_pressure, later.io_pressure);
        self.read = sum(self.read, later.read);
        self.written = sum(self.written, later.written);
        self.queue_max = self.queue_max.max(later.queue_max);
        self.instances = self.instances.max(later.instances);
        self.restarts = self.restarts.saturating_add(later.restarts);
        self.samples = self.samples.saturating_add(later.samples);
        self.life = later.life;
    }
}

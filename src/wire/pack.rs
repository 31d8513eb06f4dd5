//! The process that packs logs: started by the monitor with the folder as its argument.

/// The hidden role's word.
pub const ROLE: &str = "__pack";

/// Its cgroup, beside the monitor's.
pub const GROUP: &str = "pack";

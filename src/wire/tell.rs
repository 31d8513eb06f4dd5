//! The process that tells somebody: started by the monitor with `USER GROUP MILLISECONDS DESCRIPTOR COMMAND…`; the
//! descriptor is of a memory file with what is told, the command's standard input.

/// The hidden role's word.
pub const ROLE: &str = "__tell";

/// Its cgroup, beside the monitor's.
pub const GROUP: &str = "notify";

/// Its exit status where the command did not end in time.
pub const EXIT_LATE: u8 = 124;

//! What several roles read and write.
#![forbid(unsafe_code)]

pub mod dotenv;
pub mod journal;
pub mod log_line;
pub mod spec_file;

//! What several roles read and write: the files of an environment, and text made safe to show.
#![forbid(unsafe_code)]

pub mod clean;
pub mod cron;
pub mod dotenv;
pub mod history;
pub mod journal;
pub mod log_back;
pub mod log_chain;
pub mod log_file;
pub mod log_follow;
pub mod log_line;
pub mod log_pack;
pub mod log_store;
pub mod log_tail;
pub mod memory_file;
pub mod spec_file;
pub mod words;

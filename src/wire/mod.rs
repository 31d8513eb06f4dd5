//! The messages between the roles, each boundary a file: every one is bounded and versioned.
#![forbid(unsafe_code)]

pub mod ask;
pub mod frame;
pub mod keep;
pub mod launch;
pub mod once;
pub mod pack;
pub mod saved;
pub mod tell;

//! Pure decisions: `now` is an argument, nothing is read and nothing is done.
#![forbid(unsafe_code)]

pub mod access;
pub mod ceiling;
pub mod health;
pub mod leak;
pub mod listen;
pub mod notices;
pub mod releases;
pub mod restart;

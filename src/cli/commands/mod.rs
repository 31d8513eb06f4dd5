//! The commands, a file each.

pub mod check;
pub mod deploy;
pub mod doctor;
pub mod errors;
pub mod events;
pub mod exec;
pub mod history;
pub mod kill;
pub mod leaks;
pub mod logs;
pub mod order;
pub mod ports;
pub mod save;
pub mod setup;
pub mod show;
pub mod start;
pub mod startup;
pub mod status;
pub mod trace;
pub mod upgrade;

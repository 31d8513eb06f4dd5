//! What operators see: tables and pages made of plain values; nothing here reads or writes.

pub mod chart;
pub mod environment;
pub mod status;
pub mod table;

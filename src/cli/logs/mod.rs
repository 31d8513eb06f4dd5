//! The parts of `swrun logs`: since when, from which files, and how a line looks.

pub mod feed;
pub mod look;
pub mod since;

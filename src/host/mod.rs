//! host
pub mod setup;

//! formats

pub mod dotenv;

//! Who owns which port of this host: decided by a program in the kernel (`program`), kept in maps
//! (`wall`), with two settings of the host's network (`settings`).

mod program;
mod settings;
mod wall;

pub use settings::Settings;
pub use wall::{Key, Refusal, Tenant, Wall};

//! Who owns which port of this host: decided by a program in the kernel (`program`), kept in maps
//! (`wall`), with two settings of the host's network (`settings`); and who has one that is not its owner (`holder`).

mod holder;
mod program;
mod settings;
mod wall;

pub use holder::{Holder, holder, is_taken};
pub use settings::Settings;
pub use wall::{Key, Refusal, Tenant, Wall, try_out};

//! Who owns which port of this host: decided by a program in the kernel (`program`), kept in maps
//! (`wall`), with two settings of the host's network (`settings`); who has one that is not its owner
//! (`holder`); how many connections each got (`count`); and whom an environment may reach (`reach`).

mod assembler;
mod count;
mod holder;
mod maps;
mod program;
mod reach;
mod settings;
mod tenant;
mod values;
mod wall;

pub use holder::{Holder, holder, is_taken};
pub use settings::Settings;
pub use tenant::{Refusal, Tenant};
pub use wall::{Wall, try_out};

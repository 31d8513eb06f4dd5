//! All that needs root, a closed list, each with its reason; used by init before and while it gives
//! root up.

mod accounts;
pub mod calls;
pub mod etc;
pub mod filter;
pub mod identity;
pub mod landlock;
pub mod limits;
pub mod mounts;

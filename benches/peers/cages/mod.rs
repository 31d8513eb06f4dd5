//! What starts a program in a cage once, and keeps nothing up; one file each.

mod bubblewrap;
mod crun;
mod unshare;

use std::path::Path;
use std::process::Command;

/// One that can be had here.
pub trait Cage {
    fn name(&self) -> &'static str;
    /// Its exact version.
    ///
    /// # Errors
    /// Why it is left out.
    fn version(&self) -> Result<String, String>;
    /// What runs `program` with `words`, which writes into `stamps`; both lie in `folder`.
    fn command(&self, folder: &Path, program: &Path, words: &[&str]) -> Command;
}

pub fn all() -> Vec<Box<dyn Cage>> {
    vec![Box::new(crun::Crun), Box::new(bubblewrap::Bubblewrap), Box::new(unshare::Unshare)]
}

//! What environments are called, and the spec that was written for each.

use std::rc::Rc;

use super::entry::Entry;
use super::registry::Runner;
use crate::formats::spec_file;
use crate::model::{EnvName, EnvSpec};

/// The word that operators use for it.
pub fn target_of(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Option<String> {
    let known = entry.known.borrow().as_ref().map(|known| known.target.clone());
    // One whose profile has an error keeps the word that operators use for it.
    known.unwrap_or_else(|| saved_spec(runner, &entry.name)?.target)
}

/// What an environment without a profile file is called by the end of its name: `prod` means "backend-prod" as long as
/// nothing else is called so.
pub fn understood_target(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Option<String> {
    let is_ad_hoc = entry.known.borrow().as_ref().is_some_and(|known| known.is_ad_hoc);
    let target = entry.name.target().filter(|_| is_ad_hoc)?;
    let is_taken = runner.entries().iter().any(|other| {
        let is_other = !Rc::ptr_eq(other, entry);
        let named = target_of(runner, other);
        is_other
            && (other.name == target
                || named.as_deref() == Some(target.as_str())
                || named.is_none() && other.name.target().as_ref() == Some(&target))
    });
    (!is_taken).then(|| target.to_string())
}

/// As it was written last; `None` where none was, or it cannot be read.
pub fn saved_spec(runner: &Rc<Runner>, name: &EnvName) -> Option<EnvSpec> {
    spec_file::read(&runner.places.spec(name)).ok()
}

//! The list of environments, given away and taken back.

use std::rc::Rc;

use super::registry::Runner;
use super::{adhoc, orders};
use crate::model::{EnvName, Wanted};
use crate::sys::files;
use crate::wire::ask::Outcome;
use crate::wire::saved::{SAVED_SCHEMA, SavedEnvironment, SavedList};

/// The longest profile, in bytes.
const LONGEST_PROFILE: u64 = 64 << 10;

/// What is known now.
///
/// # Errors
/// A profile of an environment without a file could not be read.
pub fn list(runner: &Runner) -> Result<SavedList, String> {
    let mut environments = Vec::new();
    for entry in runner.entries() {
        let known = entry.known.borrow();
        let ad_hoc = known.as_ref().filter(|known| known.is_ad_hoc).map(|known| known.file.clone());
        let profile = ad_hoc.map(|file| {
            let bytes = files::read_bounded(&file, LONGEST_PROFILE)
                .map_err(|e| format!("could not read \"{}\": {e}", file.display()))?;
            String::from_utf8(bytes).map_err(|e| format!("\"{}\": {e}", file.display()))
        });
        environments.push(SavedEnvironment {
            name: entry.name.to_string(),
            wanted: *entry.wanted.borrow(),
            scale: runner.saved(&entry.name).and_then(|saved| saved.scale),
            profile: profile.transpose()?,
        });
    }
    environments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(SavedList { schema: SAVED_SCHEMA, environments })
}

/// Brings one environment to what it was: made, if it had no profile file and is not there; started, if it was
/// wanted. One that runs goes on, and one that was stopped is left as it is.
pub async fn restore(runner: Rc<Runner>, saved: SavedEnvironment) -> Outcome {
    let name = saved.name.clone();
    match bring_back(&runner, saved).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome { name, ok: true, text: "is left as it is: it was stopped".to_owned() },
        Err(text) => Outcome { name, ok: false, text },
    }
}

async fn bring_back(
    runner: &Rc<Runner>,
    saved: SavedEnvironment,
) -> Result<Option<Outcome>, String> {
    let name = EnvName::parse(&saved.name).map_err(|error| error.to_string())?;
    let entry = match (runner.entry(&name), saved.profile) {
        (Some(entry), _) => entry,
        (None, Some(text)) => adhoc::add_text(runner, &name, &text)?,
        (None, None) => {
            let known = runner.profiles().known.into_iter().find(|known| known.name == name);
            let known = known.ok_or_else(|| {
                format!("has no profile in \"{}\" any more", runner.places.profiles().display())
            })?;
            let entry = runner.adopt(name, Wanted::Stopped);
            *entry.known.borrow_mut() = Some(known);
            entry
        }
    };
    if saved.wanted == Wanted::Stopped {
        return Ok(None);
    }
    if let Some(instances) = saved.scale {
        runner.want_scale(&entry, Some(instances))?;
    }
    let how = orders::How { wait: true, read: None };
    Ok(Some(orders::carry_out(Rc::clone(runner), entry, orders::Verb::Start, how).await))
}

//! `swrun save`, `resurrect`: the list of environments in a file. What is wanted is saved after every change in
//! any case; this is for a copy, and for another host.

use std::path::Path;

use crate::cli::args::{Resurrect, Save};
use crate::cli::client::{self, PATIENCE};
use crate::cli::commands::order;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::{Output, say};
use crate::model::{Places, Wanted};
use crate::sys::files;
use crate::wire::ask::{Answer, Ask, Order};
use crate::wire::saved::{LONGEST, SAVED_SCHEMA, SavedList};

/// Writes the list into a file; without one only says what is saved.
pub fn save(places: &Places, save: &Save, output: &mut Output) -> Ended {
    let Answer::List(list) = client::ask(places, &Ask::List {}, PATIENCE, |_, _| ())? else {
        return Err(client::unexpected());
    };
    let all = list.environments.len();
    let online = list.environments.iter().filter(|e| e.wanted == Wanted::Online).count();
    let what = format!("{all} environments, {online} of them wanted online");
    let Some(file) = &save.file else {
        output.line(&format!("{what}: saved after every change, and back after a boot"))?;
        return Ok(Exit::Done);
    };
    let failed = |error: std::io::Error| {
        Failure::failed(format!("could not write \"{}\": {error}", file.display()))
    };
    let mut bytes = serde_json::to_vec_pretty(&list).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');
    // Profiles of environments without a file have values of variables in them.
    files::replace(file, &bytes, 0o600).map_err(failed)?;
    output.line(&format!("{what}: written to \"{}\"", file.display()))?;
    Ok(Exit::Done)
}

/// Starts what a file says was wanted; without one what is wanted and does not run.
pub fn resurrect(places: &Places, resurrect: &Resurrect, output: &mut Output) -> Ended {
    let Some(file) = &resurrect.file else {
        let Answer::List(list) = client::ask(places, &Ask::List {}, PATIENCE, |_, _| ())? else {
            return Err(client::unexpected());
        };
        let wanted = list.environments.into_iter().filter(|e| e.wanted == Wanted::Online);
        let targets: Vec<String> = wanted.map(|environment| environment.name).collect();
        if targets.is_empty() {
            say("nothing is wanted online");
            return Ok(Exit::Done);
        }
        return order::carry_out(places, &Ask::Start(Order { targets, wait: true }), output);
    };
    let mut exit = Exit::Done;
    for saved in read(file)?.environments {
        let ended = order::carry_out(places, &Ask::Restore(Box::new(saved)), output)?;
        if ended != Exit::Done {
            exit = ended;
        }
    }
    Ok(exit)
}

fn read(file: &Path) -> Result<SavedList, Failure> {
    let failed = |why: String| Failure::failed(format!("\"{}\": {why}", file.display()));
    let bytes = files::read_bounded(file, LONGEST).map_err(|error| failed(error.to_string()))?;
    let list: SavedList = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("is no list of \"swrun save\": {error}")))?;
    if list.schema != SAVED_SCHEMA {
        return Err(failed(format!(
            "is of version {}, this swrun reads {SAVED_SCHEMA}",
            list.schema
        )));
    }
    Ok(list)
}

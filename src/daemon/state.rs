//! What is wanted, saved after every change: versioned, whole, with the generation before it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::{EnvName, Wanted};
use crate::policy::releases::Releases;
use crate::sys::files;

const SCHEMA: u32 = 1;
const LONGEST: u64 = 4 << 20;

/// The saved state of a runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    pub environments: BTreeMap<EnvName, Saved>,
    /// The numbers given to environments with `user = "auto"`, kept so that their files stay theirs.
    #[serde(default)]
    pub auto_uids: BTreeMap<EnvName, u32>,
}

/// Of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// What the operator wants.
    pub wanted: Wanted,
    /// Deleted, though its profile file may be there: only `start NAME` brings it back.
    #[serde(default)]
    pub deleted: bool,
    /// How many instances were ordered by `scale`, over what the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
    /// Which releases were deployed.
    #[serde(default, skip_serializing_if = "is_none_deployed")]
    pub releases: Releases,
}

impl Saved {
    /// Wanted so, and nothing else.
    #[must_use]
    pub fn wanted(wanted: Wanted) -> Self {
        Self { wanted, deleted: false, scale: None, releases: Releases::default() }
    }
}

fn is_none_deployed(releases: &Releases) -> bool {
    *releases == Releases::default()
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    schema: u32,
    /// CRC-32 of the state, in hexadecimal: a disk may give back other bytes than it got, JSON all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(flatten)]
    state: State,
}

/// That of the form without spaces, with its keys in order.
fn checksum(state: &State) -> io::Result<String> {
    let mut crc = flate2::Crc::new();
    crc.update(&serde_json::to_vec(state)?);
    Ok(format!("{:08x}", crc.sum()))
}

/// Reads the saved state, and says what could not be kept.
///
/// A damaged file is set aside; the generation before one that is damaged or gone is taken; none of
/// the two is the beginning.
///
/// # Errors
/// The file is of a newer version (it is left untouched), or could not be read.
pub fn read(path: &Path) -> Result<(State, Vec<String>), String> {
    let mut said = Vec::new();
    match read_one(path)? {
        Found::State(state) => return Ok((state, said)),
        Found::None => {}
        Found::Damaged(why) => said.push(set_aside(path, &why)?),
    }
    let before = files::with_suffix(path, ".before");
    match read_one(&before)? {
        Found::State(state) => {
            if said.is_empty() {
                // It was set aside, and its successor could not be written (a full disk, a kill).
                said.push(format!("the saved state \"{}\" is gone", path.display()));
            }
            said.push("the state before the last change is taken in its place".to_owned());
            return Ok((state, said));
        }
        Found::None if said.is_empty() => return Ok((State::default(), said)),
        Found::None => {}
        // The next change would write over it.
        Found::Damaged(why) => said.push(set_aside(&before, &why)?),
    }
    said.push(
        "nothing else was saved: what runs goes on, all else starts as its profile says".to_owned(),
    );
    Ok((State::default(), said))
}

/// Keeps a damaged file under another name, and says so.
fn set_aside(path: &Path, why: &str) -> Result<String, String> {
    let aside = files::set_aside(path)
        .map_err(|e| format!("could not set \"{}\" aside: {e}", path.display()))?;
    Ok(format!(
        "the saved state \"{}\" is damaged ({why}); it is kept as \"{}\"",
        path.display(),
        aside.display()
    ))
}

/// Saves `state`, keeping the generation before it.
///
/// # Errors
/// The file could not be written; the one before is still there.
pub fn write(path: &Path, state: &State) -> io::Result<()> {
    let checksum = Some(checksum(state)?);
    let bytes =
        serde_json::to_vec_pretty(&Versioned { schema: SCHEMA, checksum, state: state.clone() })?;
    match std::fs::read(path) {
        Ok(current) if current == bytes => return Ok(()),
        Ok(current) if serde_json::from_slice::<Versioned>(&current).is_ok() => {
            files::replace(&files::with_suffix(path, ".before"), &current, 0o600)?;
        }
        _ => {}
    }
    files::replace(path, &bytes, 0o600)
}

enum Found {
    State(State),
    None,
    Damaged(String),
}

fn read_one(path: &Path) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bytes = match files::read_bounded(path, LONGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Ok(Found::Damaged(error.to_string()));
        }
        Err(error) => return Err(format!("could not read \"{}\": {error}", path.display())),
    };
    match serde_json::from_slice::<Version>(&bytes) {
        Ok(Version { schema }) if schema > SCHEMA => Err(format!(
            "\"{}\" was written by a newer swrun (version {schema}, this one knows {SCHEMA}): it is left untouched; install that swrun, or move the file away",
            path.display()
        )),
        Ok(_) => match serde_json::from_slice::<Versioned>(&bytes) {
            Ok(Versioned { checksum: Some(told), state, .. })
                if checksum(&state).is_ok_and(|found| found != told) =>
            {
                Ok(Found::Damaged("its checksum is that of another state".to_owned()))
            }
            Ok(Versioned { state, .. }) => Ok(Found::State(state)),
            Err(error) => Ok(Found::Damaged(error.to_string())),
        },
        Err(error) => Ok(Found::Damaged(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(wanted: Wanted) -> State {
        let name = EnvName::parse("shop").expect("a good name");
        let saved = Saved::wanted(wanted);
        State { environments: [(name, saved)].into(), auto_uids: BTreeMap::new() }
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_the_generation_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.json");
        write(&path, &state(Wanted::Stopped)).expect("writable");
        write(&path, &state(Wanted::Online)).expect("writable");
        let whole = std::fs::read(&path).expect("readable");
        assert_eq!(read(&path), Ok((state(Wanted::Online), Vec::new())));
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("writable");
            let (found, said) = read(&path).expect("taken from the one before");
            assert_eq!(found, state(Wanted::Stopped), "cut at {length}");
            assert_eq!(said.len(), 2);
            let kept = std::fs::read(folder.path().join("state.json.damaged")).expect("kept");
            assert_eq!(kept, whole[..length]);
        }
    }

    #[test]
    fn what_the_disk_changed_is_seen_though_it_is_json_still() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.json");
        write(&path, &state(Wanted::Stopped)).expect("writable");
        write(&path, &state(Wanted::Online)).expect("writable");
        let text = std::fs::read_to_string(&path).expect("readable");
        std::fs::write(&path, text.replace("\"shop\"", "\"chop\"")).expect("writable");
        let (found, said) = read(&path).expect("taken from the one before");
        assert_eq!(found, state(Wanted::Stopped));
        assert!(said[0].contains("checksum"), "{said:?}");
    }

    /// A file as each version wrote it: what is wanted must be found again by every later one.
    #[test]
    fn files_of_every_version_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.json");
        let name = |text: &str| EnvName::parse(text).expect("a good name");
        let wanted = State {
            environments: [
                (name("backend-prod"), Saved { scale: Some(3), ..Saved::wanted(Wanted::Online) }),
                (name("old"), Saved { deleted: true, ..Saved::wanted(Wanted::Stopped) }),
            ]
            .into(),
            auto_uids: [(name("worker"), 61_001)].into(),
        };
        for text in [
            include_str!("golden/state-1-without-checksum.json"),
            include_str!("golden/state-1.json"),
        ] {
            std::fs::write(&path, text).expect("writable");
            assert_eq!(read(&path), Ok((wanted.clone(), Vec::new())));
        }
        // And what is written now is the last of them.
        write(&path, &wanted).expect("writable");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.trim(), include_str!("golden/state-1.json").trim());
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.json");
        let text = r#"{"schema": 2, "environments": {}, "more": 1}"#;
        std::fs::write(&path, text).expect("writable");
        assert!(read(&path).is_err_and(|why| why.contains("newer swrun")));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), text);
    }
}

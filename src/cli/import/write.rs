//! Writes the profiles, and the files of secrets. All is looked at before the first is written.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::fchown;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::place;
use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::formats::dotenv;
use crate::import::Draft;
use crate::model::Places;
use crate::profile::Checked;
use crate::sys::files;

/// Writes what the drafts say.
///
/// # Errors
/// A file is there already, a user is missing, or it could not be written; what was written before is said.
pub fn write(
    places: &Places,
    drafts: &[Draft],
    source: &str,
    checked: &Checked,
) -> Result<(), Failure> {
    let mut secrets = Vec::new();
    for draft in drafts {
        let path = place(places, draft);
        if path.symlink_metadata().is_ok() {
            let text = format!("nothing was written: \"{}\" is there already", path.display());
            return Err(Failure::failed(text));
        }
        if !draft.secrets.is_empty() {
            let path = &draft.secrets_file;
            if path.symlink_metadata().is_ok() {
                let text = format!(
                    "nothing was written: \"{}\" is there already; see what it is, and remove it",
                    path.display()
                );
                return Err(Failure::failed(text));
            }
            secrets.push((draft, text_of(draft)?, owner(places, draft, checked)?));
        }
    }
    let failed = |path: &Path, error: io::Error| {
        Failure::failed(format!("could not write \"{}\": {error}", path.display()))
    };
    for (draft, text, (uid, gid)) in secrets {
        let path = &draft.secrets_file;
        write_secrets(path, &text, uid, gid).map_err(|error| failed(path, error))?;
        say(&format!("written: {}", path.display()));
    }
    let folder = places.profiles();
    std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    for draft in drafts {
        let path = place(places, draft);
        files::replace(&path, draft.text(source).as_bytes(), 0o644)
            .map_err(|error| failed(&path, error))?;
        say(&format!("written: {}", path.display()));
    }
    Ok(())
}

fn text_of(draft: &Draft) -> Result<String, Failure> {
    let line = |(key, value): (&String, &String)| {
        dotenv::line(key, value).ok_or_else(|| {
            Failure::failed(format!(
                "nothing was written: no line of a .env file can hold the value of \"{}\" of \"{}\"; set it elsewhere and import again",
                crate::formats::clean::clean(key),
                draft.name
            ))
        })
    };
    draft.secrets.iter().map(line).collect()
}

/// Who is to read the secrets. Only of a profile without an error: its folders are its own then, and no place of the
/// system's that a file has named.
fn owner(places: &Places, draft: &Draft, checked: &Checked) -> Result<(u32, u32), Failure> {
    let refused = |why: &str| {
        let text = format!("nothing was written: \"{}\" has secrets, and {why}", draft.name);
        Err(Failure::failed(text))
    };
    if draft.get("", "user").and_then(toml::Value::as_str) == Some("auto") {
        return refused("no user of its own who could read them: name one with --user");
    }
    let file = place(places, draft);
    let found = checked.profiles.iter().find(|one| one.profile.file == file);
    match found.and_then(|one| one.spec.as_ref()) {
        Some(spec) => Ok((spec.identity.uid, spec.identity.gid)),
        None => refused(
            "they are written for its user into its folder, for which its profile must be sound: mend what stands above first",
        ),
    }
}

/// In a folder of the app's, by root: no link is followed on the way, and nothing that is there is written.
fn write_secrets(path: &Path, text: &str, uid: u32, gid: u32) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let opened =
        rustix::fs::openat2(rustix::fs::CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS)?;
    let mut file = File::from(opened);
    file.write_all(text.as_bytes())?;
    fchown(&file, Some(uid), Some(gid))?;
    file.sync_all()
}

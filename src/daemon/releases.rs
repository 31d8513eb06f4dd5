//! The folders of an environment's releases. Their user may change them at any time, so nothing below `base` is
//! reached over a link, and nothing of it is read but names.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{EnvSpec, ReleaseName};
use crate::sys::files;

/// A disk that hangs holds up no more than one order.
const WITHIN: Duration = Duration::from_secs(5);

/// So many releases are named to one who asks for another.
const NAMED: usize = 10;

/// Whether the release of `spec` is there, for its user: a folder of that user's or root's.
///
/// # Errors
/// It is not, in words; those that are there are named.
pub async fn find(spec: &EnvSpec) -> Result<(), String> {
    let spec = spec.clone();
    let found = beside(move || look(&spec)).await;
    found.unwrap_or_else(|| {
        Err(format!("the folder of the releases does not answer within {} s", WITHIN.as_secs()))
    })
}

/// Whether a release, a folder below `base`, is no more; of one that cannot be looked at that is not known.
pub async fn is_gone(base: PathBuf, release: PathBuf) -> bool {
    let looked = beside(move || files::folder_beneath(&base, &release)).await;
    matches!(looked, Some(Err(error)) if error.kind() == io::ErrorKind::NotFound)
}

/// Beside the runner's own thread, and in bounded time.
async fn beside<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let looked = tokio::task::spawn_blocking(look);
    tokio::time::timeout(WITHIN, looked).await.ok()?.ok()
}

fn look(spec: &EnvSpec) -> Result<(), String> {
    let (Some(path), Some(rules)) = (spec.release_folder(), &spec.deploy) else {
        return Err("no release is named".to_owned());
    };
    let shown = spec.base.join(&path);
    match files::folder_beneath(&spec.base, &path).and_then(|folder| folder.metadata()) {
        Ok(found) if found.uid() != 0 && found.uid() != spec.identity.uid => Err(format!(
            "the release \"{}\" belongs to uid {}: put it there anew, as \"{}\"",
            shown.display(),
            found.uid(),
            spec.identity.user
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let names = names(spec, &rules.releases);
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let folder = spec.base.join(&rules.releases);
            let folder = folder.display();
            Err(format!("there is no release \"{}\"; there are: {there}", shown.display())
                + &format!(" (each is a folder in \"{folder}\")"))
        }
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ELOOP) => format!(
                "the release \"{}\" is reached over a link: name the folder itself",
                shown.display()
            ),
            _ => format!("could not open the release \"{}\": {error}", shown.display()),
        }),
    }
}

/// Names of releases, the newest first.
fn names(spec: &EnvSpec, releases: &Path) -> Vec<String> {
    let Ok(folder) = files::folder_beneath(&spec.base, releases) else { return Vec::new() };
    let mut found: Vec<(i64, String)> = Vec::new();
    for name in files::names_in(&folder).unwrap_or_default() {
        if ReleaseName::parse(&name).is_ok()
            && let Ok(one) = files::folder_beneath(&spec.base, &releases.join(&name))
            && let Ok(metadata) = one.metadata()
        {
            found.push((metadata.mtime(), name));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, name)| name).take(NAMED).collect()
}

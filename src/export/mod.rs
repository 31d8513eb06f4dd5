//! Moving on: an environment as systemd, Podman, Nomad or Kubernetes would run it, and what of it does not carry over.
//!
//! Pure: a spec and its variables go in, texts come out. Every value is written anew for the place where it stands.
#![forbid(unsafe_code)]

mod kubernetes;
mod left;
mod nomad;
mod quadlet;
mod quote;
mod systemd;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{DEFAULT_PATH, EnvSpec, LINK, OWN_VARIABLES};

/// What is to be exported.
#[derive(Debug)]
pub struct Source<'a> {
    /// The environment.
    pub spec: &'a EnvSpec,
    /// Its variables, those of `.env` and of `[env]`.
    pub variables: &'a [(String, String)],
    /// The program as this host has it, where it could be found.
    pub program: Option<&'a Path>,
    /// The container image, where one is needed.
    pub image: Option<&'a str>,
}

impl Source<'_> {
    /// The working directory. Outside of swrun nothing shows a release there: the link for people does.
    fn cwd(&self) -> PathBuf {
        match self.spec.deploy {
            Some(_) => self.spec.base.join(LINK),
            None => self.spec.cwd.clone(),
        }
    }

    /// Program and arguments as an image has them.
    fn command(&self) -> Vec<String> {
        let mut command = self.spec.command.clone();
        if let Some(program) = command.first_mut()
            && program.contains('/')
            && !program.starts_with('/')
        {
            let tidy: PathBuf = self.cwd().join(&*program).components().collect();
            *program = shown(&tidy);
        }
        command
    }

    /// The same on this host: the program by its whole path, since others look for it elsewhere.
    fn command_here(&self) -> Vec<String> {
        let mut command = self.command();
        if let (Some(program), Some(here)) = (command.first_mut(), self.program) {
            *program = shown(here);
        }
        command
    }

    /// All variables that an app gets here by its file and its profile, and those that it would not get elsewhere.
    fn all_variables(&self) -> Vec<(String, String)> {
        let own = |key: &String| OWN_VARIABLES.contains(&key.as_str());
        let mut all: Vec<_> = self.variables.iter().filter(|(key, _)| !own(key)).cloned().collect();
        let mut usual = vec![(self.spec.instance_var.as_str(), "0"), ("LANG", "C.UTF-8")];
        if self.image.is_none() {
            usual.push(("PATH", DEFAULT_PATH));
        }
        for (key, value) in usual {
            if !all.iter().any(|(there, _)| there == key) {
                all.push((key.to_owned(), value.to_owned()));
            }
        }
        all
    }

    /// Paths are written into lines that root reads, and what lies below `base` is named by its user: none that a
    /// reader could take for more than a path.
    fn check_paths(&self) -> Result<(), String> {
        let spec = self.spec;
        let cwd = self.cwd();
        let program = self.program.map(Path::to_owned).or_else(|| {
            let command = self.command();
            command.first().filter(|word| word.contains('/')).map(PathBuf::from)
        });
        let paths = [&spec.base, &cwd].into_iter().chain(&spec.writable).chain(&spec.read_only);
        for path in paths.chain(&program) {
            let is_fine = path.to_str().is_some_and(|text| {
                let is_bad = |c: char| c.is_control() || "\"'\\:%$".contains(c);
                !text.contains(is_bad) && text.trim() == text && !text.contains("\u{2028}")
            });
            if !is_fine {
                return Err(format!(
                    "the path \"{}\" cannot be said elsewhere: no quotes, colons, backslashes, %, $, line breaks or spaces at its ends; rename it",
                    path.to_string_lossy().escape_debug()
                ));
            }
        }
        Ok(())
    }
}

/// At least a second, and whole ones: less would be none to who counts in seconds.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0).max(u64::from(time.is_zero()))
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A unit of systemd 250 or newer.
    Systemd,
    /// A `.container` of Podman's Quadlet.
    Quadlet,
    /// A job of Nomad's.
    Nomad(Driver),
    /// A Deployment, a Service and a Secret.
    Kubernetes,
}

/// Who starts the program for Nomad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// nomad-driver-exec2, with walls round it (Nomad 1.8 or newer).
    Exec2,
    /// Nomad itself, without any.
    RawExec,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, without folders.
    pub name: String,
    /// Its content.
    pub text: String,
    /// It holds the values of variables.
    pub is_secret: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// The files.
    pub files: Vec<File>,
    /// What is not carried over, and what to do about it; a line each.
    pub left: Vec<String>,
}

/// Exports.
///
/// # Errors
/// It cannot be said in that format at all, in words.
pub fn export(format: Format, source: &Source<'_>) -> Result<Export, String> {
    source.check_paths()?;
    let mut export = match format {
        Format::Systemd => systemd::export(source),
        Format::Quadlet => quadlet::export(source)?,
        Format::Nomad(driver) => nomad::export(source, driver),
        Format::Kubernetes => kubernetes::export(source)?,
    };
    export.left.extend(left::of(format, source.spec));
    Ok(export)
}

/// Of a variable whose name is no word.
fn unfit(key: &str) -> String {
    format!(
        "the variable \"{}\": only letters, digits and \"_\" are a name there",
        key.escape_default()
    )
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

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

use crate::model::{EnvSpec, LINK};

/// What is to be exported.
#[derive(Debug)]
pub struct Source<'a> {
    /// The environment.
    pub spec: &'a EnvSpec,
    /// Its variables, those of `.env` and of `[env]`.
    pub variables: &'a [(String, String)],
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

    /// Program and arguments; a program that is named by a path from the working directory has its whole path.
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

    /// All variables, with those that every app gets here and would not get elsewhere.
    fn all_variables(&self) -> Vec<(String, String)> {
        let mut all = self.variables.to_vec();
        for (key, value) in [(self.spec.instance_var.as_str(), "0"), ("LANG", "C.UTF-8")] {
            if !all.iter().any(|(there, _)| there == key) {
                all.push((key.to_owned(), value.to_owned()));
            }
        }
        all
    }
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A unit of systemd 250 or newer.
    Systemd,
    /// A `.container` of Podman's Quadlet.
    Quadlet,
    /// A job of Nomad 1.8 or newer, with its driver exec2.
    Nomad,
    /// A Deployment, a Service and a Secret.
    Kubernetes,
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
    let mut export = match format {
        Format::Systemd => systemd::export(source),
        Format::Quadlet => quadlet::export(source)?,
        Format::Nomad => nomad::export(source),
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

//! A profile to be: what is in it, what could not be carried over, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::model::EnvName;

/// What a note on ports is about.
pub(super) const NO_PORT: &str = "ports";

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// PM2's key, or what it is about.
    pub key: String,
    /// Why, and what to do.
    pub text: String,
}

/// A profile to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The environment's name.
    pub name: EnvName,
    /// What PM2 calls it.
    pub old_name: String,
    /// The values of its keys, by section (`""` for the top) and key, in the order of the profile.
    pub values: Vec<(&'static str, String, toml::Value)>,
    /// What is not as it was.
    pub notes: Vec<Note>,
    /// Variables whose values look like secrets: for a file that only the app's user can read.
    pub secrets: BTreeMap<String, String>,
    /// Where that file belongs.
    pub secrets_file: PathBuf,
    /// Variables that came from a shell, by name, and are left out.
    pub of_shell: Vec<String>,
}

impl Draft {
    /// Sets a key.
    pub fn set(&mut self, section: &'static str, key: &str, value: impl Into<toml::Value>) {
        self.values.push((section, key.to_owned(), value.into()));
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<&toml::Value> {
        self.values
            .iter()
            .find(|(of, name, _)| *of == section && name == key)
            .map(|(.., value)| value)
    }

    /// The port that it listens on.
    pub fn set_port(&mut self, port: u16) {
        self.notes.retain(|note| note.key != NO_PORT);
        let at = self.values.iter().position(|(section, ..)| !section.is_empty());
        let value = vec![toml::Value::Integer(port.into())].into();
        self.values.insert(at.unwrap_or(self.values.len()), ("", "ports".to_owned(), value));
    }

    /// Says that something is not as it was.
    pub fn note(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.notes.push(Note { key: key.into(), text: text.into() });
    }

    /// The text of the profile; `source` is the file that it is made of.
    #[must_use]
    pub fn text(&self, source: &str) -> String {
        let mut text = format!("# Made by \"swrun import pm2\" of {}.\n", one_line(source));
        if !self.notes.is_empty() {
            text.push_str("#\n# Not as it was under PM2:\n");
            for note in &self.notes {
                let _ = writeln!(text, "#   {}: {}", one_line(&note.key), one_line(&note.text));
            }
        }
        let mut last = None;
        for (section, key, value) in &self.values {
            if last != Some(section) {
                match *section {
                    "" => text.push('\n'),
                    section => {
                        let _ = writeln!(text, "\n[{section}]");
                    }
                }
                last = Some(section);
            }
            let _ = writeln!(text, "{} = {value}", toml_key(key));
        }
        text
    }
}

/// A key as TOML has it: bare where it can be.
fn toml_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    toml::Value::String(key.to_owned()).to_string()
}

/// For a comment: what would end it, or move a terminal, is left out.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Names are had once, and one that ends on a word for an environment has that as its target.
pub fn set_apart(drafts: &mut [Draft]) {
    let mut taken = BTreeSet::new();
    for draft in drafts.iter_mut() {
        let mut number = 2;
        let first = draft.name.clone();
        while !taken.insert(draft.name.to_string()) {
            let suffix = format!("-{number}");
            let kept = first.as_str().get(..32 - suffix.len()).unwrap_or(first.as_str());
            if let Ok(name) = EnvName::parse(&format!("{kept}{suffix}")) {
                draft.name = name;
            }
            number += 1;
        }
        if draft.name.as_str() != draft.old_name {
            let text = format!("\"{}\" is called \"{}\" here", draft.old_name, draft.name);
            draft.notes.insert(0, Note { key: "name".to_owned(), text });
        }
        draft.values.insert(0, ("", "name".to_owned(), draft.name.to_string().into()));
    }
    let mut folders: BTreeMap<String, EnvName> = BTreeMap::new();
    for draft in drafts.iter_mut() {
        let folder = draft.get("", "cwd").and_then(toml::Value::as_str).unwrap_or_default();
        match folders.get(folder).cloned() {
            Some(other) => draft.note(
                "cwd",
                format!("is that of \"{other}\" too, and an environment has a folder and a user of its own: give this one a copy of the folder"),
            ),
            None => drop(folders.insert(folder.to_owned(), draft.name.clone())),
        }
    }
    let targets: Vec<Option<EnvName>> = drafts.iter().map(|draft| draft.name.target()).collect();
    for (at, draft) in drafts.iter_mut().enumerate() {
        let Some(target) = &targets[at] else { continue };
        let is_alone = targets.iter().flatten().filter(|other| *other == target).count() == 1;
        if is_alone && !taken.contains(target.as_str()) {
            draft.values.insert(1, ("", "target".to_owned(), target.to_string().into()));
        }
    }
}

//! A problem of a profile: where it is, what it is, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Whether a profile can be used in spite of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The profile is refused.
    Error,
    /// The profile can be used.
    Warning,
}

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The place of what concerns the whole file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Something that is wrong with a profile.
///
/// Shown as `FILE:LINE:COL: error: TEXT`, with the hint in a second line. What an attacker may have
/// put into the text (control characters, direction marks) is escaped when it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The profile.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// Whether it can be lived with.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// An error at a place of a file.
    #[must_use]
    pub fn error(file: &Path, at: Position, text: impl Into<String>) -> Self {
        let (line, column) = (at.line, at.column);
        let severity = Severity::Error;
        Self { file: file.to_owned(), line, column, severity, text: text.into(), hint: None }
    }

    /// A warning at a place of a file.
    #[must_use]
    pub fn warning(file: &Path, at: Position, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, at, text) }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether the profile is refused for it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let file = escaped(&self.file.to_string_lossy());
        write!(f, "{file}:{}:{}: {kind}: {}", self.line, self.column, escaped(&self.text))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", escaped(hint))?;
        }
        Ok(())
    }
}

/// The text in one line, without anything that a terminal would act on.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// A word of the operator in quotes, cut where it is longer than anyone reads.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

/// A path in quotes, whole.
pub(super) fn quoted_path(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_in_two_lines_without_control_characters() {
        let at = Position { line: 3, column: 7 };
        let problem = Problem::error(Path::new("/etc/a.toml"), at, "\"x\u{1b}[2J\n\u{202e}\" é")
            .with_hint("write \"y\"");
        assert_eq!(
            problem.to_string(),
            "/etc/a.toml:3:7: error: \"x\\u{1b}[2J\\n\\u{202e}\" é\n  hint: write \"y\""
        );
    }
}

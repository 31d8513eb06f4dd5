//! The name of an environment: it becomes a folder, a cgroup and a unit, so its form is strict.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Words at the end of a name that tell what an environment is for.
const TARGETS: [&str; 12] = [
    "test",
    "dev",
    "development",
    "prod",
    "production",
    "stage",
    "staging",
    "live",
    "qa",
    "uat",
    "preview",
    "demo",
];

/// The longest name, in bytes.
pub const LONGEST: usize = 32;

/// A name of the form `[a-z][a-z0-9-]{0,31}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a name: a small letter, then at most 31 small letters, digits or hyphens \
     ([a-z][a-z0-9-]{{0,31}})"
)]
pub struct NameError(pub String);

impl EnvName {
    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not of the form.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let is_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if is_first && text.len() <= LONGEST && text.bytes().all(is_rest) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(64).flat_map(char::escape_default).collect()))
        }
    }

    /// The word at its end by which people call an environment (`prod` of `backend-prod`), if there is one.
    #[must_use]
    pub fn target(&self) -> Option<Self> {
        let (_, word) = self.0.rsplit_once('-')?;
        TARGETS.contains(&word).then(|| Self(word.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for EnvName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<EnvName> for String {
    fn from(name: EnvName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_end_on_what_it_is_for() {
        let target = |name: &str| EnvName::parse(name).expect("a name").target();
        assert_eq!(target("backend-prod").expect("it does").as_str(), "prod");
        for other in ["prod", "backend-api", "backendprod", "prod-"] {
            assert_eq!(target(other), None, "{other}");
        }
    }

    #[test]
    fn the_form_is_held() {
        let long = "a".repeat(LONGEST);
        for good in ["a", "backend-prod", "x1", long.as_str()] {
            assert!(EnvName::parse(good).is_ok(), "{good}");
        }
        let longer = "a".repeat(LONGEST + 1);
        for bad in ["", "1a", "-a", "A", "a_b", "a/b", "..", "a b", "é", longer.as_str()] {
            assert!(EnvName::parse(bad).is_err(), "{bad}");
        }
    }
}

//! The word that whoever looks at the page over a port has to say: others on this host can connect there too.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::cli::exit::Failure;

/// The shortest that is taken, in characters.
const SHORTEST: usize = 20;

/// The longest.
const LONGEST: u64 = 256;

/// A secret. Never shown but once, to whom the page is started by.
pub struct Token(String);

impl Token {
    /// A new one, of 256 bits by the kernel's generator.
    ///
    /// # Errors
    /// getrandom(2).
    pub fn fresh() -> io::Result<Self> {
        let mut bytes = [0_u8; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The one in a file.
    ///
    /// # Errors
    /// It cannot be read, others can read it too, or it is too short to be a secret.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| {
            Failure::failed(format!("could not take the token of \"{}\": {why}", path.display()))
        };
        let mut text = String::new();
        let file = File::open(path).map_err(|e| failed(e.to_string()))?;
        let mode = file.metadata().map_err(|e| failed(e.to_string()))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(failed("everybody can read it; chmod 0400".to_owned()));
        }
        file.take(LONGEST + 1).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
        let token = text.trim_end_matches('\n');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if token.len() < SHORTEST || token.len() as u64 > LONGEST || !token.bytes().all(is_plain) {
            return Err(failed(format!(
                "it has to be {SHORTEST} to {LONGEST} letters and digits; \"openssl rand -hex 32\" makes one"
            )));
        }
        Ok(Self(token.to_owned()))
    }

    /// The fragment of the page's address that says it: no browser sends that to anybody, nor writes it into a log.
    pub fn fragment(&self) -> String {
        format!("token={}", self.0)
    }

    /// Whether a header `Authorization` says it (RFC 6750). It takes the same time wherever it differs.
    pub fn is_said_by(&self, header: Option<&[u8]>) -> bool {
        let Some(said) = header.and_then(|header| header.strip_prefix(b"Bearer ")) else {
            return false;
        };
        let own = self.0.as_bytes();
        let differs = said.iter().zip(own).fold(0, |differs, (a, b)| differs | (a ^ b));
        said.len() == own.len() && differs == 0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_whole_word_opens() {
        let token = Token::fresh().expect("the kernel has some");
        let header = |word: &str| token.is_said_by(Some(format!("Bearer {word}").as_bytes()));
        let word = token.0.clone();
        assert_eq!(word.len(), 64);
        assert!(header(&word));
        assert!(!header("") && !header(&word[1..]) && !header(&format!("{word}0")));
        assert!(!header(&word.replace(&word[..1], "x")));
        assert!(!token.is_said_by(None) && !token.is_said_by(Some(word.as_bytes())));
        assert_ne!(Token::fresh().expect("more").0, word);
    }

    #[test]
    fn a_file_keeps_it_where_others_cannot_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).expect("ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            Token::read(&path)
        };
        assert!(
            write("0123456789abcdefghij\n", 0o400).is_ok_and(|t| t.0 == "0123456789abcdefghij")
        );
        for (text, mode) in [
            ("0123456789abcdefghij\n", 0o404),
            ("short\n", 0o400),
            ("0123456789 abcdefghij\n", 0o400),
            ("", 0o400),
        ] {
            assert!(matches!(write(text, mode), Err(Failure::Because(..))), "{text:?} {mode:o}");
        }
        assert!(Token::read(Path::new("/nowhere")).is_err());
    }
}

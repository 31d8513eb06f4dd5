//! The health check: what is asked of an app, and which answer is well.

use std::net::SocketAddr;

/// As much of an answer as is looked at: `HTTP/1.1 200`.
pub const STATUS_BYTES: usize = 12;

/// Whether an answer of this status (RFC 9110, section 15) says that all is well.
#[must_use]
pub fn is_well(status: u16) -> bool {
    (200..400).contains(&status)
}

/// The number in `HTTP/1.1 200`.
///
/// # Errors
/// It is not the beginning of an answer.
pub fn status(answer: &[u8]) -> Result<u16, std::io::Error> {
    let text = std::str::from_utf8(answer).ok().and_then(|text| text.strip_prefix("HTTP/1."));
    let number = text.and_then(|text| text.get(2..5)?.parse().ok());
    number.ok_or_else(|| std::io::Error::other("its answer is not HTTP"))
}

/// An address of this machine, as the profile names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    /// Where to connect.
    pub address: SocketAddr,
    host: String,
    path: String,
}

impl Url {
    /// Takes `http://HOST[:PORT][/PATH]` apart; `None` where that is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let numeric = host.replace("localhost", "127.0.0.1");
        let address = numeric.parse().or_else(|_| format!("{numeric}:80").parse()).ok()?;
        Some(Self { address, host: host.to_owned(), path })
    }

    /// What is asked for there.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is sent.
    #[must_use]
    pub fn request(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: swrun\r\nConnection: close\r\n\r\n",
            self.path, self.host
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parsed = |text| {
            let url = Url::parse(text).expect(text);
            (url.address.to_string(), url.host, url.path)
        };
        let of = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            parsed("http://127.0.0.1:3002/healthz?x=1"),
            of("127.0.0.1:3002", "127.0.0.1:3002", "/healthz?x=1")
        );
        assert_eq!(
            parsed("http://127.0.0.1:3002?x#y"),
            of("127.0.0.1:3002", "127.0.0.1:3002", "/?x")
        );
        assert_eq!(parsed("http://localhost:80"), of("127.0.0.1:80", "localhost:80", "/"));
        assert_eq!(parsed("http://[::1]:3002/"), of("[::1]:3002", "[::1]:3002", "/"));
        assert_eq!(parsed("http://127.0.0.1/x"), of("127.0.0.1:80", "127.0.0.1", "/x"));
    }

    #[test]
    fn only_a_status_is_a_status() {
        assert_eq!(status(b"HTTP/1.1 204").expect("it is one"), 204);
        assert_eq!(status(b"HTTP/1.0 503").expect("it is one"), 503);
        for bad in [b"HTTP/1.1 2x4", b"SSH-2.0-Open", b"HTTP/2.0 200", b"\xff\xffTP/1.1 200"] {
            assert!(status(bad).is_err());
        }
    }
}

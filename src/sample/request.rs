//! The head of an HTTP/1.1 request, read from bytes (RFC 9112): pure, bounded, strict.
//!
//! No path here takes a body, and a body that was skipped wrongly would be read as the next request,
//! so a request that announces one is refused.

/// The longest head that is read, in bytes, its empty line included.
pub const HEAD_MAX: usize = 8 * 1024;

/// A request that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `HEAD`: the answer goes without its body.
    pub is_head: bool,
    /// The path, `/healthz`.
    pub path: String,
    /// What stands behind the `?`, or nothing.
    pub query: String,
    /// Whether the client wants the connection kept.
    pub keeps_alive: bool,
}

/// Why a request is not answered; the connection ends with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The reason, for the body.
    pub reason: &'static str,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

impl Request {
    /// The value of `key` in the query: the first one, undecoded.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
            .map(|(_, value)| value)
    }

    /// The target as it was asked for: only visible ASCII, safe for a log line.
    pub fn target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }
}

/// The length of the head that `bytes` start with, its empty line included, once it is complete.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Reads a complete head.
///
/// # Errors
/// The refusal to answer with.
pub fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| refuse(400, "the head is not text"))?;
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse(400, "the first line is not \"METHOD TARGET VERSION\""));
    };
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse(400, "the target is not a path"));
    }
    let keeps_by_default = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ if version.starts_with("HTTP/") => return Err(refuse(505, "only HTTP/1.1 is spoken")),
        _ => return Err(refuse(400, "the version is not HTTP/1.1")),
    };
    let keeps_alive = read_fields(lines, keeps_by_default)?;
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(refuse(405, "only GET and HEAD are answered")),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Request { is_head, path: path.to_owned(), query: query.to_owned(), keeps_alive })
}

/// Reads the header fields, and tells whether the connection is to be kept.
fn read_fields<'a>(
    lines: impl Iterator<Item = &'a str>,
    keeps_by_default: bool,
) -> Result<bool, Refusal> {
    let mut keeps_alive = keeps_by_default;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(refuse(400, "a header field without a colon"));
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(400, "a header field without a proper name"));
        }
        let value = value.trim();
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(refuse(400, "a control character in a header field"));
        }
        if name.eq_ignore_ascii_case("content-length") && value != "0" {
            return Err(refuse(400, "a request with a body"));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(refuse(400, "a request with a body"));
        }
        if name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    keeps_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    keeps_alive = true;
                }
            }
        }
    }
    Ok(keeps_alive)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        parse(head.as_bytes()).expect_err(head).status
    }

    #[test]
    fn reads_a_request() {
        let read = parse(b"GET /leak?mb=5&x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((read.path.as_str(), read.value("mb")), ("/leak", Some("5")));
        assert_eq!((read.value("x"), read.value("m")), (None, None));
        assert_eq!(read.target(), "/leak?mb=5&x");
        assert!(read.keeps_alive && !read.is_head);
        assert!(parse(b"HEAD / HTTP/1.1\r\n\r\n").unwrap().is_head);
    }

    #[test]
    fn the_connection_is_kept_as_asked() {
        let keeps = |head: &str| parse(head.as_bytes()).unwrap().keeps_alive;
        assert!(!keeps("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nconnection: TE, close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn refuses_what_is_no_request() {
        for garbage in [
            "\r\n\r\n",
            "GET\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 x\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "GET /\u{1b}[2J HTTP/1.1\r\n\r\n",
            "GET /ä HTTP/1.1\r\n\r\n",
            "GET / FTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n: empty\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\nc\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(status(garbage), 400, "{garbage:?}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err().status, 400);
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r"), None);
        assert_eq!(head_length(b"a\r\n\r\nb\r\n\r\n"), Some(5));
    }
}

//! What is answered to a browser.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Mutex;

use super::look::{self, Query};
use super::token::Token;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::http::{LetIn, Response, Server, answer, plain};
use crate::model::Places;

/// Connections served at once: a browser opens up to six.
const MOST: usize = 48;

/// How long a status is told to who asks after.
const STATUS_FOR: Duration = Duration::from_millis(900);

/// The files of the page: path, form, text.
const PAGE: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/draw.js", "text/javascript; charset=utf-8", include_str!("page/draw.js")),
    ("/chart.js", "text/javascript; charset=utf-8", include_str!("page/chart.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Of every answer. What is not of this origin is not loaded, text is never taken for markup (Trusted Types), and no
/// other page has this one in a frame or a window of its own.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
];

/// How who asks is let in.
pub enum Door {
    /// By a token, over a port.
    Token(Token),
    /// By the permissions of a unix socket: who is behind it lets people in.
    Socket,
}

/// Serves on a port until it is ended; says where, with the fragment.
pub fn on_port(
    places: &Places,
    address: SocketAddr,
    door: Door,
    fragment: Option<String>,
) -> Ended {
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    server(places, door)
        .on_port(address, |address| format!("the page: http://{address}/{fragment}"))
}

/// The same on a unix socket, for a reverse proxy.
pub fn on_socket(places: &Places, path: &Path) -> Ended {
    server(places, Door::Socket).on_socket(path, &format!("the page: at \"{}\"", path.display()))
}

struct Page {
    places: Places,
    door: Door,
    /// However many look, the runner is asked once.
    status: Mutex<Option<(Instant, Told)>>,
}

fn server(places: &Places, door: Door) -> Server {
    let page = Rc::new(Page { places: places.clone(), door, status: Mutex::new(None) });
    Server::new(MOST, move |request| {
        let page = Rc::clone(&page);
        async move {
            let mut response = page.answer(request).await;
            for (name, value) in HEADERS {
                let (name, value) =
                    (HeaderName::from_static(name), HeaderValue::from_static(value));
                response.headers_mut().insert(name, value);
            }
            response
        }
    })
}

impl Page {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET it");
        }
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        // A name that somebody else makes lead to this host (DNS rebinding) is not this page's.
        if matches!(self.door, Door::Token(_)) && !is_of_loopback(header(HOST)) {
            let text = "ask for it as 127.0.0.1 or localhost; for another name use --socket and a reverse proxy";
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
        let path = request.uri().path();
        if let Some((_, form, text)) = PAGE.iter().find(|(at, ..)| *at == path) {
            return answer(StatusCode::OK, form, *text);
        }
        let Some(word) = path.strip_prefix("/api/") else {
            return plain(StatusCode::NOT_FOUND, "there is nothing here");
        };
        if let Door::Token(token) = &self.door
            && !token.is_said_by(header(AUTHORIZATION))
        {
            return error(StatusCode::UNAUTHORIZED, "the token is not this page's");
        }
        if let Some(guest) = request.extensions().get::<LetIn>() {
            guest.note();
        }
        let query = request.uri().query().unwrap_or_default();
        match Query::parse(word, query) {
            None => error(StatusCode::BAD_REQUEST, "there is no such question"),
            Some(Query::Status) => self.status().await,
            Some(query) => told(self.ask(query).await),
        }
    }

    /// The state of all, which every page asks for all the time. Those who come meanwhile wait for the same answer,
    /// whatever it is: a runner that hangs is asked once.
    async fn status(&self) -> Response {
        let mut held = self.status.lock().await;
        let is_old = |(since, _): &(Instant, Told)| since.elapsed() >= STATUS_FOR;
        if held.as_ref().is_none_or(is_old) {
            let found = self.ask(Query::Status).await;
            *held = Some((Instant::now(), found));
        }
        match &*held {
            Some((_, found)) => told(found.clone()),
            None => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost"),
        }
    }

    /// Asks the runner, while others are served.
    async fn ask(&self, query: Query) -> Told {
        let places = self.places.clone();
        let asked = tokio::task::spawn_blocking(move || look::ask(&places, &query)).await;
        match asked {
            Ok(Ok(json)) => Ok(json.into()),
            Ok(Err(Failure::Because(Exit::Unreachable, text))) => {
                Err((StatusCode::SERVICE_UNAVAILABLE, text))
            }
            Ok(Err(Failure::Because(_, text))) => Err((StatusCode::BAD_GATEWAY, text)),
            Ok(Err(Failure::OutputClosed)) | Err(_) => {
                Err((StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost".to_owned()))
            }
        }
    }
}

/// A document, or why there is none.
type Told = Result<Bytes, (StatusCode, String)>;

fn told(told: Told) -> Response {
    match told {
        Ok(json) => answer(StatusCode::OK, JSON, json),
        Err((status, text)) => error(status, &text),
    }
}

const JSON: &str = "application/json";

fn error(status: StatusCode, text: &str) -> Response {
    answer(status, JSON, serde_json::json!({ "error": text }).to_string())
}

/// Whether the header `Host` names the loopback interface, at whatever port: ssh(1) forwards another.
fn is_of_loopback(host: Option<&[u8]>) -> bool {
    let Some(host) = host.and_then(|host| std::str::from_utf8(host).ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_others_are_not_this_one() {
        for host in
            ["localhost", "localhost:9478", "127.0.0.1:1", "[::1]:9478", "[::1]", "127.0.0.2:80"]
        {
            assert!(is_of_loopback(Some(host.as_bytes())), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9478", "localhost.evil.example", "127.0.0.1.nip.io"]
        {
            assert!(!is_of_loopback(Some(host.as_bytes())), "{host}");
        }
        assert!(!is_of_loopback(None));
    }

    /// The page loads nothing but what is here, and has no script or style in its text (the policy forbids it).
    #[test]
    fn the_page_is_made_of_its_own_files() {
        for (path, _, text) in PAGE {
            assert!(!text.contains("https://") && !text.contains("//cdn"), "{path}");
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://"), "{path}");
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("]
            {
                assert!(!text.contains(forbidden), "{path}: {forbidden}");
            }
        }
        let html = PAGE[0].2;
        let referred: Vec<&str> = html
            .split(['"', '\''])
            .filter(|word| word.starts_with('/') && word.contains('.'))
            .collect();
        assert!(referred.len() >= 3, "{referred:?}");
        for word in referred {
            assert!(PAGE.iter().any(|(path, ..)| *path == word), "{word}");
        }
        assert!(
            !html.contains(" style=") && !html.contains(" onclick") && !html.contains("<style")
        );
    }
}

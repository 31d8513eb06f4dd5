//! What the sample answers to each path. The answers are made here, the sending is in `serve`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::memory;
use super::request::{Refusal, Request};

/// The variables whose values `/env` shows; of all others it shows the name alone.
const SHOWN: [&str; 4] = ["PORT", "NODE_ENV", "HOME", "USER"];

/// The step in which `/leak` takes memory: small, so that the kernel decides where it ends.
const LEAK_STEP: usize = 1 << 20;

/// The most that one `/leak` takes, in MiB: 1 TiB, more than any ceiling.
const LEAK_MAX: u64 = 1 << 20;

/// The longest `/burn`, in milliseconds.
const BURN_MAX: u64 = 60_000;

/// What lives as long as the server.
#[derive(Debug, Default)]
pub struct State {
    /// Requests answered so far, refused ones too.
    pub requests: AtomicU64,
    kept: Mutex<Vec<Vec<u8>>>,
}

/// An answer, not yet sent.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `text/plain` or `application/json`.
    pub kind: &'static str,
    /// The body.
    pub body: String,
    /// `/crash`: the process ends once the answer is sent.
    pub crashes: bool,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        let mut body = body.into();
        body.push('\n');
        Self { status, kind: "text/plain; charset=utf-8", body, crashes: false }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { kind: "application/json", ..Self::text(200, value.to_string()) }
    }
}

impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        Self::text(refusal.status, refusal.reason)
    }
}

/// Answers `request`; `/leak` and `/burn` do their work first.
pub fn answer(request: &Request, state: &State) -> Answer {
    match request.path.as_str() {
        "/" => home(state),
        "/healthz" => Answer::text(200, "ok"),
        "/env" => environment(std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })),
        "/memory" => Answer::json(&memory::report()),
        "/leak" => match number(request, "mb", None, LEAK_MAX) {
            Ok(mebibytes) => leak(mebibytes, state),
            Err(refused) => refused,
        },
        "/burn" => match number(request, "ms", Some(1000), BURN_MAX) {
            Ok(milliseconds) => burn(milliseconds),
            Err(refused) => refused,
        },
        "/bind" => match number(request, "port", None, u16::MAX.into()) {
            Ok(port) => bind(port),
            Err(refused) => refused,
        },
        "/crash" => Answer { crashes: true, ..Answer::text(200, "crashing with exit code 1") },
        _ => Answer::text(404, "not found"),
    }
}

fn home(state: &State) -> Answer {
    let name = std::env::var("SWRUN_ENV").or_else(|_| std::env::var("NODE_ENV"));
    Answer::text(
        200,
        format!(
            "swrun sample backend\nenvironment {}\npid {}\nuid {}\nrequests {}",
            name.as_deref().unwrap_or("unknown"),
            std::process::id(),
            nix::unistd::getuid(),
            state.requests.load(Ordering::Relaxed),
        ),
    )
}

fn environment(variables: impl Iterator<Item = (String, String)>) -> Answer {
    let all: BTreeMap<String, String> = variables.collect();
    let names: Vec<&String> = all.keys().collect();
    let values: BTreeMap<&String, &String> =
        all.iter().filter(|(name, _)| SHOWN.contains(&name.as_str())).collect();
    Answer::json(&serde_json::json!({ "names": names, "values": values }))
}

fn leak(mebibytes: u64, state: &State) -> Answer {
    for _ in 0..mebibytes {
        let mut step = Vec::new();
        if step.try_reserve_exact(LEAK_STEP).is_err() {
            return Answer::text(500, format!("no more memory at {}", total(state)));
        }
        // Written, not only reserved: the kernel counts pages that were touched.
        step.resize(LEAK_STEP, 0xa5);
        state.kept.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }
    Answer::text(200, total(state))
}

fn total(state: &State) -> String {
    format!("{} MiB kept", state.kept.lock().unwrap_or_else(PoisonError::into_inner).len())
}

fn burn(milliseconds: u64) -> Answer {
    let start = Instant::now();
    let mut rounds = 0_u64;
    while start.elapsed() < Duration::from_millis(milliseconds) {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
    Answer::text(200, format!("burned {milliseconds} ms"))
}

/// Tries to take a port, and gives it back.
fn bind(port: u64) -> Answer {
    let port = u16::try_from(port).unwrap_or(0);
    match std::net::TcpListener::bind(("0.0.0.0", port)) {
        Ok(_) => Answer::text(200, format!("port {port} could be bound")),
        Err(error) => Answer::text(403, format!("port {port} could not be bound: {error}")),
    }
}

/// The number that the query gives for `key`, from 1 to `most`; `default` where it gives none.
fn number(request: &Request, key: &str, default: Option<u64>, most: u64) -> Result<u64, Answer> {
    let given = match request.value(key) {
        Some(text) => text.parse().ok(),
        None => default,
    };
    given.filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        Answer::text(400, format!("{} needs {key}=N, N from 1 to {most}", request.path))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    fn ask(target: &str, state: &State) -> Answer {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        answer(&super::super::request::parse(head.as_bytes()).unwrap(), state)
    }

    #[test]
    fn values_are_shown_of_four_variables_only() {
        let variables = [("SECRET", "hunter2"), ("PORT", "3000"), ("HOME", "/srv")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = environment(variables.into_iter()).body;
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["names"], serde_json::json!(["HOME", "PORT", "SECRET"]));
        assert_eq!(read["values"], serde_json::json!({"HOME": "/srv", "PORT": "3000"}));
        assert!(!body.contains("hunter2"));
    }

    #[test]
    fn a_leak_adds_up() {
        let state = State::default();
        assert_eq!(ask("/leak?mb=2", &state).body, "2 MiB kept\n");
        assert_eq!(ask("/leak?mb=1", &state).body, "3 MiB kept\n");
        assert!(state.kept.lock().unwrap().iter().all(|step| step.len() == LEAK_STEP));
    }

    #[test]
    fn bad_numbers_are_refused_before_any_work() {
        let state = State::default();
        for target in [
            "/leak",
            "/leak?mb=",
            "/leak?mb=0",
            "/leak?mb=-1",
            "/leak?mb=x",
            "/leak?mb=1048577",
            "/burn?ms=60001",
            "/burn?ms=1e3",
        ] {
            assert_eq!(ask(target, &state).status, 400, "{target}");
        }
        assert_eq!(total(&state), "0 MiB kept");
    }
}

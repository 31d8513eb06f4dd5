//! Reads an environment's `.env` as its deploy user, for a root process that must not open what an
//! app could have put there. It says keys and lines, never a value.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::formats::dotenv;
use crate::model::{EnvSpec, Identity};
use crate::privilege::identity;
use crate::sys::{command, files};

/// The hidden role's word.
pub const ROLE: &str = "__reader";

/// What is to be read.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    identity: Identity,
    base: PathBuf,
    path: PathBuf,
}

/// What was found in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The file is there.
    pub exists: bool,
    /// Why it could not be read, with the line where there is one.
    pub error: Option<(Option<usize>, String)>,
    /// The keys it sets, in their order.
    pub keys: Vec<String>,
    /// Lines that another reader of such files reads differently: line, and what to do.
    pub differing: Vec<(usize, String)>,
    /// `PORT`, where it is a port: the one value that swrun itself has to know.
    pub port: Option<u16>,
}

/// Runs the role: `__reader REQUEST`.
#[must_use]
pub fn main() -> ExitCode {
    let request =
        std::env::args().nth(2).and_then(|text| serde_json::from_str::<Request>(&text).ok());
    let Some(request) = request else { return ExitCode::from(2) };
    // A caller that is not root reads with its own rights.
    if rustix::process::geteuid().is_root()
        && let Err((step, error)) = identity::become_user(&request.identity)
    {
        eprintln!("swrun: could not {step}: {error}");
        return ExitCode::FAILURE;
    }
    let text = serde_json::to_vec(&look(&request)).unwrap_or_default();
    match std::io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Has the `.env` of `spec` read by a process that has become its user.
///
/// # Errors
/// The process could not be started or understood.
pub fn read(spec: &EnvSpec) -> std::io::Result<Findings> {
    let Some(file) = &spec.env_file else { return Ok(Findings::default()) };
    let request = Request {
        identity: spec.identity.clone(),
        base: spec.base.clone(),
        path: file.path.clone(),
    };
    let request = serde_json::to_string(&request)?;
    let answer = command::run("/proc/self/exe", &[ROLE, &request])?;
    Ok(serde_json::from_str(&answer)?)
}

fn look(request: &Request) -> Findings {
    let mut findings = Findings { exists: true, ..Findings::default() };
    let bytes = match files::read_beneath(&request.base, &request.path, dotenv::LONGEST as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Findings::default(),
        Err(error) => {
            findings.error = Some((None, error.to_string()));
            return findings;
        }
    };
    match dotenv::parse(&bytes) {
        Err(error) => findings.error = Some((Some(error.line), error.to_string())),
        Ok(variables) => {
            let port = variables.iter().find(|(key, _)| key == "PORT");
            findings.port = port.and_then(|(_, value)| value.parse().ok()).filter(|port| *port > 0);
            findings.keys = variables.into_iter().map(|(key, _)| key).collect();
        }
    }
    findings.differing = dotenv::lint(&bytes)
        .into_iter()
        .map(|found| {
            let key = found.key.map(|key| format!("{key}: ")).unwrap_or_default();
            let fix = found.fix.map(|fix| format!("; {fix}")).unwrap_or_default();
            (found.line, format!("{key}{}{fix}", found.problem))
        })
        .collect();
    findings
}

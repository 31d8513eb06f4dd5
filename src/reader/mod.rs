//! Reads an environment's `.env` as its deploy user, for a root process that must not open what an
//! app could have put there. It says keys and lines, and values only to one who asks for them (`swrun export`).

use std::io::Write as _;
use std::process::ExitCode;

use crate::formats::dotenv;
use crate::privilege::identity;
use crate::profile::{EnvFileFindings, EnvFileRequest};
use crate::sys::{files, memory};

pub use crate::profile::READER_ROLE as ROLE;

/// Runs the role: `__reader REQUEST`.
#[must_use]
pub fn main() -> ExitCode {
    let request =
        std::env::args().nth(2).and_then(|text| serde_json::from_str::<EnvFileRequest>(&text).ok());
    let Some(request) = request else { return ExitCode::from(2) };
    let _ = memory::set_oom_score(memory::USUAL);
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

fn look(request: &EnvFileRequest) -> EnvFileFindings {
    let mut findings = EnvFileFindings { exists: true, ..EnvFileFindings::default() };
    let bytes = match files::read_beneath(&request.base, &request.path, dotenv::LONGEST as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return EnvFileFindings::default();
        }
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
            findings.keys = variables.iter().map(|(key, _)| key.clone()).collect();
            if request.with_values {
                findings.values = variables;
            }
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

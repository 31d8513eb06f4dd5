//! Asking the process that reads an environment's `.env` as its deploy user (role `__reader`): a root
//! process must not open what an app could have put there. Keys and lines come back; values only where they are asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{EnvSpec, Identity};
use crate::sys::command;

/// The hidden role's word.
pub const READER_ROLE: &str = "__reader";

/// How long the reading may take: its user may stop the process, or serve the file himself.
const WITHIN: Duration = Duration::from_secs(5);

/// What is to be read.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnvFileRequest {
    /// Whose rights count.
    pub identity: Identity,
    /// The folder beneath which the file lies.
    pub base: PathBuf,
    /// The file, relative to `base`.
    pub path: PathBuf,
    /// The values are to come back too.
    pub with_values: bool,
}

/// What was found in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFileFindings {
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
    /// All variables, where they were asked for.
    #[serde(default)]
    pub values: Vec<(String, String)>,
}

/// Has the `.env` of `spec` read by a process that has become its user; waits for it, 5 s at most.
///
/// # Errors
/// The process could not be started or understood, or took too long.
pub fn read_env_file(spec: &EnvSpec) -> io::Result<EnvFileFindings> {
    read(spec, false)
}

/// The same with the values, for one who is to write them down elsewhere.
///
/// # Errors
/// As [`read_env_file`].
pub fn read_env_values(spec: &EnvSpec) -> io::Result<EnvFileFindings> {
    read(spec, true)
}

fn read(spec: &EnvSpec, with_values: bool) -> io::Result<EnvFileFindings> {
    let Some(file) = &spec.env_file else { return Ok(EnvFileFindings::default()) };
    let request = EnvFileRequest {
        identity: spec.identity.clone(),
        base: spec.base.clone(),
        path: file.path.clone(),
        with_values,
    };
    let request = serde_json::to_string(&request)?;
    let answer = command::run_within("/proc/self/exe", &[READER_ROLE, &request], WITHIN)?;
    Ok(serde_json::from_str(&answer)?)
}

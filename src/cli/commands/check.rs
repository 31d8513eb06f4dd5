//! `swrun check`: every problem of every profile, with file, line and column; and the lines of `.env`
//! files that other readers of such files read differently.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::args::Check;
use crate::cli::exit::{Ended, Exit};
use crate::cli::output::Output;
use crate::formats::clean::clean;
use crate::model::{EnvSpec, Places};
use crate::profile::{self, HostFacts, Position, Problem, Profile, Severity};

/// The answer of `check --json`.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    files: usize,
    problems: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    file: PathBuf,
    line: usize,
    column: usize,
    severity: &'static str,
    text: String,
    hint: Option<String>,
}

/// Checks the files named, or all.
pub fn run(places: &Places, args: &Check, output: &mut Output) -> Ended {
    let mut problems: Vec<Problem> = Vec::new();
    let sources = if args.files.is_empty() {
        let ad_hoc = places.ad_hoc_profiles();
        let collected = profile::collect(&[places.profiles(), ad_hoc.clone()]);
        let found = collected.problems.into_iter();
        problems.extend(found.map(|problem| match problem.file == ad_hoc && !is_root() {
            true => not_for_everybody(problem),
            false => problem,
        }));
        collected.sources
    } else {
        let opened = args.files.iter().map(|file| profile::open(file));
        opened.filter_map(|source| source.map_err(|problem| problems.push(problem)).ok()).collect()
    };
    let checked = profile::check_all(&sources, &HostFacts::of_this_host(places.clone()));
    problems.extend(checked.problems);
    problems.extend(checked.profiles.iter().filter_map(|checked| open_secrets(&checked.profile)));
    for spec in checked.profiles.iter().filter_map(|checked| checked.spec.as_ref()) {
        problems.extend(env_file(spec));
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if args.json {
        let problems = problems.iter().map(line).collect();
        output.json(&Document { schema: 1, files: sources.len(), problems })?;
    } else {
        for problem in &problems {
            for text in problem.to_string().lines() {
                output.line(&clean(text))?;
            }
        }
        let warnings = problems.len() - errors;
        output.line(&format!("{} files, {errors} errors, {warnings} warnings", sources.len()))?;
        if sources.is_empty() && problems.is_empty() {
            output.line(&format!("there is no profile in \"{}\"", places.profiles().display()))?;
        }
    }
    Ok(if errors > 0 { Exit::Failed } else { Exit::Done })
}

/// A profile that everybody can read, with what looks like a secret in `[env]`.
fn open_secrets(profile: &Profile) -> Option<Problem> {
    use std::os::unix::fs::MetadataExt as _;
    const WORDS: [&str; 6] = ["PASS", "SECRET", "TOKEN", "CREDENTIAL", "DATABASE_URL", "_KEY"];
    let is_secret = |key: &str| WORDS.iter().any(|word| key.to_uppercase().contains(word));
    let key = profile.env.keys().find(|key| is_secret(key))?;
    let mode = std::fs::metadata(&profile.file).ok()?.mode();
    if mode & 0o004 == 0 {
        return None;
    }
    let text = format!("\"{key}\" in [env] can be read by every user of this machine");
    let hint = format!("chmod o-r {}, or put it into the .env file", profile.file.display());
    let at = Position { line: 1, column: 1 };
    Some(Problem::warning(&profile.file, at, text).with_hint(hint))
}

/// What the deploy user's own process says of its `.env`.
fn env_file(spec: &EnvSpec) -> Vec<Problem> {
    let Some(file) = &spec.env_file else { return Vec::new() };
    let path = spec.base.join(&file.path);
    let at = |line: usize| Position { line, column: 1 };
    let findings = match profile::read_env_file(spec) {
        Ok(findings) => findings,
        Err(error) => {
            let text = format!("could not be read as user \"{}\": {error}", spec.identity.user);
            return vec![Problem::warning(&path, at(1), text)];
        }
    };
    let mut problems = Vec::new();
    if !findings.exists && file.required {
        let text = "it is named as the env-file, and is not there".to_owned();
        problems.push(Problem::error(&path, at(1), text));
    }
    if let Some((line, text)) = findings.error {
        let problem = Problem::error(&path, at(line.unwrap_or(1)), text);
        let is_other = !is_root() && rustix::process::geteuid().as_raw() != spec.identity.uid;
        // Another user's reading of it says nothing of what its own finds there.
        problems.push(if is_other && line.is_none() {
            not_for_everybody(problem)
        } else {
            problem
        });
    }
    for key in findings.keys.iter().filter(|key| spec.env.contains_key(*key)) {
        let text = format!(
            "\"{key}\" is set here and in [env] of the profile: the profile's value counts"
        );
        problems.push(Problem::warning(&path, at(1), text));
    }
    let differing = findings.differing.into_iter();
    problems.extend(differing.map(|(line, text)| Problem::warning(&path, at(line), text)));
    problems
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a caller without root cannot look into is no error of the profiles.
fn not_for_everybody(problem: Problem) -> Problem {
    let text = format!("not checked: {}", problem.text);
    Problem::warning(&problem.file, Position { line: problem.line, column: problem.column }, text)
        .with_hint("run it as root (sudo swrun check) to have this checked too")
}

fn line(problem: &Problem) -> Line {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    Line {
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        severity,
        text: problem.text.clone(),
        hint: problem.hint.clone(),
    }
}

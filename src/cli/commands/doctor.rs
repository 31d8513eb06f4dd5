//! `swrun doctor`: what this host offers, what is degraded, what to do.

use serde::Serialize;

use crate::cgroup;
use crate::cli::args::Doctor;
use crate::cli::exit::{Ended, Exit};
use crate::cli::output::Output;
use crate::host::{self, Finding, Grade, Level};
use crate::model::Places;

/// The answer of `doctor --json`.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    grade: Grade,
    cgroup: Option<String>,
    degraded: Vec<String>,
    findings: Vec<Finding>,
}

/// Examines the host; it fails where swrun could not do its work.
pub fn run(places: &Places, args: &Doctor, output: &mut Output) -> Ended {
    let findings = host::examine(places);
    let grade = Grade::of(&findings);
    let driver = cgroup::detect_own();
    if args.json {
        let (cgroup, degraded) = match &driver {
            Ok(driver) => (Some(driver.kind().to_owned()), driver.degraded()),
            Err(_) => (None, Vec::new()),
        };
        output.json(&Document { schema: 1, grade, cgroup, degraded, findings })?;
    } else {
        let topics = findings.iter().map(|finding| finding.topic.len()).max().unwrap_or(0);
        for finding in &findings {
            let level = match finding.level {
                Level::Good => "good    ",
                Level::Degraded => "degraded",
                Level::Bad => "bad     ",
            };
            output.line(&format!("{level}  {:topics$}  {}", finding.topic, finding.text))?;
            if let Some(advice) = &finding.advice {
                output.line(&format!("{:10}{:topics$}  do: {advice}", "", ""))?;
            }
        }
        output.line(&format!("grade {grade:?}: {}", grade.words()))?;
    }
    Ok(if grade == Grade::F { Exit::Failed } else { Exit::Done })
}

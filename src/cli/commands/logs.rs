//! `swrun logs`: the last lines of environments, then what comes. It reads files only, so it works
//! with the runner dead.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cli::args::Logs;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::logs::feed::{Filter, Source, drain, open};
use crate::cli::logs::look::{Look, Stream};
use crate::cli::logs::since::since;
use crate::cli::output::{Output, say, stdout_if_pipe};
use crate::cli::select::{selected, with_logs};
use crate::formats::log_follow::{Wake, Watcher};
use crate::model::{EnvName, Places};

/// How many lines of each environment are shown, unless told.
const LINES: usize = 15;

/// How often new environments are looked for at most, where all are followed.
const LOOK_FOR_NEW: Duration = Duration::from_secs(1);

/// Shows log lines.
pub fn run(places: &Places, logs: &Logs, output: &mut Output) -> Ended {
    let named = logs.selection.named();
    if logs.raw && output.terminal {
        return Err(Failure::usage(
            "--raw shows what an app wrote byte for byte, and a terminal would do what it says: \
             send it into a file or a pipe",
        ));
    }
    let mut viewer = Viewer {
        places,
        filter: filter(logs)?,
        streams: match (logs.out, logs.err) {
            (true, false) => &[Stream::Out],
            (false, true) => &[Stream::Err],
            _ => &[Stream::Out, Stream::Err],
        },
        follow: !logs.nostream && logs.until.is_none(),
        environments: Vec::new(),
        sources: Vec::new(),
        unreadable: 0,
        unended: None,
    };
    let is_of_a_time = logs.since.is_some() || logs.until.is_some();
    let lines = logs.lines.unwrap_or(if is_of_a_time { usize::MAX } else { LINES });
    for name in selected(places, &named)? {
        viewer.open(name, lines);
    }
    if viewer.environments.is_empty() && !viewer.follow {
        say(&format!("there are no logs in \"{}\"", places.all_logs().display()));
    }
    if viewer.unreadable > 0 && viewer.sources.is_empty() {
        return Err(Failure::failed("none of the logs can be read"));
    }
    let look = Look {
        json: logs.json,
        name_width: None,
        stream: viewer.streams.len() > 1,
        raw: logs.raw,
        colours_of_app: logs.color.is_some(),
        colour: output.colour,
    };
    viewer.show(look, output)?;
    if viewer.follow {
        return viewer.follow(look, named.is_empty(), output);
    }
    Ok(if viewer.unreadable > 0 { Exit::Failed } else { Exit::Done })
}

fn filter(logs: &Logs) -> Result<Filter, Failure> {
    let time = |text: &Option<String>| {
        text.as_deref().map(|text| since(text, Timestamp::now())).transpose()
    };
    let pattern = logs.grep.as_deref().map(|pattern| {
        regex_lite::Regex::new(pattern)
            .map_err(|error| format!("\"{pattern}\" is not a regular expression: {error}"))
    });
    let filter = || -> Result<Filter, String> {
        let (since, until) = (time(&logs.since)?, time(&logs.until)?);
        Ok(Filter { since, until, pattern: pattern.transpose()? })
    };
    filter().map_err(Failure::usage)
}

struct Viewer<'a> {
    places: &'a Places,
    filter: Filter,
    streams: &'static [Stream],
    follow: bool,
    /// In the order they were opened; a source knows its own by the index.
    environments: Vec<EnvName>,
    sources: Vec<Source>,
    unreadable: usize,
    /// With `--raw`: whose line was shown last without its end.
    unended: Option<Writer>,
}

/// The environment by its index, the stream and the instance.
type Writer = (usize, Stream, Option<u32>);

/// So that reading and showing can fail in one function.
struct Stopped(Failure);

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self(Failure::failed(format!("cannot read a log: {error}")))
    }
}

impl Viewer<'_> {
    /// Adds an environment; one whose logs cannot be read is told and left out.
    fn open(&mut self, name: EnvName, lines: usize) {
        let folder = self.places.logs(&name);
        let index = self.environments.len();
        let told = |path: &Path| {
            say(&format!(
                "swrun: \"{}\" is left out: it is damaged, packed by another program, or not yours to read",
                path.display()
            ));
        };
        match open(&folder, index, self.streams, lines, &self.filter, self.follow, told) {
            Ok(sources) => self.sources.extend(sources),
            Err((path, error)) => {
                self.unreadable += 1;
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => ": use sudo, or join the group swrun",
                    _ => "",
                };
                say(&format!("swrun: cannot read \"{}\": {error}{hint}", path.display()));
            }
        }
        self.environments.push(name);
    }

    /// Shows all that is there now.
    fn show(&mut self, look: Look, output: &mut Output) -> Result<(), Failure> {
        let names = &self.environments;
        let has_names = output.terminal || names.len() > 1;
        let widest = names.iter().map(|name| name.as_str().len()).max();
        let look = Look { name_width: widest.filter(|_| has_names), ..look };
        let unended = &mut self.unended;
        let shown = drain(&mut self.sources, &self.filter, |source, entry| {
            let name = names[source.index].as_str();
            if look.raw && !entry.is_own() {
                let writer = (source.index, source.stream, entry.instance);
                // The line of another does not go on with it.
                if unended.take().is_some_and(|unended| unended != writer) {
                    output.bytes(b"\n").map_err(Stopped)?;
                }
                *unended = (!entry.has_end()).then_some(writer);
            }
            output.bytes(&look.line(entry, name, source.index, source.stream)).map_err(Stopped)
        });
        shown.map_err(|Stopped(failure)| failure)?;
        output.flush()
    }

    /// Goes on until Ctrl-C, or until nobody reads.
    fn follow(&mut self, look: Look, everything: bool, output: &mut Output) -> Ended {
        let all = self.places.all_logs();
        let folders: Vec<_> = self.environments.iter().map(|name| self.places.logs(name)).collect();
        let parent = everything.then_some(all.as_path());
        let mut watcher = Watcher::new(folders.iter().map(|folder| folder.as_path()).chain(parent));
        let mut looked = Instant::now();
        loop {
            // What came between the last look and the watch is shown before anything is waited for.
            self.show(look, output)?;
            if watcher.wait(stdout_if_pipe()).map_err(|error| Stopped::from(error).0)?
                == Wake::Closed
            {
                return Err(Failure::OutputClosed);
            }
            if everything && looked.elapsed() >= LOOK_FOR_NEW {
                looked = Instant::now();
                for name in with_logs(self.places)? {
                    if !self.environments.contains(&name) {
                        watcher.add(&self.places.logs(&name));
                        self.open(name, usize::MAX);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

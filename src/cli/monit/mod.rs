//! `swrun monit`: environments, their use over time and their logs, live, and keys for orders.
//!
//! One thread draws and reads keys, one asks the runner once a second, and each order has its own: nothing that
//! waits holds the screen up.

mod draw;
mod state;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyEventKind};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::client::{self, PATIENCE};
use super::commands::ports;
use super::commands::status::document;
use super::exit::{Ended, Exit, Failure};
use super::logs::feed::{self, Filter, Source};
use super::logs::look::Stream;
use super::output::Output;
use crate::formats::clean::clean_into;
use crate::formats::log_line::time_text;
use crate::model::{EnvName, Places};
use crate::sys::clock;
use crate::wire::ask::{Answer, Ask, Order, Stretch};
use state::{Action, News, SECONDS, State, Verb};

/// Four frames a second at most, while nobody presses a key.
const FRAME: Duration = Duration::from_millis(250);

/// Between two questions to the runner.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How many lines of log there are to begin with.
const LINES: usize = 100;

/// Shows it until `q`.
pub fn run(places: &Places, output: &Output) -> Ended {
    if !output.terminal {
        return Err(Failure::usage("monit needs a terminal; \"swrun status --json\" does not"));
    }
    // The runner is there, and lets us in: said before the screen is taken.
    document(places, &[])?;
    let signals =
        signals().map_err(|e| Failure::failed(format!("could not take over signals: {e}")))?;
    let (news, comes) = channel();
    ask_for_ever(places.clone(), news.clone());
    let mut terminal = ratatui::try_init()
        .map_err(|e| Failure::failed(format!("could not take over the terminal: {e}")))?;
    let mut board = Board { places, news, state: State::default(), sources: Vec::new() };
    let ended = board.show(&mut terminal, &comes, &signals, output.colour);
    // As it was, whatever happened; after a panic its hook does that.
    ratatui::restore();
    ended.map(|()| Exit::Done).map_err(|e| Failure::failed(format!("the terminal failed: {e}")))
}

/// Those that would end the process with the terminal as it is; before any thread begins.
fn signals() -> nix::Result<SignalFd> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT].into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

struct Board<'a> {
    places: &'a Places,
    news: Sender<News>,
    state: State,
    sources: Vec<Source>,
}

impl Board<'_> {
    fn show(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        comes: &Receiver<News>,
        signals: &SignalFd,
        colour: bool,
    ) -> std::io::Result<()> {
        loop {
            let actions: Vec<Action> =
                comes.try_iter().filter_map(|news| self.state.take(news)).collect();
            if actions.contains(&Action::Chose) {
                self.open_log();
            }
            self.read_log();
            terminal.draw(|frame| draw::draw(frame, &self.state, colour))?;
            let until = Instant::now() + FRAME;
            while event::poll(until.saturating_duration_since(Instant::now()))? {
                let action = match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => self.state.press(key),
                    _ => None,
                };
                match action {
                    Some(Action::Leave) => return Ok(()),
                    Some(Action::Chose) => self.open_log(),
                    Some(Action::Order { verb, environment }) => self.order(verb, environment),
                    None => {}
                }
                terminal.draw(|frame| draw::draw(frame, &self.state, colour))?;
            }
            if let Ok(Some(_)) = signals.read_signal() {
                return Ok(());
            }
        }
    }

    fn order(&mut self, verb: Verb, environment: String) {
        self.state.message = Some(format!("{} {environment} ...", verb.word()));
        let (places, news) = (self.places.clone(), self.news.clone());
        std::thread::spawn(move || {
            let order = Order { targets: vec![environment], wait: true };
            let ask = match verb {
                Verb::Start => Ask::Start(order),
                Verb::Stop => Ask::Stop(order),
                Verb::Restart => Ask::Restart(order),
                Verb::Reload => Ask::Reload(order),
            };
            let said = match client::ask(&places, &ask, PATIENCE, |_, _| ()) {
                Ok(Answer::Done { outcomes }) => {
                    let said = outcomes.iter().map(|one| format!("{}: {}", one.name, one.text));
                    said.collect::<Vec<_>>().join("; ")
                }
                Ok(_) => "the runner answered something else".to_owned(),
                Err(Failure::Because(_, text)) => text,
                Err(Failure::OutputClosed) => return,
            };
            let _ = news.send(News::Said(said));
        });
    }

    fn open_log(&mut self) {
        self.state.log.clear();
        self.sources.clear();
        let Some(name) = self.state.chosen.as_ref().and_then(|name| EnvName::parse(name).ok())
        else {
            return;
        };
        let streams = [Stream::Out, Stream::Err];
        let folder = self.places.logs(&name);
        let opened = feed::open(&folder, 0, &streams, LINES, &Filter::default(), true, |_| ());
        self.state.log_trouble = None;
        match opened {
            Ok(sources) => self.sources = sources,
            Err((path, error)) => {
                let text = format!("\"{}\" cannot be read: {error}", path.display());
                self.state.log_trouble = Some(text);
            }
        }
    }

    fn read_log(&mut self) {
        let state = &mut self.state;
        let read = feed::drain(&mut self.sources, &Filter::default(), |source, entry| {
            let mut line = String::new();
            // The time of day; the date is the same in all of them mostly.
            let time = entry.at_millis.map(time_text);
            clean_into(time.as_ref().and_then(|time| time.get(11..23)).unwrap_or(b"?"), &mut line);
            line.push(' ');
            clean_into(entry.text.strip_suffix(b"\r").unwrap_or(&entry.text), &mut line);
            state.add_line(source.stream == Stream::Err, line);
            Ok::<(), std::io::Error>(())
        });
        if let Err(error) = read {
            self.sources.clear();
            state.log_trouble = Some(format!("the log cannot be read on: {error}"));
        }
    }
}

/// Asks the runner once a second until nobody hears; of an environment that is new also what was before.
fn ask_for_ever(places: Places, news: Sender<News>) {
    std::thread::spawn(move || {
        let mut known = BTreeSet::new();
        loop {
            let begun = Instant::now();
            for one in ask(&places, &mut known) {
                if news.send(one).is_err() {
                    return;
                }
            }
            std::thread::sleep(ASK_EVERY.saturating_sub(begun.elapsed()));
        }
    });
}

fn ask(places: &Places, known: &mut BTreeSet<String>) -> Vec<News> {
    let asked =
        document(places, &[]).and_then(|status| Ok((status, ports::document(places, &[])?)));
    let (status, ports) = match asked {
        Ok(both) => both,
        Err(Failure::Because(_, why)) => return vec![News::Away(why)],
        Err(Failure::OutputClosed) => return Vec::new(),
    };
    let mut news = Vec::new();
    for one in &status.environments {
        if known.insert(one.name.clone()) {
            let now = clock::wall_millis() / 1000;
            let since = now.saturating_sub(SECONDS as u64);
            let stretch = Stretch { since, until: None, step_s: Some(10) };
            let ask = Ask::History { target: one.name.clone(), stretch };
            if let Ok(Answer::History(past)) = client::ask(places, &ask, PATIENCE, |_, _| ()) {
                news.push(News::History(one.name.clone(), past.spans));
            }
        }
    }
    news.push(News::Status(Box::new(status), ports));
    news
}

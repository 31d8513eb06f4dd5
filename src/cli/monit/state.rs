//! What the dashboard knows, and what a key does to it: nothing here reads or draws.

use std::collections::{BTreeMap, VecDeque};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::model::{EnvironmentStatus, PortsDocument, StatusDocument, UsageSpan};

/// How many seconds the charts go back.
pub const SECONDS: usize = 600;

/// How many lines of log are kept.
const LINES: usize = 500;

/// An order, as it is asked and said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Verb {
    /// As in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Leave,
    Order {
        verb: Verb,
        environment: String,
    },
    /// Another environment was chosen.
    Chose,
}

/// What came in.
#[derive(Debug)]
pub enum News {
    Status(Box<StatusDocument>, PortsDocument),
    History(String, Vec<UsageSpan>),
    /// The runner does not answer, and why.
    Away(String),
    /// How an order went.
    Said(String),
}

/// One second of one environment; `None`: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    pub memory: Option<u64>,
    pub cpu: Option<f64>,
    pub pressure: Option<f64>,
    pub queue: Option<u64>,
}

/// All that is shown.
#[derive(Debug, Default)]
pub struct State {
    pub status: Option<StatusDocument>,
    /// The runner is away, and why.
    pub away: Option<String>,
    pub charts: BTreeMap<String, VecDeque<Point>>,
    /// The chosen environment.
    pub chosen: Option<String>,
    /// Asked, and not answered yet.
    pub asked: Option<(Verb, String)>,
    pub message: Option<String>,
    pub shows_help: bool,
    /// Of the chosen one, oldest first.
    pub log: VecDeque<(bool, String)>,
    pub log_trouble: Option<String>,
}

impl State {
    /// The environments, by name.
    pub fn environments(&self) -> &[EnvironmentStatus] {
        self.status.as_ref().map_or(&[], |status| &status.environments)
    }

    /// Where the chosen one is among them.
    pub fn index(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.environments().iter().position(|one| one.name == *chosen)
    }

    /// The chosen one.
    pub fn current(&self) -> Option<&EnvironmentStatus> {
        self.environments().get(self.index()?)
    }

    /// Takes what came in.
    pub fn take(&mut self, news: News) -> Option<Action> {
        match news {
            News::Away(why) => self.away = Some(why),
            News::Said(text) => self.message = Some(text),
            News::History(name, spans) => self.begin_chart(&name, &spans),
            News::Status(status, ports) => {
                self.away = None;
                for one in &status.environments {
                    let queues = ports.ports.iter().filter(|line| line.environment == one.name);
                    let queue =
                        queues.filter_map(|line| line.queue.map(u64::from)).reduce(|a, b| a + b);
                    self.add(one, queue);
                }
                self.status = Some(*status);
                if self.index().is_none() {
                    self.chosen = self.environments().first().map(|one| one.name.clone());
                    return Some(Action::Chose);
                }
            }
        }
        None
    }

    fn add(&mut self, one: &EnvironmentStatus, queue: Option<u64>) {
        let chart = self.charts.entry(one.name.clone()).or_default();
        chart.push_back(Point {
            memory: one.memory.anon,
            cpu: one.cpu.percent,
            pressure: one.memory.pressure_avg10,
            queue,
        });
        while chart.len() > SECONDS {
            chart.pop_front();
        }
    }

    /// Puts what was before in front, a span for as many seconds as it has.
    fn begin_chart(&mut self, name: &str, spans: &[UsageSpan]) {
        let before = spans.iter().flat_map(|span| {
            let point = Point {
                memory: span.anon,
                cpu: span.cpu_percent,
                pressure: span.memory_pressure,
                queue: span.queue_max,
            };
            std::iter::repeat_n(point, usize::try_from(span.step_s).unwrap_or(1))
        });
        let seen = self.charts.remove(name).unwrap_or_default();
        let mut chart: VecDeque<Point> = before.chain(seen).collect();
        while chart.len() > SECONDS {
            chart.pop_front();
        }
        self.charts.insert(name.to_owned(), chart);
    }

    /// Adds a line of the log.
    pub fn add_line(&mut self, is_error: bool, line: String) {
        self.log.push_back((is_error, line));
        while self.log.len() > LINES {
            self.log.pop_front();
        }
    }

    /// What a key means.
    pub fn press(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c')).then_some(Action::Leave);
        }
        self.message = None;
        if let Some((verb, environment)) = self.asked.take() {
            // Any other key is a no.
            return matches!(key.code, KeyCode::Char('y' | 'Y'))
                .then_some(Action::Order { verb, environment });
        }
        if std::mem::take(&mut self.shows_help) {
            return matches!(key.code, KeyCode::Char('q')).then_some(Action::Leave);
        }
        let last = self.environments().len().saturating_sub(1);
        let at = self.index().unwrap_or(0);
        match key.code {
            KeyCode::Char('q') => return Some(Action::Leave),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.shows_help = true,
            KeyCode::Up | KeyCode::Char('k') => return self.choose(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => return self.choose((at + 1).min(last)),
            KeyCode::Home | KeyCode::Char('g') => return self.choose(0),
            KeyCode::End | KeyCode::Char('G') => return self.choose(last),
            KeyCode::Char('s') => self.ask(Verb::Start),
            KeyCode::Char('x') => self.ask(Verb::Stop),
            KeyCode::Char('r') => self.ask(Verb::Restart),
            KeyCode::Char('l') => self.ask(Verb::Reload),
            _ => {}
        }
        None
    }

    fn ask(&mut self, verb: Verb) {
        self.asked = self.chosen.clone().map(|name| (verb, name));
    }

    fn choose(&mut self, index: usize) -> Option<Action> {
        let name = self.environments().get(index)?.name.clone();
        if self.chosen.as_ref() == Some(&name) {
            return None;
        }
        self.chosen = Some(name);
        Some(Action::Chose)
    }
}

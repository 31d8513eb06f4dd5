//! The dashboard on a terminal of any size; 80 by 24 shows all of it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Sparkline};

use super::state::{Point, State};
use crate::cli::show::status::{footer, ports, state_words, what_is_wrong};
use crate::formats::clean::clean;
use crate::formats::words;
use crate::model::{EnvironmentStatus, LeakVerdict, Phase};

/// What each key does.
const HELP: [(&str, &str); 9] = [
    ("up down j k", "choose an environment"),
    ("s", "start it"),
    ("x", "stop it"),
    ("r", "restart it"),
    ("l", "reload it: the new one first, no connection is refused"),
    ("y", "yes, to what is asked then; any other key is a no"),
    ("?", "this"),
    ("q, Ctrl-C", "leave"),
    ("", "the charts show ten minutes at most, a second a column, the newest to the right"),
];

/// Draws all.
pub fn draw(frame: &mut Frame<'_>, state: &State, colour: bool) {
    let rows = u16::try_from(state.environments().len()).unwrap_or(u16::MAX);
    let area = frame.area();
    // A third for the list, six lines for charts where there is room, the log has the rest.
    let list = rows.max(1).min((area.height / 3).max(1));
    let charts = if area.height >= 16 { 6 } else { 0 };
    let [head, table, reason, middle, log, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(list),
        Constraint::Length(1),
        Constraint::Length(charts),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let paint = Paint(colour);
    title(frame, head, state, paint);
    environments(frame, table, state, paint);
    why(frame, reason, state, paint);
    if charts > 0 {
        chart_row(frame, middle, state, paint);
    }
    lines(frame, log, state, paint);
    keys(frame, foot, state, paint);
    if state.shows_help {
        help(frame, area);
    }
}

/// Colours, where they are wanted.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn of(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    fn bold(self) -> Style {
        if self.0 { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() }
    }
}

fn title(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let line = match (&state.away, &state.status) {
        (Some(why), _) => {
            let text = format!("the runner is away, environments go on: {}", clean(why));
            Line::from(Span::styled(text, paint.of(Color::Red)))
        }
        (None, Some(status)) => Line::from(vec![
            Span::styled("swrun monit  ", paint.bold()),
            Span::raw(footer(&status.host, None, false)),
        ]),
        (None, None) => Line::from("asking the runner ..."),
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn environments(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let all = state.environments();
    if all.is_empty() {
        return frame.render_widget(Paragraph::new("no environments"), area);
    }
    let chosen = state.index().unwrap_or(0);
    let height = usize::from(area.height);
    let first = (chosen + 1).saturating_sub(height).min(all.len().saturating_sub(height));
    let widest = all.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).min(24);
    let shown = all.iter().enumerate().skip(first).take(height);
    let lines: Vec<Line<'_>> =
        shown.map(|(index, one)| row(one, index == chosen, widest, paint)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn row(one: &EnvironmentStatus, is_chosen: bool, widest: usize, paint: Paint) -> Line<'static> {
    let name: String = clean(&one.name).chars().take(24).collect();
    let mark = if is_chosen { ">" } else { " " };
    let colour = match one.state {
        Phase::Online => Color::Green,
        Phase::Starting | Phase::Stopping => Color::Yellow,
        Phase::Stopped => Color::DarkGray,
        Phase::Backoff | Phase::Errored | Phase::Blocked => Color::Red,
    };
    let is_up = one.pid.is_some();
    let memory = match is_up {
        true => format!("{} / {}", words::bytes(one.memory.current), words::bytes(one.memory.max)),
        false => "-".to_owned(),
    };
    let cpu = one.cpu.percent.filter(|_| is_up).map_or("-".to_owned(), |cpu| format!("{cpu:.1}%"));
    let uptime = if is_up { words::seconds(one.uptime_s) } else { "-".to_owned() };
    let leak = match one.leak.verdict {
        LeakVerdict::Leaking | LeakVerdict::Suspected => one.leak.verdict.word(),
        LeakVerdict::Unknown | LeakVerdict::None | LeakVerdict::Watching => "",
    };
    let name = Span::styled(
        format!("{mark} {name:widest$}  "),
        if is_chosen { paint.bold() } else { Style::new() },
    );
    Line::from(vec![
        name,
        Span::styled(format!("{:9} ", state_words(one)), paint.of(colour)),
        Span::raw(format!(
            "{uptime:>8} {cpu:>7} {memory:>15} {:>4}r {}",
            one.restarts,
            ports(&one.ports)
        )),
        Span::styled(format!(" {leak}"), paint.of(Color::Red)),
    ])
}

/// One line on what is wrong with the chosen one.
fn why(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let why = state.current().and_then(|one| what_is_wrong(one, jiff::Timestamp::now()));
    let line = Line::from(Span::styled(why.unwrap_or_default(), paint.of(Color::Yellow)));
    frame.render_widget(Paragraph::new(line), area);
}

/// Title, values, what is full height, colour.
type Chart = (String, Vec<Option<u64>>, Option<u64>, Color);

fn chart_row(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let Some(one) = state.current() else { return };
    let areas: [Rect; 4] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
    let points: Vec<Point> = state
        .charts
        .get(&one.name)
        .map(|chart| chart.iter().copied().collect())
        .unwrap_or_default();
    let last = points.last().copied().unwrap_or_default();
    let ceiling = one.memory.max;
    let memory = format!("anon {}", words::bytes(last.memory));
    let percent = |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{value:.1}%"));
    let tenths = |value: Option<f64>| value.map(|value| (value * 10.0) as u64);
    let cpu_top = one.cpu.limit_percent.map(|limit| (limit * 10.0) as u64);
    let charts: [Chart; 4] = [
        (memory, points.iter().map(|point| point.memory).collect(), ceiling, Color::Cyan),
        (
            format!("CPU {}", percent(last.cpu)),
            points.iter().map(|point| tenths(point.cpu)).collect(),
            cpu_top,
            Color::Green,
        ),
        (
            format!("stalled {}", percent(last.pressure)),
            points.iter().map(|point| tenths(point.pressure)).collect(),
            None,
            Color::Magenta,
        ),
        (
            format!("queue {}", last.queue.map_or("?".to_owned(), |queue| queue.to_string())),
            points.iter().map(|point| point.queue).collect(),
            None,
            Color::Yellow,
        ),
    ];
    for (area, (title, values, top, colour)) in areas.into_iter().zip(charts) {
        let block = Block::new().borders(Borders::TOP | Borders::RIGHT).title(title);
        let width = usize::from(block.inner(area).width);
        let values = &values[values.len().saturating_sub(width)..];
        // To the right, as time goes.
        let free = std::iter::repeat_n(None, width - values.len());
        let data: Vec<Option<u64>> = free.chain(values.iter().copied()).collect();
        let most = data.iter().flatten().copied().max().unwrap_or(0);
        let line = Sparkline::default()
            .block(block)
            .style(paint.of(colour))
            .max(top.unwrap_or(most).max(most).max(1))
            .data(data);
        frame.render_widget(line, area);
    }
}

fn lines(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let name =
        state.chosen.as_deref().map_or(String::new(), |name| format!(" log of {} ", clean(name)));
    let block = Block::new().borders(Borders::TOP).title(name);
    let inner = block.inner(area);
    let room = usize::from(inner.height);
    let shown: Vec<Line<'_>> = match &state.log_trouble {
        Some(why) => vec![Line::from(clean(why).into_owned())],
        None => state
            .log
            .iter()
            .skip(state.log.len().saturating_sub(room))
            .map(|(is_error, line)| {
                let style = if *is_error { paint.of(Color::Red) } else { Style::new() };
                Line::from(Span::styled(line.as_str(), style))
            })
            .collect(),
    };
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(shown), inner);
}

fn keys(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint) {
    let (text, style) = match (&state.asked, &state.message) {
        (Some((verb, name)), _) => (
            format!("{} {}? y: yes, any other key: no", verb.word(), clean(name)),
            paint.of(Color::Yellow),
        ),
        (None, Some(message)) => (clean(message).into_owned(), paint.of(Color::Yellow)),
        (None, None) => {
            ("s start  x stop  r restart  l reload  ? help  q leave".to_owned(), Style::new())
        }
    };
    frame.render_widget(Paragraph::new(Line::from(Span::styled(text, style))), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.len()).unwrap_or(0) + 2;
    let [area] = Layout::vertical([Constraint::Length(height)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    let [area] =
        Layout::horizontal([Constraint::Max(78)]).flex(ratatui::layout::Flex::Center).areas(area);
    let lines: Vec<Line<'_>> =
        HELP.iter().map(|(key, what)| Line::from(format!("{key:12} {what}"))).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}

//! The table of `swrun status`.

use std::time::Duration;

use jiff::Timestamp;

use super::table::{Cell, Column, Row, Style, cut, render};
use crate::formats::clean::clean;
use crate::formats::words::{self, leak};
use crate::model::{
    EnvironmentStatus, HostStatus, LeakVerdict, MemoryStatus, Phase, PortStatus, Protocol,
    StatusDocument, Wanted, format_duration,
};

/// All but the name and the state can go. `target` goes early: it is the name's last part mostly.
const COLUMNS: [Column; 10] = [
    Column { head: "name", right: false, expendable: 0 },
    Column { head: "target", right: false, expendable: 8 },
    Column { head: "pid", right: true, expendable: 6 },
    Column { head: "state", right: false, expendable: 0 },
    Column { head: "uptime", right: true, expendable: 2 },
    Column { head: "restarts", right: true, expendable: 5 },
    Column { head: "cpu", right: true, expendable: 3 },
    Column { head: "memory", right: true, expendable: 1 },
    Column { head: "ports", right: false, expendable: 7 },
    Column { head: "last exit", right: false, expendable: 9 },
];

/// The lines of the table.
#[must_use]
pub fn lines(
    document: &StatusDocument,
    now: Timestamp,
    width: Option<usize>,
    colour: bool,
) -> Vec<String> {
    let rows: Vec<Row> = document.environments.iter().map(|status| row(status, now)).collect();
    render(&COLUMNS, &rows, width, colour)
}

/// The line under the table: the host's memory and load.
#[must_use]
pub fn footer(host: &HostStatus, width: Option<usize>, colour: bool) -> String {
    let used = host.memory_total.zip(host.memory_available);
    let used = used.map(|(total, available)| total.saturating_sub(available));
    let memory = format!("{} / {}", words::bytes(used), words::bytes(host.memory_total));
    let load = host.load.map_or_else(
        || "?".to_owned(),
        |load| load.map(|average| format!("{average:.2}")).join(" "),
    );
    let cpus = match host.cpus {
        Some(1) => "1 CPU".to_owned(),
        Some(cpus) => format!("{cpus} CPUs"),
        None => "? CPUs".to_owned(),
    };
    let text = format!("host: memory {memory}, load {load} on {cpus}");
    Style::Dim.paint(&cut(&text, width.unwrap_or(usize::MAX)), colour)
}

/// Whether every environment that is to run does: `swrun status` ends with 3 otherwise.
#[must_use]
pub fn all_wanted_are_online(document: &StatusDocument) -> bool {
    let is_down = |status: &EnvironmentStatus| {
        status.wanted == Wanted::Online && status.state != Phase::Online
    };
    !document.environments.iter().any(is_down)
}

fn row(status: &EnvironmentStatus, now: Timestamp) -> Row {
    let plain = |text: String| Cell(text, Style::Plain);
    let last_exit = status.last_exit.as_ref();
    Row {
        cells: vec![
            Cell(clean(&status.name).into_owned(), Style::Name),
            plain(status.target.as_deref().map_or_else(|| "-".into(), |t| clean(t).into_owned())),
            plain(while_running(status, status.pid.map(|pid| pid.to_string()))),
            Cell(state_words(status), state_style(status.state)),
            plain(while_running(status, status.uptime_s.map(|s| words::seconds(Some(s))))),
            plain(status.restarts.to_string()),
            plain(while_running(
                status,
                status.cpu.percent.map(|percent| format!("{percent:.1}%")),
            )),
            plain(memory(status)),
            plain(ports(&status.ports)),
            plain(last_exit.map_or_else(|| "-".into(), |last| words::last_exit_short(last, now))),
        ],
        below: what_is_wrong(status, now),
    }
}

/// A value of something that runs: `?` where it is unknown, `-` where nothing runs.
fn while_running(status: &EnvironmentStatus, value: Option<String>) -> String {
    match (value, is_running(status.state)) {
        (Some(value), _) => value,
        (None, true) => "?".to_owned(),
        (None, false) => "-".to_owned(),
    }
}

fn is_running(state: Phase) -> bool {
    match state {
        Phase::Starting | Phase::Online | Phase::Stopping => true,
        Phase::Stopped | Phase::Backoff | Phase::Errored | Phase::Blocked => false,
    }
}

/// The state, and what else marks the row (INTERFACE: `changed`, `no profile`).
#[must_use]
pub fn state_words(status: &EnvironmentStatus) -> String {
    let mut text = status.state.word().to_owned();
    if status.no_profile {
        text.push_str(", no profile");
    } else if status.changed {
        text.push_str(", changed");
    }
    text
}

/// The colour of a state.
#[must_use]
pub fn state_style(state: Phase) -> Style {
    match state {
        Phase::Online => Style::Good,
        Phase::Starting | Phase::Stopping => Style::Warn,
        Phase::Stopped => Style::Dim,
        Phase::Backoff | Phase::Errored | Phase::Blocked => Style::Bad,
    }
}

fn memory(status: &EnvironmentStatus) -> String {
    let MemoryStatus { current, max, .. } = &status.memory;
    if current.is_none() && !is_running(status.state) {
        return "-".to_owned();
    }
    format!("{} / {}", words::bytes(*current), words::bytes(*max))
}

/// Ports as `3000 3001/udp`.
#[must_use]
pub fn ports(ports: &[PortStatus]) -> String {
    if ports.is_empty() {
        return "-".to_owned();
    }
    let one = |port: &PortStatus| match port.proto {
        Protocol::Tcp => port.port.to_string(),
        Protocol::Udp => format!("{}/udp", port.port),
    };
    ports.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// One line for a row that is not as wanted, or about which there is something to know.
#[must_use]
pub fn what_is_wrong(status: &EnvironmentStatus, now: Timestamp) -> Option<String> {
    let is_as_wanted = matches!(
        (status.wanted, status.state),
        (Wanted::Online, Phase::Online | Phase::Starting) | (Wanted::Stopped, Phase::Stopped)
    );
    let mut parts: Vec<String> = Vec::new();
    parts.extend(status.reason.as_deref().map(|reason| clean(reason).into_owned()));
    let gets_worse = status.leak.verdict >= LeakVerdict::Suspected && is_running(status.state);
    parts.extend(gets_worse.then(|| format!("memory: {}", leak::sentence(&status.leak))));
    // What a monitor says of its pause is how the last one died, how often in a row, and when the next one comes.
    let is_told = status.state == Phase::Backoff && status.reason.is_some();
    if !is_as_wanted && !is_told {
        let deaths = (status.unstable > 0).then_some(status.unstable);
        parts.extend(deaths.map(|deaths| format!("deaths in a row: {deaths}")));
        let next_try = status.next_try_ms.map(Duration::from_millis);
        parts.extend(next_try.map(|pause| format!("next try in {}", format_duration(pause))));
        let last = status.last_exit.as_ref().filter(|_| status.wanted == Wanted::Online);
        parts.extend(last.map(|last| format!("last exit: {}", words::last_exit_long(last, now))));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::model::{
        Cause, CpuStatus, LastExit, LeakStatus, PidsStatus, RunnerStatus, STATUS_SCHEMA,
    };

    /// The moment at which the fixed documents are looked at.
    pub fn now() -> Timestamp {
        "2026-11-23T01:07:03Z".parse().expect("a time")
    }

    pub fn online(name: &str, target: &str, port: u16) -> EnvironmentStatus {
        EnvironmentStatus {
            name: name.into(),
            target: Some(target.into()),
            user: format!("deploy-{target}"),
            state: Phase::Online,
            wanted: Wanted::Online,
            blocked_by: None,
            reason: None,
            pid: Some(4711),
            monitor_pid: Some(4700),
            instances: Vec::new(),
            ports: vec![PortStatus { port, proto: Protocol::Tcp, state: Some("listening".into()) }],
            restarts: 2,
            unstable: 0,
            last_exit: None,
            next_try_ms: None,
            uptime_s: Some(3600),
            memory: MemoryStatus {
                current: Some(92 << 20),
                max: Some(512 << 20),
                ..MemoryStatus::default()
            },
            cpu: CpuStatus { percent: Some(1.23), ..CpuStatus::default() },
            pids: PidsStatus::default(),
            leak: LeakStatus::unknown(),
            changed: false,
            no_profile: false,
            release: None,
        }
    }

    pub fn document() -> StatusDocument {
        let prod = EnvironmentStatus {
            last_exit: Some(LastExit {
                cause: Cause::MemoryCeiling,
                code: None,
                signal: Some("SIGKILL".into()),
                at: "2026-11-23T01:02:03Z".into(),
                peak: Some(512 << 20),
                detail: None,
            }),
            ..online("backend-prod", "prod", 3002)
        };
        let test = EnvironmentStatus {
            state: Phase::Backoff,
            reason: Some("crash, exit code 1; 3 in a row, next try in 1s".into()),
            pid: None,
            restarts: 5,
            unstable: 3,
            next_try_ms: Some(1600),
            uptime_s: None,
            memory: MemoryStatus { max: Some(256 << 20), ..MemoryStatus::default() },
            cpu: CpuStatus::default(),
            last_exit: Some(LastExit {
                cause: Cause::Crash,
                code: Some(1),
                signal: None,
                at: "2026-11-23T01:07:02Z".into(),
                peak: None,
                detail: None,
            }),
            ..online("backend-test", "test", 3000)
        };
        let dev = EnvironmentStatus {
            memory: MemoryStatus::default(),
            cpu: CpuStatus::default(),
            changed: true,
            ..online("backend-dev", "dev", 3001)
        };
        let stopped = EnvironmentStatus {
            target: None,
            state: Phase::Stopped,
            wanted: Wanted::Stopped,
            pid: None,
            restarts: 0,
            uptime_s: None,
            memory: MemoryStatus::default(),
            cpu: CpuStatus::default(),
            ports: Vec::new(),
            ..online("mailer", "", 1)
        };
        StatusDocument {
            schema: STATUS_SCHEMA,
            runner: RunnerStatus {
                version: "0.1.0".into(),
                pid: 1,
                uptime_s: 1,
                cgroup: "unified".into(),
                landlock: Some(7),
                degraded: Vec::new(),
            },
            host: HostStatus::default(),
            environments: vec![dev, prod, test, stopped],
        }
    }

    fn table(width: usize) -> String {
        let lines = lines(&document(), now(), Some(width), false);
        for line in &lines {
            assert!(line.chars().count() <= width, "wraps at {width}: {line}");
            assert_eq!(line.trim_end(), line, "no spaces at the end");
        }
        lines.join("\n")
    }

    #[test]
    fn the_whole_table() {
        assert_eq!(
            table(200),
            "\
name          target   pid  state            uptime  restarts   cpu      memory  ports  last exit
backend-dev   dev     4711  online, changed      1h         2     ?       ? / ?  3001   -
backend-prod  prod    4711  online               1h         2  1.2%  92M / 512M  3002   memory-ceiling, 5m ago
backend-test  test       -  backoff               -         5     -           -  3000   crash, exit code 1, 1s ago
  crash, exit code 1; 3 in a row, next try in 1s
mailer        -          -  stopped               -         0     -           -  -      -"
        );
    }

    #[test]
    fn a_common_terminal() {
        assert_eq!(
            table(80),
            "\
name           pid  state            uptime  restarts   cpu      memory  ports
backend-dev   4711  online, changed      1h         2     ?       ? / ?  3001
backend-prod  4711  online               1h         2  1.2%  92M / 512M  3002
backend-test     -  backoff               -         5     -           -  3000
  crash, exit code 1; 3 in a row, next try in 1s
mailer           -  stopped               -         0     -           -  -"
        );
    }

    #[test]
    fn a_phone() {
        assert_eq!(
            table(40),
            "\
name          state            uptime
backend-dev   online, changed      1h
backend-prod  online               1h
backend-test  backoff               -
  crash, exit code 1; 3 in a row, nex...
mailer        stopped               -"
        );
    }

    #[test]
    fn any_width_holds() {
        for width in 1..130 {
            let lines = lines(&document(), now(), Some(width), false);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        }
    }

    #[test]
    fn colour_changes_no_text_and_texts_are_cleaned() {
        let mut document = document();
        document.environments[2].reason = Some("bad\x1b[2J\u{202e}".into());
        let plain = lines(&document, now(), None, false).join("\n");
        assert!(!plain.contains('\x1b') && plain.contains("bad\\x1b[2J\\u{202e}"), "{plain}");
        let coloured = lines(&document, now(), None, true).join("\n");
        assert!(coloured.contains("\x1b[32monline, changed\x1b[0m"), "{coloured}");
        let sgr = regex_lite::Regex::new("\x1b\\[[0-9]*m").expect("a pattern");
        assert_eq!(sgr.replace_all(&coloured, ""), plain);
    }

    #[test]
    fn the_host_is_in_the_footer_and_what_is_unknown_is_so_said() {
        let host = HostStatus {
            memory_total: Some(24 << 30),
            memory_available: Some(21 << 30),
            load: Some([0.41, 1.0, 12.345]),
            cpus: Some(2),
        };
        let line = footer(&host, None, false);
        assert_eq!(line, "host: memory 3G / 24G, load 0.41 1.00 12.35 on 2 CPUs");
        assert_eq!(footer(&host, Some(24), false).chars().count(), 24);
        let line = footer(&HostStatus::default(), None, false);
        assert_eq!(line, "host: memory ? / ?, load ? on ? CPUs");
    }

    #[test]
    fn memory_that_gets_worse_is_said_under_the_row() {
        let mut status = online("backend-prod", "prod", 3002);
        status.leak = LeakStatus {
            verdict: LeakVerdict::Leaking,
            bytes_per_hour: Some(7 << 20),
            confidence: Some(0.999),
            ceiling_in_s: Some(26 * 3600),
            doubt: None,
            seen_s: Some(6 * 3600),
            lives: None,
        };
        let below = what_is_wrong(&status, now()).expect("a line");
        assert!(below.contains("memory: it leaks"), "{below}");
        assert!(below.contains("7M an hour over the last 6h"), "{below}");
        assert!(below.ends_with("it meets its ceiling in 1d 2h"), "{below}");
        status.leak.verdict = LeakVerdict::Watching;
        assert_eq!(what_is_wrong(&status, now()), None, "nothing to be woken for");
    }

    #[test]
    fn what_is_wanted_decides_the_exit_status() {
        let mut document = document();
        assert!(!all_wanted_are_online(&document));
        document.environments.remove(2);
        assert!(all_wanted_are_online(&document), "stopped is as wanted");
        document.environments[0].state = Phase::Starting;
        assert!(!all_wanted_are_online(&document));
    }
}

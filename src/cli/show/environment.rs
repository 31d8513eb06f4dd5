//! The page of `swrun show ENV`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::status::{ports, state_style, state_words, what_is_wrong};
use super::table::Style;
use crate::formats::clean::clean;
use crate::formats::words::{bytes, event, last_exit_long, leak, seconds};
use crate::model::{
    EnvSpec, EnvironmentStatus, Ready, Resources, RestartPolicy, Stand, Wanted, format_bytes,
    format_duration,
};
use crate::wire::ask::{ProcessLine, ShowDocument};

/// How many events are shown.
const EVENTS: usize = 10;

/// The deepest level of the process tree that is drawn as such.
const DEEPEST: usize = 20;

/// The lines of the page, without the logs.
#[must_use]
pub fn lines(document: &ShowDocument, now: Timestamp, colour: bool) -> Vec<String> {
    let mut page = Page { lines: Vec::new(), colour };
    page.state(&document.status, now);
    if let Some(spec) = &document.spec {
        page.cage(spec, document.cgroup.as_deref());
        page.limits(spec);
        page.restart_and_stop(spec);
    }
    page.use_of(&document.status, &document.resources);
    page.section("environment keys (values are never shown)");
    match document.env_keys.is_empty() {
        true => page.lines.push("  none in the profile's [env]".into()),
        false => page.lines.push(format!("  {}", clean(&document.env_keys.join(" ")))),
    }
    page.section("processes");
    page.lines.extend(tree(&document.processes));
    page.section("last events");
    let first = document.events.len().saturating_sub(EVENTS);
    for one in &document.events[first..] {
        page.lines.push(format!("  {}  {}", clean(&one.at), event(one)));
    }
    if document.events.is_empty() {
        page.lines.push("  none".into());
    }
    page.lines
}

/// The walls round it.
#[must_use]
pub fn security(document: &ShowDocument, colour: bool) -> Vec<String> {
    let mut page = Page { lines: Vec::new(), colour };
    page.section(&format!("walls of {}", clean(&document.status.name)));
    for line in &document.security {
        let style = match line.stand {
            Stand::Firm => Style::Good,
            Stand::Weaker => Style::Warn,
            Stand::Open | Stand::Unknown => Style::Bad,
        };
        let stand = style.paint(&format!("{:<7}", line.stand.word()), colour);
        page.lines.push(format!("  {:<13} {stand}  {}", clean(&line.wall), clean(&line.text)));
    }
    page.lines
}

struct Page {
    lines: Vec<String>,
    colour: bool,
}

impl Page {
    /// A head over what follows.
    fn section(&mut self, head: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.lines.push(Style::Bold.paint(head, self.colour));
    }

    /// A value under its name.
    fn value(&mut self, name: &str, value: impl AsRef<str>) {
        self.lines.push(format!("  {name:<13} {}", clean(value.as_ref())));
    }

    fn state(&mut self, status: &EnvironmentStatus, now: Timestamp) {
        self.section(&clean(&status.name));
        let state = state_style(status.state).paint(&state_words(status), self.colour);
        self.lines.push(format!("  {:<13} {state}", "state"));
        let wanted = match status.wanted {
            Wanted::Online => "online",
            Wanted::Stopped => "stopped",
        };
        self.value("wanted", wanted);
        if let Some(wrong) = what_is_wrong(status, now) {
            self.value("note", wrong);
        }
        self.value("target", status.target.as_deref().unwrap_or("-"));
        self.value("ports", ports_with_state(status));
        let number = |pid: Option<i64>| pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        self.value("pid", number(status.pid.map(i64::from)));
        self.value("monitor", number(status.monitor_pid.map(i64::from)));
        self.value("uptime", status.uptime_s.map_or_else(|| "-".into(), |s| seconds(Some(s))));
        self.value(
            "restarts",
            format!("{}, deaths in a row: {}", status.restarts, status.unstable),
        );
        let last = status.last_exit.as_ref().map(|last| last_exit_long(last, now));
        self.value("last exit", last.unwrap_or_else(|| "-".into()));
        for one in &status.instances {
            let text = format!(
                "{}, pid {}, up {}, {} / {}",
                one.state.word(),
                one.pid.map_or_else(|| "?".into(), |pid| pid.to_string()),
                seconds(one.uptime_s),
                bytes(one.memory.current),
                bytes(one.memory.max),
            );
            self.value(&format!("instance {}", one.id), text);
        }
    }

    fn cage(&mut self, spec: &EnvSpec, cgroup: Option<&str>) {
        self.section("cage");
        let who = &spec.identity;
        self.value("user", format!("{} (uid {}, gid {})", who.user, who.uid, who.gid));
        let groups: Vec<String> = who.groups.iter().map(u32::to_string).collect();
        self.value("groups", none_or(groups.join(" ")));
        self.value("command", words_of(&spec.command));
        self.value("base", spec.base.to_string_lossy());
        self.value("cwd", spec.cwd.to_string_lossy());
        if let Some(folder) = spec.release_folder() {
            self.value("release", format!("{}, shown at cwd", folder.display()));
        }
        let paths = |paths: &[std::path::PathBuf]| {
            none_or(paths.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join(" "))
        };
        self.value("writable", paths(&spec.writable));
        self.value("read-only", paths(&spec.read_only));
        let env_file = spec.env_file.as_ref();
        self.value("env-file", env_file.map_or("none".into(), |file| file.path.to_string_lossy()));
        self.value("cgroup", cgroup.unwrap_or("?"));
    }

    fn limits(&mut self, spec: &EnvSpec) {
        self.section("limits");
        let limits = &spec.limits;
        self.value("memory-max", format_bytes(limits.memory_max));
        self.value("memory-high", limits.memory_high.map_or_else(|| "off".into(), format_bytes));
        self.value("cpu", limits.cpu_percent.map_or_else(|| "off".into(), |cpu| format!("{cpu}%")));
        self.value("pids", limits.pids.to_string());
        self.value("open-files", limits.open_files.to_string());
    }

    fn restart_and_stop(&mut self, spec: &EnvSpec) {
        self.section("restart and stop");
        let restart = &spec.restart;
        let policy = match restart.policy {
            RestartPolicy::Always => "always",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "never",
        };
        let (first, max) =
            (format_duration(restart.first_delay), format_duration(restart.max_delay));
        self.value("restart", format!("{policy}, after {first} growing to {max}"));
        let gives_up = match restart.give_up_after {
            0 => "never".to_owned(),
            deaths => format!("after {deaths} deaths within {}", format_duration(restart.within)),
        };
        self.value("gives up", gives_up);
        let (signal, grace) = (String::from(spec.stop.signal), format_duration(spec.stop.grace));
        self.value("stop", format!("{signal}, then all is killed after {grace}"));
        let health = spec.health.as_ref().map_or("not checked", |health| health.http.as_str());
        self.value("health", health);
        if let Some(cron) = &spec.cron {
            self.value("cron", cron);
        }
        if let Some(watch) = &spec.watch {
            let paths: Vec<_> = watch.paths.iter().map(|path| path.to_string_lossy()).collect();
            self.value("watch", paths.join(", "));
        }
        match spec.ready {
            Ready::Ports => {}
            Ready::Message => self.value("ready", "once it has said process.send(\"ready\")"),
            Ready::Health => self.value("ready", "once [health] has answered"),
            Ready::Notify => self.value("ready", "once it has said READY=1 (sd_notify)"),
        }
        self.value("autostart", if spec.autostart { "yes" } else { "no" });
    }

    fn use_of(&mut self, status: &EnvironmentStatus, more: &Resources) {
        self.section("use");
        let memory = &status.memory;
        let now = format!("{} / {}", bytes(memory.current), bytes(memory.max));
        self.value("memory", format!("{now}, peak {}", bytes(memory.peak)));
        let kinds = [
            ("anonymous", memory.anon),
            ("page cache", more.file),
            ("shared", more.shmem),
            ("kernel", more.kernel),
            ("swap", memory.swap),
        ];
        let kinds = kinds.map(|(kind, size)| format!("{kind} {}", bytes(size)));
        self.value("", kinds.join(", "));
        self.value("leak", leak::sentence(&status.leak));
        let unknown = || "?".to_owned();
        self.value("oom kills", memory.oom_kills.map_or_else(unknown, |kills| kills.to_string()));
        let percent =
            |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.1}%"));
        let stalls = [
            ("memory", memory.pressure_avg10),
            ("cpu", more.cpu_pressure),
            ("io", more.io_pressure),
        ];
        let stalls = stalls.map(|(what, share)| format!("{what} {}", percent(share)));
        self.value("stalled for", stalls.join(", "));
        let limit = status.cpu.limit_percent.map_or_else(|| "-".into(), |l| format!("{l:.0}%"));
        let held = status.cpu.throttled_us.map(Duration::from_micros).map(format_duration);
        let held = held.unwrap_or_else(unknown);
        self.value("cpu", format!("{} / {limit}, held back {held}", percent(status.cpu.percent)));
        let count = |value: Option<u64>| value.map_or_else(unknown, |value| value.to_string());
        self.value("pids", format!("{} / {}", count(status.pids.current), count(status.pids.max)));
        self.value("disk", format!("{} read, {} written", bytes(more.read), bytes(more.written)));
    }
}

fn none_or(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

/// A command as one would type it: words with anything unusual in them quoted.
fn words_of(command: &[String]) -> String {
    let is_usual = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(is_usual) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn ports_with_state(status: &EnvironmentStatus) -> String {
    let one = |port: &crate::model::PortStatus| {
        format!("{} {}", ports(std::slice::from_ref(port)), port.state.as_deref().unwrap_or("?"))
    };
    let all: Vec<String> = status.ports.iter().map(one).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// The processes, children beneath their parents. What the kernel said may contradict itself (read
/// while processes come and go), so each is drawn exactly once whatever the parents are.
fn tree(processes: &[ProcessLine]) -> Vec<String> {
    if processes.is_empty() {
        return vec!["  none".into()];
    }
    let known: BTreeSet<i32> = processes.iter().map(|process| process.pid).collect();
    let mut drawn = vec![false; processes.len()];
    let mut lines = Vec::with_capacity(processes.len());
    let is_root =
        |process: &ProcessLine| !known.contains(&process.parent) || process.parent == process.pid;
    let roots = (0..processes.len()).filter(|index| is_root(&processes[*index]));
    // After the roots, what is left hangs in a circle: it is drawn from any of its members.
    for index in roots.chain(0..processes.len()).collect::<Vec<_>>() {
        draw(processes, index, 0, &mut drawn, &mut lines);
    }
    lines
}

fn draw(
    processes: &[ProcessLine],
    index: usize,
    depth: usize,
    drawn: &mut [bool],
    lines: &mut Vec<String>,
) {
    // Level by level on a stack of our own: a chain of 10,000 forks must not exhaust this one's.
    let mut stack = vec![(index, depth)];
    while let Some((index, depth)) = stack.pop() {
        if std::mem::replace(&mut drawn[index], true) {
            continue;
        }
        let process = &processes[index];
        let indent = "  ".repeat(depth.min(DEEPEST));
        let rss = bytes(process.rss);
        lines.push(format!("  {:>7} {rss:>6}  {indent}{}", process.pid, clean(&process.title)));
        let children = (0..processes.len()).rev().filter(|c| processes[*c].parent == process.pid);
        stack.extend(children.map(|child| (child, depth + 1)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::status::tests::{now, online};
    use super::*;
    use crate::model::{
        Cause, EnvFile, EnvName, Event, EventKind, Identity, Limits, Network, Restart, SPEC_SCHEMA,
        Sandbox, Stop, StopSignal, WallLine,
    };

    fn process(pid: i32, parent: i32, title: &str) -> ProcessLine {
        ProcessLine { pid, parent, rss: Some(50 << 20), title: title.into() }
    }

    #[test]
    fn walls_are_told_one_a_line() {
        let lines = security(&document(), false);
        assert_eq!(lines[0], "walls of backend-prod");
        assert_eq!(lines[1], "  code          open     no\\x1b[31m");
    }

    pub fn document() -> ShowDocument {
        let spec = EnvSpec {
            schema: SPEC_SCHEMA,
            name: EnvName::parse("backend-prod").expect("a name"),
            target: Some("prod".into()),
            identity: Identity {
                user: "deploy-prod".into(),
                uid: 1002,
                gid: 1002,
                groups: vec![33],
                home: "/home/deploy-prod".into(),
            },
            command: vec!["node".into(), "index.js".into(), "a b".into()],
            base: "/opt/prod".into(),
            cwd: "/opt/prod/backend".into(),
            writable: vec!["/opt/prod/uploads".into()],
            read_only: Vec::new(),
            env_file: Some(EnvFile { path: "backend/.env".into(), required: true }),
            env: BTreeMap::new(),
            ports: Vec::new(),
            instances: 1,
            limits: Limits {
                memory_max: 512 << 20,
                memory_high: None,
                cpu_percent: Some(150),
                pids: 256,
                open_files: 65536,
            },
            restart: Restart {
                policy: RestartPolicy::Always,
                first_delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(30),
                give_up_after: 0,
                within: Duration::from_secs(60),
            },
            stop: Stop { signal: StopSignal::TERM, grace: Duration::from_secs(10) },
            health: None,
            network: Network::default(),
            sandbox: Sandbox::default(),
            logs: crate::model::LogRules::default(),
            leak: crate::model::LeakRules::default(),
            notify: None,
            ready: Ready::Ports,
            instance_var: crate::model::default_instance_var(),
            cron: None,
            watch: None,
            deploy: None,
            release: None,
            autostart: true,
            profile_digest: String::new(),
        };
        let ended = EventKind::Ended {
            cause: Cause::MemoryCeiling,
            code: None,
            signal: Some("SIGKILL".into()),
            peak: Some(512 << 20),
            detail: None,
        };
        let at = |second: u32| format!("2026-11-23T01:02:{second:02}Z");
        ShowDocument {
            status: online("backend-prod", "prod", 3002),
            spec: Some(spec),
            security: vec![WallLine {
                wall: "code".into(),
                stand: Stand::Open,
                text: "no\u{1b}[31m".into(),
            }],
            env_keys: vec!["NODE_ENV".into(), "PORT".into()],
            resources: Resources {
                file: Some(9 << 20),
                kernel: Some(1 << 20),
                cpu_pressure: Some(1.25),
                read: Some(3 << 30),
                ..Resources::default()
            },
            processes: vec![
                process(12, 11, "worker\x1b[31m"),
                process(11, 1, "node index.js"),
                process(13, 11, "second"),
            ],
            cgroup: Some("/swrun/backend-prod/app".into()),
            events: vec![
                Event { at: at(3), instance: Some(1), kind: ended },
                Event { at: at(4), instance: None, kind: EventKind::Backoff { delay_ms: 100 } },
                Event { at: at(5), instance: Some(2), kind: EventKind::Started { pid: 4711 } },
            ],
            logs: "/var/log/swrun/backend-prod".into(),
        }
    }

    #[test]
    fn the_page() {
        assert_eq!(
            lines(&document(), now(), false).join("\n"),
            "\
backend-prod
  state         online
  wanted        online
  target        prod
  ports         3002 listening
  pid           4711
  monitor       4700
  uptime        1h
  restarts      2, deaths in a row: 0
  last exit     -

cage
  user          deploy-prod (uid 1002, gid 1002)
  groups        33
  command       node index.js 'a b'
  base          /opt/prod
  cwd           /opt/prod/backend
  writable      /opt/prod/uploads
  read-only     none
  env-file      backend/.env
  cgroup        /swrun/backend-prod/app

limits
  memory-max    512M
  memory-high   off
  cpu           150%
  pids          256
  open-files    65536

restart and stop
  restart       always, after 100ms growing to 30s
  gives up      never
  stop          SIGTERM, then all is killed after 10s
  health        not checked
  autostart     yes

use
  memory        92M / 512M, peak ?
                anonymous ?, page cache 9M, shared ?, kernel 1M, swap ?
  leak          not known yet: it is judged an hour after its start
  oom kills     ?
  stalled for   memory ?, cpu 1.2%, io ?
  cpu           1.2% / -, held back ?
  pids          ? / ?
  disk          3G read, ? written

environment keys (values are never shown)
  NODE_ENV PORT

processes
       11    50M  node index.js
       12    50M    worker\\x1b[31m
       13    50M    second

last events
  2026-11-23T01:02:03Z  instance 1: ended: memory-ceiling at 512M
  2026-11-23T01:02:04Z  next try in 100ms
  2026-11-23T01:02:05Z  instance 2: started, pid 4711"
        );
    }

    #[test]
    fn parents_that_contradict_each_other_are_drawn_once() {
        let drawn = tree(&[process(1, 2, "a"), process(2, 1, "b"), process(3, 3, "c")]);
        assert_eq!(drawn.len(), 3, "{drawn:#?}");
        let chain: Vec<_> = (1..3_000).map(|pid| process(pid, pid - 1, "x")).collect();
        assert_eq!(tree(&chain).len(), chain.len());
    }
}

//! One profile as it stands in its file: defaults filled in, nothing looked up on the host.
//!
//! All problems of a file are found in one run, and what could be read of a wrong profile is kept
//! as [`Claims`], so that it can still be held against the other profiles.
//!
//! Every section is read in this one file, however long: what a key may be, and what it is when it is
//! left out, stands in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::deploy;
use super::notify::{self, NotifyRules};
use super::problem::{Position, Problem, quoted};
use super::schema;
use super::text::digest;
use super::values::{self, Unfit};
use super::walk::{Section, Walk, article};
use crate::model::{
    self, DeployRules, EnvName, Health, LeakAction, LeakRules, LogRules, Network, OnFull, Port,
    Ready, Restart, RestartPolicy, Sandbox, Stop, StopSignal, WatchRules,
};

/// A value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The place of its first character.
    pub at: Position,
}

/// Who the app runs as, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChoice {
    /// A user of the user database.
    Named(String),
    /// A uid, which the user database need not know; never 0.
    Number(u32),
    /// A uid of its own, found by swrun.
    Auto,
}

/// A profile without a problem in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The file it was read from.
    pub file: PathBuf,
    /// A digest of the text, to tell that the file was edited.
    pub digest: String,
    /// The environment's name.
    pub name: At<EnvName>,
    /// The short word for it.
    pub target: Option<At<EnvName>>,
    /// Who the app runs as.
    pub user: At<UserChoice>,
    /// Program and arguments; never empty.
    pub command: At<Vec<At<String>>>,
    /// Absolute, links as written; `cwd` where it was not given.
    pub base: At<PathBuf>,
    /// Absolute, links as written; `base` where it was not given.
    pub cwd: At<PathBuf>,
    /// Relative ones are relative to `base`.
    pub writable: Vec<At<PathBuf>>,
    /// Relative ones are relative to `base`.
    pub read_only: Vec<At<PathBuf>>,
    /// Relative to `base`; none is `.env` in `cwd`, if there.
    pub env_file: Option<At<PathBuf>>,
    /// The ports, each once.
    pub ports: Vec<At<Port>>,
    /// 1 to 64.
    pub instances: u32,
    /// When an instance counts as up.
    pub ready: Ready,
    /// The variable with the number of an instance.
    pub instance_var: String,
    /// When it is restarted in any case.
    pub cron: Option<String>,
    /// `[watch]`.
    pub watch: Option<WatchRules>,
    /// Start at boot, for an environment never seen before.
    pub autostart: bool,
    /// `[env]`. The values are secrets: never shown.
    pub env: BTreeMap<String, At<String>>,
    /// `[limits]`.
    pub limits: ProfileLimits,
    /// `[restart]`.
    pub restart: Restart,
    /// `[stop]`.
    pub stop: Stop,
    /// `[health]`.
    pub health: Option<Health>,
    /// `[network]`.
    pub network: Network,
    /// `[sandbox]`.
    pub sandbox: Sandbox,
    /// `[logs]`.
    pub logs: LogRules,
    /// `[leak]`.
    pub leak: LeakRules,
    /// `[notify]`.
    pub notify: Option<NotifyRules>,
    /// `[deploy]`.
    pub deploy: Option<DeployRules>,
}

/// `[limits]`, before the host is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileLimits {
    /// In bytes.
    pub memory_max: u64,
    /// In bytes.
    pub memory_high: Option<u64>,
    /// In percent of one CPU.
    pub cpu_percent: Option<u32>,
    /// Processes and threads.
    pub pids: u32,
    /// None: as the host allows.
    pub open_files: Option<At<u64>>,
}

/// What a profile lays claim to that no two may have, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The file it was read from.
    pub file: PathBuf,
    /// The environment's name.
    pub name: Option<At<EnvName>>,
    /// The short word for it.
    pub target: Option<At<EnvName>>,
    /// Who the app runs as.
    pub user: Option<At<UserChoice>>,
    /// Absolute.
    pub base: Option<At<PathBuf>>,
    /// `writable` and `read-only`.
    pub shares: Vec<At<PathBuf>>,
    /// The ports.
    pub ports: Vec<At<Port>>,
}

/// What reading a text gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The profile; none when there is an error.
    pub profile: Option<Profile>,
    /// What could be read of it, errors or not.
    pub claims: Claims,
    /// Every problem, in the order of the text.
    pub problems: Vec<Problem>,
}

/// The default of `[limits] memory-max`: there is always a ceiling.
const MEMORY_MAX: u64 = 512 << 20;
/// The default of `[limits] pids`.
const PIDS: u32 = 256;
/// PID_MAX_LIMIT of the kernel.
const MOST_PIDS: u32 = 1 << 22;

/// Reads the text of a profile; `file` is only named in what is found.
#[must_use]
pub fn read(file: &Path, text: &str) -> Reading {
    let mut walk = Walk::of(file, text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut claims = Claims { file: file.to_owned(), ..Claims::default() };
    let mut profile = profile(&mut walk, tree.get_ref(), &mut claims, file, text);
    if errors.is_empty() {
        missing(&mut walk, tree.get_ref());
    } else {
        profile = None;
        syntax(&mut walk, &errors);
    }
    walk.problems.sort_by_key(Problem::position);
    let profile = profile.filter(|_| !walk.problems.iter().any(Problem::is_error));
    Reading { profile, claims, problems: walk.problems }
}

/// Reports what the TOML parser found, the first of each line. Of what else was found only that
/// counts which stands before the first of them: after it the tree is guesswork.
fn syntax(walk: &mut Walk<'_>, errors: &[toml::de::Error]) {
    let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let mut places: Vec<_> =
        errors.iter().map(|error| (walk.position(place(error)), error.message())).collect();
    places.sort_by_key(|(at, _)| *at);
    places.dedup_by_key(|(at, _)| at.line);
    // A key that is there twice leaves the rest of the tree sound.
    let broken = places.iter().find(|(_, message)| *message != DUPLICATE);
    let sound = broken.map_or(usize::MAX, |(at, _)| at.line);
    walk.problems.retain(|problem| problem.line < sound);
    for (at, message) in places {
        walk.error(at, message, (message != DUPLICATE).then_some("it is not TOML from here on"));
    }
}

/// How the TOML parser calls a key that is given twice.
const DUPLICATE: &str = "duplicate key";

/// Reports the keys that have no default and are not there.
fn missing(walk: &mut Walk<'_>, tree: &DeTable<'_>) {
    let mut report = |key: &str| {
        let example = schema::find("", key).map_or("", |key| key.example);
        let hint = format!("add a line as {key} = {example}");
        walk.error(Position::START, format!("\"{key}\" is missing"), Some(&hint));
    };
    for key in ["name", "user", "command"] {
        if !tree.contains_key(key) {
            report(key);
        }
    }
    if !tree.contains_key("base") && !tree.contains_key("cwd") {
        report("cwd");
    }
}

fn profile(
    walk: &mut Walk<'_>,
    tree: &DeTable<'_>,
    claims: &mut Claims,
    file: &Path,
    text: &str,
) -> Option<Profile> {
    let top = walk.top(tree);
    let name = walk.value(top, "name", values::name);
    let target = walk.value(top, "target", values::name);
    let user = walk.value(top, "user", values::user);
    let command = command(walk, top);
    let base = walk.value(top, "base", values::absolute_path);
    let cwd = cwd(walk, top, base.as_ref());
    let writable = walk.list(top, "writable", values::path).map_or_else(Vec::new, |l| l.value);
    let read_only = walk.list(top, "read-only", values::path).map_or_else(Vec::new, |l| l.value);
    let env_file = walk.value(top, "env-file", values::path_in_base);
    let ports = ports(walk, top);
    let instances = walk.value(top, "instances", |v| values::integer32(v, 1, 64));
    let instance_var = walk.value(top, "instance-var", values::variable);
    let ready =
        walk.value(top, "ready", |v| values::one_of(v, ["ports", "message", "notify", "health"]));
    let cron = walk.value(top, "cron", values::cron);
    let autostart = walk.value(top, "autostart", values::boolean);
    let env = env(walk, top);
    let limits = limits(walk, top);
    let restart = restart(walk, top);
    let stop = stop(walk, top);
    let health = health(walk, top);
    if let Some(choice) = ready.as_ref().filter(|choice| choice.value == 3 && health.is_none()) {
        let hint = "add [health], with http = \"http://127.0.0.1:3002/healthz\"";
        walk.error(
            choice.at,
            "\"ready\" asks for an answer of [health], which is missing",
            Some(hint),
        );
    }
    let network = network(walk, top, &ports);
    let sandbox = sandbox(walk, top);
    let logs = logs(walk, top);
    let leak = leak(walk, top);
    let notify = notify::notify(walk, top);
    let watch = watch(walk, top);
    let deploy = deploy::deploy(walk, top);
    if let Some(rules) = &deploy {
        let watch = watch.as_ref();
        let beside =
            deploy::Beside { base: base.as_ref(), cwd: cwd.as_ref(), writable: &writable, watch };
        deploy::fits(walk, rules, &beside);
    }
    let base = base.or_else(|| cwd.clone());
    claims.name.clone_from(&name);
    claims.target.clone_from(&target);
    claims.user.clone_from(&user);
    claims.base.clone_from(&base);
    claims.ports.clone_from(&ports);
    if let Some(base) = &base {
        let absolute = |path: &At<PathBuf>| At { value: base.value.join(&path.value), at: path.at };
        claims.shares = writable.iter().chain(&read_only).map(absolute).collect();
    }
    Some(Profile {
        file: file.to_owned(),
        digest: digest(text),
        name: name?,
        target,
        user: user?,
        command: command?,
        cwd: cwd.or_else(|| base.clone())?,
        base: base?,
        writable,
        read_only,
        env_file,
        ports,
        instances: instances.map_or(1, |count| count.value),
        ready: match ready.map(|choice| choice.value) {
            Some(1) => Ready::Message,
            Some(2) => Ready::Notify,
            Some(3) => Ready::Health,
            _ => Ready::Ports,
        },
        instance_var: instance_var.map_or_else(model::default_instance_var, |name| name.value),
        cron: cron.map(|cron| cron.value),
        watch,
        autostart: autostart.is_none_or(|autostart| autostart.value),
        env,
        limits,
        restart,
        stop,
        health,
        network,
        sandbox,
        logs,
        leak,
        notify,
        deploy: deploy.map(|rules| rules.value),
    })
}

fn command(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Option<At<Vec<At<String>>>> {
    let command = walk.list(top, "command", values::string)?;
    if command.value.first().is_none_or(|program| program.value.is_empty()) {
        walk.error(
            command.at,
            "\"command\" names no program",
            Some("as in command = [\"node\", \"index.js\"]"),
        );
        return None;
    }
    Some(command)
}

fn cwd(
    walk: &mut Walk<'_>,
    top: Section<'_, '_>,
    base: Option<&At<PathBuf>>,
) -> Option<At<PathBuf>> {
    let cwd = walk.value(top, "cwd", values::path)?;
    match base {
        Some(base) => Some(At { value: base.value.join(&cwd.value), at: cwd.at }),
        None if cwd.value.is_absolute() => Some(cwd),
        None => {
            let text = format!(
                "\"cwd\": {} is relative, and there is no \"base\"",
                quoted(&cwd.value.to_string_lossy())
            );
            walk.error(cwd.at, text, Some("write it from \"/\" on"));
            None
        }
    }
}

fn ports(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Vec<At<Port>> {
    let listed = walk.list(top, "ports", values::port).map_or_else(Vec::new, |list| list.value);
    let mut ports: Vec<At<Port>> = Vec::new();
    for port in listed {
        match ports.iter().find(|known| known.value == port.value) {
            Some(first) => {
                let Position { line, column } = first.at;
                let text =
                    format!("port {} is listed twice, first at {line}:{column}", port.value.port);
                walk.error(port.at, text, Some("leave one of them out"));
            }
            None => ports.push(port),
        }
    }
    ports
}

fn env(walk: &mut Walk<'_>, top: Section<'_, '_>) -> BTreeMap<String, At<String>> {
    let mut env = BTreeMap::new();
    for (key, value) in walk.table(top, "env").into_iter().flatten() {
        let name = key.get_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            let at = walk.position(key.span().start);
            let text = format!("{} in [env] is not the name of a variable", quoted(name));
            walk.error(at, text, Some("a name is not empty and has no \"=\" and no NUL in it"));
            continue;
        }
        let at = walk.position(value.span().start);
        match values::string(value.get_ref()) {
            Ok(text) => {
                env.insert(name.clone().into_owned(), At { value: text, at });
            }
            // Never the value: it may be a password.
            Err(Unfit::Kind) => {
                let text = format!(
                    "{} in [env] is {}, expected a string",
                    quoted(name),
                    article(value.get_ref())
                );
                let hint = match value.get_ref() {
                    DeValue::Table(_) | DeValue::Array(_) => {
                        format!("a variable is one text, as in {name} = \"…\"")
                    }
                    _ => format!("put the value into quotes: {name} = \"…\""),
                };
                walk.error(at, text, Some(&hint));
            }
            Err(Unfit::Value { text, .. }) => {
                walk.error(at, format!("{} in [env]: {text}", quoted(name)), None);
            }
        }
    }
    env
}

fn limits(walk: &mut Walk<'_>, top: Section<'_, '_>) -> ProfileLimits {
    let section = walk.section(top, "limits");
    let max = walk.value(section, "memory-max", values::size).map(|size| size.value);
    let high = walk.value(section, "memory-high", values::size);
    let memory_max = max.unwrap_or(MEMORY_MAX);
    let is_known = max.is_some() || !section.has("memory-max");
    if let Some(high) = &high
        && is_known
        && high.value >= memory_max
    {
        let text =
            "\"memory-high\" in [limits] is not below memory-max, so it would never be reached";
        walk.error(high.at, text, Some("choose it a good bit below, as 448M for 512M"));
    }
    ProfileLimits {
        memory_max,
        memory_high: high.map(|size| size.value),
        cpu_percent: walk.value(section, "cpu", values::cpu).map(|cpu| cpu.value),
        pids: walk
            .value(section, "pids", |v| values::integer32(v, 1, MOST_PIDS))
            .map_or(PIDS, |pids| pids.value),
        // A process has its three standard descriptors, and needs some to be loaded at all.
        open_files: walk.value(section, "open-files", |v| values::integer(v, 16, 1 << 30)),
    }
}

fn restart(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Restart {
    let section = walk.section(top, "restart");
    let policy = walk.value(section, "policy", values::policy);
    let first = walk.value(section, "first-delay", values::duration);
    let max = walk.value(section, "max-delay", values::duration);
    let give_up_after =
        walk.value(section, "give-up-after", |v| values::integer32(v, 0, 1_000_000));
    let within = walk.value(section, "within", values::duration);
    let restart = Restart {
        policy: policy.map_or(RestartPolicy::Always, |policy| policy.value),
        first_delay: first.map_or(Duration::from_millis(100), |delay| delay.value),
        max_delay: max.map_or(Duration::from_secs(30), |delay| delay.value),
        give_up_after: give_up_after.map_or(0, |count| count.value),
        within: within.map_or(Duration::from_secs(60), |window| window.value),
    };
    let is_known = (first.is_some() || !section.has("first-delay"))
        && (max.is_some() || !section.has("max-delay"));
    if is_known && restart.max_delay < restart.first_delay {
        let at = max.or(first).map_or(Position::START, |delay| delay.at);
        let text = "\"max-delay\" in [restart] is shorter than first-delay";
        walk.error(
            at,
            text,
            Some("the pause grows from first-delay to max-delay (\"30s\" unless it is given)"),
        );
    }
    if let Some(within) = within
        && within.value.is_zero()
    {
        let text = "\"within\" in [restart] is a window of no length";
        walk.error(within.at, text, Some("as in within = \"1m\""));
    }
    restart
}

fn stop(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Stop {
    let section = walk.section(top, "stop");
    let signal = walk.value(section, "signal", values::signal);
    let grace = walk.value(section, "grace", values::duration);
    Stop {
        signal: signal.map_or(StopSignal::TERM, |signal| signal.value),
        grace: grace.map_or(Duration::from_secs(10), |grace| grace.value),
    }
}

fn health(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Option<Health> {
    let section = walk.section(top, "health");
    let http = walk.value(section, "http", values::health_address);
    if let Some(at) = section.lacks("http") {
        let hint = "as in http = \"http://127.0.0.1:3002/healthz\"";
        walk.error(at, "\"http\" in [health] is missing", Some(hint));
    }
    http.map(|http| Health { http: http.value })
}

fn watch(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Option<WatchRules> {
    let section = walk.section(top, "watch");
    let paths = walk.list(section, "paths", values::path_in_base);
    let ignore = walk.list(section, "ignore", values::string);
    let delay = walk.value(section, "delay", values::watch_delay);
    // A section of comments alone asks for nothing.
    if let Some(at) = section.lacks("paths").filter(|_| ignore.is_some() || delay.is_some()) {
        walk.error(at, "\"paths\" in [watch] is missing", Some("as in paths = [\"src\"]"));
    }
    let words = |list: At<Vec<At<String>>>| list.value.into_iter().map(|word| word.value).collect();
    Some(WatchRules {
        paths: paths?.value.into_iter().map(|path| path.value).collect(),
        ignore: ignore.map_or_else(|| model::IGNORED.map(str::to_owned).into(), words),
        delay: delay.map_or(Duration::from_millis(300), |delay| delay.value),
    })
}

fn logs(walk: &mut Walk<'_>, top: Section<'_, '_>) -> LogRules {
    let section = walk.section(top, "logs");
    let rotate_size = walk.value(section, "rotate-size", values::size);
    let rotate_age = walk.value(section, "rotate-age", values::duration);
    let keep = walk.value(section, "keep", |v| values::integer32(v, 0, 10_000));
    let total_max = walk.value(section, "total-max", values::size);
    let on_full = walk.value(section, "on-full", |v| values::one_of(v, ["block", "drop"]));
    let journald = walk.value(section, "journald", values::boolean);
    let syslog = walk.value(section, "syslog", values::boolean);
    let usual = LogRules::default();
    let size = rotate_size.as_ref().map_or(usual.rotate_size, |size| size.value);
    let total = total_max.as_ref().map_or(usual.total_max, |total| total.value);
    // A packed file tells of no more than this.
    const LARGEST: u64 = 4 << 30;
    if let Some(rotate_size) = rotate_size.filter(|size| size.value > LARGEST) {
        walk.error(rotate_size.at, "\"rotate-size\" is more than 4G", Some("choose a smaller one"));
    }
    // Those that are written and one that is being packed have to fit in.
    if total < size.saturating_mul(model::ROOM + 1)
        && let Some(at) = total_max.map(|total| total.at).or(rotate_size.map(|size| size.at))
    {
        let text = "\"total-max\" in [logs] is less than four times \"rotate-size\"";
        walk.error(at, text, Some("nothing could be kept: choose a smaller rotate-size"));
    }
    LogRules {
        rotate_size: size,
        // "0s" is never.
        rotate_age: rotate_age
            .map_or(usual.rotate_age, |age| Some(age.value).filter(|age| !age.is_zero())),
        keep: keep.map_or(usual.keep, |keep| keep.value),
        total_max: total,
        on_full: match on_full.map(|choice| choice.value) {
            Some(1) => OnFull::Drop,
            _ => OnFull::Block,
        },
        journald: journald.is_some_and(|journald| journald.value),
        syslog: syslog.is_some_and(|syslog| syslog.value),
    }
}

fn leak(walk: &mut Walk<'_>, top: Section<'_, '_>) -> LeakRules {
    let section = walk.section(top, "leak");
    let action = walk.value(section, "action", |v| values::one_of(v, ["report", "reload"]));
    LeakRules {
        action: match action.map(|choice| choice.value) {
            Some(1) => LeakAction::Reload,
            _ => LeakAction::Report,
        },
    }
}

fn sandbox(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Sandbox {
    let section = walk.section(top, "sandbox");
    let allowed = walk.list(section, "allow-syscalls", values::system_call);
    let allowed = allowed.map_or_else(Vec::new, |list| list.value);
    Sandbox {
        allow_syscalls: allowed.into_iter().map(|call| call.value).collect(),
        ..Sandbox::default()
    }
}

fn network(walk: &mut Walk<'_>, top: Section<'_, '_>, ports: &[At<Port>]) -> Network {
    let section = walk.section(top, "network");
    let is_private = walk.value(section, "mode", |v| values::one_of(v, ["host", "private"]));
    let is_declared = walk.value(section, "connect", |v| values::one_of(v, ["open", "declared"]));
    let allow = walk.list(section, "allow-connect", values::target);
    let is_second = |choice: Option<At<usize>>| choice.is_some_and(|choice| choice.value == 1);
    if let Some(mode) = is_private.filter(|mode| mode.value == 1)
        && !ports.is_empty()
    {
        let text = "\"mode\" in [network] is private, but the profile has ports";
        let hint = "nobody could reach them: leave one of the two out";
        walk.error(mode.at, text, Some(hint));
    }
    let allow = allow.map_or_else(Vec::new, |list| list.value);
    Network {
        is_private: is_second(is_private),
        is_declared: is_second(is_declared),
        allow: allow.into_iter().map(|target| target.value).collect(),
        peers: Vec::new(),
    }
}

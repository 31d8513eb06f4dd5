//! One app of PM2's as a draft of a profile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::apps::{App, Kind};
use super::draft::{Draft, NO_PORT};
use super::keys::{self, Fate, KEYS};
use super::{Facts, command, take, variables};
use crate::model::{EnvName, format_bytes, format_duration};

/// The longest pause to which PM2 lets its own grow.
const LONGEST_BACKOFF: &str = "15s";

/// The file of secrets, in the folder of the app.
const SECRETS: &str = ".env.swrun";

/// PM2 counts deaths one after the other; here they are counted in a window, which has room for the pauses between.
const DEATHS_WITHIN: Duration = Duration::from_secs(600);

/// The draft; its name may still be that of another.
pub fn convert(app: App, kind: Kind, facts: &Facts<'_>) -> Draft {
    let mut draft = begin(&app, facts);
    let cwd = command::set(&mut draft, &app, kind, facts);
    draft.secrets_file = cwd.join(SECRETS);
    let user = user(&mut draft, &app, kind, &cwd, facts);
    // A number is one, and no name of digits.
    let user = user.parse::<u32>().map_or_else(|_| user.into(), |uid| i64::from(uid).into());
    draft.values.insert(0, ("", "user".to_owned(), user));
    let variables = environment(&mut draft, &app, kind, facts);
    if !draft.secrets.is_empty() {
        draft.set("", "env-file", SECRETS);
        if (facts.is_file)(&cwd.join(".env")) {
            draft.note(
                "env-file",
                "is that of the secrets: \".env\" is read by the app itself, as it was; add its lines there to leave that to swrun",
            );
        }
    }
    ports(&mut draft, &app, &variables);
    instances(&mut draft, &app, kind, facts);
    let variable = app.keys.get("instance_var").and_then(take::text);
    if let Some(variable) = variable.filter(|name| name != "NODE_APP_INSTANCE") {
        draft.set("", "instance-var", variable);
    }
    if let Some(line) = app.keys.get("cron_restart").and_then(take::scalar) {
        cron(&mut draft, &line);
    }
    if app.keys.get("wait_ready").and_then(take::truth) == Some(true) {
        draft.set("", "ready", "message");
        draft.note(
            "wait_ready",
            "has no time-out here: an app that never says process.send(\"ready\") stays \"starting\"; leave \"ready\" out then",
        );
    }
    if app.keys.get("autostart").and_then(take::truth) == Some(false) {
        draft.set("", "autostart", false);
    }
    for (name, value) in variables {
        draft.set("env", &name, value);
    }
    limits(&mut draft, &app);
    restart(&mut draft, &app);
    stop(&mut draft, &app);
    watch(&mut draft, &app);
    say_what_is_dropped(&mut draft, &app, kind);
    draft
}

fn begin(app: &App, facts: &Facts<'_>) -> Draft {
    let text = |key: &str| app.keys.get(key).and_then(take::scalar).unwrap_or_default();
    let script = app.keys.get("script").or_else(|| app.keys.get("pm_exec_path"));
    let script = script.and_then(Value::as_str).unwrap_or("app");
    let of_script =
        Path::new(script).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let given = Some(text("name")).filter(|name| !name.is_empty()).unwrap_or(of_script);
    let mut old_name = text("name_prefix") + &given;
    let is_appended = app.keys.get("append_env_to_name").and_then(take::truth) == Some(true);
    if let Some(env) = facts.env_name.filter(|_| is_appended) {
        old_name = format!("{old_name}-{env}");
    }
    Draft {
        name: name(&old_name),
        old_name,
        values: Vec::new(),
        notes: Vec::new(),
        secrets: BTreeMap::new(),
        secrets_file: facts.file.to_owned(),
        of_shell: Vec::new(),
    }
}

/// The nearest name that is one.
fn name(text: &str) -> EnvName {
    let mut letters = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if c != '-' || !letters.ends_with('-') {
            letters.push(c);
        }
    }
    let mut letters = letters.trim_matches('-').to_owned();
    if !letters.starts_with(|c: char| c.is_ascii_lowercase()) {
        letters.insert_str(0, "app-");
    }
    letters.truncate(32);
    let name = EnvName::parse(letters.trim_end_matches('-'));
    name.unwrap_or_else(|_| EnvName::parse("app").unwrap_or_else(|_| unreachable!("it is a name")))
}

fn user(draft: &mut Draft, app: &App, kind: Kind, cwd: &Path, facts: &Facts<'_>) -> String {
    let is_root = |user: &str| matches!(user, "root" | "0");
    if let Some(user) = facts.user {
        return user.to_owned();
    }
    let named = app.keys.get("uid").and_then(take::scalar);
    let by_list = app.keys.get("username").filter(|_| kind == Kind::Dump).and_then(take::text);
    let owner = (facts.owner)(cwd);
    let found = [named, by_list, owner]
        .into_iter()
        .flatten()
        .find(|user| !is_root(user) && !user.is_empty());
    found.unwrap_or_else(|| {
        draft.note(
            "user",
            "its folder is root's, and no app runs as root: it gets a number of its own, for which its files must be readable; or name a user of its own (--user)",
        );
        "auto".to_owned()
    })
}

/// The app's variables, without its secrets.
fn environment(
    draft: &mut Draft,
    app: &App,
    kind: Kind,
    facts: &Facts<'_>,
) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut take = |draft: &mut Draft, key: &str, value: &Value| {
        let Value::Object(object) = value else {
            draft.note(key, "is no object of variables, and left out");
            return;
        };
        for (name, value) in object {
            match take::scalar(value) {
                Some(value) => drop(all.insert(name.clone(), value)),
                // PM2's list has an empty object of the app's name there.
                None if kind == Kind::Dump || value.is_null() => {}
                None => draft.note(format!("{key}.{name}"), "is no text, and left out"),
            }
        }
    };
    if let Some(value) = app.keys.get("env").filter(|value| !value.is_null()) {
        take(draft, "env", value);
    }
    // As PM2 has it: over "env", and under the variables that were chosen.
    if let Some(port) = app.keys.get("port").and_then(take::scalar) {
        take(draft, "port", &serde_json::json!({ "PORT": port }));
    }
    let chosen = facts.env_name.map(|name| format!("env_{name}"));
    for (key, value) in app.keys.iter().filter(|(key, _)| key.starts_with("env_")) {
        if Some(key) == chosen.as_ref() {
            take(draft, key, value);
        } else if kind == Kind::Ecosystem {
            let name = key.trim_start_matches("env_");
            draft.note(key, format!("is not in it; \"--env {name}\" takes it"));
        }
    }
    if let Some(chosen) = chosen.filter(|chosen| !app.keys.contains_key(chosen)) {
        draft.note(chosen, "is not in the file");
    }
    let mut own = BTreeMap::new();
    for (name, value) in all {
        let is_secret = variables::is_secret(&name, &value);
        let is_callers = || (facts.variable)(&name).as_deref() == Some(&value);
        let is_kept = ["NODE_ENV", "PORT"].contains(&name.as_str());
        if kind == Kind::Dump
            && (variables::is_of_shell(&name) || !is_kept && !is_secret && is_callers())
        {
            draft.of_shell.push(name);
        } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            draft.note("env", "a variable that no program could be given is left out");
        } else if is_secret {
            draft.secrets.insert(name, value);
        } else {
            own.insert(name, value);
        }
    }
    own
}

fn ports(draft: &mut Draft, app: &App, variables: &BTreeMap<String, String>) {
    let named = variables.get("PORT").and_then(|port| port.parse::<u16>().ok());
    match named.filter(|port| *port > 0) {
        Some(port) => draft.set_port(port),
        None => draft.note(
            NO_PORT,
            "none was found (PORT, in its variables or in .env): list those that it listens on",
        ),
    }
    let is_spread =
        app.keys.get("increment_var").and_then(take::text).is_some_and(|var| var == "PORT");
    if is_spread {
        draft.note(
            "increment_var",
            "all instances share one port here: no proxy has to know several",
        );
    }
}

fn instances(draft: &mut Draft, app: &App, kind: Kind, facts: &Facts<'_>) {
    let wanted = match app.keys.get("instances") {
        _ if kind == Kind::Dump => f64::from(app.listed),
        None | Some(Value::Null) => return,
        Some(Value::String(text)) if text == "max" => 0.0,
        Some(value) => match take::number(value) {
            Some(number) => number,
            None => {
                draft.note("instances", "is no number, and left out");
                return;
            }
        },
    };
    let cpus = f64::from(facts.cpus);
    let count = if wanted <= 0.0 { (cpus + wanted).max(1.0) } else { wanted };
    if wanted <= 0.0 {
        draft.note(
            "instances",
            format!("one for each of the {} CPUs of this machine, written as a number", facts.cpus),
        );
    }
    if count > 64.0 {
        draft.note("instances", "there are 64 at most");
    }
    if count > 1.0 {
        draft.set("", "instances", count.min(64.0) as i64);
    }
}

fn limits(draft: &mut Draft, app: &App) {
    let given = app.keys.get("max_memory_restart").filter(|value| !value.is_null());
    let bytes = given.and_then(take::bytes).filter(|bytes| *bytes > 0);
    match (given, bytes) {
        (_, Some(bytes)) => {
            draft.set("limits", "memory-max", exact(bytes + bytes / 2));
            draft.set("limits", "memory-high", exact(bytes));
            draft.note(
                "max_memory_restart",
                format!("is memory-high: a graceful restart, as soon as it is met; memory-max, at {}, is where the kernel ends it", format_bytes(bytes + bytes / 2)),
            );
        }
        (Some(_), None) => draft.note("max_memory_restart", "is no size, and left out"),
        (None, None) => {}
    }
    if bytes.is_none() {
        draft.set("limits", "memory-max", "512M");
        draft.note("memory", "PM2 had no ceiling; here there always is one: see what it uses with \"swrun history\", and set it");
    }
}

/// Of bytes, so that they are read as what they are.
fn exact(bytes: u64) -> String {
    for (unit, size) in [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)] {
        if bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

fn restart(draft: &mut Draft, app: &App) {
    let time = |key: &str| app.keys.get(key).and_then(take::time).filter(|time| !time.is_zero());
    let codes = app.keys.get("stop_exit_codes").filter(|value| !value.is_null());
    let codes = codes.map(|value| match value {
        Value::Array(list) => list.iter().filter_map(take::count).collect(),
        one => take::count(one).into_iter().collect::<Vec<_>>(),
    });
    if app.keys.get("autorestart").and_then(take::truth) == Some(false) {
        draft.set("restart", "policy", "never");
    } else if let Some(codes) = codes.filter(|codes| !codes.is_empty()) {
        if codes == [0] {
            draft.set("restart", "policy", "on-failure");
        } else {
            draft.note("stop_exit_codes", "only code 0 can end it for good (policy = \"on-failure\"): all others are failures, after which it is started again");
        }
    }
    if let Some(delay) = time("exp_backoff_restart_delay") {
        draft.set("restart", "first-delay", format_millis(delay));
        draft.set("restart", "max-delay", LONGEST_BACKOFF);
    } else if let Some(delay) = time("restart_delay") {
        draft.set("restart", "first-delay", format_millis(delay));
        draft.set("restart", "max-delay", format_millis(delay));
    }
    if let Some(most) =
        app.keys.get("max_restarts").and_then(take::count).filter(|most| (1..=1000).contains(most))
    {
        let uptime = time("min_uptime").unwrap_or(Duration::from_secs(1));
        let within = (uptime * u32::try_from(most).unwrap_or(1)).max(DEATHS_WITHIN);
        draft.set("restart", "give-up-after", i64::try_from(most).unwrap_or(0));
        draft.set("restart", "within", format_millis(within));
        draft.note("max_restarts", "so many deaths within the time of \"within\" end it; without these lines it is tried for ever, with pauses of up to 30 s");
    }
}

fn stop(draft: &mut Draft, app: &App) {
    // PM2's own; an app that listens for it alone would otherwise be ended without its last words.
    draft.set("stop", "signal", "SIGINT");
    if let Some(grace) =
        app.keys.get("kill_timeout").and_then(take::time).filter(|time| !time.is_zero())
    {
        draft.set("stop", "grace", format_millis(grace));
    }
    if app.keys.get("treekill").and_then(take::truth) == Some(false) {
        draft.note("treekill", "all that an app has started ends with it");
    }
}

/// PM2's line may have seconds before the rest; 0 is none.
fn cron(draft: &mut Draft, line: &str) {
    let fields: Vec<&str> = line.split_whitespace().collect();
    match fields.as_slice() {
        [] | ["0"] => {}
        ["0", rest @ ..] if rest.len() == 5 => draft.set("", "cron", rest.join(" ")),
        [_, rest @ ..] if rest.len() == 5 => {
            draft.set("", "cron", rest.join(" "));
            draft.note("cron_restart", "has seconds, which a crontab has not: they are left out");
        }
        _ => draft.set("", "cron", line),
    }
}

fn watch(draft: &mut Draft, app: &App) {
    let paths = match app.keys.get("watch") {
        Some(Value::Bool(true)) => vec![".".to_owned()],
        Some(Value::String(text)) if text == "true" => vec![".".to_owned()],
        Some(value @ (Value::Array(_) | Value::String(_))) => {
            take::words(value).unwrap_or_default()
        }
        _ => return,
    };
    if paths.is_empty() {
        return;
    }
    draft.set("watch", "paths", paths);
    let ignored = app.keys.get("ignore_watch").and_then(take::words).unwrap_or_default();
    let (names, others): (Vec<String>, Vec<String>) = ignored.into_iter().partition(|pattern| {
        !pattern.contains(['/', '\\', '[', '(', '^', '$', '{']) && !pattern.contains("**")
    });
    if !others.is_empty() {
        let text = format!(
            "names of files and folders are ignored, not paths or expressions: {} are left out",
            others.join(", ")
        );
        draft.note("ignore_watch", text);
    }
    if !names.is_empty() {
        let own = ["node_modules", ".git"].map(str::to_owned);
        let all: Vec<String> =
            own.into_iter().filter(|own| !names.contains(own)).chain(names.clone()).collect();
        draft.set("watch", "ignore", all);
    }
    if let Some(delay) =
        app.keys.get("watch_delay").and_then(take::time).filter(|delay| !delay.is_zero())
    {
        draft.set(
            "watch",
            "delay",
            format_millis(delay.clamp(Duration::from_millis(50), Duration::from_secs(60))),
        );
    }
    draft.note("watch", "what the app may write (\"writable\") never counts");
}

fn format_millis(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format_duration(time).replace(' ', ""),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// Says of each key that asks for something and is not carried over why.
fn say_what_is_dropped(draft: &mut Draft, app: &App, kind: Kind) {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for key in KEYS {
        let Fate::Dropped(why) = key.fate else { continue };
        let Some(value) = app.keys.get(key.name) else { continue };
        if !asks(key.name, value)
            || key.name == "increment_var" && draft.notes.iter().any(|n| n.key == key.name)
        {
            continue;
        }
        match said.iter_mut().find(|(text, _)| *text == why) {
            Some((_, names)) => names.push(key.name),
            None => said.push((why, vec![key.name])),
        }
    }
    for (why, names) in said {
        draft.note(names.join(", "), why);
    }
    if kind == Kind::Ecosystem {
        let unknown: Vec<&str> = app
            .keys
            .keys()
            .map(String::as_str)
            .filter(|key| keys::find(key).is_none() && !key.starts_with("env_"))
            .collect();
        if !unknown.is_empty() {
            draft.note(unknown.join(", "), "PM2 does not know it either");
        }
    }
}

/// Whether a value is more than the absence of one, and not what PM2 has by itself.
fn asks(key: &str, value: &Value) -> bool {
    match (key, value) {
        (_, Value::Null | Value::Bool(false)) => false,
        ("namespace", Value::String(name)) => name != "default",
        (_, Value::String(text)) => !text.is_empty() && text != "/dev/null",
        (_, Value::Array(list)) => !list.is_empty(),
        (_, Value::Object(object)) => !object.is_empty(),
        _ => true,
    }
}

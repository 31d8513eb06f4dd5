//! Every key of a profile: kind, default, meaning, example. The one list from which the nearest
//! key, the hints and the manual page come; tests hold the reader and `profiles/` against it.

/// A key of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section, `""` for the top.
    pub section: &'static str,
    /// The key.
    pub name: &'static str,
    /// What its value is, with the article: `an integer`.
    pub kind: &'static str,
    /// A value, as it is written in the file.
    pub example: &'static str,
    /// What holds when it is not given.
    pub default: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: &'static str,
    example: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, example, default, meaning }
}

const STRING: &str = "a string";
const INTEGER: &str = "an integer";
const BOOLEAN: &str = "true or false";
const STRINGS: &str = "a list of strings";

/// All keys that this version knows; those of `[env]` are the operator's own.
pub const KEYS: [Key; 52] = [
    key(
        "",
        "name",
        STRING,
        "\"backend-prod\"",
        "none: it must be given",
        "the environment's name, [a-z][a-z0-9-]{0,31}",
    ),
    key("", "target", STRING, "\"prod\"", "none", "the short word for it on the command line"),
    key(
        "",
        "user",
        STRING,
        "\"deploy-prod\"",
        "none: it must be given",
        "who the app runs as: a user, a number from 1, or \"auto\" for a number of its own; never root",
    ),
    key(
        "",
        "command",
        STRINGS,
        "[\"node\", \"index.js\"]",
        "none: it must be given",
        "the program and its arguments; no shell reads them",
    ),
    key(
        "",
        "base",
        STRING,
        "\"/opt/seawolf-marketplace/prod\"",
        "cwd",
        "the folder beneath which all that belongs to the environment lies",
    ),
    key(
        "",
        "cwd",
        STRING,
        "\"/opt/seawolf-marketplace/prod/backend\"",
        "base",
        "the working directory, in base; read-only unless it is listed in writable",
    ),
    key(
        "",
        "writable",
        STRINGS,
        "[\"backend/uploads\"]",
        "[]",
        "what the app may write besides its own /tmp; relative to base, or absolute",
    ),
    key("", "read-only", STRINGS, "[\"/opt/node-22\"]", "[]", "what the app may read outside base"),
    key(
        "",
        "env-file",
        STRING,
        "\"backend/.env\"",
        ".env in cwd (with [deploy]: in base), if there",
        "the file of variables, relative to base; read as the deploy user at each start",
    ),
    key(
        "",
        "ports",
        "a list of ports",
        "[3002]",
        "[]",
        "the ports of the environment; \"3002/udp\" for udp",
    ),
    key("", "instances", INTEGER, "1", "1", "how many instances run at once, 1 to 64"),
    key(
        "",
        "instance-var",
        STRING,
        "\"NODE_APP_INSTANCE\"",
        "\"NODE_APP_INSTANCE\"",
        "the variable that tells an instance its number among them, from 0",
    ),
    key(
        "",
        "ready",
        STRING,
        "\"message\"",
        "\"ports\"",
        "when an instance counts as up: once it listens on its ports, and for \"message\" has said process.send(\"ready\") too, for \"notify\" READY=1 (sd_notify); for \"health\" once [health] has answered",
    ),
    key(
        "",
        "cron",
        STRING,
        "\"0 3 * * *\"",
        "never",
        "when it is restarted in any case: minute, hour, day of the month, month, day of the week (crontab(5)), in the host's time zone or in one that stands behind them",
    ),
    key(
        "",
        "autostart",
        BOOLEAN,
        "true",
        "true",
        "whether an environment that was never started is started at boot",
    ),
    key(
        "limits",
        "memory-max",
        STRING,
        "\"512M\"",
        "\"512M\"",
        "the ceiling of each instance: a breach is a kill and a restart",
    ),
    key(
        "limits",
        "memory-high",
        STRING,
        "\"448M\"",
        "none",
        "the soft ceiling: a graceful restart when memory that cannot be reclaimed is over it",
    ),
    key("limits", "cpu", STRING, "\"150%\"", "none", "how much of one CPU the environment may use"),
    key(
        "limits",
        "pids",
        INTEGER,
        "256",
        "256",
        "how many processes and threads the environment may have",
    ),
    key(
        "limits",
        "open-files",
        INTEGER,
        "65536",
        "65536, or the host's hard limit where that is smaller",
        "how many files a process of the app may have open",
    ),
    key(
        "restart",
        "policy",
        STRING,
        "\"always\"",
        "\"always\"",
        "after which ends it is started again: always, on-failure, never",
    ),
    key(
        "restart",
        "first-delay",
        STRING,
        "\"100ms\"",
        "\"100ms\"",
        "the pause before the first restart",
    ),
    key("restart", "max-delay", STRING, "\"30s\"", "\"30s\"", "what the pause grows to"),
    key(
        "restart",
        "give-up-after",
        INTEGER,
        "0",
        "0",
        "how many deaths within the window until it is given up; 0 is never",
    ),
    key("restart", "within", STRING, "\"1m\"", "\"1m\"", "the window of give-up-after"),
    key(
        "stop",
        "signal",
        STRING,
        "\"SIGTERM\"",
        "\"SIGTERM\"",
        "what the app is sent when it is to end",
    ),
    key(
        "stop",
        "grace",
        STRING,
        "\"10s\"",
        "\"10s\"",
        "how long it then has until everything of it is killed",
    ),
    key(
        "health",
        "http",
        STRING,
        "\"http://127.0.0.1:3002/healthz\"",
        "none: no [health], no check",
        "where the app answers that it is well",
    ),
    key(
        "network",
        "mode",
        STRING,
        "\"host\"",
        "host",
        "\"private\": a network of its own with nothing but loopback, for what needs none",
    ),
    key(
        "network",
        "connect",
        STRING,
        "\"declared\"",
        "open",
        "\"declared\": it connects to what allow-connect lists, and to nothing else",
    ),
    key(
        "network",
        "allow-connect",
        STRINGS,
        "[\"localhost:5432\"]",
        "none",
        "what it may connect to though it would be refused: name or address, and port",
    ),
    key(
        "sandbox",
        "allow-syscalls",
        STRINGS,
        "[\"ptrace\"]",
        "none",
        "system calls that the app truly needs though the cage refuses them (swrun show names those)",
    ),
    key(
        "logs",
        "rotate-size",
        STRING,
        "\"16M\"",
        "\"16M\"",
        "a log of this size is put aside and packed, and a new one begun",
    ),
    key(
        "logs",
        "rotate-age",
        STRING,
        "\"1d\"",
        "\"1d\"",
        "the same for a log whose first line is so old; \"0s\" is never",
    ),
    key("logs", "keep", INTEGER, "30", "30", "how many files of each of the two outputs are kept"),
    key(
        "logs",
        "total-max",
        STRING,
        "\"256M\"",
        "\"256M\"",
        "what all logs of the environment may take; the oldest go first",
    ),
    key(
        "logs",
        "on-full",
        STRING,
        "\"block\"",
        "\"block\"",
        "an app that writes faster than its lines are kept: \"block\" lets it wait, \"drop\" drops lines and counts them",
    ),
    key(
        "logs",
        "journald",
        BOOLEAN,
        "false",
        "false",
        "every line goes to the host's journal too, with the environment as the field SWRUN_ENV",
    ),
    key("logs", "syslog", BOOLEAN, "false", "false", "every line goes to the host's syslog too"),
    key(
        "leak",
        "action",
        STRING,
        "\"reload\"",
        "\"report\"",
        "an environment that leaks: \"report\" tells it, \"reload\" also reloads it in a quiet minute before the ceiling is met",
    ),
    key(
        "notify",
        "command",
        STRINGS,
        "[\"/usr/local/bin/tell-operators\"]",
        "nobody is told",
        "a program, by its whole path, and its arguments: it is run when something happens, with a JSON object on its standard input",
    ),
    key("notify", "user", STRING, "\"nobody\"", "\"nobody\"", "who runs it, never root"),
    key(
        "notify",
        "events",
        STRINGS,
        "[\"memory-ceiling\", \"leak\"]",
        "crash, memory-ceiling, health, start-failed, gave-up, blocked, leak, lines-lost",
        "of what it is run; beyond the default there are started, exit, memory-high, stopped, restarted, deadline, reload-failed, refused, warning",
    ),
    key(
        "notify",
        "within",
        STRING,
        "\"10s\"",
        "\"10s\"",
        "how long it may take; then it is killed",
    ),
    key(
        "watch",
        "paths",
        STRINGS,
        "[\"src\"]",
        "none: no [watch], nothing is watched",
        "folders and files, relative to base, whose change restarts it; what the app may write never counts",
    ),
    key(
        "watch",
        "ignore",
        STRINGS,
        "[\"node_modules\", \".git\", \"*.log\"]",
        "[\"node_modules\", \".git\"]",
        "names of files and folders that do not count; \"*\" stands for any part of one",
    ),
    key(
        "watch",
        "delay",
        STRING,
        "\"300ms\"",
        "\"300ms\"",
        "how long nothing must change before the restart",
    ),
    key(
        "deploy",
        "releases",
        STRING,
        "\"releases\"",
        "none: no [deploy], what is in cwd runs",
        "the folder of the releases, below base: swrun deploy chooses one of them, which is shown at cwd",
    ),
    key(
        "deploy",
        "build",
        STRINGS,
        "[\"npm\", \"run\", \"migrate\"]",
        "[]",
        "a command in the cage of a new release, which it may write, before that is chosen",
    ),
    key("deploy", "build-within", STRING, "\"10m\"", "\"10m\"", "how long that may take"),
    key(
        "deploy",
        "watch",
        STRING,
        "\"30s\"",
        "\"30s\"",
        "how long a new release is watched: where it dies or [health] fails, the one before is put back",
    ),
    key(
        "deploy",
        "keep",
        INTEGER,
        "5",
        "5",
        "how many deployed releases are kept, from 2 on; the oldest are removed",
    ),
];

/// The sections of [`KEYS`], and the operator's own.
pub(super) const SECTIONS: [&str; 12] = [
    "env", "limits", "restart", "stop", "health", "network", "sandbox", "logs", "leak", "notify",
    "watch", "deploy",
];

/// The key, if there is one.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_there_once_and_its_section_is_known() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|k| (k.section, k.name) != (key.section, key.name)));
            assert!(key.section.is_empty() || SECTIONS.contains(&key.section), "{key:?}");
        }
    }
}

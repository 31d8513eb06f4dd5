//! Every key of PM2's schema, and what becomes of it here. The one list: a test holds it against the schema in PM2's
//! own package, so that no key is passed over in silence.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// PM2's first name of it.
    pub name: &'static str,
    /// Its other names there, without the ones in camelCase that each key has.
    pub aliases: &'static [&'static str],
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes into the profile.
    Kept,
    /// It does not: why, and what to use instead. Said where it asks for something.
    Dropped(&'static str),
    /// PM2's own affair: nothing of the app's is lost.
    Inner,
}

const fn kept(name: &'static str, aliases: &'static [&'static str]) -> Key {
    Key { name, aliases, fate: Fate::Kept }
}

const fn dropped(name: &'static str, aliases: &'static [&'static str], why: &'static str) -> Key {
    Key { name, aliases, fate: Fate::Dropped(why) }
}

const fn inner(name: &'static str) -> Key {
    Key { name, aliases: &[], fate: Fate::Inner }
}

const LOGS: &str = "swrun has its own: /var/log/swrun/NAME/out.log and err.log, bounded and rotated (\"swrun logs\")";
const TIMES: &str = "every line of swrun's logs has its time (swrun-log(5))";
const PLUS: &str =
    "a service of PM2's makers; see \"swrun metrics\", \"swrun monit\" and \"swrun leaks\"";

/// All keys of PM2's schema.
pub const KEYS: &[Key] = &[
    kept("script", &["exec", "cmd", "command"]),
    kept("name", &[]),
    kept("name_prefix", &[]),
    dropped(
        "filter_env",
        &[],
        "an app gets no variable of a shell here, so that there is none to filter",
    ),
    dropped("namespace", &[], "environments are named by name or target, several at once"),
    dropped("install_url", &[], "nothing is downloaded"),
    kept("cwd", &[]),
    kept("args", &[]),
    kept("exec_interpreter", &["interpreter"]),
    kept("node_args", &["interpreterArgs", "interpreter_args"]),
    dropped("out_file", &["out", "output", "out_log"], LOGS),
    dropped("error_file", &["error", "err", "err_file", "err_log"], LOGS),
    dropped("log_file", &["log"], LOGS),
    dropped("disable_logs", &[], LOGS),
    dropped("log_type", &[], "\"swrun logs --json\" gives an object for each line"),
    dropped("log_date_format", &[], TIMES),
    dropped("time", &[], TIMES),
    kept("env", &[]),
    kept("max_memory_restart", &[]),
    dropped("pid_file", &["pid"], "\"swrun status --json\" has the pid"),
    kept("restart_delay", &[]),
    kept("exp_backoff_restart_delay", &[]),
    kept("source_map_support", &[]),
    kept("disable_source_map_support", &[]),
    kept("wait_ready", &[]),
    kept("instances", &[]),
    kept("kill_timeout", &[]),
    dropped(
        "shutdown_with_message",
        &[],
        "an app is ended by a signal: let it listen for that (process.on(\"SIGTERM\", …)) as for the message",
    ),
    dropped("listen_timeout", &[], "an app has 60 s to come up before a reload is given up"),
    kept("cron_restart", &["cron"]),
    // All instances write into one log, which says of each line whose it is.
    Key { name: "merge_logs", aliases: &["combine_logs"], fate: Fate::Inner },
    inner("vizion"),
    kept("autostart", &[]),
    kept("autorestart", &[]),
    kept("stop_exit_codes", &[]),
    kept("watch_delay", &[]),
    kept("watch", &[]),
    kept("ignore_watch", &[]),
    dropped("watch_options", &[], "those of a library of PM2's; see [watch] of the profile"),
    kept("min_uptime", &[]),
    kept("max_restarts", &[]),
    inner("execute_command"),
    kept("exec_mode", &[]),
    dropped("force", &[], "a name is had once; a second instance is \"swrun scale\""),
    kept("append_env_to_name", &[]),
    dropped("post_update", &[], PLUS),
    dropped("trace", &[], PLUS),
    inner("disable_trace"),
    dropped("v8", &[], PLUS),
    dropped("event_loop_inspector", &[], PLUS),
    dropped("deep_monitoring", &[], PLUS),
    dropped(
        "increment_var",
        &[],
        "each instance has its number in NODE_APP_INSTANCE, from 0: let the app add it",
    ),
    kept("instance_var", &[]),
    inner("pmx"),
    inner("automation"),
    kept("treekill", &[]),
    kept("port", &[]),
    inner("username"),
    kept("uid", &["user"]),
    dropped("gid", &[], "an app has the group of its user"),
    inner("windowsHide"),
    inner("kill_retry_time"),
    inner("write"),
    dropped("io", &[], PLUS),
];

/// The key of that name, by any of its names.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        key.name == name
            || key.aliases.contains(&name)
            || (name != key.name && camel(key.name) == name)
    })
}

/// `max_memory_restart` as `maxMemoryRestart`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| {
        let mut letters = word.chars();
        match letters.next() {
            // As PM2 has it: a word of one letter stays small.
            Some(letter) if word.len() > 1 => {
                all + &letter.to_uppercase().to_string() + letters.as_str()
            }
            _ => all + word,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_all_its_names() {
        for (name, is) in [
            ("max_memory_restart", "max_memory_restart"),
            ("maxMemoryRestart", "max_memory_restart"),
            ("exec", "script"),
            ("interpreterArgs", "node_args"),
            ("user", "uid"),
            ("windowsHide", "windowsHide"),
            ("out", "out_file"),
        ] {
            assert_eq!(find(name).map(|key| key.name), Some(is), "{name}");
        }
        assert_eq!(find("nonsense"), None);
    }
}

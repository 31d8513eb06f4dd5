//! A key that is not known, and what may have been meant.

use super::schema::{KEYS, SECTIONS};
use super::values::Unfit;

/// What later versions are to know; until then it is refused rather than silently not done.
const LATER: [&str; 1] = ["access"];

/// How others name the same thing, where no spelling is near: PM2's ecosystem file, systemd.
const ELSEWHERE: [(&str, &str); 18] = [
    ("script", "command"),
    ("args", "command"),
    ("exec", "command"),
    ("execstart", "command"),
    ("workingdirectory", "cwd"),
    ("group", "user"),
    ("port", "ports"),
    ("env_file", "env-file"),
    ("max_memory_restart", "memory-max"),
    ("memory", "memory-max"),
    ("kill_timeout", "grace"),
    ("restart_delay", "first-delay"),
    ("max_restarts", "give-up-after"),
    ("nofile", "open-files"),
    ("wait_ready", "ready"),
    ("cron_restart", "cron"),
    ("ignore_watch", "ignore"),
    ("instance_var", "instance-var"),
];

/// What is wrong with a key that is not known.
pub(super) fn unknown(section: &str, name: &str) -> Unfit {
    let shown = shown(section, name);
    if section.is_empty() && LATER.contains(&name) {
        return Unfit::hinted(
            format!("{shown} is not yet known to this version of swrun"),
            "leave it out: what it asks for would not be done",
        );
    }
    let hint = match nearest(section, name) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known here: {}", known(section).join(", ")),
    };
    Unfit::hinted(format!("unknown key {shown}"), hint)
}

/// A key as it is called in messages: `"pids" in [limits]`.
pub(super) fn shown(section: &str, name: &str) -> String {
    let name = super::problem::quoted(name);
    if section.is_empty() { name } else { format!("{name} in [{section}]") }
}

fn known(section: &str) -> Vec<&'static str> {
    let sections = if section.is_empty() { SECTIONS.as_slice() } else { &[] };
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    keys.chain(sections.iter().copied()).collect()
}

fn nearest(section: &str, name: &str) -> Option<String> {
    // No slip of a key is as long as that, and distances of long texts cost.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_lowercase();
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name) {
        return KEYS.iter().find(|key| key.name == *ours).map(|key| shown(key.section, key.name));
    }
    // The section at hand first, then the others: a key may stand in the wrong one.
    let here = known(section).into_iter().map(|known| (section, known));
    let there = KEYS.iter().filter(|key| key.section != section).map(|key| (key.section, key.name));
    let closest = |candidates: &mut dyn Iterator<Item = (&'static str, &'static str)>| {
        candidates
            .map(|(of, known)| (strsim::damerau_levenshtein(&name, known), of, known))
            .filter(|(distance, _, known)| *distance <= known.len().div_ceil(3))
            .min_by_key(|(distance, ..)| *distance)
            .map(|(_, of, known)| match of {
                "" if SECTIONS.contains(&known) => format!("the section [{known}]"),
                _ => shown(of, known),
            })
    };
    let section = SECTIONS.into_iter().find(|known| *known == section).unwrap_or("");
    let mut here = here.map(|(_, known)| (section, known));
    closest(&mut here).or_else(|| closest(&mut there.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        for (section, wrong, near) in [
            ("", "usr", "\"user\""),
            ("", "comand", "\"command\""),
            ("", "limit", "the section [limits]"),
            ("", "memory-max", "\"memory-max\" in [limits]"),
            ("", "memory_max", "\"memory-max\" in [limits]"),
            ("limits", "memory_max", "\"memory-max\" in [limits]"),
            ("limits", "PIDs", "\"pids\" in [limits]"),
            ("limits", "instances", "\"instances\""),
            ("", "max_memory_restart", "\"memory-max\" in [limits]"),
        ] {
            assert_eq!(nearest(section, wrong).as_deref(), Some(near), "{wrong}");
        }
        assert_eq!(nearest("stop", "qqqqqqqqqqqq"), None);
    }
}

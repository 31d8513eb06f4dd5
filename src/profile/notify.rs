//! `[notify]`: who is told, and by which command.

use std::time::Duration;

use nix::unistd::User;

use super::file::At;
use super::values;
use super::walk::{Section, Walk};
use crate::model::{NOTICES, Notify, USUAL_NOTICES};

/// Who runs the command unless the profile says otherwise: Debian's user that owns nothing.
const NOBODY: &str = "nobody";

/// How long it may take unless the profile says otherwise, and at most.
const USUAL: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// As it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyRules {
    command: Vec<String>,
    pub(super) user: Option<At<String>>,
    /// Where the section's command is.
    pub(super) at: super::problem::Position,
    events: Vec<String>,
    within: Duration,
}

pub(super) fn notify(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Option<NotifyRules> {
    let section = walk.section(top, "notify");
    let command = walk.list(section, "command", values::string);
    let user = walk.value(section, "user", values::string);
    let events = walk.list(section, "events", |v| values::one_of(v, NOTICES));
    let within = walk.value(section, "within", values::duration);
    let has_others = ["user", "events", "within"].iter().any(|key| section.has(key));
    if let Some(at) = section.lacks("command").filter(|_| has_others) {
        let hint = "as in command = [\"/usr/local/bin/tell-operators\"]";
        walk.error(at, "\"command\" in [notify] is missing", Some(hint));
    }
    if let Some(within) = within.as_ref().filter(|within| within.value > LONGEST) {
        walk.error(within.at, "\"within\" is more than 5m", Some("choose a shorter time"));
    }
    let command = command?;
    let words: Vec<String> = command.value.into_iter().map(|word| word.value).collect();
    if !words.first().is_some_and(|program| program.starts_with('/')) {
        let hint = "write its whole path: nothing is looked up for it";
        walk.error(command.at, "\"command\" in [notify] does not begin with a path", Some(hint));
    }
    let events = events.map_or_else(
        || USUAL_NOTICES.map(str::to_owned).to_vec(),
        |list| list.value.into_iter().map(|chosen| NOTICES[chosen.value].to_owned()).collect(),
    );
    let within = within.map_or(USUAL, |within| within.value);
    Some(NotifyRules { command: words, user, at: command.at, events, within })
}

/// With the numbers of its user, who must not be root.
pub(super) fn resolve(rules: &NotifyRules) -> Result<Notify, (String, &'static str)> {
    let name = rules.user.as_ref().map_or(NOBODY, |user| &user.value);
    let shown = name.escape_debug();
    let hint = "name a user that may do no more than the command needs; \"nobody\" is the default";
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => {
            Err(("\"user\" in [notify] is root".to_owned(), hint))
        }
        Ok(Some(user)) => Ok(Notify {
            command: rules.command.clone(),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            events: rules.events.clone(),
            within: rules.within,
        }),
        Ok(None) => Err((format!("there is no user \"{shown}\" on this host"), hint)),
        Err(errno) => Err((format!("cannot look up the user \"{shown}\": {}", errno.desc()), hint)),
    }
}

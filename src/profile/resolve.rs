//! From a profile to the spec of its environment: users, folders and limits as this host has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use super::file::{At, Profile};
use super::folders::{Trusted, Way, follow, shell_word};
use super::forbidden::{self, Use};
use super::identity::look_up;
use super::notify;
use super::problem::{Position, Problem, Severity, quoted_path};
use super::program::{self, Sight};
use crate::model::{EnvFile, EnvName, EnvSpec, Identity, Limits, Notify, Places, SPEC_SCHEMA};

/// The default of `[limits] open-files`, where the host allows it.
const OPEN_FILES: u64 = 65_536;

/// What a profile meets on its host.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Swrun's own places, which no profile may open.
    pub places: Places,
    /// The folder of the users' homes: `/home`.
    pub homes: PathBuf,
    /// The most open files that an app can be given.
    pub hard_open_files: u64,
    /// The uids that were given to environments with `user = "auto"`; `check_all` adds the missing.
    pub auto_uids: BTreeMap<EnvName, u32>,
}

impl HostFacts {
    /// Asks this host; a hard limit that cannot be read counts as the default of `open-files`.
    #[must_use]
    pub fn of_this_host(places: Places) -> Self {
        let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(_, hard)| hard);
        let (homes, auto_uids) = (PathBuf::from("/home"), BTreeMap::new());
        Self { places, homes, hard_open_files: hard, auto_uids }
    }
}

/// A spec, and what is worth knowing about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// All that a start needs.
    pub spec: EnvSpec,
    /// None of them an error.
    pub warnings: Vec<Problem>,
}

/// Resolves a profile; nothing on the host is changed.
///
/// # Errors
/// Every problem, warnings among them; at least one is an error.
pub fn resolve(profile: &Profile, host: &HostFacts) -> Result<Resolved, Vec<Problem>> {
    let mut work = Work { profile, host, problems: Vec::new() };
    let identity = work.identity();
    let folders = work.base_and_cwd(identity.as_ref());
    let base = folders.as_ref().map(|(base, _)| base.as_path());
    let writable =
        work.others("writable", &profile.writable, Use::Writable, base, identity.as_ref());
    let read_only =
        work.others("read-only", &profile.read_only, Use::ReadOnly, base, identity.as_ref());
    if let Some((base, cwd)) = &folders {
        work.program(base, cwd, &writable, &read_only);
    }
    let open_files = work.open_files();
    let notify = work.notify();
    let mut problems = work.problems;
    problems.sort_by_key(Problem::position);
    match (identity, folders) {
        (Some(identity), Some((base, cwd))) if !problems.iter().any(Problem::is_error) => {
            let spec = spec(profile, identity, base, cwd, writable, read_only, open_files);
            let spec = EnvSpec { notify, ..spec };
            Ok(Resolved { spec, warnings: problems })
        }
        _ => Err(problems),
    }
}

fn spec(
    profile: &Profile,
    identity: Identity,
    base: PathBuf,
    cwd: PathBuf,
    writable: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    open_files: u64,
) -> EnvSpec {
    let env_file = match &profile.env_file {
        Some(named) => EnvFile { path: named.value.clone(), required: true },
        // A release comes and goes; what is secret stays beside them.
        None if profile.deploy.is_some() => EnvFile { path: ".env".into(), required: false },
        None => {
            let inside = cwd.strip_prefix(&base).unwrap_or(Path::new(""));
            EnvFile { path: inside.join(".env"), required: false }
        }
    };
    let limits = &profile.limits;
    EnvSpec {
        schema: SPEC_SCHEMA,
        name: profile.name.value.clone(),
        target: profile.target.as_ref().map(|target| target.value.to_string()),
        identity,
        command: profile.command.value.iter().map(|word| word.value.clone()).collect(),
        base,
        cwd,
        writable,
        read_only,
        env_file: Some(env_file),
        env: profile.env.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
        ports: profile.ports.iter().map(|port| port.value).collect(),
        instances: profile.instances,
        limits: Limits {
            memory_max: limits.memory_max,
            memory_high: limits.memory_high,
            cpu_percent: limits.cpu_percent,
            pids: limits.pids,
            open_files,
        },
        restart: profile.restart.clone(),
        stop: profile.stop.clone(),
        health: profile.health.clone(),
        network: profile.network.clone(),
        sandbox: profile.sandbox.clone(),
        logs: profile.logs.clone(),
        leak: profile.leak,
        notify: None,
        ready: profile.ready,
        instance_var: profile.instance_var.clone(),
        cron: profile.cron.clone(),
        watch: profile.watch.clone(),
        deploy: profile.deploy.clone(),
        release: None,
        autostart: profile.autostart,
        profile_digest: profile.digest.clone(),
    }
}

/// One profile on its way, and what was found so far.
struct Work<'a> {
    profile: &'a Profile,
    host: &'a HostFacts,
    problems: Vec<Problem>,
}

impl Work<'_> {
    fn report(&mut self, at: Position, severity: Severity, text: String, hint: Option<String>) {
        let problem = Problem::error(&self.profile.file, at, text);
        self.problems.push(Problem { severity, hint, ..problem });
    }

    fn error(&mut self, at: Position, text: String, hint: impl Into<String>) {
        self.report(at, Severity::Error, text, Some(hint.into()));
    }

    fn identity(&mut self) -> Option<Identity> {
        let user = &self.profile.user;
        let auto = self.host.auto_uids.get(&self.profile.name.value).copied();
        let found = look_up(&user.value, auto, &self.profile.base.value);
        for group in found.wide_groups {
            let text = format!(
                "the app's user is in the group \"{group}\", which opens more of the host than an app needs"
            );
            let hint =
                "take it out of the group with gpasswd -d, or give the app a user of its own";
            self.report(user.at, Severity::Warning, text, Some(hint.to_owned()));
        }
        found
            .identity
            .map_err(|(text, hint)| self.report(user.at, Severity::Error, text, hint))
            .ok()
    }

    fn notify(&mut self) -> Option<Notify> {
        let rules = self.profile.notify.as_ref()?;
        let at = rules.user.as_ref().map_or(rules.at, |user| user.at);
        notify::resolve(rules).map_err(|(text, hint)| self.error(at, text, hint)).ok()
    }

    /// The base without links, and the working directory beneath it with its links below base (a
    /// deployment moves a link such as `current`; each start follows it anew).
    fn base_and_cwd(&mut self, identity: Option<&Identity>) -> Option<(PathBuf, PathBuf)> {
        let profile = self.profile;
        let is_same = profile.base.value == profile.cwd.value;
        let key = if is_same && profile.base.at == profile.cwd.at {
            "the folder of the app"
        } else {
            "base"
        };
        let base = self.home(key, &profile.base, identity);
        if is_same {
            return base.map(|base| (base.clone(), base));
        }
        let cwd = self.home("cwd", &profile.cwd, identity);
        let (base, cwd) = (base?, cwd?);
        if !cwd.starts_with(&base) {
            let text =
                format!("cwd {} is not beneath base {}", quoted_path(&cwd), quoted_path(&base));
            self.error(
                profile.cwd.at,
                text,
                "choose a base that holds all that belongs to the environment",
            );
            return None;
        }
        let kept = profile.cwd.value.strip_prefix(&profile.base.value).map(|rest| base.join(rest));
        Some((base, kept.unwrap_or(cwd)))
    }

    /// A folder that nobody but root and the app's user may change or put in another's place.
    fn home(&mut self, key: &str, path: &At<PathBuf>, id: Option<&Identity>) -> Option<PathBuf> {
        let shown = quoted_path(&path.value);
        let way = match follow(&path.value) {
            Ok(way) => way,
            Err(error) => {
                let hint = "make it (`swrun setup` does), or see whether its path is right";
                self.error(path.at, format!("cannot find {key} {shown}: {error}"), hint);
                return None;
            }
        };
        if !way.is_folder() {
            self.error(
                path.at,
                format!("{key} {shown} is not a folder"),
                "name the folder it is in",
            );
            return None;
        }
        if !self.is_allowed(key, path, &way.end, Use::Home) {
            return None;
        }
        // The app never chooses by a link of its own what root mounts.
        if key == "base" && self.is_led_astray(key, path, &way, id) {
            return None;
        }
        if let Some(id) = id {
            let trusted = Trusted { user: &id.user, uid: id.uid, gid: Some(id.gid) };
            if let Some(weakness) = way.weakness(trusted) {
                // Base and cwd share most of their way: one place is told of once.
                let fix = Some(&weakness.fix);
                if !self.problems.iter().any(|known| known.hint.as_ref() == fix) {
                    let text =
                        format!("{key} {shown} is not safe from other users: {}", weakness.why);
                    self.error(path.at, text, weakness.fix);
                }
                return None;
            }
        }
        Some(way.end)
    }

    /// The paths of `writable` or `read-only`, without links; each problem is reported.
    fn others(
        &mut self,
        key: &str,
        paths: &[At<PathBuf>],
        usage: Use,
        base: Option<&Path>,
        id: Option<&Identity>,
    ) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        for path in paths {
            let absolute = base.unwrap_or(&self.profile.base.value).join(&path.value);
            let shown = quoted_path(&absolute);
            let way = match follow(&absolute) {
                Ok(way) => way,
                Err(error) => {
                    let hint = match usage {
                        Use::Writable => {
                            format!("make it: mkdir {} (`swrun setup` does)", shell_word(&absolute))
                        }
                        _ => "see whether its path is right, or leave it out".to_owned(),
                    };
                    self.error(path.at, format!("cannot find {shown} of {key}: {error}"), hint);
                    continue;
                }
            };
            if !self.is_allowed(key, path, &way.end, usage)
                || self.is_led_astray(key, path, &way, id)
            {
                continue;
            }
            // Sharing a folder can be meant, so this is only said. What the path opens is held by
            // the rights of the app's own user in any case.
            if let Some(id) = id {
                let trusted = Trusted { user: &id.user, uid: id.uid, gid: Some(id.gid) };
                if let Some(weakness) = way.weakness(trusted) {
                    let text =
                        format!("{shown} of {key} can be changed by other users: {}", weakness.why);
                    let hint = format!("if that is not meant: {}", weakness.fix);
                    self.report(path.at, Severity::Warning, text, Some(hint));
                }
            }
            found.insert(way.end);
        }
        found.into_iter().collect()
    }

    fn is_led_astray(
        &mut self,
        key: &str,
        path: &At<PathBuf>,
        way: &Way,
        id: Option<&Identity>,
    ) -> bool {
        let Some(link) = way.led_astray(id.map(|id| id.uid)) else { return false };
        let text = format!(
            "{key} {} leads over the link {}, which is not root's, to a folder that is not the user's own",
            quoted_path(&path.value),
            quoted_path(link)
        );
        let fix = format!("name the folder itself, or: chown -h root: {}", shell_word(link));
        self.error(path.at, text, fix);
        true
    }

    fn is_allowed(&mut self, key: &str, path: &At<PathBuf>, end: &Path, usage: Use) -> bool {
        let Some(reason) = forbidden::reason(end, usage, &self.host.places) else { return true };
        let leads = if end == path.value {
            String::new()
        } else {
            format!(" (\"{}\")", path.value.display())
        };
        let text = format!("{}{leads} may not be opened by {key}: {reason}", quoted_path(end));
        self.error(path.at, text, "name the folder that belongs to this environment alone");
        false
    }

    fn program(&mut self, base: &Path, cwd: &Path, writable: &[PathBuf], read_only: &[PathBuf]) {
        let Some(program) = self.profile.command.value.first() else { return };
        if self.profile.deploy.is_some() && program.value.contains('/') {
            // It may be in a release.
            return;
        }
        let mut shown = vec![base];
        shown.extend(writable.iter().chain(read_only).map(PathBuf::as_path));
        let path = self.profile.env.get("PATH").map(|path| path.value.as_str());
        let sight = Sight { cwd, shown, path, homes: &self.host.homes };
        if let Some((severity, text, hint)) = program::check(&program.value, &sight) {
            self.report(program.at, severity, text, hint);
        }
    }

    fn open_files(&mut self) -> u64 {
        let hard = self.host.hard_open_files;
        let Some(wanted) = self.profile.limits.open_files else { return OPEN_FILES.min(hard) };
        if wanted.value > hard {
            let text = format!(
                "\"open-files\" is {}, more than this host allows: the app gets {hard}",
                wanted.value
            );
            let hint = "raise the hard limit of the runner (LimitNOFILE= of its unit)";
            self.report(wanted.at, Severity::Warning, text, Some(hint.to_owned()));
        }
        wanted.value.min(hard)
    }
}

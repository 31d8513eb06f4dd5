//! `[deploy]`: where releases are, and what is done before and after one is chosen.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::file::At;
use super::problem::{Position, quoted_path};
use super::values;
use super::walk::{Section, Walk};
use crate::model::{DeployRules, LINK, WatchRules};

/// The defaults, and how long a command and a watch may take at most.
const BUILD_WITHIN: Duration = Duration::from_mins(10);
const WATCH: Duration = Duration::from_secs(30);
const KEEP: u32 = 5;
const LONGEST: Duration = Duration::from_hours(1);

/// As it stands in the file, with its place.
pub(super) fn deploy(walk: &mut Walk<'_>, top: Section<'_, '_>) -> Option<At<DeployRules>> {
    let section = walk.section(top, "deploy");
    let releases = walk.value(section, "releases", values::path_in_base);
    let build = walk.list(section, "build", values::string);
    let build_within = walk.value(section, "build-within", values::duration);
    let watch = walk.value(section, "watch", values::duration);
    let keep = walk.value(section, "keep", |v| values::integer32(v, 2, 1000));
    // A section of comments alone asks for nothing.
    let has_others = ["build", "build-within", "watch", "keep"].iter().any(|key| section.has(key));
    if let Some(at) = section.lacks("releases").filter(|_| has_others) {
        let hint = "as in releases = \"releases\"";
        walk.error(at, "\"releases\" in [deploy] is missing", Some(hint));
    }
    for (key, time) in [("build-within", &build_within), ("watch", &watch)] {
        if let Some(time) = time.as_ref().filter(|time| time.value > LONGEST) {
            let text = format!("\"{key}\" in [deploy] is more than 1h");
            walk.error(time.at, text, Some("choose a shorter time"));
        }
    }
    let releases = releases?;
    let is_plain = |path: &Path| {
        path.components().all(|part| matches!(part, Component::Normal(_)))
            && path.components().next().is_some()
    };
    if !is_plain(&releases.value) {
        let text = format!("\"releases\" in [deploy] is {}", quoted_path(&releases.value));
        walk.error(releases.at, text, Some("name a folder below base, as in \"releases\""));
        return None;
    }
    let words = build.map_or_else(Vec::new, |list| list.value);
    let rules = DeployRules {
        releases: releases.value,
        build: words.into_iter().map(|word| word.value).collect(),
        build_within: build_within.map_or(BUILD_WITHIN, |time| time.value),
        watch: watch.map_or(WATCH, |time| time.value),
        keep: keep.map_or(KEEP, |keep| keep.value),
    };
    Some(At { value: rules, at: releases.at })
}

/// What stands beside `[deploy]` in the profile.
pub(super) struct Beside<'a> {
    pub(super) base: Option<&'a At<PathBuf>>,
    pub(super) cwd: Option<&'a At<PathBuf>>,
    pub(super) writable: &'a [At<PathBuf>],
    pub(super) watch: Option<&'a WatchRules>,
}

/// A release is shown at `cwd`: that folder is to be free for it.
pub(super) fn fits(walk: &mut Walk<'_>, rules: &At<DeployRules>, beside: &Beside<'_>) {
    let Some(base) = beside.base else { return };
    let example = base.value.join("app");
    let hint = format!(
        "give it a folder of its own, as in cwd = \"{}\": the release that is chosen is shown there",
        example.display()
    );
    let Some(cwd) = beside.cwd.filter(|cwd| cwd.value != base.value) else {
        walk.error(rules.at, "[deploy] needs a \"cwd\" below \"base\"", Some(&hint));
        return;
    };
    let releases = base.value.join(&rules.value.releases);
    let mut refuse = |at: Position, text: String, hint: &str| walk.error(at, text, Some(hint));
    if cwd.value.starts_with(&releases) || releases.starts_with(&cwd.value) {
        let text = "\"cwd\" and the \"releases\" of [deploy] lie in one another".to_owned();
        refuse(cwd.at, text, &hint);
    }
    let link = base.value.join(LINK);
    if releases.starts_with(&link) {
        let text = format!("\"releases\" in [deploy] is {}", quoted_path(&rules.value.releases));
        refuse(rules.at, text, "a deployment writes a link of that name: as in \"releases\"");
    }
    if cwd.value.starts_with(&link) {
        let text =
            format!("\"cwd\" is {}, a link that a deployment writes", quoted_path(&cwd.value));
        refuse(cwd.at, text, &hint);
    }
    let is_shown = |path: &Path| base.value.join(path).starts_with(&cwd.value);
    for path in beside.writable.iter().filter(|path| is_shown(&path.value)) {
        let text = format!("{} of writable lies in \"cwd\"", quoted_path(&path.value));
        let hint =
            "releases come and go there: write beside it, and let a release have a link to it";
        refuse(path.at, text, hint);
    }
    let watched = beside.watch.into_iter().flat_map(|watch| &watch.paths);
    for path in watched.filter(|path| is_shown(path)) {
        let text = format!("{} of [watch] lies in \"cwd\"", quoted_path(path));
        refuse(rules.at, text, "a release that is shown there does not change: leave it out");
    }
}

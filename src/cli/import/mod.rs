//! `swrun import pm2 FILE`: profiles of what PM2 keeps, shown first, written with `--write`.

mod evaluate;
mod open;
mod write;

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::args::ImportPm2;
use super::exit::{Ended, Exit, Failure};
use super::output::{Output, say};
use crate::formats::clean::clean;
use crate::import::{self, Draft, Facts, Format, Imported, Kind};
use crate::model::{DEFAULT_PATH, EnvFile, Places};
use crate::profile::{self, Checked, HostFacts, Source};

/// How many variables of a shell are named.
const MOST_NAMES: usize = 8;

/// Shows the profiles that come of a file, and writes them where that is asked for.
pub fn pm2(places: &Places, asked: &ImportPm2, output: &mut Output) -> Ended {
    let file = std::path::absolute(&asked.file).map_err(|e| {
        Failure::failed(format!("cannot tell where \"{}\" is: {e}", asked.file.display()))
    })?;
    let refused = |text: String| Failure::failed(format!("\"{}\": {text}", file.display()));
    let format = Format::of(&file).ok_or_else(|| {
        refused(
            "is of no known kind: .js, .cjs, .mjs, .json, .yml, .yaml, or PM2's list dump.pm2"
                .to_owned(),
        )
    })?;
    let text = open::read(&file).map_err(refused)?;
    let text = match format {
        Format::JavaScript => evaluate::evaluate(places, &file, asked.user.as_deref())?,
        Format::Json | Format::Yaml => text,
    };
    let value = import::parse(format, &text)
        .map_err(|why| refused(format!("cannot be read: {}", clean(&why))))?;
    let facts = Facts {
        file: &file,
        env_name: asked.env.as_deref(),
        user: asked.user.as_deref(),
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        variable: &|name| std::env::var(name).ok(),
        owner: &owner,
        is_file: &Path::is_file,
        is_binary: &is_binary,
        program: &own_program,
    };
    let Imported { kind, mut drafts, beside } =
        import::import(value, &facts).map_err(|why| refused(clean(&why).into_owned()))?;
    let source = file.to_string_lossy().into_owned();
    let checked = check(places, &mut drafts, &source);
    for draft in &drafts {
        let path = place(places, draft);
        output.line(&format!("# {}", path.display()))?;
        output.line(&clean_text(&draft.text(&source)))?;
    }
    output.flush()?;
    report(kind, &drafts, &beside, &checked, places);
    if !asked.write {
        say("nothing was written: \"--write\" does that");
        return Ok(Exit::Done);
    }
    write::write(places, &drafts, &source, &checked)?;
    say_what_is_next(&drafts, &checked, places);
    Ok(Exit::Done)
}

/// Where a profile of a draft belongs.
fn place(places: &Places, draft: &Draft) -> PathBuf {
    places.profiles().join(format!("{}.toml", draft.name))
}

/// Holds the drafts against the profiles that are there, and looks up ports that only a `.env` tells.
fn check(places: &Places, drafts: &mut [Draft], source: &str) -> Checked {
    let mut sources = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]).sources;
    sources.retain(|there| !drafts.iter().any(|draft| place(places, draft) == there.file));
    let all = |drafts: &[Draft]| -> Vec<Source> {
        let new = drafts
            .iter()
            .map(|draft| Source { file: place(places, draft), text: draft.text(source) });
        sources.iter().cloned().chain(new).collect()
    };
    let facts = HostFacts::of_this_host(places.clone());
    let checked = profile::check_all(&all(drafts), &facts);
    let mut has_changed = false;
    for one in &checked.profiles {
        let draft = drafts.iter_mut().find(|draft| place(places, draft) == one.profile.file);
        let (Some(draft), Some(spec)) = (draft, &one.spec) else { continue };
        if draft.get("", "ports").is_some() {
            continue;
        }
        // As its user: root does not open what an app could have put there.
        let mut spec = spec.clone();
        let inside = spec.cwd.strip_prefix(&spec.base).unwrap_or(Path::new("")).to_owned();
        // That of the app, also where swrun is to read another.
        spec.env_file = Some(EnvFile { path: inside.join(".env"), required: false });
        if let Some(port) = profile::read_env_file(&spec).ok().and_then(|found| found.port) {
            draft.set_port(port);
            has_changed = true;
        }
    }
    if has_changed { profile::check_all(&all(drafts), &facts) } else { checked }
}

/// What an operator has to know besides the profiles themselves.
fn report(kind: Kind, drafts: &[Draft], beside: &[String], checked: &Checked, places: &Places) {
    for draft in drafts {
        let mut text = format!("{}:", draft.name);
        if !draft.secrets.is_empty() {
            let names: Vec<_> = draft.secrets.keys().map(|name| clean(name)).collect();
            let _ = write!(
                text,
                "\n  secrets, for \"{}\" (0600) and not for the profile: {}",
                clean(&draft.secrets_file.to_string_lossy()),
                names.join(", ")
            );
        }
        if !draft.of_shell.is_empty() {
            let names: Vec<_> = draft.of_shell.iter().map(|name| clean(name)).collect();
            let shown =
                names.iter().take(MOST_NAMES).map(|name| &**name).collect::<Vec<_>>().join(", ");
            let _ = write!(
                text,
                "\n  {} variables are left out, since they came from a shell: {shown}",
                names.len()
            );
            if names.len() > MOST_NAMES {
                text.push_str(", …");
            }
        }
        let file = place(places, draft);
        for problem in checked.problems.iter().filter(|problem| problem.file == file) {
            for line in problem.to_string().lines() {
                let _ = write!(text, "\n  {}", clean(line));
            }
        }
        if text.contains('\n') {
            say(&text);
        }
    }
    if beside.iter().any(|key| key == "deploy") {
        say(
            "\"deploy\" of the file is not carried over: it fetches from a repository as the operator",
        );
    }
    if kind == Kind::Dump && drafts.iter().any(|draft| !draft.secrets.is_empty()) {
        say(
            "PM2's list has those secrets in it, and all may read it: once all is moved over, \"pm2 kill\" and remove ~/.pm2",
        );
    }
}

fn say_what_is_next(drafts: &[Draft], checked: &Checked, places: &Places) {
    let new = |file: &Path| drafts.iter().any(|draft| place(places, draft) == file);
    let has_errors =
        checked.problems.iter().any(|problem| problem.is_error() && new(&problem.file));
    let mut text = "next:".to_owned();
    if has_errors {
        text.push_str("\n  swrun setup        makes users and folders that are missing");
    }
    text.push_str("\n  swrun check        tells what is still wrong");
    for draft in drafts {
        let _ =
            write!(text, "\n  pm2 delete {} && swrun start {}", clean(&draft.old_name), draft.name);
    }
    text.push_str("\n  pm2 unstartup && pm2 kill        once all of them are over");
    say(&text);
}

/// The user of a folder; none where that is root.
fn owner(folder: &Path) -> Option<String> {
    let uid = std::fs::metadata(folder).ok()?.uid();
    if uid == 0 {
        return None;
    }
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    Some(user.map_or_else(|| uid.to_string(), |user| user.name))
}

/// By its first bytes (elf(5)); the path is another's word, so nothing but a file is opened.
fn is_binary(file: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut first = [0; 4];
    file.is_file()
        && rustix::fs::open(file, flags, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut first))
            .is_ok_and(|count| count == 4 && first == *b"\x7fELF")
}

/// A program that the caller's PATH has and that of apps has not.
fn own_program(name: &str) -> Option<PathBuf> {
    let find = |folders: &str| {
        let files = folders.split(':').filter(|folder| folder.starts_with('/'));
        files.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
    };
    if name.contains('/') || find(DEFAULT_PATH).is_some() {
        return None;
    }
    find(&std::env::var("PATH").ok()?)?.canonicalize().ok()
}

/// What a file said, for a terminal: line by line.
fn clean_text(text: &str) -> String {
    text.lines().map(|line| clean(line) + "\n").collect()
}

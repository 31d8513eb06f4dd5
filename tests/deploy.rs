//! `swrun deploy` and `rollback` with real Node: releases take over without a lost request, are watched and taken back by
//! themselves; what a deploy user can put in the way leads nowhere.

mod bed;
#[path = "common/load.rs"]
mod load;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, patience, swrun, texts};
use load::Load;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Tells its release, where it runs, what it was told, and whether it can write where it lies.
const SERVER: &str = r#"
const fs = require("fs");
const { createServer } = require("http");
let release = fs.readFileSync("release.txt", "utf8").trim();
let mayWrite = true;
try { fs.writeFileSync("written", "x"); } catch { mayWrite = false; }
let health = 200;
const server = createServer((request, answer) => {
  if (request.url === "/health") answer.statusCode = health;
  answer.end(`${release} ${process.cwd()} ${process.env.SECRET} ${mayWrite}`);
});
if (!fs.existsSync("slow")) server.listen(process.env.PORT);
process.on("SIGTERM", () => process.exit(0));
if (fs.existsSync("fate.js")) require("./fate.js")((status) => { health = status; });
"#;

const RULES: &str = "[deploy]\nreleases = \"releases\"\nwatch = \"300ms\"\n";

/// An environment whose releases are put in place by swrun; it has none yet.
fn app(bed: &Bed, name: &str, more: &str) -> App {
    let app = bed.app(name);
    for folder in ["app", "releases"] {
        own_folder(&app, &app.home.join(folder));
    }
    bed.env_file(&app, &format!("PORT={}\nSECRET=kept\n", app.port));
    let text = format!(
        "name = \"{name}\"\nuser = {}\nbase = \"{1}\"\ncwd = \"{1}/app\"\ncommand = [\"node\", \"server.js\"]\n\
         ports = [{2}]\n[health]\nhttp = \"http://127.0.0.1:{2}/health\"\n[stop]\ngrace = \"5s\"\n{more}\n",
        app.uid,
        app.home.display(),
        app.port
    );
    fs::write(bed.profile_path(&app), text).expect("our own folder");
    app
}

fn own_folder(app: &App, path: &Path) {
    fs::create_dir(path).expect("a new folder");
    chown(path, Some(app.uid), Some(app.uid)).expect("root may");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own");
}

/// A release as a pipeline puts it there.
fn release(app: &App, name: &str, fate: &str) {
    let folder = app.home.join("releases").join(name);
    own_folder(app, &folder);
    let mut files = vec![("server.js", SERVER), ("release.txt", name)];
    if !fate.is_empty() {
        files.push(("fate.js", fate));
    }
    for (file, text) in files {
        fs::write(folder.join(file), text).expect("our own folder");
        chown(folder.join(file), Some(app.uid), Some(app.uid)).expect("root may");
    }
}

/// One whose build is that script.
fn with_build(app: &App, name: &str, script: &str) {
    release(app, name, "");
    fs::write(app.home.join("releases").join(name).join("build"), script).expect("ours");
}

/// Whether a build runs, or another process of the bed whose words are those.
fn runs(bed: &Bed, words: &str) -> bool {
    bed::processes_of(bed.root()).iter().any(|line| line.contains(words))
}

fn page(app: &App) -> String {
    let deadline = Instant::now() + patience();
    loop {
        match get(app.port, "/") {
            Ok(text) => return text,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

fn shows(app: &App, name: &str) {
    let wanted = format!("{name} {} kept false", app.home.join("app").display());
    assert_eq!(page(app), wanted);
}

fn none_lost(load: Load) {
    let counts = load.end();
    let lost =
        [&counts.refused, &counts.broken, &counts.timed_out].map(|n| n.load(Ordering::Relaxed));
    assert_eq!(lost, [0, 0, 0], "refused, broken, timed out");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

fn notes(bed: &Bed, app: &App) -> Vec<String> {
    let events = bed.events(app).into_iter();
    events.filter_map(|event| Some(event["text"].as_str()?.to_owned())).collect()
}

#[test]
fn a_release_takes_over_and_the_one_before_comes_back_and_no_request_is_lost() {
    let bed = Bed::running();
    let build = "build = [\"sh\", \"-c\", \"echo building in $PWD as $(id -u); cp release.txt built\"]\nkeep = 2\n";
    let app = app(&bed, "shop", &format!("{RULES}{build}"));
    release(&app, "one", "");
    let said = bed.fails(1, &["start", "shop"]);
    assert!(said.contains("has no release yet; run: swrun deploy shop RELEASE"), "{said}");
    let planned = bed.ok(&["deploy", "shop", "one", "--dry-run"]);
    for step in ["sh -c", "start it", "/releases/one\" at \"", "no release before it"] {
        assert!(planned.contains(step), "{step}: {planned}");
    }
    assert!(!app.home.join("releases/one/built").exists(), "nothing is done");
    assert_eq!(bed.status(&app)["state"], "stopped");

    let output = bed.swrun(&["deploy", "shop", "one"]);
    let (out, err) = texts(&output);
    assert!(
        output.status.success() && out.contains("shop: runs release one; is online"),
        "{out}{err}"
    );
    let line = format!("shop: building in {} as {}", app.home.join("app").display(), app.uid);
    assert!(err.contains(&line), "what a build says is told: {err}");
    shows(&app, "one");
    let status = bed.status(&app);
    assert_eq!((&status["release"], &status["state"]), (&"one".into(), &"online".into()));

    let load = Load::begin(([127, 0, 0, 1], app.port).into(), 3);
    load.wait_for(20);
    release(&app, "two", "");
    let out = bed.ok(&["deploy", "shop", "two"]);
    assert!(out.contains("runs release two, in the place of one; is reloaded"), "{out}");
    shows(&app, "two");
    assert_eq!(fs::read_link(app.home.join("current")).expect("a link"), Path::new("releases/two"));
    assert_eq!(fs::symlink_metadata(app.home.join("current")).expect("a link").uid(), app.uid);
    let built = fs::read_to_string(app.home.join("releases/two/built")).expect("it was built");
    assert_eq!(built, "two");
    // A restart, and a reload by name alone, stay with it.
    bed.ok(&["reload", "shop"]);
    shows(&app, "two");

    let out = bed.ok(&["rollback", "shop"]);
    assert!(out.contains("runs release one, in the place of two"), "{out}");
    shows(&app, "one");
    let said = bed.fails(1, &["rollback", "shop"]);
    assert!(said.contains("there is no release before one"), "{said}");
    // What was left is the oldest, and goes first.
    release(&app, "three", "");
    let out = bed.ok(&["deploy", "shop", "three"]);
    assert!(out.contains("removed as old: two"), "{out}");
    assert_eq!(names(&app.home.join("releases")), ["one", "three"]);
    shows(&app, "three");
    load.wait_for(20);
    none_lost(load);
    let shown = bed.ok(&["show", "shop"]);
    assert!(shown.contains("releases/three, shown at cwd"), "{shown}");
    let notes = notes(&bed, &app);
    for note in ["release two is in the place of one", "release one is in the place of two"] {
        assert!(notes.iter().any(|text| text.contains(note)), "{note}: {notes:?}");
    }
    let env = fs::read_to_string(app.home.join(".env")).expect("it is there");
    assert_eq!(env, format!("PORT={}\nSECRET=kept\n", app.port));
    bed.end();
}

#[test]
fn a_release_that_does_not_hold_is_taken_back_by_itself() {
    let mut bed = Bed::running();
    let rules = RULES.replace("300ms", "20s");
    let app = app(&bed, "shop", RULES);
    // The first one has nothing before it.
    release(&app, "zero", "throw new Error('no database')");
    let said = bed.fails(1, &["deploy", "shop", "zero"]);
    assert!(
        said.contains("zero did not hold") && said.contains("a start brings no release"),
        "{said}"
    );
    assert_eq!(
        bed.until(&app, "stopped", |s| s["state"] == "stopped")["release"],
        serde_json::Value::Null
    );
    release(&app, "one", "");
    bed.ok(&["deploy", "shop", "one"]);
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    fs::write(bed.profile_path(&app), profile.replace(RULES, &rules)).expect("ours");

    let load = Load::begin(([127, 0, 0, 1], app.port).into(), 3);
    load.wait_for(20);
    release(&app, "two", "throw new Error('no such table')");
    let said = bed.fails(1, &["deploy", "shop", "two"]);
    assert!(
        said.contains("no such table") && said.contains("No request was lost: release one goes on"),
        "{said}"
    );
    shows(&app, "one");
    // It answers at first, and then does not.
    release(&app, "three", "module.exports = (set) => setTimeout(() => set(503), 300)");
    let said = bed.fails(1, &["deploy", "shop", "three"]);
    assert!(said.contains("health check failed 3 times in a row: it answered 503"), "{said}");
    assert!(said.contains("Back to release one: it is reloaded"), "{said}");
    shows(&app, "one");
    load.wait_for(20);
    none_lost(load);
    // It dies a moment after it came up.
    release(&app, "four", "module.exports = () => setTimeout(() => process.exit(7), 500)");
    let said = bed.fails(1, &["deploy", "shop", "four"]);
    assert!(said.contains("code 7") && said.contains("Back to release one: it is"), "{said}");
    shows(&app, "one");
    assert_eq!(bed.status(&app)["release"], "one");
    let link = fs::read_link(app.home.join("current")).expect("a link");
    assert_eq!(link, Path::new("releases/one"));
    let notes = notes(&bed, &app);
    let taken =
        "release one is in the place of three: release three did not hold: its health check";
    assert!(notes.iter().any(|text| text.starts_with(taken)), "{notes:?}");
    // None of them is what one goes back to.
    let said = bed.fails(1, &["rollback", "shop"]);
    assert!(said.contains("there is no release before one"), "{said}");

    // A runner that is killed while a release is watched: it was not chosen yet.
    release(&app, "five", "");
    let deploying = begin(&bed, &["deploy", "shop", "five"]);
    bed.until(&app, "five runs", |status| status["release"] == "five");
    bed.kill_daemon();
    assert_eq!(deploying.wait_with_output().expect("ours").status.code(), Some(4));
    bed.daemon();
    let one_again =
        |status: &serde_json::Value| status["release"] == "one" && status["state"] == "online";
    bed.until(&app, "one is back", one_again);
    shows(&app, "one");
    bed.end();
}

/// A command under way.
fn begin(bed: &Bed, arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(swrun());
    command.args(arguments).env("SWRUN_ROOT", bed.root());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program under test")
}

fn said(child: std::process::Child) -> String {
    let output = child.wait_with_output().expect("ours");
    assert!(!output.status.success());
    texts(&output).1
}

#[test]
fn a_build_fails_alone_is_bounded_and_ends_with_a_stop() {
    let bed = Bed::running();
    let build = "build = [\"sh\", \"./build\"]\nbuild-within = \"2s\"\n";
    let app = app(&bed, "shop", &format!("{RULES}{build}"));
    let with_build = |name: &str, script: &str| with_build(&app, name, script);
    with_build("one", "exit 0");
    bed.ok(&["deploy", "shop", "one"]);
    with_build("two", "printf '\\033[31mred\\n'; echo why >&2; exit 3");
    let said_of_two = bed.fails(1, &["deploy", "shop", "two"]);
    assert!(said_of_two.contains("ended with code 3\n  \\x1b[31mred\n  why"), "{said_of_two}");
    assert!(said_of_two.contains("goes on as it was"), "{said_of_two}");
    shows(&app, "one");
    // One that hangs, with a child that does; and meanwhile nobody else deploys.
    with_build("three", "echo begun; sleep 1000 & wait");
    let deploying = begin(&bed, &["deploy", "shop", "three"]);
    bed.until(&app, "it builds", |_| runs(&bed, "sleep 1000"));
    let busy = bed.fails(1, &["deploy", "shop", "one"]);
    assert!(busy.contains("is being deployed already"), "{busy}");
    let said_of_three = said(deploying);
    assert!(said_of_three.contains("did not end within 2s\n  begun"), "{said_of_three}");
    assert!(!runs(&bed, "sleep 1000"));
    shows(&app, "one");
    // A stop waits for no build.
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    fs::write(bed.profile_path(&app), profile.replace("\"2s\"", "\"10m\"")).expect("ours");
    let deploying = begin(&bed, &["deploy", "shop", "three"]);
    bed.until(&app, "it builds", |_| runs(&bed, "sleep 1000"));
    bed.ok(&["stop", "shop"]);
    let said_of_three = said(deploying);
    assert!(said_of_three.contains("was ordered to stop"), "{said_of_three}");
    assert_eq!(bed.status(&app)["state"], "stopped");
    bed.ok(&["start", "shop"]);
    shows(&app, "one");
    // Nor for a watch.
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    fs::write(bed.profile_path(&app), profile.replace("\"300ms\"", "\"10m\"")).expect("ours");
    with_build("four", "exit 0");
    let deploying = begin(&bed, &["deploy", "shop", "four"]);
    bed.until(&app, "four runs", |s| s["release"] == "four" && s["state"] == "online");
    bed.ok(&["stop", "shop"]);
    let said_of_four = said(deploying);
    assert!(said_of_four.contains("a start brings release one"), "{said_of_four}");
    bed.ok(&["start", "shop"]);
    shows(&app, "one");
    // Nor for a release that does not come up.
    with_build("five", ": > slow");
    let deploying = begin(&bed, &["deploy", "shop", "five"]);
    bed.until(&app, "five comes up", |status| {
        status["instances"].as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(bed.status(&app)["release"], "one");
    bed.ok(&["stop", "shop"]);
    let said_of_five = said(deploying);
    assert!(said_of_five.contains("a start brings release one"), "{said_of_five}");
    bed.ok(&["start", "shop"]);
    shows(&app, "one");
    bed.end();
}

#[test]
fn a_deploy_user_deploys_its_own_and_nobody_elses_and_no_link_leads_out() {
    let bed = Bed::running();
    let shop = app(&bed, "shop", RULES);
    let other = app(&bed, "other", RULES);
    for app in [&shop, &other] {
        release(app, "one", "");
        bed.ok(&["deploy", &app.name, "one"]);
    }
    release(&shop, "two", "");
    let as_user = |uid: u32, arguments: &[&str]| {
        let mut command = Command::new(swrun());
        command.args(arguments).env("SWRUN_ROOT", bed.root()).uid(uid).gid(uid);
        command.stdin(Stdio::null()).output().expect("the program under test")
    };
    let output = as_user(shop.uid, &["deploy", "shop", "two"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    shows(&shop, "two");
    for (uid, name) in [(shop.uid, "other"), (other.uid, "shop"), (65534, "shop")] {
        for arguments in [&["deploy", name, "one"][..], &["rollback", name]] {
            let output = as_user(uid, arguments);
            assert_eq!(output.status.code(), Some(1));
            assert!(texts(&output).1.contains("you may not do this"), "{:?}", texts(&output));
        }
    }
    // From inside of a cage nobody asks for anything.
    let inside =
        format!("require('net').connect('{}')", bed.root().join("run/swrun/socket").display());
    assert!(!bed.swrun(&["exec", "shop", "--", "node", "-e", &inside]).status.success());

    // What a user can put there.
    let releases = shop.home.join("releases");
    symlink(other.home.join("releases/one"), releases.join("stolen")).expect("ours");
    symlink(&releases, releases.join("round")).expect("ours");
    fs::write(releases.join("file"), "x").expect("ours");
    own_folder(&other, &releases.join("foreign"));
    for (name, why) in [
        ("stolen", "over a link"),
        ("round", "over a link"),
        ("file", "could not open the release"),
        ("foreign", "belongs to uid"),
        ("none", "there are: "),
    ] {
        let said = bed.fails(1, &["deploy", "shop", name]);
        assert!(said.contains(why), "{name}: {said}");
    }
    for name in ["../one", "..", "", "/etc", "-x", "a b", "one/"] {
        let output = bed.swrun(&["deploy", "shop", "--", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
    shows(&shop, "two");
    // The folder of the releases itself.
    fs::rename(&releases, shop.home.join("away")).expect("ours");
    symlink(shop.home.join("away"), &releases).expect("ours");
    let said = bed.fails(1, &["deploy", "shop", "one"]);
    assert!(said.contains("over a link"), "{said}");
    fs::remove_file(&releases).expect("ours");
    fs::rename(shop.home.join("away"), &releases).expect("ours");
    // The link for people leads into a folder of the host's: what is written there is the user's own affair.
    let outside = bed.root().join("outside");
    fs::create_dir(&outside).expect("ours");
    let link = shop.home.join("current");
    fs::remove_file(&link).expect("ours");
    symlink(&outside, &link).expect("ours");
    lchown(&link, Some(shop.uid), Some(shop.uid)).expect("root may");
    bed.ok(&["deploy", "shop", "one"]);
    assert_eq!(names(&outside), Vec::<String>::new());
    assert_eq!(fs::read_link(&link).expect("a link"), Path::new("releases/one"));
    bed.end();
}

/// No process of a build is left.
fn until_no_build(bed: &Bed, app: &App) {
    bed.until(app, "no build is left", |_| !runs(bed, "sleep 77777"));
}

#[test]
fn a_build_that_floods_or_outlives_who_asked_holds_nobody_up() {
    let mut bed = Bed::running();
    let build = "build = [\"sh\", \"./build\"]\nbuild-within = \"3s\"\n";
    let app = app(&bed, "shop", &format!("{RULES}{build}"));
    let with_build = |name: &str, script: &str| with_build(&app, name, script);
    with_build("one", "exit 0");
    bed.ok(&["deploy", "shop", "one"]);
    // Words without end, and nobody who reads them.
    with_build("two", "yes & sleep 77777");
    for dies in [true, false] {
        let mut deploying = begin(&bed, &["deploy", "shop", "two"]);
        bed.until(&app, "it builds", |_| runs(&bed, "sleep 77777"));
        if dies {
            deploying.kill().expect("ours");
            deploying.wait().expect("ours");
        }
        // Others are answered meanwhile, and its time is its time.
        shows(&app, "one");
        until_no_build(&bed, &app);
        drop(deploying);
    }
    bed.until(&app, "no group of a command is left", |_| {
        let groups = bed.groups().into_iter().flat_map(|group| {
            let app = group.join("shop/app");
            fs::read_dir(app).into_iter().flatten().flatten().map(|entry| entry.file_name())
        });
        let numbers = groups.filter_map(|name| name.to_str()?.parse::<u32>().ok());
        numbers.filter(|number| *number >= 1 << 30).count() == 0
    });
    // What is in use is not built under its feet.
    fs::write(app.home.join("releases/one/build"), "rm server.js; exit 3").expect("ours");
    bed.ok(&["deploy", "shop", "one"]);
    assert!(app.home.join("releases/one/server.js").exists());

    // With the runner goes what it builds.
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    fs::write(bed.profile_path(&app), profile.replace("\"3s\"", "\"1h\"")).expect("ours");
    with_build("three", "sleep 77777");
    for is_killed in [true, false] {
        let deploying = begin(&bed, &["deploy", "shop", "three"]);
        bed.until(&app, "it builds", |_| runs(&bed, "sleep 77777"));
        if is_killed {
            bed.kill_daemon();
            bed.daemon();
            until_no_build(&bed, &app);
            shows(&app, "one");
        } else {
            bed.ok(&["kill"]);
            bed.wait_for_daemon();
        }
        assert!(!deploying.wait_with_output().expect("ours").status.success());
    }
    assert!(!runs(&bed, "sleep 77777"));
    bed.daemon();
    bed.end();
}

#[test]
fn what_ran_before_comes_back_as_it_was_whatever_its_profile_says_now() {
    let mut bed = Bed::running();
    // Copied in place until now: it serves, and has no release.
    let app = app(&bed, "shop", "");
    release(&app, "zero", "");
    for file in ["server.js", "release.txt"] {
        fs::copy(app.home.join("releases/zero").join(file), app.home.join("app").join(file))
            .expect("ours");
    }
    bed.env_file(&app, &format!("PORT={}\nSECRET=kept\n", app.port));
    fs::copy(app.home.join(".env"), app.home.join("app/.env")).expect("ours");
    chown(app.home.join("app/.env"), Some(app.uid), Some(app.uid)).expect("root may");
    bed.start(&app);
    shows(&app, "zero");
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    let with =
        |rules: &str| fs::write(bed.profile_path(&app), format!("{profile}{rules}")).expect("ours");
    with(RULES);
    release(&app, "bad", "throw new Error('not this one')");
    let told = bed.fails(1, &["deploy", "shop", "bad"]);
    assert!(told.contains("what ran before goes on"), "{told}");
    shows(&app, "zero");
    release(&app, "sick", "module.exports = (set) => setTimeout(() => set(503), 300)");
    with(&RULES.replace("300ms", "20s"));
    let load = Load::begin(([127, 0, 0, 1], app.port).into(), 2);
    let told = bed.fails(1, &["deploy", "shop", "sick"]);
    assert!(told.contains("what ran before"), "{told}");
    shows(&app, "zero");
    load.wait_for(10);
    none_lost(load);

    // While it comes up another release is not taken for the one that is asked for.
    with(RULES);
    release(&app, "one", "");
    bed.ok(&["deploy", "shop", "one"]);
    release(&app, "two", "");
    bed.ok(&["restart", "shop", "--no-wait"]);
    bed.ok(&["deploy", "shop", "two"]);
    shows(&app, "two");
    assert_eq!(bed.status(&app)["release"], "two");

    // The profile goes, or gets a mistake, while a release is on trial.
    for text in [None, Some("name = ")] {
        with(&RULES.replace("300ms", "20s"));
        let late = format!("late-{}", text.is_some());
        release(&app, &late, "module.exports = (set) => setTimeout(() => set(503), 1500)");
        let deploying = begin(&bed, &["deploy", "shop", &late]);
        bed.until(&app, "it runs", |status| status["release"] == late.as_str());
        match text {
            Some(text) => fs::write(bed.profile_path(&app), text).expect("ours"),
            None => fs::remove_file(bed.profile_path(&app)).expect("ours"),
        }
        let refused = bed.fails(1, &["reload", "shop"]);
        assert!(refused.contains("is on trial"), "{refused}");
        let told = said(deploying);
        assert!(told.contains("Back to release two: it is reloaded"), "{told}");
        shows(&app, "two");
        assert_eq!(bed.status(&app)["release"], "two");
    }

    // A first release on trial, and all of it ends.
    with(RULES);
    bed.ok(&["delete", "shop"]);
    with(&RULES.replace("300ms", "20s"));
    let deploying = begin(&bed, &["deploy", "shop", "one"]);
    bed.until(&app, "it runs", |status| status["release"] == "one" && status["state"] == "online");
    let monitor = bed.status(&app)["monitor_pid"].as_i64().expect("a pid");
    bed.kill_daemon();
    bed::kill(monitor.try_into().expect("a pid"));
    assert_eq!(deploying.wait_with_output().expect("ours").status.code(), Some(4));
    bed.daemon();
    let status = bed.until(&app, "stopped", |status| status["state"] == "stopped");
    assert_eq!(status["release"], serde_json::Value::Null);
    assert!(bed.fails(1, &["start", "shop"]).contains("has no release yet"));
    bed.end();
}

#[test]
fn orders_that_cross_a_deployment_have_their_turn() {
    let mut bed = Bed::running();
    // One of two dies all the time: nothing is tried, and the other one goes on.
    let two = app(
        &bed,
        "two",
        &format!("{RULES}[restart]\nfirst-delay = \"10m\"\nmax-delay = \"10m\"\n"),
    );
    let profile = fs::read_to_string(bed.profile_path(&two)).expect("ours");
    let profile = profile.replace("ports =", "instances = 2\nports =");
    fs::write(bed.profile_path(&two), profile).expect("ours");
    release(
        &two,
        "one",
        "module.exports = () => { if (process.env.NODE_APP_INSTANCE === '1') setTimeout(() => process.exit(1), 1000); }",
    );
    release(&two, "two", "");
    bed.ok(&["deploy", "two", "one"]);
    let half = |status: &serde_json::Value| {
        let instances = status["instances"].as_array();
        status["state"] == "backoff" && instances.is_some_and(|all| all.len() == 1)
    };
    let pid = bed.until(&two, "one of two serves", half)["pid"].clone();
    let told = bed.fails(1, &["deploy", "two", "two"]);
    assert!(told.contains("wait until all of them do"), "{told}");
    assert_eq!(bed.status(&two)["pid"], pid);

    // Behind a delete there is nothing to deploy.
    let app = app(&bed, "shop", RULES);
    release(
        &app,
        "one",
        "process.removeAllListeners('SIGTERM'); process.on('SIGTERM', () => {}); module.exports = () => {}",
    );
    release(&app, "two", "");
    bed.ok(&["deploy", "shop", "one"]);
    let deleting = begin(&bed, &["delete", "shop"]);
    bed.until(&app, "it is stopping", |status| status["state"] == "stopping");
    let told = bed.fails(1, &["deploy", "shop", "two"]);
    assert!(told.contains("was deleted or stopped meanwhile"), "{told}");
    assert!(deleting.wait_with_output().expect("ours").status.success());
    bed.kill_daemon();
    bed.daemon();
    assert_eq!(bed.status(&app), serde_json::Value::Null, "it is deleted");
    bed.end();
}

/// A real sshd on loopback, in a mount namespace whose users are the host's and one more.
struct Ssh {
    folder: std::path::PathBuf,
    server: std::process::Child,
}

impl Ssh {
    fn begin(bed: &Bed, app: &App) -> Self {
        let folder = bed.root().join("ssh");
        fs::create_dir(&folder).expect("ours");
        let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
        for key in ["host", "client"] {
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &path(key)];
            let made = Command::new("ssh-keygen").args(arguments).status().expect("ssh-keygen");
            assert!(made.success());
        }
        fs::copy(path("client.pub"), path("keys")).expect("ours");
        let host_key = fs::read_to_string(path("host.pub")).expect("ours");
        let port = bed::free_port();
        fs::write(path("known"), format!("[127.0.0.1]:{port} {host_key}")).expect("ours");
        let with = |file: &str, lines: &str| {
            let text = fs::read_to_string(format!("/etc/{file}")).expect("a user database");
            fs::write(path(file), format!("{}\n{lines}\n", text.trim_end())).expect("ours");
        };
        let user = format!("pipeline:x:{0}:{0}::{1}:/bin/sh", app.uid, app.home.display());
        with("passwd", &user);
        with("group", &format!("pipeline:x:{}:", app.uid));
        with("shadow", "pipeline:*:19000:0:99999:7:::");
        let settings = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nDisableForwarding yes\nStrictModes no\n",
            path("host"),
            path("keys")
        );
        fs::write(path("sshd_config"), settings).expect("ours");
        fs::write(
            path("config"),
            format!(
                "Host server\n HostName 127.0.0.1\n Port {port}\n User pipeline\n IdentityFile {}\n \
                 UserKnownHostsFile {}\n IdentitiesOnly yes\n BatchMode yes\n",
                path("client"),
                path("known")
            ),
        )
        .expect("ours");
        let script = "set -e; for file in passwd group shadow; do mount --bind \"$1/$file\" /etc/$file; done; \
                      mount -t tmpfs -o mode=755 sshd /run; mkdir -m 755 /run/sshd; exec /usr/sbin/sshd -D -e -f \"$1/sshd_config\"";
        let log = fs::File::create(path("log")).expect("ours");
        let server = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sshd", &path("")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare");
        let ssh = Self { folder, server };
        let deadline = Instant::now() + patience();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd: {}", ssh.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        ssh
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The pipeline's one line.
    fn deploys(&self, bed: &Bed, app: &App, folder: &Path, name: &str) -> std::process::Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy-over-ssh");
        let mut command = Command::new(script);
        command.args(["server", &app.name]).args([&app.home, folder]).arg(name);
        command.env("SSH", format!("ssh -F {}", self.folder.join("config").display()));
        let root = bed.root().display();
        command.env("SWRUN", format!("env SWRUN_ROOT={root} {}", swrun().display()));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bed.root().join("bin").display()));
        command.stdin(Stdio::null()).output().expect("the example")
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_pipeline_deploys_over_ssh() {
    let bed = Bed::running();
    let app = app(&bed, "shop", RULES);
    // What the pipeline has built, on its own machine.
    let built = bed.root().join("built");
    fs::create_dir(&built).expect("ours");
    let build = |release: &str, fate: &str| {
        fs::write(built.join("server.js"), SERVER).expect("ours");
        fs::write(built.join("release.txt"), release).expect("ours");
        fs::write(built.join("fate.js"), fate).expect("ours");
    };
    build("first", "module.exports = () => {}");
    // The runner has to know it before somebody who is not root may say so.
    bed.fails(1, &["start", "shop"]);
    let ssh = Ssh::begin(&bed, &app);
    let output = ssh.deploys(&bed, &app, &built, "first");
    assert!(output.status.success(), "{:?}\n{}", texts(&output), ssh.log());
    shows(&app, "first");
    let load = Load::begin(([127, 0, 0, 1], app.port).into(), 2);
    load.wait_for(10);
    build("second", "module.exports = () => {}");
    let output = ssh.deploys(&bed, &app, &built, "second");
    let (out, err) = texts(&output);
    assert!(out.contains("runs release second, in the place of first"), "{out}{err}");
    shows(&app, "second");
    // Its own exit status is the pipeline's.
    build("third", "throw new Error('not this one')");
    let output = ssh.deploys(&bed, &app, &built, "third");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("not this one") && err.contains("release second goes on"), "{out}{err}");
    shows(&app, "second");
    // A name that is there is not written over.
    let output = ssh.deploys(&bed, &app, &built, "first");
    assert!(!output.status.success());
    shows(&app, "second");
    // What cannot be packed whole is no release, and leaves nothing that a second try meets.
    symlink("nowhere", built.join("good")).expect("ours");
    let pack = |arguments: &str| {
        let tar = bed.root().join("bin/tar");
        fs::create_dir_all(tar.parent().expect("a folder")).expect("ours");
        fs::write(&tar, format!("#!/bin/sh\n/usr/bin/tar \"$@\"\n{arguments}\n")).expect("ours");
        fs::set_permissions(&tar, fs::Permissions::from_mode(0o755)).expect("ours");
    };
    build("fourth", "module.exports = () => {}");
    pack("exit 2");
    let output = ssh.deploys(&bed, &app, &built, "fourth");
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("nothing was deployed"), "{:?}", texts(&output));
    shows(&app, "second");
    pack("");
    let output = ssh.deploys(&bed, &app, &built, "fourth");
    assert!(output.status.success(), "{:?}", texts(&output));
    shows(&app, "fourth");
    load.wait_for(10);
    none_lost(load);
    drop(ssh);
    bed.end();
}

#[test]
fn a_release_that_is_exchanged_for_a_link_all_the_time_is_its_own_or_refused() {
    let bed = Bed::running();
    let shop = app(&bed, "shop", &RULES.replace("300ms", "1ms"));
    release(&shop, "one", "");
    release(&shop, "two", "");
    let outside = bed.root().join("outside");
    fs::create_dir(&outside).expect("ours");
    for (file, text) in [("server.js", SERVER), ("release.txt", "stolen")] {
        fs::write(outside.join(file), text).expect("ours");
    }
    let (folder, trap) = (shop.home.join("releases/two"), shop.home.join("releases/trap"));
    symlink(&outside, &trap).expect("ours");
    bed.ok(&["deploy", "shop", "one"]);
    let is_over = AtomicBool::new(false);
    let (mut own, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &folder, CWD, &trap, RenameFlags::EXCHANGE);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let deadline = Instant::now() + patience();
        while (own < 3 || refused < 3) && Instant::now() < deadline {
            match bed.swrun(&["deploy", "shop", "two"]).status.success() {
                true => own += 1,
                false => refused += 1,
            }
            let text = page(&shop);
            if text.contains("stolen") {
                is_over.store(true, Ordering::Relaxed);
                panic!("root followed a link of the user's: {text}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(own > 0 && refused > 0, "{own} {refused}: both were seen");
    bed.end();
}

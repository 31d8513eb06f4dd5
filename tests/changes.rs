//! Restarts that nobody orders: when files change (`[watch]`), and at set times (`cron`).

mod bed;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bed::{App, Bed, pid};

const RULES: &str = "writable = [\"src/uploads\", \"src/state\"]\n[watch]\npaths = [\"src\", \"index.js\"]\n\
                     ignore = [\"node_modules\", \"*.log\"]\ndelay = \"100ms\"\n";

/// The paths for which it was restarted.
fn reasons(bed: &Bed, app: &App) -> Vec<String> {
    let events = bed.events(app);
    let texts = events
        .iter()
        .filter(|event| event["event"] == "note")
        .filter_map(|event| event["text"].as_str());
    texts.map(str::to_owned).collect()
}

fn watched(bed: &Bed, name: &str) -> App {
    let app = bed.app(name);
    for folder in ["src/uploads", "src/node_modules/x", "src/lib"] {
        fs::create_dir_all(app.home.join(folder)).expect("ours");
    }
    write(app.home.join("src/state"));
    for folder in ["src", "src/uploads", "src/state"] {
        std::os::unix::fs::chown(app.home.join(folder), Some(app.uid), Some(app.uid))
            .expect("root may");
    }
    bed.probe(&app, RULES);
    app
}

fn write(path: impl AsRef<Path>) {
    fs::write(path, "changed").expect("ours");
}

/// Waits for the restart that comes of `path`, the next after `before`.
fn restarted(bed: &Bed, app: &App, before: i32, path: &str) -> i32 {
    let status =
        bed.until(app, path, |status| status["state"] == "online" && pid(status) != before);
    let reasons = reasons(bed, app);
    let last = reasons.last().unwrap_or_else(|| panic!("no reason for {path}"));
    assert_eq!(last, &format!("it is restarted, since \"{path}\" changed"), "{reasons:?}");
    pid(&status)
}

#[test]
fn a_change_restarts_it_once_and_what_does_not_count_does_not() {
    let bed = Bed::running();
    let app = watched(&bed, "shop");
    let mut now = pid(&bed.start(&app));
    let src = app.home.join("src");
    let outside = bed.root().join("outside");
    fs::create_dir(&outside).expect("ours");

    // None of these: were one taken, it would be the reason.
    write(src.join("node_modules/x/index.js"));
    write(src.join("debug.log"));
    write(src.join("uploads/picture"));
    write(src.join("state"));
    write(src.join(".index.js.swp"));
    write(app.home.join("README"));
    symlink(&outside, app.home.join("link")).expect("ours");
    // Many at once are one change.
    for number in 0..50 {
        write(src.join(format!("{number}.js")));
    }
    now = restarted(&bed, &app, now, "src/0.js");
    assert_eq!(reasons(&bed, &app).len(), 1);

    // A file that is a path of its own, also by the way in which editors save.
    write(app.home.join("new"));
    fs::rename(app.home.join("new"), app.home.join("index.js")).expect("ours");
    now = restarted(&bed, &app, now, "index.js");
    // A folder that is new, and what is in it afterwards.
    fs::create_dir(src.join("more")).expect("ours");
    now = restarted(&bed, &app, now, "src/more");
    write(src.join("more/a.js"));
    now = restarted(&bed, &app, now, "src/more/a.js");
    fs::remove_file(src.join("more/a.js")).expect("ours");
    now = restarted(&bed, &app, now, "src/more/a.js");
    assert_eq!(reasons(&bed, &app).len(), 5);

    // A new monitor goes on with it, and an edited profile with its own rules.
    bed.ok(&["upgrade", "shop"]);
    write(src.join("lib/b.js"));
    restarted(&bed, &app, now, "src/lib/b.js");
    bed.probe(&app, &RULES.replace("\"src\"", "\"src/lib\""));
    bed.ok(&["restart", "shop"]);
    let now = pid(&bed.status(&app));
    write(src.join("1.js"));
    write(src.join("lib/c.js"));
    restarted(&bed, &app, now, "src/lib/c.js");
    bed.end();
}

/// A folder of the app's is the app's to change, and root looks into it: over no link, into no mount.
#[test]
fn root_is_led_nowhere_by_a_link() {
    let bed = Bed::running();
    let app = watched(&bed, "shop");
    let outside = bed.root().join("outside");
    fs::create_dir_all(outside.join("deep")).expect("ours");
    symlink(&outside, app.home.join("src/link")).expect("ours");
    let now = pid(&bed.start(&app));
    // A folder that becomes a link while it is watched.
    let lib = app.home.join("src/lib");
    fs::rename(&lib, app.home.join("src/old")).expect("ours");
    symlink(&outside, &lib).expect("ours");
    let now = restarted(&bed, &app, now, "src/lib");
    write(outside.join("secret"));
    write(outside.join("deep/secret"));
    write(app.home.join("src/a.js"));
    restarted(&bed, &app, now, "src/a.js");
    bed.end();
}

/// What is named may be a file beside others, may not be there yet, and may be made anew at each build.
#[test]
fn what_is_named_is_watched_whatever_becomes_of_it() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let at = |path: &str| app.home.join(path);
    fs::create_dir(at("dist")).expect("ours");
    for path in ["a.json", "b.json", "c.json", "dist/old.js"] {
        write(at(path));
    }
    bed.probe(
        &app,
        "[watch]\npaths = [\"a.json\", \"b.json\", \"dist\", \"later/src\"]\ndelay = \"50ms\"\n",
    );
    let mut now = pid(&bed.start(&app));
    write(at("c.json"));
    write(at("a.json"));
    now = restarted(&bed, &app, now, "a.json");
    write(at("b.json"));
    now = restarted(&bed, &app, now, "b.json");
    // As a build does it.
    fs::remove_dir_all(at("dist")).expect("ours");
    now = restarted(&bed, &app, now, "dist/old.js");
    fs::create_dir(at("dist")).expect("ours");
    now = restarted(&bed, &app, now, "dist");
    write(at("dist/new.js"));
    now = restarted(&bed, &app, now, "dist/new.js");
    fs::rename(at("dist"), at("before")).expect("ours");
    fs::create_dir(at("dist")).expect("ours");
    now = restarted(&bed, &app, now, "dist");
    write(at("before/new.js"));
    write(at("dist/newest.js"));
    now = restarted(&bed, &app, now, "dist/newest.js");
    // A folder on the way is no change; what comes to be at the end of it is.
    fs::create_dir(at("later")).expect("ours");
    fs::create_dir(at("later/src")).expect("ours");
    now = restarted(&bed, &app, now, "later/src");
    write(at("later/src/x.js"));
    restarted(&bed, &app, now, "later/src/x.js");
    bed.end();
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let bed = Bed::new();
    let app = bed.app("shop");
    for (wrong, said) in [
        ("[watch]\ndelay = \"1s\"\n", "\"paths\" in [watch] is missing"),
        ("[watch]\npaths = [\"../x\"]\n", "\"paths\""),
        ("[watch]\npaths = [\"src\"]\ndelay = \"1ms\"\n", "too short"),
        ("cron = \"61 * * * *\"\n", "no line of a crontab"),
        ("cron = \"0 3 * *\"\n", "no line of a crontab"),
    ] {
        bed.probe(&app, wrong);
        let output = bed.swrun(&["check"]);
        let (out, err) = bed::texts(&output);
        assert!(
            !output.status.success() && (out.clone() + &err).contains(said),
            "{wrong}: {out}{err}"
        );
    }
}

/// Takes up to a minute: a crontab knows nothing shorter.
#[test]
fn it_is_restarted_at_its_time() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "cron = \"* * * * *\"\n");
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    // Far enough from the minute for the start.
    while seconds() % 60 > 50 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = pid(&bed.start(&app));
    let began = seconds();
    let due = (began / 60 + 1) * 60;
    while seconds() < due - 1 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(pid(&bed.status(&app)), before, "too soon");
    }
    bed.until(&app, "the restart", |status| status["state"] == "online" && pid(status) != before);
    assert!((due..due + 5).contains(&seconds()), "{} after {due}", seconds());
    assert_eq!(reasons(&bed, &app), ["it is restarted by its cron \"* * * * *\""]);
    bed.end();
}

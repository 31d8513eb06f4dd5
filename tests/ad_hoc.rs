//! Environments without a profile file: today's lines as they stand, with `swrun` in place of `pm2`.

mod bed;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bed::{App, Bed, get, is_guest, texts};

/// A backend as on the page: it takes its port from its environment or from `.env` by `dotenv`,
/// which in a cage has been done already.
const BACKEND: &str = "require('http').createServer((ask, answer) => { \
    if (ask.url === '/crash') process.exit(1); \
    answer.end(JSON.stringify({ env: process.env, pid: process.pid })) }) \
    .listen(process.env.PORT);";

/// The folder of a backend, with its `.env`.
fn backend(bed: &Bed, name: &str) -> App {
    let app = bed.app(name);
    let path = app.home.join("index.js");
    fs::write(&path, BACKEND).expect("ours");
    chown(&path, Some(app.uid), Some(app.uid)).expect("root may");
    bed.env_file(&app, &format!("NODE_ENV=of-the-file\nPORT={}\n", app.port));
    app
}

/// Whether there is a node; a guest kernel may have none.
fn has_node() -> bool {
    let found = Path::new("/usr/bin/node").exists();
    assert!(found || is_guest(), "tests/run installs node");
    if !found {
        eprintln!("skipped: this guest has no node");
    }
    found
}

/// Runs a line of shell with `swrun` in PATH.
fn shell(bed: &Bed, script: &str, variables: &[(&str, &str)]) -> Output {
    let folder = bed::swrun().parent().map(Path::to_owned).expect("a folder");
    Command::new("/bin/bash")
        .args(["-euc", script])
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .env("SWRUN_ROOT", bed.root())
        .env_remove("NODE_ENV")
        .env_remove("PORT")
        .env("SECRET_OF_THE_CALLER", "not to be passed on")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("Debian has it")
}

#[track_caller]
fn ok(output: &Output) -> String {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{out}{err}");
    out + &err
}

fn environment(app: &App) -> serde_json::Value {
    let text = get(app.port, "/").expect("it answers");
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["env"].clone()
}

fn saved_profile(bed: &Bed, app: &App) -> PathBuf {
    bed.root().join(format!("var/lib/swrun/profiles/{}.toml", app.name))
}

#[test]
fn the_line_of_today_starts_it() {
    if !has_node() {
        return;
    }
    let mut bed = Bed::running();
    let app = backend(&bed, "backend-test");
    let folder = app.home.to_str().expect("plain");
    let line = format!(
        "NODE_ENV=test swrun start {folder}/index.js \\\n  --name backend-test \\\n  --cwd {folder}"
    );
    let said = ok(&shell(&bed, &line, &[]));
    assert!(said.contains("NODE_ENV=test") && said.contains("online"), "{said}");

    // It runs as the owner of the folder; of the caller's variables NODE_ENV alone is there.
    let status = bed.status(&app);
    assert_eq!(status["user"], app.uid.to_string().as_str());
    let seen = environment(&app);
    assert_eq!(seen["NODE_ENV"], "test");
    assert_eq!(seen["PORT"], app.port.to_string().as_str());
    assert_eq!(seen["SECRET_OF_THE_CALLER"], serde_json::Value::Null, "{seen}");
    // PORT of its .env is its port: it was waited for, and is shown.
    assert_eq!(status["ports"][0]["port"], app.port, "{status:#}");
    assert_eq!(status["state"], "online");

    // The runner dies and comes back, all of it ends and comes back: it is still known.
    bed.kill_daemon();
    bed.daemon();
    let again = bed.until(&app, "known", |status| status["state"] == "online");
    assert_eq!(again["pid"], status["pid"]);
    bed.ok(&["kill"]);
    bed.wait_for_daemon();
    bed.daemon();
    let back = bed.until(&app, "back", |status| status["state"] == "online");
    assert_eq!(back["ports"], status["ports"]);

    // Stopped and deleted it is gone, also for the next runner.
    ok(&shell(&bed, "swrun stop backend-test", &[]));
    assert_eq!(bed.status(&app)["state"], "stopped");
    assert!(get(app.port, "/").is_err());
    ok(&shell(&bed, "swrun delete backend-test", &[]));
    assert!(!saved_profile(&bed, &app).exists());
    bed.kill_daemon();
    bed.daemon();
    assert_eq!(bed.status(&app), serde_json::Value::Null);
    let said = bed.fails(1, &["start", "backend-test"]);
    assert!(said.contains("no environment"), "{said}");

    // And started again with the same line.
    ok(&shell(&bed, &line, &[]));
    assert_eq!(environment(&app)["NODE_ENV"], "test");
    bed.end();
}

/// `-t test` is "backend-test" as long as nothing else is called so.
#[test]
fn the_end_of_a_name_is_a_target_until_somebody_has_that_name() {
    if !has_node() {
        return;
    }
    let bed = Bed::running();
    let app = backend(&bed, "backend-test");
    let line = format!("swrun start {}/index.js --name backend-test", app.home.display());
    ok(&shell(&bed, &line, &[]));
    assert_eq!(bed.status(&app)["target"], "test");
    ok(&shell(&bed, "swrun restart -t test", &[]));
    let other = bed.app("test");
    bed.probe(&other, "");
    ok(&shell(&bed, "swrun start test", &[]));
    assert_eq!(bed.status(&other)["state"], "online");
    assert_eq!(bed.status(&app)["target"], serde_json::Value::Null);
    ok(&shell(&bed, "swrun restart backend-test && swrun stop -t test", &[]));
    assert_eq!(
        (&bed.status(&app)["state"], &bed.status(&other)["state"]),
        (&"online".into(), &"stopped".into())
    );
    bed.end();
}

#[test]
fn the_port_follows_what_the_app_is_told() {
    if !has_node() {
        return;
    }
    let bed = Bed::running();
    let app = backend(&bed, "shop");
    let path = app.home.join("index.js").display().to_string();
    let port_of = |app: &App| bed.status(app)["ports"][0]["port"].clone();

    bed.ok(&["start", &path, "--name", "shop"]);
    assert_eq!(port_of(&app), app.port);
    // The file is read anew at a restart, its port too.
    let moved = App { port: bed::free_port(), ..app.clone() };
    bed.env_file(&moved, &format!("PORT={}\n", moved.port));
    bed.ok(&["restart", "shop"]);
    assert_eq!(port_of(&app), moved.port);
    assert_eq!(environment(&moved)["PORT"], moved.port.to_string().as_str());

    // A port that is another's is refused, and what runs goes on.
    let other = backend(&bed, "other");
    bed.profile(&other, &["node", "index.js"], &format!("ports = [{}]", other.port));
    bed.start(&other);
    bed.env_file(&moved, &format!("PORT={}\n", other.port));
    let said = bed.fails(1, &["restart", "shop"]);
    assert!(said.contains(&other.port.to_string()) && said.contains("\"other\""), "{said}");
    assert!(get(moved.port, "/").is_ok());

    // What wins for the app wins here: a PORT of the caller's, and --port above all.
    let called = App { port: bed::free_port(), ..app.clone() };
    let line = format!("PORT={} swrun start {path} --name shop", called.port);
    let said = ok(&shell(&bed, &line, &[]));
    assert!(said.contains(&format!("PORT={}", called.port)), "{said}");
    assert_eq!(port_of(&app), called.port);
    assert_eq!(environment(&called)["PORT"], called.port.to_string().as_str());
    bed.env_file(&app, &format!("PORT={}\n", app.port));
    bed.ok(&["start", &path, "--name", "shop", "--port", &app.port.to_string()]);
    assert_eq!(port_of(&app), app.port);
    bed.end();
}

/// What an app can put in place of its `.env` neither holds the runner up nor is opened by root.
#[test]
fn a_hostile_env_file_is_the_starts_to_refuse() {
    if !has_node() {
        return;
    }
    let bed = Bed::running();
    let app = backend(&bed, "shop");
    let path = app.home.join("index.js").display().to_string();
    fs::remove_file(app.home.join(".env")).expect("ours");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(&app.home.join(".env"), mode).expect("ours");
    let said = bed.fails(1, &["start", &path, "--name", "shop"]);
    assert!(said.contains("could not read") && said.contains("not a regular file"), "{said}");
    bed.end();
}

#[test]
fn what_cannot_be_an_environment_is_refused_and_nothing_is_kept() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let server = app.home.join("server");
    fs::copy(bed::probe::path(), &server).expect("ours");
    let server = server.to_str().expect("plain");
    let of_root = bed.root().join("srv/of-root");
    fs::create_dir(&of_root).expect("ours");
    fs::copy(server, of_root.join("server")).expect("ours");
    let of_root = of_root.join("server").display().to_string();
    let user = app.uid.to_string();
    for (words, why) in [
        (vec!["start", &of_root, "--name", "shop"], "--user"),
        (vec!["start", &of_root, "--name", "shop", "--user", "root"], "root"),
        (vec!["start", server, "--name", "shop", "--user", "0"], "root"),
        (vec!["start", server, "--name", "shop", "--user", "nobody-here"], "nobody-here"),
        (vec!["start", server, "--name", "shop", "--port", "99999"], "99999"),
        (vec!["start", "/nonexistent/server", "--name", "shop", "--user", &user], "no such file"),
    ] {
        let said = bed.fails(1, &words);
        assert!(said.contains(why), "{words:?}: {said}");
        assert!(!saved_profile(&bed, &app).exists(), "{words:?}");
        assert_eq!(bed.status(&app), serde_json::Value::Null, "{words:?}");
    }
    // One that works is not lost by a call that does not.
    bed.env_file(&app, &format!("PORT={}\n", app.port));
    let line = ["start", server, "--name", "shop", "--", "serve"];
    bed.ok(&line);
    let before = fs::read(saved_profile(&bed, &app)).expect("kept");
    bed.fails(1, &["start", server, "--name", "shop", "--port", "99999", "--", "serve"]);
    assert_eq!(fs::read(saved_profile(&bed, &app)).expect("kept"), before);
    assert!(get(app.port, "/").is_ok());
    // A name that a profile file has is that file's.
    let filed = bed.app("filed");
    bed.probe(&filed, "");
    bed.start(&filed);
    let said = bed.fails(1, &["start", server, "--name", "filed", "--", "serve"]);
    assert!(said.contains("profile file"), "{said}");
    bed.end();
}

#[test]
fn delete_keeps_a_profile_file_and_remembers() {
    let mut bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let said = bed.ok(&["delete", "shop"]);
    assert!(said.contains("swrun start shop"), "{said}");
    assert!(bed.profile_path(&app).exists());
    assert_eq!(bed.status(&app), serde_json::Value::Null);
    assert!(get(app.port, "/").is_err());
    // Neither does a start of all, nor `autostart`, were it not for the tombstone.
    bed.ok(&["start"]);
    assert_eq!(bed.status(&app), serde_json::Value::Null);
    bed.kill_daemon();
    bed.daemon();
    assert_eq!(bed.status(&app), serde_json::Value::Null);
    assert!(get(app.port, "/").is_err());
    bed.start(&app);
    bed.kill_daemon();
    bed.daemon();
    bed.until(&app, "known again", |status| status["state"] == "online");
    bed.end();
}

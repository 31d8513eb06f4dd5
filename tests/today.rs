//! The page by which the people of a PM2 server work today, from top to bottom, with `swrun` in place of `pm2`: three
//! backends, their `.env`, the helper scripts, the deployment script, what to do when something is wrong.

mod bed;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use bed::{App, Bed, get, pid, texts};
use serde_json::Value;

/// A compiled Express backend as the page has it: its port comes from `.env`, it says goodbye on SIGTERM.
const BACKEND: &str = r#"
const { createServer } = require("http");
console.log("backend of " + process.env.NODE_ENV + " is starting");
const server = createServer((ask, answer) => {
  if (ask.url === "/crash") { console.error("Error: no such order"); process.exit(1); }
  answer.end(JSON.stringify({ env: process.env, cwd: process.cwd() }));
}).listen(process.env.PORT, () => console.log("listening"));
process.on("SIGTERM", () => { console.log("goodbye"); server.close(() => process.exit(0)); server.closeAllConnections(); });
"#;

/// The server of the page: its folders, and a shell in which `swrun` is found.
struct Server {
    bed: Bed,
    utils: PathBuf,
    backends: Vec<App>,
}

impl Server {
    fn new() -> Self {
        let bed = Bed::running();
        let backends: Vec<App> = ["test", "dev", "prod"]
            .map(|target| {
                let app = bed.app(&format!("backend-{target}"));
                let path = app.home.join("index.js");
                fs::write(&path, BACKEND).expect("ours");
                chown(&path, Some(app.uid), Some(app.uid)).expect("root may");
                let text = format!(
                    "NODE_ENV={target}\nDATABASE_URL=postgresql://user:password@localhost/seawolf_{target}\nPORT={}\n",
                    app.port
                );
                bed.env_file(&app, &text);
                app
            })
            .into();
        let utils = bed.root().join("opt-utils");
        Self { bed, utils, backends }
    }

    fn of(&self, target: &str) -> &App {
        let name = format!("backend-{target}");
        self.backends.iter().find(|app| app.name == name).expect("one of the three")
    }

    /// Runs lines of shell; `$TEST`, `$DEV`, `$PROD` are the folders of the backends, `$UTILS` that of the scripts.
    fn shell(&self, script: &str) -> Output {
        self.shell_as(None, script)
    }

    fn shell_as(&self, uid: Option<u32>, script: &str) -> Output {
        let folder = bed::swrun().parent().expect("a folder").to_owned();
        let mut command = match uid {
            None => Command::new("/bin/bash"),
            Some(uid) => {
                let mut command = Command::new("setpriv");
                command.args([
                    &format!("--reuid={uid}"),
                    &format!("--regid={uid}"),
                    "--clear-groups",
                    "/bin/bash",
                ]);
                command
            }
        };
        command
            .args(["-uc", script])
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .env("SWRUN_ROOT", self.bed.root())
            .env("UTILS", &self.utils)
            .env_remove("NODE_ENV")
            .env_remove("PORT")
            .stdin(Stdio::null());
        for app in &self.backends {
            let name = app.name.trim_start_matches("backend-").to_uppercase();
            command.env(&name, &app.home).env(format!("{name}_PORT"), app.port.to_string());
        }
        command.output().expect("Debian has it")
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{out}{err}");
    out + &err
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no \"{part}\" in:\n{text}");
    }
}

/// The lines of the page, one after the other.
#[test]
fn the_page_of_today_works_from_top_to_bottom() {
    let server = Server::new();
    let run = |script: &str| succeeded(&server.shell(script));
    let state = |target: &str| server.bed.status(server.of(target))["state"].clone();
    let env = |target: &str| -> Value {
        let text = get(server.of(target).port, "/").expect("it answers");
        serde_json::from_str(&text).expect("JSON")
    };

    // The three processes, as their table has them; then as a deployment starts one.
    for target in ["test", "dev", "prod"] {
        run(&format!("swrun start ${}/index.js --name backend-{target}", target.to_uppercase()));
        assert_eq!(state(target), "online");
    }
    // Each reads its own .env, and the page's flags win over it.
    assert_eq!(
        env("prod")["env"]["DATABASE_URL"],
        "postgresql://user:password@localhost/seawolf_prod"
    );
    run("swrun delete backend-test");
    run("NODE_ENV=testing swrun start $TEST/index.js \\\n  --name backend-test \\\n  --cwd $TEST");
    assert_eq!(env("test")["env"]["NODE_ENV"], "testing");
    assert_eq!(env("test")["cwd"], server.of("test").home.to_str().expect("text"));

    // Stopping asks with SIGTERM; deleting takes it out of the list; restarting has the same configuration.
    run("swrun stop backend-test");
    assert_eq!(state("test"), "stopped");
    assert!(server.bed.log(server.of("test"), "out.log").contains(&"goodbye".to_owned()));
    run("swrun delete backend-test");
    assert_eq!(server.bed.status(server.of("test")), Value::Null);
    run("NODE_ENV=test swrun start $TEST/index.js --name backend-test --cwd $TEST");
    let before = pid(&server.bed.status(server.of("test")));
    run("swrun restart backend-test");
    assert_ne!(pid(&server.bed.status(server.of("test"))), before);
    assert_eq!(env("test")["env"]["NODE_ENV"], "test");

    // A crash is a restart, and its words are found.
    let _ = get(server.of("prod").port, "/crash");
    server.bed.until(server.of("prod"), "again online", |status| {
        status["restarts"] == 1 && status["state"] == "online"
    });
    let followed = server.shell("timeout 1 swrun logs backend-prod --lines 50");
    assert_eq!(followed.status.code(), Some(124), "it follows");
    has(&texts(&followed).0, &["backend of prod is starting", "Error: no such order"]);
    // It makes the host's group of operators too, which is taken away where it was not there.
    let has_group = || {
        Command::new("getent").args(["group", "swrun"]).status().expect("Debian has it").success()
    };
    let had_group = has_group();
    run("swrun setup --utils $UTILS");
    if !had_group && has_group() {
        assert!(Command::new("groupdel").arg("swrun").status().expect("Debian has it").success());
    }
    has(&run("$UTILS/swrun.errors.view --target prod"), &["Error: no such order"]);

    // State: saved after each change anyway, and the words are there.
    run("swrun save");
    run("swrun resurrect");
    let startup = server.shell("swrun startup");
    has(&texts(&startup).1, &["start \"swrun daemon\" at boot"]);

    // Status and logs.
    let list = run("swrun list");
    has(
        &list,
        &[
            "name",
            "pid",
            "state",
            "cpu",
            "memory",
            "uptime",
            "backend-test",
            "backend-dev",
            "backend-prod",
            "online",
        ],
    );
    has(&run("swrun logs backend-prod --lines 50 --nostream"), &["listening"]);
    let errors = run("swrun logs backend-prod --err --lines 50 --nostream");
    assert!(errors.contains("no such order") && !errors.contains("listening"), "{errors}");
    has(&texts(&server.shell("swrun monit")).1, &["needs a terminal"]);

    // The scripts, with each of their options.
    assert!(run("$UTILS/swrun.errors.view").contains("no such order"));
    assert!(!run("$UTILS/swrun.errors.view -t dev -n 50").contains("no such order"));
    assert!(run("$UTILS/swrun.errors.view -n 100").contains("no such order"));
    run("$UTILS/swrun.logs.flush --target test");
    assert!(server.bed.log(server.of("test"), "out.log").is_empty());
    assert!(!server.bed.log(server.of("prod"), "out.log").is_empty());
    run("$UTILS/swrun.logs.flush");
    assert!(server.bed.log(server.of("prod"), "out.log").is_empty());
    let pids = || ["test", "dev", "prod"].map(|target| pid(&server.bed.status(server.of(target))));
    let before = pids();
    run("$UTILS/swrun.restart --target dev");
    let after = pids();
    assert!(after[0] == before[0] && after[1] != before[1] && after[2] == before[2]);
    run("$UTILS/swrun.restart");
    assert!(pids().iter().zip(after).all(|(new, old)| *new != old));

    // Commands of the last table that were not there yet.
    has(&run("swrun show backend-prod"), &["backend-prod", "memory", "pids"]);
    has(&run("swrun flush"), &["backend-dev"]);
    run("swrun start backend-prod");
    has(&texts(&server.shell("swrun start app.js")).1, &["--name NAME"]);
    has(&run("swrun leaks"), &["backend-prod"]);
    let killed = server.shell("swrun kill");
    assert!(killed.status.success(), "{:?}", texts(&killed));
    for app in &server.backends {
        assert!(get(app.port, "/").is_err());
    }
    let mut bed = server.bed;
    bed.wait_for_daemon();
    // A runner after it brings back what ran.
    bed.daemon();
    for app in &server.backends {
        bed.until(app, "back", |status| status["state"] == "online");
    }
    bed.end();
}

/// The script that deploys today, its lines verbatim.
#[test]
fn the_script_that_deploys_works_as_it_stands() {
    let server = Server::new();
    let script = r#"
set -eu
ENV=prod SERVICE_NAME=backend-prod BACKEND_DIR=$PROD
swrun stop "$SERVICE_NAME" 2>/dev/null || true
swrun delete "$SERVICE_NAME" 2>/dev/null || true
sleep 1
NODE_ENV=$ENV swrun start "$BACKEND_DIR/index.js" --name "$SERVICE_NAME" --cwd "$BACKEND_DIR"
swrun save
"#;
    for release in 1..=2 {
        let app = server.of("prod");
        fs::write(
            app.home.join("index.js"),
            BACKEND.replace("cwd:", &format!("release: {release}, cwd:")),
        )
        .expect("ours");
        succeeded(&server.shell(script));
        let text = get(app.port, "/").expect("it answers");
        assert!(text.contains(&format!("\"release\":{release}")), "{text}");
        // -t means it too.
        assert_eq!(server.bed.status(app)["target"], "prod");
    }
    server.bed.end();
}

/// The sections on what to do when something is wrong: each message says it.
#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let server = Server::new();
    let run = |script: &str| succeeded(&server.shell(script));
    let fails = |code: i32, script: &str| {
        let output = server.shell(script);
        assert_eq!(output.status.code(), Some(code), "{script}: {:?}", texts(&output));
        let (out, err) = texts(&output);
        out + &err
    };
    run("swrun start $PROD/index.js --name backend-prod --cwd $PROD");

    // "Process keeps crashing": the list says why, and where to look.
    let app = server.of("dev");
    fs::write(
        app.home.join("index.js"),
        "console.error('Error: Cannot find module express'); process.exit(7);",
    )
    .expect("ours");
    let said = fails(1, "swrun start $DEV/index.js --name backend-dev --cwd $DEV");
    has(&said, &["code 7", "swrun logs --err"]);
    has(
        &run("swrun logs backend-dev --err --lines 100 --nostream"),
        &["Cannot find module express"],
    );
    // It is tried again, with pauses, and the list says why it is not up; its exit status does too.
    has(&fails(3, "swrun list"), &["backoff", "in a row, next try in"]);
    // "Process is not running", "stopped or errored": the reason, and the restart after the mend.
    fs::write(app.home.join("index.js"), BACKEND).expect("ours");
    run("swrun restart backend-dev");
    assert_eq!(server.bed.status(app)["state"], "online");
    run("swrun stop backend-dev");
    has(&run("swrun list"), &["stopped"]);

    // "Port already in use": who it is, and what ends that.
    let taken = TcpListener::bind(("0.0.0.0", server.of("test").port));
    // A port that an environment had stays its own; this one nobody has had yet.
    let taken = taken.expect("it is free");
    let said = fails(1, "swrun start $TEST/index.js --name backend-test --cwd $TEST");
    has(
        &said,
        &[
            "blocked",
            &server.of("test").port.to_string(),
            &std::process::id().to_string(),
            "--evict",
        ],
    );
    drop(taken);
    server.bed.until(server.of("test"), "it comes by itself", |status| status["state"] == "online");
    has(&run("swrun ports"), &["backend-test", &server.of("test").port.to_string()]);

    // "PM2 won't start": no node.
    let spare = server.bed.app("spare");
    fs::write(spare.home.join("index.js"), BACKEND).expect("ours");
    let home = spare.home.display();
    let said = fails(1, &format!("swrun start {home}/index.js --name spare --env PATH=/nowhere"));
    has(&said, &["execute \"node\"", "looked in PATH"]);

    // "Can't access process": the wrong user is told so.
    let output = server.shell_as(Some(server.of("dev").uid + 400), "swrun restart backend-prod");
    assert!(!output.status.success());
    let said = texts(&output).1;
    assert!(said.contains("sudo") || said.contains("root") || said.contains("group"), "{said}");

    // "Logs not showing": flush, then restart.
    run("swrun flush");
    run("swrun restart backend-prod");
    has(&run("swrun logs backend-prod --nostream"), &["backend of prod is starting"]);

    // No runner: what to do about it.
    let mut bed = server.bed;
    let restart = bed.swrun(&["restart", "no-such"]);
    has(&texts(&restart).1, &["no environment", "backend-prod"]);
    bed.kill_daemon();
    let said = bed.fails(4, &["list"]);
    has(&said, &["swrun daemon"]);
    bed.end();
}

//! Point 10 with real input: the same Express backend from npm three times, each with its own `.env`
//! and its own user that `swrun setup` made.
//!
//! `SWRUN_EXPRESS` names the folder with its `node_modules` (`tests/fixtures/express/install FOLDER`).

mod bed;
#[path = "common/census.rs"]
mod census;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bed::{App, Bed, get, kill, pid};
use nix::unistd::{Group, User};
use serde_json::Value;

const CEILING: u64 = 160 << 20;

/// Users and groups that this test has made on the host; removed also when it fails.
struct Made {
    users: Vec<String>,
    /// Whether the group of swrun's operators was there before.
    has_operators: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        let run = |program: &str, name: &str| Command::new(program).arg(name).output();
        for user in &self.users {
            let _ = run("/usr/sbin/userdel", user);
            let _ = run("/usr/sbin/groupdel", user);
        }
        if !self.has_operators {
            let _ = run("/usr/sbin/groupdel", "swrun");
        }
    }
}

/// One of the three.
struct Backend {
    app: App,
    user: String,
    base: PathBuf,
    /// What `.env` says, and what the app is to have.
    node_env: &'static str,
    line: &'static str,
    database_url: &'static str,
}

/// As npm's dotenv 16 reads them: nothing is expanded; a "#" ends an unquoted value only.
const ENVIRONMENTS: [(&str, &str, &str, &str); 3] = [
    (
        "test",
        "test",
        "postgres://seawolf:pa$$w0rd@localhost:5432/test # of the test server",
        "postgres://seawolf:pa$$w0rd@localhost:5432/test",
    ),
    (
        "dev",
        "development",
        "'postgres://seawolf:$HOME#${PATH}@localhost:5432/dev?a=\"b\"'",
        "postgres://seawolf:$HOME#${PATH}@localhost:5432/dev?a=\"b\"",
    ),
    (
        "prod",
        "production",
        "\"postgres://seawolf:pa$$w0rd#1=2@localhost:5432/prod?c='d e'\"",
        "postgres://seawolf:pa$$w0rd#1=2@localhost:5432/prod?c='d e'",
    ),
];

/// A name that no host has.
fn user_name(target: &str) -> String {
    format!("swt{}-{target}", std::process::id())
}

fn backend(
    bed: &Bed,
    (target, node_env, line, database_url): (&str, &'static str, &'static str, &'static str),
) -> Backend {
    let user = user_name(target);
    let base = bed.root().join("srv").join(target);
    let home = base.join("backend");
    let app = App { name: format!("backend-{target}"), uid: 0, port: bed::free_port(), home };
    let profile = format!(
        "name = \"{}\"\ntarget = \"{target}\"\nuser = \"{user}\"\ncommand = [\"node\", \"index.js\"]\n\
         base = \"{}\"\ncwd = \"{}\"\nports = [{}]\n\
         [limits]\nmemory-max = \"160M\"\n[restart]\nfirst-delay = \"10ms\"\n",
        app.name,
        base.display(),
        app.home.display(),
        app.port
    );
    fs::write(bed.profile_path(&app), profile).expect("our own folder");
    Backend { app, user, base, node_env, line, database_url }
}

/// What a deployment does: the code and its modules, owned by the user.
fn deploy(backend: &mut Backend, modules: &Path) {
    let user = User::from_name(&backend.user).expect("readable").expect("setup made it");
    assert_ne!(user.uid.as_raw(), 0);
    backend.app.uid = user.uid.as_raw();
    let home = &backend.app.home;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/express");
    run(Command::new("cp").arg("-r").args([
        fixture.join("index.js"),
        fixture.join("package.json"),
        modules.to_owned(),
        home.clone(),
    ]));
    let text = format!(
        "# of {}\nPORT={}\nNODE_ENV={}\nDATABASE_URL={}\n",
        backend.app.name, backend.app.port, backend.node_env, backend.line
    );
    let file = home.join(".env");
    fs::write(&file, text).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("root may");
    run(Command::new("chown").arg("-R").arg(format!("{0}:{0}", backend.user)).arg(home));
}

fn run(command: &mut Command) {
    let output = command.output().expect("it is there");
    assert!(output.status.success(), "{command:?}: {:?}", bed::texts(&output));
}

fn sha256(text: &str) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils are there");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("our own child");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a digest").to_owned()
}

fn json(port: u16, path: &str) -> Value {
    let body = get(port, path).expect("it answers");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

/// The user database, and what lies below the bed's `srv`.
fn host(bed: &Bed) -> (Vec<Vec<u8>>, usize) {
    let files = ["/etc/passwd", "/etc/group", "/etc/shadow"].map(fs::read);
    let folders = fs::read_dir(bed.root().join("srv")).expect("our own folder").count();
    (files.into_iter().map(|bytes| bytes.expect("readable")).collect(), folders)
}

/// What must not change by what happens to another.
fn identity(status: &Value) -> [Value; 3] {
    ["pid", "monitor_pid", "restarts"].map(|key| status[key].clone())
}

/// Anonymous memory of a process in bytes, as the kernel counts it (proc_pid_status(5)).
fn rss_anon(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

fn answers_as_itself(backend: &Backend) {
    let said = json(backend.app.port, "/");
    let name = &backend.app.name;
    assert_eq!(said["NODE_ENV"], backend.node_env, "{name}");
    assert_eq!(said["port"], backend.app.port, "{name}");
    let user = User::from_name(&backend.user).expect("readable").expect("setup made it");
    assert_eq!(said["uid"], user.uid.as_raw(), "{name}");
    assert_eq!(said["gid"], user.gid.as_raw(), "{name}");
    assert_eq!(said["cwd"].as_str(), backend.app.home.to_str(), "{name}");
    assert_eq!(said["databaseUrlSha256"], sha256(backend.database_url), "{name}");
}

fn prepare_by_setup(bed: &Bed, backends: &[Backend]) {
    let before = host(bed);
    let planned = bed.ok(&["setup", "--dry-run"]);
    assert!(planned.ends_with("nothing was done (--dry-run)\n"), "{planned}");
    assert_eq!(host(bed), before, "a dry run changed the host");
    bed.ok(&["setup"]);
    for Backend { app, user, base, .. } in backends {
        assert!(planned.contains(&format!("make the user \"{user}\"")), "{planned}");
        let made = User::from_name(user).expect("readable").expect("setup made it");
        assert_eq!(made.shell, Path::new("/usr/sbin/nologin"));
        for folder in [base, &app.home] {
            let found = fs::metadata(folder).expect("setup made it");
            assert_eq!((found.uid(), found.gid()), (made.uid.as_raw(), made.gid.as_raw()));
            assert_eq!(found.mode() & 0o7777, 0o750, "{}", folder.display());
        }
    }
    let after = host(bed);
    assert_eq!(bed.ok(&["setup"]), "3 profiles: everything they name is there\n");
    assert_eq!(host(bed), after, "a second setup changed the host");
}

#[test]
fn three_express_backends_serve_survive_and_are_restarted() {
    let modules = std::env::var_os("SWRUN_EXPRESS").map(|folder| {
        let modules = PathBuf::from(folder).join("node_modules");
        assert!(
            modules.join("express").is_dir(),
            "SWRUN_EXPRESS holds no \"node_modules/express\""
        );
        modules
    });
    let modules = modules.expect(
        "SWRUN_EXPRESS is not set: run \"tests/fixtures/express/install FOLDER\", and set \
         SWRUN_EXPRESS to that folder",
    );
    // Dropped after the bed, also when this fails: a user with processes cannot be removed.
    let made = Made {
        users: ENVIRONMENTS.map(|(target, ..)| user_name(target)).into(),
        has_operators: Group::from_name("swrun").expect("readable").is_some(),
    };
    let mut bed = Bed::new();
    let mut backends = ENVIRONMENTS.map(|environment| backend(&bed, environment));
    prepare_by_setup(&bed, &backends);
    for backend in &mut backends {
        deploy(backend, &modules);
    }
    let uids: std::collections::BTreeSet<u32> = backends.iter().map(|b| b.app.uid).collect();
    assert_eq!(uids.len(), 3);

    bed.daemon();
    bed.ok(&["check"]);
    bed.ok(&["start"]);
    for backend in &backends {
        let app = &backend.app;
        let status = bed.until(app, "online", |status| status["state"] == "online");
        assert_eq!(
            (&status["user"], &status["restarts"]),
            (&backend.user.as_str().into(), &0.into())
        );
        answers_as_itself(backend);
        let memory = json(app.port, "/memory");
        assert_eq!(memory["constrainedMemory"], CEILING, "{}", app.name);
        assert!(memory["cpus"].as_u64() > Some(0), "{}", app.name);
        // The cgroup's anonymous pages are those of its one process. Both counts are kept in batches
        // (per thread, per CPU) and read a moment apart while V8 gives pages back, hence the margin;
        // all that the app calls its rss would count the shared pages of node's file as well.
        bed.until(app, "memory as the app has it", |status| {
            let (anon, own) = (status["memory"]["anon"].as_u64(), rss_anon(pid(status)));
            anon.zip(own).is_some_and(|(anon, own)| anon * 4 > own * 3 && own * 4 > anon * 3)
        });
        assert_eq!(bed.status(app)["memory"]["max"], CEILING);
    }
    census::settle(&bed);

    let [test, dev, prod] = &backends;
    let of_dev = identity(&bed.status(&dev.app));
    // A crash.
    let before = bed.status(&prod.app);
    get(prod.app.port, "/crash").expect("it answers first");
    let after = bed.until(&prod.app, "restarted", |s| s["restarts"] == 1 && s["state"] == "online");
    assert_ne!(pid(&after), pid(&before));
    let last = &after["last_exit"];
    assert_eq!((&last["cause"], &last["code"]), (&"crash".into(), &1.into()), "{last}");
    let errors = bed.log(&prod.app, "err.log").join("\n");
    assert!(errors.contains("crashed, as /crash asked"), "{errors}");
    answers_as_itself(prod);
    // A breach.
    let _ = get(test.app.port, "/leak?mb=400");
    let after = bed.until(&test.app, "restarted", |s| s["restarts"] == 1 && s["state"] == "online");
    let last = &after["last_exit"];
    let cause = (&last["cause"], &last["signal"]);
    assert_eq!(cause, (&"memory-ceiling".into(), &"SIGKILL".into()), "{last}");
    assert!(last["peak"].as_u64().is_some_and(|peak| peak > CEILING / 2), "{last}");
    answers_as_itself(test);
    assert_eq!(identity(&bed.status(&dev.app)), of_dev, "the others cost it nothing");

    // The runner's death.
    let before = backends.each_ref().map(|backend| identity(&bed.status(&backend.app)));
    bed.kill_daemon();
    backends.iter().for_each(answers_as_itself);
    bed.daemon();
    backends.iter().for_each(answers_as_itself);
    census::settle(&bed);
    assert_eq!(backends.each_ref().map(|b| identity(&bed.status(&b.app))), before);
    // And a monitor's.
    let monitor = before[1][1].as_i64().and_then(|pid| pid.try_into().ok()).expect("a pid");
    kill(monitor);
    bed.until(&dev.app, "back", |s| s["restarts"] == 1 && s["state"] == "online");
    backends.iter().for_each(answers_as_itself);
    assert_eq!(identity(&bed.status(&prod.app)), before[2]);
    bed.end();
    drop(made);
    for backend in &backends {
        assert_eq!(User::from_name(&backend.user).expect("readable"), None);
    }
}

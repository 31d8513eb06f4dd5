//! `swrun import pm2`, with the real PM2 from npm and the real node.
//!
//! `SWRUN_PM2` names the folder into which `npm install --prefix "$SWRUN_PM2" pm2@7` went.

mod bed;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use bed::{Bed, texts};
use serde_json::Value;
use swrun::import;

/// Users for whom nothing is made: this one, and the next.
const USER: u32 = 61_473;

fn pm2() -> PathBuf {
    let folder = std::env::var_os("SWRUN_PM2");
    let folder = folder.expect("SWRUN_PM2 names a folder with pm2 in it; tests/run makes one");
    PathBuf::from(folder).join("node_modules/pm2")
}

/// A folder for apps, which no user of the host's owns.
fn folder(bed: &Bed, name: &str, user: u32) -> PathBuf {
    let folder = bed.root().join("srv").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    for folder in [bed.root(), folder.parent().expect("it has one")] {
        fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("ours");
    }
    chown(&folder, Some(user), Some(user)).expect("root may");
    folder
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("ours");
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).expect("ours");
    chown(path, Some(USER), Some(USER)).expect("root may");
}

fn import(bed: &Bed, file: &Path, more: &[&str]) -> Output {
    let file = file.to_str().expect("it is text");
    bed.swrun(&[&["import", "pm2", file], more].concat())
}

#[test]
fn no_key_of_pm2s_schema_is_passed_over() {
    let text = fs::read_to_string(pm2().join("lib/API/schema.json")).expect("PM2's schema");
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let schema = schema.as_object().expect("an object");
    assert!(schema.len() > 50, "that is not the schema");
    for (key, of) in schema.iter().filter(|(key, _)| !key.contains('\\')) {
        let found = import::find(key).unwrap_or_else(|| panic!("{key} is not known"));
        assert_eq!(found.name, key);
        let aliases = match &of["alias"] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        };
        for alias in aliases {
            assert_eq!(import::find(alias).map(|key| key.name), Some(key.as_str()), "{alias}");
        }
    }
    for key in import::KEYS {
        assert!(schema.contains_key(key.name), "PM2 has no {}", key.name);
    }
}

/// What the real PM2 makes of an app.
fn as_pm2_reads(app: &str) -> Value {
    let program = format!(
        "const c = require({:?}).validateJSON({app}).config; console.log(JSON.stringify(c))",
        pm2().join("lib/tools/Config.js")
    );
    let done = Command::new("node").args(["-e", &program]).output().expect("node");
    assert!(done.status.success(), "{}", texts(&done).1);
    serde_json::from_slice(&done.stdout).expect("it is JSON")
}

#[test]
fn words_sizes_and_times_are_read_as_pm2_reads_them() {
    let facts = import::Facts {
        file: Path::new("/srv/a.json"),
        env_name: None,
        user: Some("someone"),
        cpus: 2,
        variable: &|_| None,
        owner: &|_| None,
        is_file: &|_| true,
        is_binary: &|_| false,
        program: &|_| None,
    };
    for app in [
        r#"{"script": "x.js", "args": "--a  'b c' --d=\"e f\" \"\" it's g\"h", "max_memory_restart": "1G"}"#,
        r#"{"script": "x.js", "args": ["a b", "c"], "max_memory_restart": "150M", "kill_timeout": "1600"}"#,
        r#"{"script": "x.js", "args": "-e 'console.log(\"x y\")' \"z", "max_memory_restart": 1048576}"#,
        r#"{"exec": "x.js", "args": "\ta\nb ", "maxMemoryRestart": "512K", "killTimeout": 2500}"#,
        r#"{"script": "x.js", "interpreter_args": "--a --b=c", "args": "''' x", "max_memory_restart": "1M"}"#,
    ] {
        let theirs = as_pm2_reads(app);
        let value = import::parse(import::Format::Json, app).expect("it is JSON");
        let ours = import::import(value, &facts).expect("an app").drafts.remove(0);
        let words = |key: &str| -> Vec<String> {
            let list = theirs[key].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let command =
            [vec!["node".to_owned()], words("node_args"), vec!["x.js".to_owned()], words("args")]
                .concat();
        assert_eq!(ours.get("", "command"), Some(&toml::Value::from(command)), "{app}");
        let high = ours.get("limits", "memory-high").and_then(toml::Value::as_str).expect(app);
        let bytes = swrun::model::parse_bytes(high).expect("a size");
        assert_eq!(Some(bytes as f64), theirs["max_memory_restart"].as_f64(), "{app}");
        let grace = ours.get("stop", "grace").and_then(toml::Value::as_str);
        let grace = grace
            .map(|text| swrun::model::parse_duration(text).expect("a time").as_millis() as f64);
        assert_eq!(grace, theirs["kill_timeout"].as_f64(), "{app}");
    }
}

/// PM2 with a home of its own; it is ended with this value.
struct Pm2 {
    home: PathBuf,
}

impl Pm2 {
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let done = Command::new("node")
            .arg(pm2().join("bin/pm2"))
            .args(arguments)
            .env("PM2_HOME", &self.home)
            .envs(variables.iter().copied())
            .output()
            .expect("node");
        assert!(done.status.success(), "pm2 {arguments:?}: {:?}", texts(&done));
        texts(&done).0
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.home.join("pm2.pid")) {
            println!("ending PM2, {pid}");
            let done = Command::new("node")
                .arg(pm2().join("bin/pm2"))
                .arg("kill")
                .env("PM2_HOME", &self.home)
                .output();
            drop(done);
        }
    }
}

const APP: &str = r#"
const { createServer } = require("http");
createServer((_, answer) => answer.end(JSON.stringify({
  env: process.env, args: process.argv.slice(2), cwd: process.cwd(), uid: process.getuid(),
}))).listen(process.env.PORT);
"#;

#[test]
fn what_runs_under_pm2_runs_here_after_it() {
    let bed = Bed::running();
    let pm2 = Pm2 { home: bed.root().join("pm2") };
    let folders =
        [("shop-test", USER), ("shop-dev", USER + 1)].map(|(name, user)| folder(&bed, name, user));
    let ports = [bed::free_port(), bed::free_port()];
    for (at, folder) in folders.iter().enumerate() {
        write(&folder.join("index.js"), APP);
        let port = ports[at].to_string();
        let variables = [
            ("NODE_ENV", ["test", "development"][at]),
            ("PORT", port.as_str()),
            ("DATABASE_URL", "postgres://u:hunt'er$2@db/x"),
        ];
        let script = folder.join("index.js");
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let cwd = folder.to_str().expect("text");
        let arguments = [
            "start",
            script.to_str().expect("text"),
            "--name",
            name,
            "--cwd",
            cwd,
            "--max-memory-restart",
            "200M",
            "--",
            "--flag",
            "two words",
        ];
        pm2.run(&arguments, &variables);
    }
    pm2.run(&["save"], &[]);
    let dump = pm2.home.join("dump.pm2");
    fs::set_permissions(&dump, PermissionsExt::from_mode(0o644)).expect("ours");

    // Shown, and nothing written.
    let shown = import(&bed, &dump, &[]);
    let (profiles, said) = texts(&shown);
    assert!(shown.status.success(), "{said}");
    assert!(
        profiles.contains("name = \"shop-dev\"") && profiles.contains("target = \"test\""),
        "{profiles}"
    );
    assert!(!profiles.contains("hunt") && !said.contains("hunt"), "{profiles}\n{said}");
    assert!(said.contains("secrets, for") && said.contains("DATABASE_URL"), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    let of = |name: &str| bed.root().join(format!("etc/swrun/profiles/{name}.toml"));
    assert!(!of("shop-test").exists());

    let written = import(&bed, &dump, &["--write"]);
    assert!(written.status.success(), "{}", texts(&written).1);
    let secrets = folders[0].join(".env.swrun");
    let found = fs::metadata(&secrets).expect("the secrets");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (USER, USER, 0o600));
    // Nothing that is there is written over.
    let again = import(&bed, &dump, &["--write"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(texts(&again).1.contains("is there already"), "{}", texts(&again).1);

    for (at, name) in ["shop-test", "shop-dev"].into_iter().enumerate() {
        pm2.run(&["delete", name], &[]);
        bed.ok(&["start", name]);
        let answer = bed::get(ports[at], "/").expect("it answers");
        let app: Value =
            serde_json::from_str(&answer[answer.find('{').expect("a body")..]).expect("JSON");
        assert_eq!(app["uid"], USER + at as u32);
        assert_eq!(app["cwd"], folders[at].to_str().expect("text"));
        assert_eq!(app["args"], serde_json::json!(["--flag", "two words"]));
        assert_eq!(app["env"]["DATABASE_URL"], "postgres://u:hunt'er$2@db/x");
        assert_eq!(app["env"]["NODE_ENV"], ["test", "development"][at]);
        assert!(app["env"]["PM2_HOME"].is_null() && app["env"]["SSH_CLIENT"].is_null());
    }
    drop(pm2);
    bed.end();
}

/// What a file of JavaScript could find out, and say as an app.
const CURIOUS: &str = r#"
const fs = require("fs");
const os = require("os");
const path = require("path");
const tried = (what) => { try { return String(what()); } catch (error) { return error.code || "failed"; } };
console.log("noise on stdout");
module.exports = { apps: [{
  name: "curious", script: path.join(__dirname, "index.js"), instances: os.cpus().length,
  env: {
    UID: process.getuid(), PID: process.pid,
    NET: Object.keys(os.networkInterfaces()).join(),
    OWN: tried(() => fs.readFileSync(path.join(__dirname, "names.json"), "utf8")),
    WROTE: tried(() => fs.writeFileSync(path.join(__dirname, "x"), "")),
    SHADOW: tried(() => fs.readFileSync("/etc/shadow")),
    ROOT: tried(() => fs.readdirSync("/root")),
    OTHERS: fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).length,
    INHERITED: process.env.SWRUN_SECRET_OF_ROOT || "none",
  },
}] };
"#;

/// Evaluations make groups beside those of any bed, so those that look for them are not made at once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Groups that evaluations have left, in any hierarchy.
fn groups_of_imports() -> usize {
    let folders =
        ["", "/unified", "/memory", "/pids", "/cpu"].map(|name| format!("/sys/fs/cgroup{name}"));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("swrun-import")).count()
}

#[test]
fn a_program_says_what_it_says_in_a_cage() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let bed = Bed::new();
    let folder = folder(&bed, "curious", USER);
    write(&folder.join("names.json"), "[1]");
    let file = folder.join("ecosystem.config.js");
    write(&file, CURIOUS);
    let done = import(&bed, &file, &[]);
    let (profile, said) = texts(&done);
    assert!(done.status.success(), "{said}");
    let value = |key: &str| {
        let line = profile.lines().find(|line| line.starts_with(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("no {key}: {profile}"))
            .split_once(" = ")
            .expect("a value")
            .1
            .trim_matches('"')
            .to_owned()
    };
    let uid: u32 = value("UID").parse().expect("a number");
    assert!(uid > 1000 && uid != USER, "{uid}");
    assert_eq!(value("OWN"), "[1]");
    assert_eq!(value("SHADOW").len().min(6), 6, "{}", value("SHADOW"));
    assert!(["ENOENT", "EACCES"].contains(&value("SHADOW").as_str()), "{}", value("SHADOW"));
    assert!(["ENOENT", "EACCES"].contains(&value("ROOT").as_str()), "{}", value("ROOT"));
    assert!(["EROFS", "EACCES"].contains(&value("WROTE").as_str()), "{}", value("WROTE"));
    assert!(["", "lo"].contains(&value("NET").as_str()), "{}", value("NET"));
    assert!(value("OTHERS").parse::<u32>().expect("a number") <= 3);
    assert_eq!(value("INHERITED"), "none");
    assert!(!folder.join("x").exists());
    assert!(bed.groups().is_empty());
    assert_eq!(groups_of_imports(), 0, "its cgroup is gone");

    // As a user of the operator's choice.
    let as_user = import(&bed, &file, &["--user", &USER.to_string()]);
    assert!(texts(&as_user).0.contains(&format!("UID = \"{USER}\"")), "{:?}", texts(&as_user));

    let module = folder.join("ecosystem.config.mjs");
    write(
        &module,
        "export default { apps: [{ name: 'esm', script: './index.js', cwd: import.meta.dirname ?? '/x' }] };",
    );
    assert!(texts(&import(&bed, &module, &[])).0.contains("name = \"esm\""));
}

#[test]
fn a_program_that_is_not_to_be_trusted_is_refused() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let bed = Bed::new();
    let folder = folder(&bed, "bad", USER);
    let file = folder.join("ecosystem.config.cjs");
    let leftovers = || {
        fs::read_dir("/run")
            .expect("it is there")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("swrun-import-"))
            .count()
    };
    let before = leftovers();
    for (program, said) in [
        ("for (;;) {}", "it took more than 5 s"),
        (
            "setInterval(() => {}, 1000); module.exports = new Promise(() => {});",
            "it took more than 5 s",
        ),
        (
            "module.exports = { apps: [{ script: 'x'.repeat(2 << 20) }] };",
            "it says more than 1 MiB",
        ),
        ("throw new Error('what it threw');", "what it threw"),
        ("process.exit(0);", "it ended before it said anything"),
        ("require('child_process').execSync('sleep 60');", "it took more than 5 s"),
        ("module.exports = (", "SyntaxError"),
        ("const keep = []; for (;;) keep.push(Buffer.alloc(1 << 24, 1));", "more than 512M"),
    ] {
        write(&file, program);
        let done = import(&bed, &file, &[]);
        let (_, told) = texts(&done);
        assert_eq!(done.status.code(), Some(1), "{program}: {told}");
        assert!(told.contains(said), "{program}: {told}");
    }
    assert_eq!(leftovers(), before, "its folder is gone");
    assert_eq!(groups_of_imports(), 0, "its cgroup is gone");
    assert!(bed.groups().is_empty());

    write(&file, "module.exports = [];");
    for (mode, said) in
        [(0o664, "can be written by others (mode 0664)"), (0o646, "can be written by others")]
    {
        fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("ours");
        let done = import(&bed, &file, &[]);
        assert_eq!(done.status.code(), Some(1));
        assert!(texts(&done).1.contains(said), "{}", texts(&done).1);
    }
    let link = folder.join("link.json");
    symlink("/etc/shadow", &link).expect("a link");
    assert!(texts(&import(&bed, &link, &[])).1.contains("is a link"));
}

#[test]
fn secrets_go_where_they_belong_and_nowhere_else() {
    let bed = Bed::new();
    let folder = folder(&bed, "shop", USER);
    let file = folder.join("apps.json");
    let app = |cwd: &str, user: &str| {
        format!(
            r#"[{{name: "shop", script: "index.js", cwd: "{cwd}", user: "{user}", env: {{API_TOKEN: "t"}}}}]"#
        )
    };
    write(&folder.join("index.js"), APP);
    for (cwd, user, said) in [
        // A folder of the system's, for a file of root's.
        ("/etc/cron.d", USER.to_string(), "its profile must be sound"),
        ("/etc/cron.d", "root".to_owned(), "no user of its own"),
        (folder.to_str().expect("text"), "nobody-is-there".to_owned(), "its profile must be sound"),
    ] {
        write(&file, &app(cwd, &user));
        let done = import(&bed, &file, &["--write"]);
        let (_, told) = texts(&done);
        assert!(done.status.code() == Some(1) && told.contains(said), "{cwd} {user}: {told}");
        assert!(!Path::new("/etc/cron.d/.env.swrun").exists());
        assert!(!bed.root().join("etc/swrun/profiles/shop.toml").exists());
    }
    // A link that waits for it.
    let target = bed.root().join("target");
    symlink(&target, folder.join(".env.swrun")).expect("a link");
    write(&file, &app(folder.to_str().expect("text"), &USER.to_string()));
    let done = import(&bed, &file, &["--write"]);
    assert_eq!(done.status.code(), Some(1), "{:?}", texts(&done));
    assert!(!target.exists());
}

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

const FILE: &str = "/opt/shop/ecosystem.config.json";

/// What comes of a file's text; all folders belong to "deploy", and `node` is where apps find it.
fn imported(format: Format, text: &str, env: Option<&str>) -> Imported {
    let facts = Facts {
        file: Path::new(FILE),
        env_name: env,
        user: None,
        cpus: 4,
        variable: &|name| (name == "EDITOR_THEME").then(|| "dark".to_owned()),
        owner: &|folder| (!folder.starts_with("/srv/root")).then(|| "deploy".to_owned()),
        is_file: &|path| path.extension().is_some(),
        is_binary: &|path| path.extension().is_some_and(|extension| extension == "bin"),
        program: &|name| (name == "bun").then(|| PathBuf::from("/opt/bun/bin/bun")),
    };
    let value = parse(format, text).expect("it can be read");
    import(value, &facts).expect("it has apps")
}

fn one(text: &str) -> Draft {
    let mut found = imported(Format::Json, text, None);
    assert_eq!(found.drafts.len(), 1);
    found.drafts.remove(0)
}

fn text(draft: &Draft, section: &str, key: &str) -> String {
    draft.get(section, key).map(ToString::to_string).unwrap_or_default()
}

fn notes_of<'a>(draft: &'a Draft, key: &str) -> Vec<&'a str> {
    draft.notes.iter().filter(|note| note.key == key).map(|note| note.text.as_str()).collect()
}

#[test]
fn an_app_of_today_becomes_a_profile() {
    let draft = one(r#"{ apps: [{
        name: "backend-prod", script: "./index.js", cwd: "/opt/shop/prod/backend",
        args: "--trust-proxy '--title=two words'", node_args: ["--max-old-space-size=300"],
        instances: 2, exec_mode: "cluster", max_memory_restart: "300M", kill_timeout: 3000,
        exp_backoff_restart_delay: 100, max_restarts: 10, min_uptime: "5s", autostart: false,
        env: { NODE_ENV: "production", PORT: 3002, JWT_SECRET: "hunter2", WORKERS: 2 },
        env_staging: { NODE_ENV: "staging" },
        merge_logs: true, log_date_format: "YYYY", out_file: "/var/log/out.log", vizion: true, // a comment
    }], deploy: {} }"#);
    assert_eq!(
        draft
            .text(FILE)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n"),
        r#"
name = "backend-prod"
target = "prod"
user = "deploy"
command = ["node", "--max-old-space-size=300", "index.js", "--trust-proxy", "--title=two words"]
cwd = "/opt/shop/prod/backend"
env-file = ".env.swrun"
ports = [3002]
instances = 2
autostart = false

[env]
NODE_ENV = "production"
PORT = "3002"
WORKERS = "2"

[limits]
memory-max = "450M"
memory-high = "300M"

[restart]
first-delay = "100ms"
max-delay = "15s"
give-up-after = 10
within = "10m"

[stop]
signal = "SIGINT"
grace = "3s""#
    );
    assert_eq!(draft.secrets.get("JWT_SECRET").map(String::as_str), Some("hunter2"));
    assert!(!draft.text(FILE).contains("hunter2"), "a secret is in no profile");
    assert_eq!(notes_of(&draft, "env_staging"), ["is not in it; \"--env staging\" takes it"]);
    assert_eq!(notes_of(&draft, "out_file").len(), 1);
    assert_eq!(notes_of(&draft, "vizion").len(), 0, "that is PM2's default");
}

#[test]
fn the_profile_that_comes_of_it_is_one() {
    // Names and values that a text could be ended with.
    let draft = one(
        r#"[{ name: "a\nb", script: "x\"y.js", args: ["\u0007", "'''"], env: { "A B": "\"\n", "É": "\\" } }]"#,
    );
    let text = draft.text("/tmp/a\nname = \"other\"");
    let read: toml::Table = text.parse().expect("it is TOML");
    assert_eq!(read["name"].as_str(), Some("a-b"));
    assert_eq!(read["command"], toml::Value::from(vec!["node", "x\"y.js", "\u{7}", "'''"]));
    assert_eq!(read["env"]["A B"].as_str(), Some("\"\n"));
    assert_eq!(read["env"]["É"].as_str(), Some("\\"));
}

#[test]
fn what_pm2_saves_is_one_app_for_all_its_instances_without_the_shell() {
    let instance = json!({
        "name": "api", "pm_exec_path": "/opt/shop/api/index.js", "pm_cwd": "/opt/shop/api",
        "exec_interpreter": "node", "exec_mode": "cluster_mode", "instances": 2, "username": "shop",
        "node_args": [], "args": ["--x"], "max_memory_restart": 209_715_200, "kill_timeout": 1600,
        "vizion": true, "namespace": "default", "filter_env": [], "pmx": true, "treekill": true,
        "PATH": "/bin", "km_link": false, "merge_logs": false, "watch": false,
        "env": {"PATH": "/bin", "HOME": "/root", "SSH_CLIENT": "::1", "PM2_HOME": "/x", "unique_id": "1",
                "api": {}, "EDITOR_THEME": "dark", "NODE_ENV": "test", "PORT": "3000", "API_TOKEN": "t"},
    });
    let mut other = instance.clone();
    other["name"] = "web".into();
    let list = json!([instance, instance, other]).to_string();
    let Imported { kind, drafts, .. } = imported(Format::Json, &list, None);
    assert_eq!(kind, Kind::Dump);
    assert_eq!(drafts.iter().map(|draft| draft.name.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    let api = &drafts[0];
    assert_eq!(text(api, "", "instances"), "2");
    assert_eq!(text(&drafts[1], "", "instances"), "");
    assert_eq!(text(api, "", "user"), "\"shop\"");
    assert_eq!(text(api, "", "command"), "[\"node\", \"index.js\", \"--x\"]");
    assert_eq!(text(api, "limits", "memory-high"), "\"200M\"");
    let own: Vec<_> =
        api.values.iter().filter(|(of, ..)| *of == "env").map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(own, ["NODE_ENV", "PORT"]);
    assert_eq!(api.secrets.keys().collect::<Vec<_>>(), ["API_TOKEN"]);
    assert_eq!(
        api.of_shell,
        ["EDITOR_THEME", "HOME", "PATH", "PM2_HOME", "SSH_CLIENT", "unique_id"]
    );
}

#[test]
fn commands_are_what_pm2_would_start() {
    for (app, command) in [
        (r#"{script: "a.py"}"#, r#"["python3", "a.py"]"#),
        (r#"{script: "npm", args: "start"}"#, r#"["npm", "start"]"#),
        (r#"{script: "npm run serve"}"#, r#"["bash", "-c", "npm run serve"]"#),
        (r#"{script: "./server.bin", interpreter: "none"}"#, r#"["./server.bin"]"#),
        (
            r#"{script: "x.js", interpreter: "/usr/local/bin/node"}"#,
            r#"["/usr/local/bin/node", "x.js"]"#,
        ),
        (
            r#"{exec: "../y/z.js", interpreterArgs: "--inspect"}"#,
            r#"["node", "--inspect", "/opt/y/z.js"]"#,
        ),
        (r#"{script: "./bin/www", node_args: "--x"}"#, r#"["node", "--x", "bin/www"]"#),
        (r#"{script: "./own.bin"}"#, r#"["./own.bin"]"#),
        (r#"{command: "x.ts"}"#, r#"["/opt/bun/bin/bun", "x.ts"]"#),
        (
            r#"{script: "x.js", source_map_support: true}"#,
            r#"["node", "--enable-source-maps", "x.js"]"#,
        ),
    ] {
        assert_eq!(text(&one(&format!("[{app}]")), "", "command"), command, "{app}");
    }
    // Two apps of one folder: said, since an environment has one of its own.
    let both = imported(
        Format::Json,
        r#"[{script: "a.js", name: "a"}, {script: "b.js", name: "b"}]"#,
        None,
    );
    assert!(both.drafts[1].notes.iter().any(|note| note.text.contains("is that of \"a\" too")));
    let outside = one(r#"[{script: "x.ts"}]"#);
    assert_eq!(text(&outside, "", "read-only"), r#"["/opt/bun"]"#);
    assert_eq!(text(&outside, "", "cwd"), "\"/opt/shop\"");
    assert_eq!(notes_of(&outside, "cwd").len(), 1);
    assert_eq!(notes_of(&outside, "ports").len(), 1);
}

#[test]
fn words_of_readiness_and_numbers_are_carried_over() {
    let draft = one(
        r#"[{script: "x.js", wait_ready: true, instance_var: "WORKER", autorestart: false, cron: "0 0 3 * * *",
        watch: ["src", "index.js"], ignore_watch: ["*.log", "[/\\]cache"], watch_delay: 1000}]"#,
    );
    assert_eq!(text(&draft, "", "ready"), "\"message\"");
    assert_eq!(text(&draft, "", "instance-var"), "\"WORKER\"");
    assert_eq!(text(&draft, "restart", "policy"), "\"never\"");
    assert_eq!(text(&draft, "", "cron"), "\"0 3 * * *\"");
    assert_eq!(text(&draft, "watch", "paths"), "[\"src\", \"index.js\"]");
    assert_eq!(text(&draft, "watch", "ignore"), "[\"node_modules\", \".git\", \"*.log\"]");
    assert_eq!(text(&draft, "watch", "delay"), "\"1s\"");
    assert_eq!(notes_of(&draft, "ignore_watch").len(), 1);
    let seconds = one(r#"[{script: "x.js", cron_restart: "30 0 3 * * *", watch: true}]"#);
    assert_eq!(text(&seconds, "", "cron"), "\"0 3 * * *\"");
    assert_eq!(notes_of(&seconds, "cron_restart").len(), 1);
    assert_eq!(text(&seconds, "watch", "paths"), "[\".\"]");
    let plain = one(r#"[{script: "x.js", wait_ready: false, instance_var: "NODE_APP_INSTANCE"}]"#);
    assert!(plain.get("", "ready").is_none() && plain.get("", "instance-var").is_none());
}

#[test]
fn numbers_of_instances_are_those_of_this_machine() {
    for (instances, is) in [
        ("\"max\"", "4"),
        ("0", "4"),
        ("-1", "3"),
        ("-9", ""),
        ("1", ""),
        ("\"3\"", "3"),
        ("900", "64"),
    ] {
        let draft = one(&format!("[{{script: 'x.js', instances: {instances}}}]"));
        assert_eq!(text(&draft, "", "instances"), is, "{instances}");
    }
}

#[test]
fn no_app_runs_as_root_and_names_are_had_once() {
    let list = r#"{apps: [
        {script: "x.js", name: "My App!", cwd: "/srv/root", user: "root"},
        {script: "x.js", name: "my_app", env: {A: {}}, memory: 1, shutdown_with_message: true},
        {script: "x.js", name: "42", uid: 1001},
        {script: "x.js", name: "backend-test"}, {script: "x.js", name: "backend-dev"},
        {script: "x.js", name: "other-dev"}, {script: "x.js", name: "test"},
    ]}"#;
    let drafts = imported(Format::Json, list, None).drafts;
    let names: Vec<_> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    assert_eq!(
        names,
        ["my-app", "my-app-2", "app-42", "backend-test", "backend-dev", "other-dev", "test"]
    );
    assert_eq!(text(&drafts[0], "", "user"), "\"auto\"");
    assert_eq!(notes_of(&drafts[0], "user").len(), 1);
    assert_eq!(notes_of(&drafts[1], "name"), ["\"my_app\" is called \"my-app-2\" here"]);
    assert_eq!(notes_of(&drafts[1], "env.A"), ["is no text, and left out"]);
    assert_eq!(
        notes_of(&drafts[1], "memory").len() + notes_of(&drafts[1], "shutdown_with_message").len(),
        3
    );
    assert_eq!(text(&drafts[2], "", "user"), "1001");
    // A target is had once, and is no other's name.
    assert!(drafts.iter().all(|draft| draft.get("", "target").is_none()));
}

#[test]
fn the_chosen_variables_win() {
    let file = r#"{apps: {script: "x.js", name: "api", append_env_to_name: true, env: {A: 1, B: 1}, env_production: {B: 2}}}"#;
    let draft = imported(Format::Json, file, Some("production")).drafts.remove(0);
    assert_eq!(
        (text(&draft, "env", "A"), text(&draft, "env", "B")),
        ("\"1\"".into(), "\"2\"".into())
    );
    assert_eq!(draft.name.as_str(), "api-production");
    let missing = imported(Format::Json, file, Some("qa")).drafts.remove(0);
    assert_eq!(notes_of(&missing, "env_qa"), ["is not in the file"]);
}

#[test]
fn what_is_no_such_file_is_refused() {
    for (text, why) in [
        ("3", "it is a number"),
        ("{}", "it has no \"apps\""),
        ("{apps: 3}", "its \"apps\" is no list"),
        ("[]", "it has no apps"),
        ("[3]", "app 1 is a number"),
    ] {
        let value = parse(Format::Json, text).expect("JSON5");
        let refusal = apps::of(value).expect_err(text);
        assert!(refusal.contains(why), "{text}: {refusal}");
    }
    assert!(parse(Format::Json, &"[".repeat(10_000)).is_err());
    assert!(parse(Format::Json, "require('os')").is_err());
}

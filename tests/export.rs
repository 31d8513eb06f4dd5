//! `swrun export`: what comes out is read by those for whom it is meant. systemd judges its unit, Quadlet's generator its
//! container, Kubernetes' own schemas its objects, a reader of HCL the job; and every value comes back as it was.

mod bed;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, texts};
use serde_json::Value;

/// What dialects differ about.
const SECRETS: &[(&str, &str)] = &[
    ("PLAIN", "value"),
    ("QUOTES", "a\"b'c`d"),
    ("BACKSLASH", "a\\nb\\\\c\\"),
    ("DOLLAR", "$HOME ${HOME} $(id) %h %{if}"),
    ("LINES", "one\ntwo\n"),
    ("SPACES", "  both ends  "),
    ("HASH", "a #b"),
    ("EMPTY", ""),
    ("UNICODE", "grün ✓"),
    ("YES", "no"),
];

/// An environment with all that a profile can say.
fn app(bed: &Bed) -> App {
    let app = bed.app("shop-prod");
    let home = app.home.display();
    for folder in ["backend", "up loads"] {
        fs::create_dir(app.home.join(folder)).expect("ours");
        std::os::unix::fs::chown(app.home.join(folder), Some(app.uid), Some(app.uid))
            .expect("root may");
    }
    let env: String =
        SECRETS.iter().map(|(key, value)| format!("{key} = {}\n", Value::from(*value))).collect();
    let profile = format!(
        "name = \"shop-prod\"\ntarget = \"prod\"\nuser = {}\nbase = \"{home}\"\ncwd = \"{home}/backend\"\n\
         command = [\"node\", \"index.js\", \"a b\", \"100%\", \"$HOME\", \"$(id)\", \"\\\"q\\\"\"]\n\
         writable = [\"up loads\"]\nports = [{}, \"{1}/udp\"]\ninstances = 2\ncron = \"0 3 * * *\"\n\
         [limits]\nmemory-max = \"256M\"\ncpu = \"150%\"\n[health]\nhttp = \"http://127.0.0.1:{1}/healthz\"\n[env]\n{env}",
        app.uid, app.port
    );
    fs::write(bed.profile_path(&app), profile).expect("ours");
    fs::write(app.home.join("backend/.env"), "FROM_FILE=here\nPLAIN=loses\nno.name=x\n")
        .expect("ours");
    app
}

/// Exports into a folder; gives that and what was said.
fn exported(bed: &Bed, arguments: &[&str]) -> (PathBuf, String) {
    let folder = bed.root().join(format!("out-{}", arguments[0]));
    let mut words = vec!["export"];
    words.extend(arguments);
    words.extend(["--to", folder.to_str().expect("a plain path")]);
    let output = bed.swrun(&words);
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    (folder, said)
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).expect("it was written")
}

/// A program of Python's with what the tests have from PyPI, on a file; its answer as JSON.
fn python(script: &str, file: &Path) -> Value {
    let packages = std::env::var_os("SWRUN_PYPI").expect("SWRUN_PYPI: run tests/run");
    let python = Path::new(&packages).join("bin/python");
    let output = Command::new(python).args(["-c", script]).arg(file).output().expect("Python");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let bed = Bed::new();
    let app = app(&bed);
    let (folder, said) = exported(&bed, &["systemd", "prod"]);
    assert!(said.contains("not carried over: cron = \"0 3 * * *\""), "{said}");
    assert!(said.contains("\"no.name\""), "{said}");
    let unit = folder.join("shop-prod.service");
    let analyze = |arguments: &[&str], unit: &Path| -> Output {
        Command::new("systemd-analyze").args(arguments).arg(unit).output().expect("systemd-analyze")
    };
    let (out, err) = texts(&analyze(&["verify"], &unit));
    assert_eq!((out.as_str(), err.as_str()), ("", ""), "nothing is wrong with it");
    // It does tell of what is wrong.
    let wrong = bed.root().join("wrong.service");
    let text = read(&folder, "shop-prod.service");
    fs::write(&wrong, text.replace("MemoryMax=", "MemoryMaxx=")).expect("ours");
    assert!(texts(&analyze(&["verify"], &wrong)).1.contains("MemoryMaxx"));
    let (judged, err) = texts(&analyze(&["security", "--offline=true"], &unit));
    let level = judged.split("Overall exposure level for shop-prod.service: ").nth(1);
    let level: f64 = level.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect(&err);
    assert!(level <= 1.5, "{level}: {judged}");
    for line in [
        "User=shop-prod".to_owned(),
        format!(
            "#   groupadd --gid {0} shop-prod && useradd --uid {0} --gid {0} --home-dir {1} --no-create-home shop-prod",
            app.uid,
            app.home.display()
        ),
        format!("BindPaths=\"{}/up loads\"", app.home.display()),
        format!("NoExecPaths=\"{}/up loads\"", app.home.display()),
        "MemoryMax=268435456".into(),
        "CPUQuota=150%".into(),
        format!("# SocketBindAllow=tcp:{}", app.port),
        "ExecStart=/usr/bin/node index.js \"a b\" \"100%%\" \"$$HOME\" \"$$(id)\" \"\\\"q\\\"\""
            .into(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    let mode = fs::metadata(folder.join("shop-prod.env"))
        .map(|m| std::os::unix::fs::MetadataExt::mode(&m));
    assert_eq!(mode.expect("it is there") & 0o777, 0o600);
}

#[test]
fn quadlet_makes_a_service_of_the_container() {
    let bed = Bed::new();
    let app = app(&bed);
    let (folder, said) = exported(&bed, &["quadlet", "prod", "--image", "registry.example/shop:1"]);
    // One line each is all that such a file can hold.
    for key in ["LINES", "SPACES"] {
        assert!(said.contains(&format!("not carried over: {key}: ")), "{said}");
    }
    let variables = read(&folder, "shop-prod.container.env");
    assert!(
        variables.contains("QUOTES=a\"b'c`d\n") && variables.contains("FROM_FILE=here\n"),
        "{variables}"
    );
    assert!(variables.contains("PLAIN=value\n") && !variables.contains("loses"), "{variables}");
    let generator = std::env::var_os("SWRUN_QUADLET").expect("SWRUN_QUADLET: run tests/run");
    let generate = |folder: &Path| {
        let generator = Path::new(&generator).join("quadlet");
        let mut command = Command::new(generator);
        command.arg("-dryrun").env("QUADLET_UNIT_DIRS", folder).output().expect("Quadlet")
    };
    let (out, err) = texts(&generate(&folder));
    let line = out.lines().find(|line| line.starts_with("ExecStart=")).expect(&err);
    let base = app.home.display();
    for part in [
        "--read-only".to_owned(),
        "--cap-drop all".into(),
        format!("--user {0}:{0}", app.uid),
        format!("-v {base}:{base}:ro"),
        format!("-v \"{base}/up loads:{base}/up loads:rw\""),
        "--memory=268435456b".into(),
        "registry.example/shop:1 node index.js \"a b\" 100%% $$HOME $$(id) \"\\\"q\\\"\"".into(),
    ] {
        assert!(line.contains(&part), "{part}:\n{line}");
    }
    let wrong = bed.root().join("wrong");
    fs::create_dir(&wrong).expect("ours");
    let text = read(&folder, "shop-prod.container");
    fs::write(wrong.join("x.container"), text.replace("ReadOnly=", "ReadOnlyy=")).expect("ours");
    assert!(!generate(&wrong).status.success());
}

#[test]
fn kubernetes_takes_every_object_and_every_value_comes_back() {
    let bed = Bed::new();
    let app = app(&bed);
    let said = bed.fails(2, &["export", "kubernetes", "prod"]);
    assert!(said.contains("--image"), "{said}");
    let (folder, said) =
        exported(&bed, &["kubernetes", "prod", "--image", "registry.example/shop:1"]);
    assert!(said.contains("PersistentVolumeClaim"), "{said}");
    let packages = std::env::var_os("SWRUN_PYPI").expect("SWRUN_PYPI: run tests/run");
    let validate = |file: &Path| {
        let program = Path::new(&packages).join("bin/kubernetes-validate");
        Command::new(program).arg("--strict").arg(file).output().expect("kubernetes-validate")
    };
    for name in ["shop-prod.yaml", "shop-prod.secret.yaml"] {
        let output = validate(&folder.join(name));
        assert!(output.status.success(), "{name}: {:?}", texts(&output));
    }
    let wrong = bed.root().join("wrong.yaml");
    let text = read(&folder, "shop-prod.yaml");
    fs::write(&wrong, text.replace("runAsUser", "runAsUserr")).expect("ours");
    assert!(!validate(&wrong).status.success());

    const LOAD: &str =
        "import json, sys, yaml\nprint(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let secret = python(LOAD, &folder.join("shop-prod.secret.yaml"));
    for (key, value) in SECRETS {
        assert_eq!(secret[0]["stringData"][key], *value, "{key}");
    }
    assert_eq!(secret[0]["stringData"]["FROM_FILE"], "here");
    let objects = python(LOAD, &folder.join("shop-prod.yaml"));
    let pod = &objects[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(objects[0]["spec"]["replicas"], 2);
    assert_eq!(pod["securityContext"]["runAsUser"], app.uid);
    assert_eq!(container["resources"]["limits"]["memory"], "268435456");
    assert_eq!(container["resources"]["limits"]["cpu"], "1500m");
    assert_eq!(container["command"][5], "$$(id)", "it would be a variable's value");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(objects[1]["spec"]["ports"][1]["protocol"], "UDP");
}

/// A program's image: nothing but it, its libraries, and the app where the profile says that it is.
fn image(app: &App, into: &Path) {
    let root = into.join("image");
    let libraries = Command::new("ldd").arg("/usr/bin/node").output().expect("ldd");
    let libraries = texts(&libraries).0;
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for path in paths.chain(["/usr/bin/node"]) {
        let to = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a folder")).expect("ours");
        fs::copy(path, to).expect("ours");
    }
    for folder in ["tmp", "etc", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder)).expect("ours");
    }
    let backend = root.join(app.home.join("backend").strip_prefix("/").expect("absolute"));
    fs::create_dir_all(&backend).expect("ours");
    let server = "require('http').createServer((_, answer) => answer.end(JSON.stringify([process.env, process.getuid(), process.cwd()]))).listen(+process.env.PORT);\nprocess.on('SIGTERM', () => process.exit(0));\n";
    fs::write(backend.join("index.js"), server).expect("ours");
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(&root).arg("-cf").arg(into.join("image.tar")).arg(".");
    assert!(pack.status().expect("tar").success());
}

/// A real kubelet cannot be had; podman starts what a Deployment says (podman-kube-play(1)).
#[test]
fn podman_plays_the_deployment() {
    let bed = Bed::new();
    let app = app(&bed);
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    let env = format!("[env]\nPORT = \"{}\"\n", app.port);
    fs::write(bed.profile_path(&app), profile.replace("[env]\n", &env)).expect("ours");
    let (folder, _) = exported(&bed, &["kubernetes", "prod", "--image", "localhost/shop:1"]);
    // What podman 4.3 cannot: a Secret from a file, several instances, ports beside the host's network.
    const CONVERT: &str = r"import base64, json, sys, yaml
folder = sys.argv[1]
secret = yaml.safe_load(open(folder + '/shop-prod.secret.yaml'))['stringData']
data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
json.dump(data, open(folder + '/secret.json', 'w'))
pod = next(yaml.safe_load_all(open(folder + '/shop-prod.yaml')))
pod['spec']['replicas'] = 1
pod['spec']['template']['spec']['hostNetwork'] = True
pod['spec']['template']['spec']['containers'][0].pop('ports')
json.dump(pod, open(folder + '/pod.yaml', 'w'))
print('null')";
    python(CONVERT, &folder);
    image(&app, &folder);
    let root = std::env::var_os("SWRUN_PODMAN").expect("SWRUN_PODMAN: run tests/run");
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut podman = Command::new(top.join("tests/fixtures/podman/play"))
        .arg(Path::new(&root).join("root"))
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("podman");
    let mut said = String::new();
    let mut out = BufReader::new(podman.stdout.take().expect("piped"));
    while !said.ends_with("\nready\n") {
        assert!(out.read_line(&mut said).expect("text") > 0, "it ended: {said}");
    }
    let found: Value = serde_json::from_str(said.trim_end_matches("ready\n")).expect("JSON");
    let deadline = Instant::now() + bed::patience();
    let answer = loop {
        match bed::get(app.port, "/") {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Its end clears everything away.
    drop(podman.stdin.take());
    podman.wait().expect("our child");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    for (key, value) in SECRETS {
        assert_eq!(answer[0][key], *value, "{key}");
    }
    assert_eq!(answer[1], app.uid);
    assert_eq!(answer[2], app.home.join("backend").to_str().expect("a plain path"));
    let settings = &found[0]["HostConfig"];
    assert_eq!(
        (&settings["ReadonlyRootfs"], &settings["Memory"]),
        (&true.into(), &(256 << 20).into())
    );
    assert_eq!(settings["SecurityOpt"][0], "no-new-privileges");
    assert!(settings["CapDrop"].as_array().is_some_and(|dropped| dropped.len() > 8), "{settings}");
}

/// What Nomad's own jobspec has of these names, block by block.
const OF_NOMAD: &[(&str, &[&str])] = &[
    ("job", &["datacenters", "type", "group"]),
    ("group", &["count", "network", "service", "restart", "reschedule", "task"]),
    ("network", &["mode", "port"]),
    ("service", &["name", "port", "provider", "check"]),
    ("check", &["type", "path", "interval", "timeout"]),
    ("restart", &["attempts", "interval", "delay", "mode"]),
    ("task", &["driver", "user", "kill_signal", "kill_timeout", "config", "env", "resources"]),
    ("config", &["command", "args", "work_dir", "unveil"]),
    ("resources", &["cpu", "memory"]),
];

#[test]
fn a_job_of_nomads_is_hcl_and_every_value_comes_back() {
    let bed = Bed::new();
    let app = app(&bed);
    let (folder, said) = exported(&bed, &["nomad", "prod"]);
    assert!(said.contains("exec2") && said.contains("DOLLAR: Nomad replaces"), "{said}");
    // Texts as they are written, with their quotes: unquoted below.
    const LOAD: &str = "import hcl2, json, sys\nprint(json.dumps(hcl2.load(open(sys.argv[1]))))";
    let job = python(LOAD, &folder.join("shop-prod.nomad.hcl"));
    let mut names = Vec::new();
    blocks(&job, &mut names);
    for (block, keys) in OF_NOMAD {
        for (_, key) in names.iter().filter(|(found, _)| found == block) {
            assert!(keys.contains(&key.as_str()), "Nomad has no {key} in {block}");
        }
        assert!(names.iter().any(|(found, _)| found == block), "{block} is there: {names:?}");
    }
    let text = serde_json::to_string(&job).expect("JSON");
    assert!(text.contains(&app.port.to_string()));
    let env = find(&job, "env").expect("a map of variables");
    let shown = bed.ok(&["export", "nomad", "prod", "--driver", "raw_exec"]);
    assert!(shown.contains("\"raw_exec\"") && !shown.contains("unveil"), "{shown}");
    let said = texts(&bed.swrun(&["export", "nomad", "prod", "--driver", "raw_exec"])).1;
    assert!(said.contains("not carried over: every wall"), "{said}");
    bed.fails(2, &["export", "systemd", "prod", "--driver", "raw_exec"]);
    let value = |key: &str| {
        let quoted = format!("\"{key}\"");
        let written = env.get(key).or_else(|| env.get(&quoted)).and_then(Value::as_str);
        let written = written.unwrap_or_else(|| panic!("{key} in {env}"));
        // What HCL and JSON write alike, and HCL's own two.
        let text: String = match written.starts_with('"') {
            true => serde_json::from_str(written).expect("a quoted text"),
            false => written.to_owned(),
        };
        text.replace("$${", "${").replace("%%{", "%{")
    };
    for (key, wanted) in SECRETS {
        assert_eq!(value(key), *wanted, "{key}");
    }
    assert_eq!(value("FROM_FILE"), "here");
}

/// Every block's name with every name in it.
fn blocks(value: &Value, names: &mut Vec<(String, String)>) {
    let plain = |key: &String| key.trim_matches('"').to_owned();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let mut below = inner;
                while let Value::Array(list) = below {
                    let Some(first) = list.first() else { break };
                    below = first;
                }
                let labelled = ["job", "group", "task"].contains(&key.as_str());
                let body = match below {
                    Value::Object(inner) if labelled => inner.values().next().unwrap_or(below),
                    other => other,
                };
                if let Value::Object(inner) = body {
                    let own = inner.keys().map(plain).filter(|name| !name.starts_with("__"));
                    names.extend(own.map(|name| (plain(key), name)));
                }
                blocks(body, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| blocks(inner, names)),
        _ => {}
    }
}

fn find<'a>(value: &'a Value, wanted: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map
            .get(wanted)
            .map(|found| found.get(0).unwrap_or(found))
            .or_else(|| map.values().find_map(|inner| find(inner, wanted))),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, wanted)),
        _ => None,
    }
}

/// Whoever owns the folder names what lies below it: a name must not become a line of a unit.
#[test]
fn no_path_becomes_more_than_a_path() {
    let bed = Bed::new();
    let app = app(&bed);
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    for name in ["r\nUser=root\n#", "a:b", "a\\", "a%n", "a$b", "a\"b", "a "] {
        let folder = app.home.join(name);
        fs::create_dir(&folder).expect("ours");
        std::os::unix::fs::chown(&folder, Some(app.uid), Some(app.uid)).expect("root may");
        let link = app.home.join("current");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&folder, &link).expect("ours");
        std::os::unix::fs::lchown(&link, Some(app.uid), Some(app.uid)).expect("root may");
        let there = format!("base = \"{}\"\ncwd = \"{0}\"", link.display());
        let lines = profile.lines().filter(|line| {
            !line.starts_with("base") && !line.starts_with("cwd") && !line.starts_with("writable")
        });
        let lines: Vec<&str> = lines.collect();
        let text = lines.join("\n").replace("instances", &format!("{there}\ninstances"));
        fs::write(bed.profile_path(&app), text).expect("ours");
        for format in ["systemd", "quadlet", "nomad", "kubernetes"] {
            let output = bed.swrun(&["export", format, "prod", "--image", "x:1"]);
            let (out, err) = texts(&output);
            assert!(!output.status.success() && out.is_empty(), "{format} {name:?}: {out}{err}");
            assert!(
                err.contains("rename it") || err.contains("errors"),
                "{format} {name:?}: {err}"
            );
        }
    }
}

#[test]
fn a_unit_of_the_hosts_is_not_replaced() {
    let bed = Bed::new();
    let app = bed.app("ssh");
    bed.profile(&app, &["/bin/sleep", "1"], "");
    let units = ["/usr/lib/systemd/system/ssh.service", "/lib/systemd/system/ssh.service"];
    assert!(units.iter().any(|unit| Path::new(unit).exists()), "tests/run has installed it");
    let said = bed.fails(1, &["export", "systemd", "ssh"]);
    assert!(said.contains("give the environment another name"), "{said}");
    bed.ok(&["export", "nomad", "ssh"]);
}

#[test]
fn what_is_only_shown_tells_no_value_and_what_is_there_is_not_written_over() {
    let bed = Bed::new();
    app(&bed);
    for format in ["systemd", "quadlet", "nomad", "kubernetes"] {
        let shown = bed.ok(&["export", format, "prod", "--image", "x:1"]);
        assert!(!shown.contains("a\"b") && !shown.contains("here"), "{shown}");
        assert!(shown.contains("FROM_FILE") && shown.contains("(hidden)"), "{shown}");
    }
    let (folder, _) = exported(&bed, &["systemd", "prod"]);
    fs::remove_file(folder.join("shop-prod.service")).expect("ours");
    fs::write(folder.join("shop-prod.env"), "mine").expect("ours");
    let to = folder.to_str().expect("a plain path");
    let said = bed.fails(1, &["export", "systemd", "prod", "--to", to]);
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(read(&folder, "shop-prod.env"), "mine");
    assert!(!folder.join("shop-prod.service").exists(), "all or nothing");
    let said = bed.fails(1, &["export", "systemd", "none"]);
    assert!(said.contains("there are: shop-prod"), "{said}");
}

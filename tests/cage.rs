//! The cage of an instance, seen from inside by a probe: what the runner was started with (groups,
//! variables, descriptors, signals) is set up on purpose, so that a leak of it would be seen.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, is_guest, patience, pid, probe};
use serde_json::{Value, json};

const NO_CAPABILITY: &str = "0000000000000000";

/// A bed whose runner has a group, a variable, a descriptor, an ignored and a blocked signal and a
/// mask for its apps to inherit.
fn leaky() -> Bed {
    let mut bed = Bed::new();
    let mut runner = Command::new("/bin/sh");
    runner
        .args(["-c", "umask 0; exec 9</etc/hostname; exec \"$0\" \"$@\""])
        .args(["setpriv", "--groups", "54321"])
        .args(["env", "--ignore-signal=USR2,HUP,PIPE", "--block-signal=USR1"])
        .arg(bed::swrun())
        .env("SWRUN_CANARY", "of the runner")
        .env("LISTEN_FDS", "3");
    bed.daemon_by(runner);
    bed
}

/// Starts `command` as an environment that ends by itself, and waits for the JSON it writes.
fn report_of(bed: &Bed, app: &App, program: &Path, paths: &[&str], more: &str) -> Value {
    let out = writable(app);
    let file = out.join("report.json");
    let mut command =
        vec![program.to_str().expect("plain"), "report", file.to_str().expect("plain")];
    command.extend(paths);
    let more = format!(
        "writable = [\"{}\"]\nread-only = [\"{}\"]\n{more}\n[restart]\npolicy = \"never\"",
        out.display(),
        probe::path().display()
    );
    bed.profile(app, &command, &more);
    bed.ok(&["start", "--no-wait", &app.name]);
    until("a report", || serde_json::from_slice(&fs::read(&file).ok()?).ok())
}

/// A folder of the app's that it may write.
fn writable(app: &App) -> PathBuf {
    let out = app.home.join("out");
    fs::create_dir_all(&out).expect("our own folder");
    chown(&out, Some(app.uid), Some(app.uid)).expect("root may");
    out
}

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn report(app: &App, paths: &[&str]) -> Value {
    let query: Vec<String> = paths.iter().map(|path| format!("path={path}")).collect();
    let text = get(app.port, &format!("/report?{}", query.join("&"))).expect("it answers");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_app_is_its_user_and_inherits_nothing() {
    let bed = leaky();
    let app = bed.app("shop");
    let report = report_of(&bed, &app, probe::path(), &[], "[env]\nGIVEN = \"yes\"");

    let (uid, none): (_, [u32; 0]) = (app.uid, []);
    assert_eq!(report["uid"], json!([uid, uid, uid, uid]));
    assert_eq!(report["gid"], json!([uid, uid, uid, uid]));
    assert_eq!(report["groups"], json!(none), "none are listed, the runner's are not inherited");

    let sets = report["capabilities"].as_object().expect("five sets");
    assert_eq!(sets.len(), 5);
    for (set, bits) in sets {
        assert_eq!(bits, NO_CAPABILITY, "{set}");
    }
    assert_eq!(report["no_new_privs"], 1);
    // capabilities(7): NOROOT and NO_SETUID_FIXUP are bits 0 and 2, KEEP_CAPS 4, NO_CAP_AMBIENT_RAISE
    // 6, each with its lock in the next bit.
    let bits = report["securebits"].as_u64().expect("readable");
    for (name, wanted) in [("NOROOT", 0b11), ("KEEP_CAPS", 0b10_0000), ("AMBIENT", 0b1100_0000)] {
        assert_eq!(bits & wanted, wanted, "{name}: {bits:#b}");
    }
    assert_eq!(bits & 0b1_0000, 0, "capabilities are not kept: {bits:#b}");

    let keys: BTreeSet<_> = report["environment"].as_object().expect("known").keys().collect();
    let wanted = [
        "GIVEN",
        "HOME",
        "LANG",
        "LOGNAME",
        "NODE_APP_INSTANCE",
        "PATH",
        "SWRUN_ENV",
        "SWRUN_INSTANCE",
        "USER",
    ];
    assert_eq!(keys, wanted.map(str::to_owned).iter().collect(), "{}", report["environment"]);

    let open: Vec<_> = report["descriptors"].as_object().expect("known").keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", report["descriptors"]);
    assert_eq!(report["stdin"]["is_dev_null"], true);
    for number in ["1", "2"] {
        let target = report["descriptors"][number].as_str().expect("a link");
        assert!(target.starts_with("pipe:"), "{number} is {target}");
    }
    assert_ne!(report["descriptors"]["1"], report["descriptors"]["2"]);

    assert_eq!(report["umask"], "0027");
    assert_eq!(report["rlimits"]["core"], json!([1, 1]));
    assert_eq!(report["signals"]["blocked"], NO_CAPABILITY);
    assert_eq!(report["signals"]["ignored"], NO_CAPABILITY);
    assert_eq!(report["signals"]["pending"], NO_CAPABILITY);
    assert_eq!(report["cwd"], app.home.to_str().expect("plain"));
    assert_eq!(report["sid"], report["pid"], "a session of its own: no terminal");
    bed.end();
}

/// Rust's runtime ignores SIGPIPE by itself, so this is asked of a program without one.
#[test]
fn no_signal_is_ignored_not_even_sigpipe() {
    let bed = leaky();
    let app = bed.app("shop");
    bed.profile(&app, &["/bin/cat", "/proc/self/status"], "[restart]\npolicy = \"never\"");
    bed.ok(&["start", "--no-wait", &app.name]);
    let line = |name: &str| {
        until(name, || bed.log(&app, "out.log").into_iter().find(|line| line.starts_with(name)))
    };
    for name in ["SigIgn", "SigBlk", "SigCgt"] {
        assert_eq!(line(&format!("{name}:")), format!("{name}:\t{NO_CAPABILITY}"));
    }
    bed.end();
}

/// A user of the host's database, gone with this value.
struct User {
    name: String,
    groups: Vec<String>,
}

impl User {
    fn new(uid: u32) -> Self {
        let name = format!("swt{uid}");
        let groups = vec![format!("swt{uid}a"), format!("swt{uid}b")];
        let user = Self { name, groups };
        tool(&["groupadd", "-g", &uid.to_string(), &user.name]);
        for (group, number) in user.groups.iter().zip(user.numbers(uid)) {
            tool(&["groupadd", "-g", &number.to_string(), group]);
        }
        let (number, list) = (uid.to_string(), user.groups.join(","));
        tool(&["useradd", "-M", "-u", &number, "-g", &number, "-G", &list, &user.name]);
        user
    }

    /// Far from every uid of the beds.
    fn numbers(&self, uid: u32) -> [u32; 2] {
        [uid + 10_000_000, uid + 20_000_000]
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for words in [vec!["userdel", &self.name], vec!["groupdel", &self.name]]
            .into_iter()
            .chain(self.groups.iter().map(|group| vec!["groupdel", group.as_str()]))
        {
            // The group of the user's own name goes with the user.
            let _ = Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status();
        }
    }
}

fn tool(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("Debian has it");
    assert!(output.status.success(), "{words:?}: {:?}", bed::texts(&output));
}

#[test]
fn supplementary_groups_are_those_of_the_user_and_no_others() {
    let bed = leaky();
    let app = bed.app("shop");
    let user = User::new(app.uid);
    let out = writable(&app);
    let file = out.join("report.json");
    let words = [probe::path(), Path::new("report"), &file];
    let words = words.map(|word| word.to_str().expect("plain"));
    let more = format!(
        "writable = [\"{}\"]\nread-only = [\"{}\"]\n[restart]\npolicy = \"never\"",
        out.display(),
        words[0]
    );
    bed.profile(&app, &words, &more);
    let path = bed.profile_path(&app);
    let text = fs::read_to_string(&path).expect("just written");
    let named = text.replace(&format!("user = {}", app.uid), &format!("user = \"{}\"", user.name));
    assert_ne!(text, named);
    fs::write(&path, named).expect("ours");
    bed.ok(&["start", "--no-wait", &app.name]);
    let report: Value = until("a report", || serde_json::from_slice(&fs::read(&file).ok()?).ok());

    assert_eq!(report["uid"], json!([app.uid, app.uid, app.uid, app.uid]));
    assert_eq!(report["environment"]["USER"], user.name.as_str());
    let numbers = |value: &Value| -> BTreeSet<u64> {
        value.as_array().expect("a list").iter().filter_map(Value::as_u64).collect()
    };
    let mut wanted: BTreeSet<u64> = user.numbers(app.uid).map(u64::from).into();
    let show: Value = serde_json::from_str(&bed.ok(&["show", "--json", "shop"])).expect("JSON");
    assert_eq!(numbers(&report["groups"]), numbers(&show["spec"]["identity"]["groups"]));
    // Its own primary group may stand among them (initgroups(3) does so).
    wanted.insert(app.uid.into());
    let mut found = numbers(&report["groups"]);
    found.insert(app.uid.into());
    assert_eq!(found, wanted);
    bed.end();
}

#[test]
fn the_namespaces_are_its_own_and_the_network_is_the_hosts() {
    let bed = leaky();
    let app = bed.app("shop");
    let report = report_of(&bed, &app, probe::path(), &[], "");
    for (name, is_shared) in [
        ("mnt", false),
        ("pid", false),
        ("ipc", false),
        ("uts", false),
        ("cgroup", false),
        ("net", true),
    ] {
        let host = fs::read_link(format!("/proc/thread-self/ns/{name}")).expect("there");
        let own = report["namespaces"][name].as_str().expect("a link");
        assert!(own.starts_with(&format!("{name}:[")), "{own}");
        assert_eq!(own == host.to_str().expect("plain"), is_shared, "{name}: {own}");
    }
    assert_eq!(report["hostname"], "shop");
    let groups = report["cgroup"].as_array().expect("lines");
    assert!(groups.contains(&json!("0::/")), "it is the root of what it sees: {groups:?}");
    // Its init and itself, and nobody else.
    let pids: Vec<_> = report["processes"]
        .as_array()
        .expect("readable")
        .iter()
        .filter_map(|process| process["pid"].as_i64())
        .collect();
    assert_eq!(json!(pids), json!([1, report["pid"]]), "{}", report["processes"]);
    assert_eq!(report["ppid"], 1);
    bed.end();
}

#[test]
fn the_hosts_files_cannot_be_written_and_those_of_others_not_be_seen() {
    let bed = leaky();
    let other = bed.app("other");
    fs::write(other.home.join("secret"), "").expect("ours");
    let app = bed.app("shop");
    let home = app.home.to_str().expect("plain");
    let out = format!("{home}/out");
    let below = |path: &str| bed.root().join(path).to_str().expect("plain").to_owned();
    let (of_other, secret) = (below("srv/other"), below("srv/other/secret"));
    let own_places = ["etc/swrun", "var/lib/swrun", "run/swrun", "var/log/swrun"].map(below);
    let mut paths = vec!["/", "/usr", "/etc", "/etc/passwd", "/dev", "/sys/fs/cgroup", "/var"];
    paths.extend([home, &out, "/tmp", "/dev/shm", "/proc/1/environ", "/proc/sys/kernel/hostname"]);
    let hidden = ["/root", "/home", "/var/lib/swrun", "/run/swrun", "/var/log", "/boot", "/opt"];
    let hidden =
        [&hidden[..], &["/etc/swrun", "/sys/class", "/sys/firmware", "/sys/fs/bpf"]].concat();
    paths.extend(&hidden);
    paths.extend([&*of_other, &*secret]);
    paths.extend(own_places.iter().map(String::as_str));
    let report = report_of(&bed, &app, probe::path(), &paths, "");
    let seen = &report["paths"];

    for path in ["/", "/usr", "/etc", "/dev", home] {
        assert_eq!(seen[path]["exists"], true, "{path}");
        assert_eq!(seen[path]["can_write"], false, "{path}");
        // Not by its mode alone: the folder of its own could be written otherwise.
        assert_eq!(seen[path]["write_error"], "EROFS", "{path}");
    }
    for path in ["/etc/passwd", "/sys/fs/cgroup", "/var", "/proc/sys/kernel/hostname"] {
        assert_eq!(seen[path]["can_write"], false, "{path}");
    }
    assert_eq!(seen["/proc/1/environ"]["can_read"], false);
    for path in [&*out, "/tmp", "/dev/shm"] {
        assert_eq!(seen[path]["can_write"], true, "{path}: {}", seen[path]);
    }
    for path in hidden.iter().copied().chain([&*of_other, &secret]) {
        assert_eq!(seen[path]["exists"], false, "{path}: {}", seen[path]);
    }
    for path in own_places {
        assert_eq!(seen[&path]["exists"], false, "{path}");
    }

    // Whatever is mounted writable is private, or was listed.
    let mounts = report["mounts"].as_array().expect("readable");
    let of_the_app = ["/tmp", "/run", "/dev/shm", "/proc", &*out];
    for mount in mounts {
        let point = mount["point"].as_str().expect("a path");
        let options: Vec<_> = mount["options"].as_str().expect("options").split(',').collect();
        if !options.contains(&"ro") {
            assert!(of_the_app.contains(&point), "{mount}");
            let is_private = ["tmpfs", "proc"].map(|kind| mount["type"] == kind).contains(&true);
            assert!(is_private || point == out, "{mount}");
        }
        assert!(options.contains(&"nosuid"), "{mount}");
        let covers = mount["root"] == "/null";
        assert!(point == "/dev" || covers || options.contains(&"nodev"), "{mount}");
    }
    bed.end();
}

#[test]
fn what_is_in_tmp_and_shm_is_seen_by_nobody_else() {
    let bed = Bed::running();
    let mark = format!("mark-{}", std::process::id());
    let (tmp, shm) = (format!("/tmp/{mark}"), format!("/dev/shm/{mark}"));
    let apps = [bed.app("one"), bed.app("two")];
    let probe = probe::path().display();
    for (app, script) in apps.iter().zip([
        format!("echo > {tmp}; echo > {shm}; exec {probe} serve"),
        format!("exec {probe} serve"),
    ]) {
        bed.env_file(app, &format!("PORT={}\n", app.port));
        let more = format!("ports = [{}]\nread-only = [\"{probe}\"]", app.port);
        bed.profile(app, &["/bin/sh", "-c", &script], &more);
        bed.start(app);
    }
    for (app, is_there) in apps.iter().zip([true, false]) {
        let seen = report(app, &[&tmp, &shm])["paths"].clone();
        for path in [&tmp, &shm] {
            assert_eq!(seen[path]["exists"], is_there, "{}: {path}: {seen}", app.name);
        }
    }
    assert!(!Path::new(&tmp).exists() && !Path::new(&shm).exists(), "on the host");
    bed.end();
}

#[test]
fn a_setuid_program_gives_nothing() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let program = app.home.join("become-root");
    fs::copy(probe::path(), &program).expect("ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).expect("ours");
    let report = report_of(&bed, &app, &program, &[], "");
    assert_eq!(report["uid"], json!([app.uid, app.uid, app.uid, app.uid]));
    assert_eq!(report["gid"], json!([app.uid, app.uid, app.uid, app.uid]));
    assert_eq!(report["capabilities"]["effective"], NO_CAPABILITY);
    bed.end();
}

#[test]
fn init_has_no_power_and_no_pipe_of_the_app() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let status = bed.start(&app);
    let pid = pid(&status);
    let init = status["instances"][0]["init_pid"].as_i64().expect("a pid");

    let text = fs::read_to_string(format!("/proc/{init}/status")).expect("it lives");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t{NO_CAPABILITY}\n")), "{set}\n{text}");
    }
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
    // The monitor blocks signals and has handlers; its copy neither.
    for set in ["SigBlk", "SigCgt"] {
        assert!(text.contains(&format!("{set}:\t{NO_CAPABILITY}\n")), "{set}\n{text}");
    }

    let links = |pid: i64| -> BTreeSet<String> {
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
        let targets = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.map(|target| target.display().to_string()).collect()
    };
    let pipes: BTreeSet<_> =
        links(pid.into()).into_iter().filter(|target| target.starts_with("pipe:")).collect();
    assert_eq!(pipes.len(), 2, "{pipes:?}");
    let of_init = links(init);
    assert!(pipes.is_disjoint(&of_init), "{pipes:?} {of_init:?}");
    // A fork of the monitor: of all that the monitor has open it keeps the socket it reports to.
    let of_init: Vec<_> = of_init.iter().map(String::as_str).collect();
    assert!(
        matches!(of_init[..], ["/dev/null", socket] if socket.starts_with("socket:")),
        "{of_init:?}"
    );
    // What an operator sees in ps.
    let line = fs::read(format!("/proc/{init}/cmdline")).expect("it lives");
    assert!(line.starts_with(b"swrun\0__init\0shop\0"), "{line:?}");
    assert!(text.starts_with("Name:\tswrun-init\n"), "{text}");

    // ptrace(2), access mode checking: without a capability one may look into a process of one's own
    // uid and none of its capabilities only while that is dumpable.
    let look = |pid: i64| {
        Command::new("setpriv")
            .args(["--inh-caps=-all", "--bounding-set=-all", "readlink"])
            .arg(format!("/proc/{pid}/cwd"))
            .output()
            .expect("Debian has it")
    };
    let mut dumpable = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-all", "sleep", "1000"])
        .spawn()
        .expect("Debian has it");
    let sleeps = || fs::read_to_string(format!("/proc/{}/comm", dumpable.id())).ok();
    until("sleep", || sleeps().filter(|comm| comm == "sleep\n"));
    let control = look(dumpable.id().into());
    dumpable.kill().expect("our own");
    dumpable.wait().expect("our own");
    assert!(control.status.success(), "the test itself: {:?}", bed::texts(&control));
    assert!(!look(init).status.success(), "init is dumpable");
    bed.end();
}

/// A bed whose runner, and nobody else, has an `/etc` and a `/run` that a shell script makes: `$0` is
/// the folder that becomes `/etc`.
fn on_a_host_with(script: &str) -> Bed {
    let mut bed = Bed::new();
    let script = format!(
        "mkdir \"$0\"; cp /etc/passwd /etc/group \"$0\"; mount -t tmpfs tmpfs /run\n{script}\n\
         mount --bind \"$0\" /etc; exec \"$@\""
    );
    let mut runner = Command::new("unshare");
    runner
        .args(["--mount", "--propagation", "private", "/bin/sh", "-ec", &script])
        .args([bed.root().join("etc-of-the-host"), bed::swrun()]);
    bed.daemon_by(runner);
    bed
}

/// Files of the host's `/etc` that programs need to run, and nothing else of it.
#[test]
fn chosen_files_of_etc_are_seen_and_its_own_user_alone() {
    let bed = on_a_host_with(
        "mkdir -p \"$0/swrun/profiles\" \"$0/ssh\" \"$0/app.d\"; echo secret > \"$0/swrun/file\"; \
         echo secret > \"$0/shadow\"; chmod 640 \"$0/shadow\"; echo secret > \"$0/ssh/ssh_host_key\"; \
         echo shown > \"$0/hosts\"; echo shown > \"$0/app.d/file\"; echo host > \"$0/hostname\"",
    );
    let app = bed.app("shop");
    let script = "cd /etc; cat passwd; id -un; cat hosts app.d/file; echo in $(echo *):";
    let more = "read-only = [\"/etc/app.d\"]\n[restart]\npolicy = \"never\"";
    bed.profile(&app, &["/bin/sh", "-c", script], more);
    bed.ok(&["start", "--no-wait", "shop"]);
    let is_all = |lines: &Vec<String>| lines.iter().any(|line| line.ends_with(':'));
    let lines = until("its files", || Some(bed.log(&app, "out.log")).filter(is_all));
    let first: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(first[..6], ["root", "shop", "nobody", "shop", "shown", "shown"], "{lines:?}");
    let there: Vec<&str> = first[6].split(' ').collect();
    for hidden in ["swrun", "shadow", "ssh", "hostname", "gshadow", "machine-id"] {
        assert!(!there.contains(&hidden), "{hidden}: {there:?}");
    }
    assert!(there.contains(&"group"), "{there:?}");
    bed.end();
}

/// Where a name service keeps `/etc/resolv.conf` in the host's `/run`, of which nothing else is seen.
#[test]
fn a_resolver_file_in_run_is_seen() {
    let bed = on_a_host_with(
        "mkdir /run/resolver; echo nameserver 192.0.2.1 > /run/resolver/of-the-host.conf; \
         touch /run/other; ln -s /run/resolver/of-the-host.conf \"$0/resolv.conf\"",
    );
    let app = bed.app("shop");
    let script = "cat /etc/resolv.conf; ls /run; echo end";
    bed.profile(&app, &["/bin/sh", "-c", script], "[restart]\npolicy = \"never\"");
    bed.ok(&["start", "--no-wait", &app.name]);
    let lines = until("two lines", || Some(bed.log(&app, "out.log")).filter(|l| l.len() >= 2));
    assert_eq!(lines, ["nameserver 192.0.2.1", "end"]);
    bed.end();
}

/// As systemd leaves them: what is mounted in one namespace is mounted in the other, unless it is cut.
#[test]
fn no_mount_of_a_cage_reaches_a_host_whose_mounts_are_shared() {
    let bed = on_a_host_with("mount --make-rshared /");
    let of_the_host = || {
        let path = format!("/proc/{}/mountinfo", bed.daemon_pid());
        fs::read_to_string(path).expect("it lives")
    };
    let before = of_the_host();
    assert!(before.contains(" shared:"), "the test itself: {before}");
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    assert_eq!(of_the_host(), before);
    bed.end();
}

/// Puts a key into a session key ring of its own, as a login may, writes to a file what can be seen
/// of it, and executes the rest of its arguments.
const WITH_A_KEY: &str = "
import ctypes, os, platform, sys
call = ctypes.CDLL(None).syscall
add_key, keyctl = (248, 250) if platform.machine() == 'x86_64' else (217, 219)
assert call(keyctl, 1, None) > 0
assert call(add_key, b'user', b'swrun-canary', b'x', 1, ctypes.c_int(-3)) > 0
open(sys.argv[1], 'w').write(open('/proc/keys').read())
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn no_key_of_the_runner_is_seen() {
    let mut bed = Bed::new();
    let control = bed.root().join("keys");
    let mut runner = Command::new("python3");
    runner.args(["-c", WITH_A_KEY]).args([&control, &bed::swrun()]);
    bed.daemon_by(runner);
    let control = fs::read_to_string(control).expect("the runner was started with it");
    assert!(control.contains("swrun-canary"), "the test itself: {control}");
    let app = bed.app("shop");
    // What the kernel tells of key rings is hidden, and keyctl(2) refused.
    let script = "cat /proc/keys /proc/key-users; echo all of them";
    bed.profile(&app, &["/bin/sh", "-c", script], "[restart]\npolicy = \"never\"");
    bed.ok(&["start", "--no-wait", &app.name]);
    let is_all = |lines: &Vec<String>| lines.iter().any(|line| line == "all of them");
    let keys = until("the keys", || Some(bed.log(&app, "out.log")).filter(is_all)).join("\n");
    assert_eq!(keys, "all of them");
    bed.end();
}

#[test]
fn its_output_can_be_opened_by_name() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let script = "echo one > /dev/stdout; echo two > /dev/stderr";
    bed.profile(&app, &["/bin/sh", "-c", script], "[restart]\npolicy = \"never\"");
    bed.ok(&["start", "--no-wait", &app.name]);
    for (file, wanted) in [("out.log", "one"), ("err.log", "two")] {
        let line = until(file, || bed.log(&app, file).into_iter().next());
        assert_eq!(line, wanted, "{file}");
    }
    bed.end();
}

const QUICK: &str = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"50ms\"";

/// Ends the app; tells why its next instance could not be started.
fn why_not_again(bed: &Bed, app: &App) -> String {
    let _ = get(app.port, "/crash?code=1");
    let status =
        bed.until(app, "not started", |status| status["last_exit"]["cause"] == "start-failed");
    status["last_exit"]["detail"].as_str().expect("a text").to_owned()
}

/// Looked at when an order comes, and at each start by itself.
#[test]
fn a_base_that_changed_hands_is_not_shown() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, QUICK);
    bed.start(&app);
    chown(&app.home, Some(app.uid + 1), None).expect("root may");
    let (home, uid) = (app.home.display(), app.uid + 1);
    let why = format!("could not trust \"{home}\": it belongs to uid {uid} now");
    assert_eq!(why_not_again(&bed, &app), why);
    chown(&app.home, Some(app.uid), None).expect("root may");
    bed.until(&app, "back", |status| status["state"] == "online");
    bed.end();
}

/// What lies beneath the base is its user's to exchange between two starts.
#[test]
fn a_folder_exchanged_for_a_link_is_not_followed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let out = writable(&app);
    let more = format!("writable = [\"{}\"]\n{QUICK}", out.display());
    bed.probe(&app, &more);
    bed.start(&app);
    let aside = app.home.join("aside");
    fs::rename(&out, &aside).expect("ours");
    symlink("/var/lib", &out).expect("ours");
    let why = why_not_again(&bed, &app);
    let step = format!("could not open \"{}\"", out.display());
    assert!(why.starts_with(&step) && why.ends_with("(os error 40)"), "{why}");
    fs::remove_file(&out).expect("ours");
    fs::rename(&aside, &out).expect("ours");
    bed.until(&app, "back", |status| status["state"] == "online");
    bed.end();
}

/// The app's process is there before its cage is. Here the cage takes long, and fails in the end.
#[test]
fn nothing_of_an_app_runs_before_its_cage_stands() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let runs = writable(&app);
    let shown = |number: u32| app.home.join(format!("shown-{number}"));
    let all: Vec<PathBuf> = (0..200).map(shown).collect();
    for path in &all {
        fs::write(path, "").expect("our own folder");
    }
    let log = runs.join("log");
    let script = format!("echo up >> {}; exec sleep 900", log.display());
    let more = format!("read-only = {all:?}\nwritable = [{runs:?}]\n{QUICK}");
    bed.profile(&app, &["/bin/sh", "-c", &script], &more);
    let running = bed.start(&app);
    let ups = || fs::read_to_string(&log).unwrap_or_default();
    until("it is up", || (ups() == "up\n").then_some(()));
    fs::remove_file(&all[199]).expect("ours");
    symlink("/etc/passwd", &all[199]).expect("ours");
    bed::kill(pid(&running));
    for _ in 0..5 {
        let events = || kernel::events(&bed, &app, "ended").len();
        let before = events();
        until("one more start has failed", || (events() > before).then_some(()));
    }
    assert_eq!(ups(), "up\n");
    bed.end();
}

#[test]
fn private_folders_hold_no_more_than_the_ceiling() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let more = "[limits]\nmemory-max = \"64M\"";
    let report = report_of(&bed, &app, probe::path(), &[], more);
    for point in ["/tmp", "/run", "/dev/shm"] {
        let mounts = report["mounts"].as_array().expect("readable");
        let mount = mounts.iter().find(|mount| mount["point"] == point).expect("it is there");
        let options = mount["super_options"].as_str().expect("options");
        assert!(options.split(',').any(|option| option == "size=65536k"), "{mount}");
    }
    bed.end();
}

/// A folder that goes and comes while starts look for it, as its user can make it do: root must not
/// make its place inside the folder round it, which is the host's own.
#[test]
fn nothing_is_made_for_the_cage_in_a_folder_of_the_host() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let bed = Bed::running();
    let app = bed.app("shop");
    let outer = writable(&app);
    let (inner, aside) = (outer.join("inner"), outer.join("aside"));
    fs::create_dir(&inner).expect("ours");
    let more = format!("writable = [\"{}\", \"{}\"]", outer.display(), inner.display());
    let quick = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"10ms\"\ngive-up-after = 0";
    bed.profile(&app, &["/bin/false"], &format!("{more}\n{quick}"));
    bed.ok(&["start", "--no-wait", &app.name]);
    let refused = format!("could not make \"{}\"", inner.display());
    let deadline = Instant::now() + patience();
    let mut was_refused = false;
    while !was_refused {
        assert!(Instant::now() < deadline, "no start found it gone in between");
        // Without a pause: it is to go between two system calls.
        for _ in 0..1000 {
            for (from, to) in [(&inner, &aside), (&aside, &inner)] {
                renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
                    .expect("nobody makes another in its place");
            }
        }
        let events = bed.events(&app);
        let mut details = events.iter().filter_map(|event| event["detail"].as_str());
        was_refused = details.any(|detail| detail.starts_with(&refused));
    }
    bed.end();
}

#[test]
fn node_sees_its_ceiling_and_its_processors() {
    let node = Path::new("/usr/bin/node");
    if !node.exists() {
        assert!(is_guest(), "tests/run installs node");
        eprintln!("skipped: this guest has no node");
        return;
    }
    let bed = Bed::running();
    let app = bed.app("shop");
    let script = "console.log(JSON.stringify({ ceiling: process.constrainedMemory(), \
        cpus: require('os').cpus().length, \
        heap: require('v8').getHeapStatistics().heap_size_limit })); setInterval(() => {}, 1000)";
    fs::write(app.home.join("index.js"), script).expect("ours");
    bed.profile(&app, &["node", "index.js"], "[limits]\nmemory-max = \"512M\"");
    bed.start(&app);
    let line = until("a line", || bed.log(&app, "out.log").into_iter().next());
    let said: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(said["ceiling"], 512 << 20);
    assert!(said["cpus"].as_u64().is_some_and(|count| count > 0), "{said}");
    assert!(said["heap"].as_u64().is_some_and(|bytes| bytes < 512 << 20), "{said}");
    bed.end();
}

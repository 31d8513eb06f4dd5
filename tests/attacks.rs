//! What a hostile app tries, and what becomes of it: `attacks/probe` runs inside an environment and tries each
//! numbered attack; `attacks/expected` says what is to come of it, which wall stops it, and what comes of it
//! without that wall.

#[path = "common/attack.rs"]
mod attack;
mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use attack::{HERE, probe};
use bed::{Bed, is_guest, pid};
use scripts::{python, says};

/// What the victim has that is not for others.
const VICTIM: &str = r#"
import resource
abstract = socket(AF_UNIX)
abstract.bind("\0" + os.environ["NAME"])
abstract.listen()
datagrams = socket(AF_INET, SOCK_DGRAM)
datagrams.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
datagrams.bind(("", PORT))
libc.shmget(int(os.environ["KEY"]), 4096, 0o1666)
libc.mq_open(b"/" + os.environ["NAME"].encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
open("/dev/shm/" + os.environ["NAME"], "w").write("secret")
open("/tmp/" + os.environ["NAME"], "w").write("secret")
say("ready")
serve()
"#;

/// The victim's things that would be the host's without a wall: told apart by a name, and taken away.
struct Things {
    name: String,
    key: u32,
}

impl Things {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("swrun-victim-{}-{number}", std::process::id());
        Self { name, key: 0x5eed_0000 + (std::process::id() % 4096) * 16 + number }
    }
}

impl Drop for Things {
    fn drop(&mut self) {
        for folder in ["/tmp", "/dev/shm"] {
            let _ = fs::remove_file(Path::new(folder).join(&self.name));
        }
        let _ = Command::new("ipcrm").args(["-M", &self.key.to_string()]).output();
        let script =
            format!("import ctypes; ctypes.CDLL('librt.so.1').mq_unlink(b'/{}')", self.name);
        let _ = Command::new("/usr/bin/python3").args(["-c", &script]).output();
    }
}

/// A bed whose runner leaves out the walls of `without`.
fn bed_without(without: &str) -> Bed {
    let mut bed = Bed::new();
    let mut runner = Command::new("/bin/sh");
    let script = match without {
        "ports" => "program=$1; shift; exec \"$program\" \"$@\" --reserve-ports none",
        _ => "exec \"$@\"",
    };
    runner.args(["-c", script, "sh"]).arg(bed::swrun()).env("SWRUN_WITHOUT", without);
    bed.daemon_by(runner);
    bed
}

/// The outcomes of `attacks` (none: all) in an environment beside a victim.
fn outcomes(without: &str, attacks: &[&str]) -> BTreeMap<String, String> {
    let bed = bed_without(without);
    let program = probe(&bed);
    let victim = python(&bed, "victim", VICTIM, "");
    let profile = bed.profile_path(&victim);
    let text = fs::read_to_string(&profile).expect("just written");
    let things = Things::new();
    let (name, key) = (things.name.clone(), things.key.to_string());
    let text = text.replace(
        &format!("ports = [{}]", victim.port),
        &format!("ports = [{0}, \"{0}/udp\"]", victim.port),
    );
    fs::write(&profile, format!("{text}NAME = \"{name}\"\nKEY = \"{key}\"\n"))
        .expect("our own file");
    for (file, mode) in [(".env", 0o600), ("open.env", 0o644)] {
        let path = victim.home.join(file);
        fs::write(&path, "SECRET=secret\n").expect("our own folder");
        chown(&path, Some(victim.uid), Some(victim.uid)).expect("root may");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may");
    }
    let status = bed.start(&victim);
    says(&bed, &victim, 1);
    let host_socket = bed.root().join("host.sock");
    let _host = UnixListener::bind(&host_socket).expect("a new path");
    fs::set_permissions(&host_socket, fs::Permissions::from_mode(0o777)).expect("ours");

    let app = bed.app("shop");
    let own = app.home.join("data");
    fs::create_dir(&own).expect("ours");
    chown(&own, Some(app.uid), Some(app.uid)).expect("root may");
    let path = app.home.join("attack");
    fs::copy(&program, &path).expect("ours");
    let mut command = vec![path.to_str().expect("plain")];
    if attacks.is_empty() {
        command.push("all");
    }
    command.extend(attacks);
    let variables = [
        ("VICTIM_DIR", victim.home.display().to_string()),
        ("VICTIM_PID", pid(&status).to_string()),
        ("VICTIM_PORT", victim.port.to_string()),
        ("VICTIM_UDP_PORT", victim.port.to_string()),
        ("VICTIM_ABSTRACT", name.clone()),
        ("VICTIM_SHM_KEY", key),
        ("VICTIM_MQ", format!("/{name}")),
        ("VICTIM_SHM_NAME", name.clone()),
        ("VICTIM_TMP_NAME", name),
        ("OWN_PORT", app.port.to_string()),
        ("OWN_DIR", own.display().to_string()),
        (
            "HOST_SOCKETS",
            format!(
                "{}:{}",
                host_socket.display(),
                bed.root().join("run/swrun/swrun.sock").display()
            ),
        ),
        ("LOGS", bed.root().join("var/log/swrun").display().to_string()),
        ("MARK", bed.root().join("run").display().to_string()),
    ];
    let variables: String =
        variables.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    let head = format!(
        "ports = [{}]\nwritable = [\"{}\"]\n[restart]\npolicy = \"never\"\n[limits]\nmemory-max = \"256M\"\npids = 200\n[env]\n{variables}",
        app.port,
        own.display()
    );
    bed.profile(&app, &command, &head);
    bed.ok(&["start", "--no-wait", "shop"]);
    let deadline = Instant::now() + Duration::from_secs(if is_guest() { 900 } else { 120 });
    while kernel::events(&bed, &app, "ended").is_empty() {
        assert!(Instant::now() < deadline, "{:?}", bed.log(&app, "out.log").last());
        std::thread::sleep(Duration::from_millis(50));
    }
    let read = |line: String| {
        let (number, outcome) = line.split_once(' ')?;
        Some((number.to_owned(), outcome.to_owned()))
    };
    let found = bed.log(&app, "out.log").into_iter().filter_map(read).collect();
    assert_eq!(bed.status(&victim)["pid"], status["pid"], "the victim goes on");
    bed.end();
    found
}

/// A line of the table.
#[derive(Debug)]
struct Expected {
    outcome: String,
    /// The wall that stops it, and what comes of it without that wall.
    without: Option<(String, String)>,
}

fn table() -> BTreeMap<String, Expected> {
    let text = fs::read_to_string(Path::new(HERE).join("expected")).expect("the table");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut table = BTreeMap::new();
    for line in lines {
        let (line, _title) = line.split_once(" # ").unwrap_or((line, ""));
        let words: Vec<&str> = line.split(' ').collect();
        let (number, outcome, without) = match words[..] {
            [number, outcome] => (number, outcome, None),
            [number, outcome, wall, other] => (number, outcome, Some((wall.into(), other.into()))),
            _ => panic!("not a line of the table: {line}"),
        };
        let expected = Expected { outcome: outcome.to_owned(), without };
        assert!(table.insert(number.to_owned(), expected).is_none(), "twice: {number}");
    }
    table
}

/// A kernel without Landlock, and of another version, stops some attacks in other words; in both nothing
/// succeeds that is not expected to.
fn is_as(found: &str, expected: &str) -> bool {
    if is_guest() {
        return found != "done" || expected.split('|').any(|word| ["done", "*"].contains(&word));
    }
    expected.split('|').any(|word| word == "*" || word == found)
}

fn word(outcome: &str) -> &str {
    outcome.split(' ').next().unwrap_or_default()
}

/// What is not as expected.
fn differences<'a>(
    found: &BTreeMap<String, String>,
    expected: impl Iterator<Item = (&'a String, &'a str)>,
) -> Vec<String> {
    let difference = |(number, wanted): (&String, &str)| match found.get(number) {
        None => Some(format!("{number}: it was not tried")),
        Some(outcome) if is_as(word(outcome), wanted) => None,
        Some(outcome) => Some(format!("{number}: {outcome}, expected {wanted}")),
    };
    expected.filter_map(difference).collect()
}

/// Those that take long under a slow kernel, or need more than it has: resources, and races.
fn is_for_guests(number: &str, expected: &Expected) -> bool {
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    let digits: u32 = digits.parse().expect("a number");
    let is_of_landlock = expected.without.as_ref().is_some_and(|(wall, _)| wall == "landlock");
    // Under User Mode Linux int 0x80 means the numbers of 64-bit programs.
    !(67..=94).contains(&digits) && ![28, 201, 242].contains(&digits) && !is_of_landlock
}

#[test]
fn every_attack_ends_as_expected_and_the_score_is_that_of_a_hardened_unit() {
    let mut table = table();
    let numbers: Vec<String> = if is_guest() {
        table.retain(|number, expected| is_for_guests(number, expected));
        table.keys().cloned().collect()
    } else {
        Vec::new()
    };
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let found = outcomes("", &numbers);
    let expected = table.iter().map(|(number, line)| (number, line.outcome.as_str()));
    let mut wrong = differences(&found, expected);
    let unknown = found.keys().filter(|number| !table.contains_key(*number));
    wrong.extend(unknown.map(|number| format!("{number}: it is not in the table")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    if !is_guest() {
        let score = score(&found);
        println!("as systemd-analyze counts: {score:.1}");
        assert!(score <= 1.0, "{score}");
    }
}

#[test]
fn each_wall_is_the_one_that_stops_what_it_is_said_to() {
    if is_guest() {
        println!("skipped: seen on a host");
        return;
    }
    let table = table();
    let mut wrong = Vec::new();
    for wall in ["root", "proc", "ipc", "syscalls", "landlock", "connect", "ports"] {
        let of_wall: Vec<(&String, &str)> = table
            .iter()
            .filter_map(|(number, line)| match &line.without {
                Some((of, outcome)) if of == wall => Some((number, outcome.as_str())),
                _ => None,
            })
            .collect();
        assert!(!of_wall.is_empty(), "{wall}");
        let numbers: Vec<&str> = of_wall.iter().map(|(number, _)| number.as_str()).collect();
        let found = outcomes(wall, &numbers);
        // What else stops it then is told in the table, and another host's to differ in; so is what lies
        // about in a host's folders.
        let is_held = |(number, outcome): &(&String, &str)| {
            let of_hosts = ["10", "14", "136", "212"].iter().any(|row| number.starts_with(row));
            *outcome == "done" && !(wall == "root" && of_hosts)
        };
        let of_this = differences(&found, of_wall.into_iter().filter(is_held));
        wrong.extend(of_this.into_iter().map(|text| format!("without {wall}: {text}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The score of `systemd-analyze security`, 0 to 10, by what succeeded.
fn score(found: &BTreeMap<String, String>) -> f64 {
    let text = fs::read_to_string(Path::new(HERE).join("checks")).expect("the checks");
    let (mut all, mut bad) = (0, 0);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 81);
    for line in lines {
        let mut words = line.split(' ');
        let mut number = || -> u32 { words.next().and_then(|word| word.parse().ok()).expect(line) };
        let (weight, mut badness) = (number(), number());
        let name = words.next().expect(line);
        for attack in words.filter(|word| *word != "open") {
            let outcome = found.get(attack).unwrap_or_else(|| panic!("{name}: no attack {attack}"));
            if ["done", "skipped", "hung", "unknown"].contains(&word(outcome)) {
                println!("{name} does not hold: {attack} {outcome}");
                badness = 10;
            }
        }
        all += weight;
        bad += (badness * weight).div_ceil(10);
    }
    assert_eq!(all, 56_460);
    (f64::from(bad) * 100.0 / f64::from(all)).ceil() / 10.0
}

/// What is tried with the runner is tried by tests of their own, all over the suite.
#[test]
fn each_attack_on_the_runner_has_a_test_that_is_there() {
    let text = fs::read_to_string(Path::new(HERE).join("runner")).expect("the table");
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for line in &lines {
        let (words, _what) = line.split_once(" # ").expect(line);
        let [_numbers, file, test] = words.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not a line of the table: {line}");
        };
        let source = fs::read_to_string(root.join(file)).expect(line);
        assert!(source.contains(&format!("fn {test}(")), "{line}");
    }
    assert!(lines.len() > 30);
}

/// Writes what was found into the folder of the variable: from it the table is made.
#[test]
fn record() {
    let Some(folder) = std::env::var_os("SWRUN_ATTACKS_RECORD") else { return };
    for without in ["", "root", "proc", "ipc", "syscalls", "landlock", "connect", "ports"] {
        let found = outcomes(without, &[]);
        let text: String =
            found.iter().map(|(number, outcome)| format!("{number} {outcome}\n")).collect();
        fs::write(Path::new(&folder).join(format!("without-{without}")), text).expect("a folder");
    }
}

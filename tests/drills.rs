//! The crash drill: who dies, when, and what was being ordered meanwhile, all by chance; after every
//! round all is as it is wanted, nothing is doubled and nothing is left over.
//!
//! `SWRUN_SEED` repeats a drill, `SWRUN_FULL` makes it 100 rounds.

mod bed;
#[path = "common/census.rs"]
mod census;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, patience};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// xorshift64*: a drill must be the same for a seed, whatever crates do.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let index = self.below(all.len() as u64);
        &all[usize::try_from(index).expect("small")]
    }
}

/// Whom a round kills.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Victim {
    Runner,
    Monitor(String),
    Init(String),
    App(String),
}

fn victim(chance: &mut Chance, apps: &[App]) -> Victim {
    let name = chance.of(apps).name.clone();
    match chance.below(4) {
        0 => Victim::Runner,
        1 => Victim::Monitor(name),
        2 => Victim::Init(name),
        _ => Victim::App(name),
    }
}

/// A `swrun` command that runs beside the drill.
fn order(bed: &Bed, verb: &str, app: &App) -> Child {
    Command::new(bed::swrun())
        .args([verb, &app.name])
        .env("SWRUN_ROOT", bed.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program under test")
}

/// A runner that is killed while it takes over.
fn kill_on_its_way_up(bed: &Bed, moment: Duration) {
    let mut runner = Command::new(bed::swrun())
        .arg("daemon")
        .env("SWRUN_ROOT", bed.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program under test");
    std::thread::sleep(moment);
    runner.kill().expect("our own child");
    runner.wait().expect("our own child");
}

/// Whether the order succeeded.
fn outcome(mut order: Child, verb: &str) -> bool {
    // The runner gives an order a minute.
    let deadline = Instant::now() + patience() + Duration::from_secs(60);
    loop {
        if let Some(status) = order.try_wait().expect("our own child") {
            return status.success();
        }
        assert!(Instant::now() < deadline, "\"swrun {verb}\" never ends");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// SIGKILL, if it lives: one that an order or a death before has ended is dead as well.
fn kill_if_alive(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a pid");
    match kill_process(pid, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("could not kill {pid:?}: {error}"),
    }
}

/// What is held against the round before: of each environment its monitor, its restarts, and what was
/// wanted.
type Before = BTreeMap<String, (Value, u64, String)>;

fn remembered(document: &Value) -> Before {
    let environments = document["environments"].as_array().expect("a list");
    let one = |environment: &Value| {
        let text = |key: &str| environment[key].as_str().expect("a text").to_owned();
        let restarts = environment["restarts"].as_u64().expect("a count");
        (text("name"), (environment["monitor_pid"].clone(), restarts, text("wanted")))
    };
    environments.iter().map(one).collect()
}

/// The journal has whole lines only, each an event, the ends with a cause.
fn check_journal(bed: &Bed, app: &App) {
    let path = bed.root().join(format!("var/lib/swrun/env/{}.events", app.name));
    let text = std::fs::read_to_string(&path).expect("there is a journal");
    assert!(text.ends_with('\n'), "{}: the last line is torn", app.name);
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        assert!(event["at"].is_string() && event["event"].is_string(), "{line}");
        assert!(event["event"] != "ended" || event["cause"].is_string(), "{line}");
    }
    // As an operator reads it.
    bed.ok(&["show", &app.name]);
}

#[test]
fn whoever_dies_at_whatever_moment_all_is_as_it_is_wanted() {
    let given = std::env::var("SWRUN_SEED").ok();
    let seed = given.map_or_else(
        || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::try_from(now.expect("after 1970").as_nanos() & 0xffff_ffff).expect("32 bits")
        },
        |seed| seed.parse().expect("SWRUN_SEED is a number"),
    );
    let rounds = if std::env::var_os("SWRUN_FULL").is_some() { 100 } else { 10 };
    println!("drill: {rounds} rounds, SWRUN_SEED={seed}");
    let mut chance = Chance(seed | 1 << 63);

    let mut bed = Bed::running();
    let apps = ["test", "dev", "prod"].map(|name| bed.app(name));
    let quick = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"100ms\"\n";
    for (app, term) in apps.iter().zip(["", "slow:100", ""]) {
        bed.probe(app, &format!("{quick}[env]\nPROBE_TERM = \"{term}\"\n"));
        bed.start(app);
    }
    let mut document = census::settle(&bed);
    for round in 1..=rounds {
        let before = remembered(&document);
        let pids = census::pids(&document);
        let mut victims = vec![victim(&mut chance, &apps)];
        if chance.below(3) == 0 {
            let second = victim(&mut chance, &apps);
            if !victims.contains(&second) {
                victims.push(second);
            }
        }
        let verb = *chance.of(&["", "", "restart", "restart", "stop", "start", "start"]);
        // A stopped one is rather started than stopped again.
        let stopped = apps.iter().find(|app| before[&app.name].2 == "stopped");
        let ordered = match (verb, stopped) {
            ("start", Some(stopped)) => stopped.clone(),
            _ => chance.of(&apps).clone(),
        };
        let moment = Duration::from_millis(chance.below(300));
        let begun = Instant::now();
        let order = (!verb.is_empty()).then(|| order(&bed, verb, &ordered));
        std::thread::sleep(moment);
        for victim in &victims {
            let of = |name: &String, role: usize| pids.get(name).map(|pids| pids[role]);
            let pid = match victim {
                Victim::Runner => Some(i32::try_from(bed.daemon_pid()).expect("a pid")),
                Victim::Monitor(name) => of(name, 0),
                Victim::Init(name) => of(name, 1),
                Victim::App(name) => of(name, 2),
            };
            if let Some(pid) = pid {
                kill_if_alive(pid);
            }
        }
        let is_headless = victims.contains(&Victim::Runner);
        if is_headless {
            bed.kill_daemon();
            if chance.below(2) == 0 {
                kill_on_its_way_up(&bed, Duration::from_millis(chance.below(100)));
            }
            bed.daemon();
        }
        let succeeded = order.map(|order| outcome(order, verb));
        document = census::settle(&bed);
        println!(
            "round {round}: {victims:?} at {} ms, {verb:?} {} -> {succeeded:?}; settled after {} ms",
            moment.as_millis(),
            if verb.is_empty() { "" } else { &ordered.name },
            begun.elapsed().as_millis()
        );
        for app in &apps {
            let (monitor, restarts, wanted) = &before[&app.name];
            let (monitor_now, restarts_now, wanted_now) = &remembered(&document)[&app.name];
            let asked = if verb == "stop" { "stopped" } else { "online" };
            let is_ordered = !verb.is_empty() && app.name == ordered.name;
            // An order that failed, its runner dead, may have been taken; one that succeeded was.
            let allowed = match succeeded {
                Some(true) if is_ordered => vec![asked],
                Some(_) if is_ordered => vec![asked, wanted.as_str()],
                _ => vec![wanted.as_str()],
            };
            assert!(allowed.contains(&wanted_now.as_str()), "{}: wanted {wanted_now}", app.name);
            if wanted_now == "online" {
                assert_eq!(get(app.port, "/").expect("it answers"), "ok", "{}", app.name);
            }
            // Restarts count on with a monitor, and over its kill; a start begins them anew.
            let begins_anew = wanted == "stopped" || (is_ordered && verb != "restart");
            let is_same = monitor == monitor_now && !monitor.is_null();
            if is_same || (!begins_anew && wanted_now == "online") {
                assert!(restarts_now >= restarts, "{}: {restarts_now} < {restarts}", app.name);
            }
            let was_killed = victims.iter().any(|victim| match victim {
                Victim::Runner => false,
                Victim::Monitor(name) | Victim::Init(name) | Victim::App(name) => *name == app.name,
            });
            if !was_killed && !is_ordered {
                assert_eq!((monitor, restarts), (monitor_now, restarts_now), "{}", app.name);
            }
            check_journal(&bed, app);
        }
    }
    bed.end();
}

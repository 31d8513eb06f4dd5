//! A hostile app that takes all it can get, without an end: each attack of `attacks/probe` on a resource, with
//! bounds far above its limits, comes to its own limit or to its own end, and nobody else feels it.

#[path = "common/attack.rs"]
mod attack;
mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::time::{Duration, Instant};

use bed::{App, Bed, get, is_guest, is_unified, pid};
use kernel::{app_folder, number};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const CEILING: u64 = 64 * MIB;

/// How it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A limit of its own was in the way.
    Bounded,
    /// The ceiling, or a limit before it.
    CeilingOrBounded,
    /// It may go on for ever: what it takes is given back when it is needed.
    Any,
}

/// The number of an attack, how far it is to go, how it is to end.
const ATTACKS: [(&str, u64, End); 21] = [
    ("67", 20_000, End::Bounded),
    ("68", 100_000, End::Bounded),
    ("69", 1 << 20, End::CeilingOrBounded),
    ("70a", 1 << 20, End::CeilingOrBounded),
    ("70b", 1 << 20, End::CeilingOrBounded),
    ("71a", 1 << 20, End::CeilingOrBounded),
    ("71b", 1 << 20, End::CeilingOrBounded),
    ("71c", 1 << 20, End::CeilingOrBounded),
    ("71d", 1 << 30, End::CeilingOrBounded),
    ("73a", 2_000_000, End::Any),
    ("73b", 10_000_000, End::CeilingOrBounded),
    ("73c", 10_000_000, End::CeilingOrBounded),
    ("73d", 10_000_000, End::CeilingOrBounded),
    ("74a", 1 << 20, End::Bounded),
    ("74c", 1 << 20, End::Bounded),
    ("79", 10_000_000, End::Bounded),
    ("80a", 10_000_000, End::CeilingOrBounded),
    ("80c", 10_000_000, End::CeilingOrBounded),
    ("89a", 1_000_000, End::CeilingOrBounded),
    ("89b", 10_000_000, End::CeilingOrBounded),
    ("92a", 20_000, End::Bounded),
];

/// Runs one, and gives what it said and how it ended.
fn attempt(bed: &Bed, app: &App, attack: &str, limit: u64) -> (String, Value) {
    let program = app.home.join("attack");
    let limits = "[limits]\nmemory-max = \"64M\"\npids = 100\nopen-files = 1024\n";
    let rest = format!("[restart]\npolicy = \"never\"\n[env]\nATTACK_LIMIT = \"{limit}\"\n");
    bed.profile(app, &[program.to_str().expect("plain"), attack], &format!("{limits}{rest}"));
    let before = kernel::events(bed, app, "ended").len();
    let lines = bed.log(app, "out.log").len();
    bed.ok(&["start", "--no-wait", &app.name]);
    let deadline = Instant::now() + Duration::from_secs(if is_guest() { 600 } else { 60 });
    while kernel::events(bed, app, "ended").len() == before {
        assert!(Instant::now() < deadline, "{attack} goes on and on: {:#}", bed.status(app));
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = bed.log(app, "out.log").split_off(lines);
    let line = said.into_iter().find(|line| line.starts_with(&format!("{attack} ")));
    let ended = kernel::events(bed, app, "ended").pop().expect("just seen");
    (line.unwrap_or_default(), ended)
}

#[test]
fn what_takes_all_it_can_get_comes_to_its_own_end() {
    let bed = Bed::running();
    let (app, other) = (bed.app("shop"), bed.app("other"));
    fs::copy(attack::probe(&bed), app.home.join("attack")).expect("ours");
    bed.probe(&other, "");
    let before = bed.start(&other);
    let usage = if is_unified() { "memory.current" } else { "memory.usage_in_bytes" };
    for (attack, limit, end) in ATTACKS {
        let (said, ended) = attempt(&bed, &app, attack, limit);
        println!("{attack}: {said} {}", ended["cause"]);
        let is_bounded = said.contains(" bounded ");
        let is_breach = ended["cause"] == "memory-ceiling";
        match end {
            End::Bounded => assert!(is_bounded, "{said} {ended:#}"),
            End::CeilingOrBounded => assert!(is_bounded || is_breach, "{said} {ended:#}"),
            End::Any => assert!(is_breach || !said.is_empty(), "{ended:#}"),
        }
        let peak = ended["peak"].as_u64().expect("known");
        assert!(peak <= CEILING, "{attack}: {peak}");
        // What it took went with it.
        let whole = app_folder(&bed, &app, "memory").join(usage);
        kernel::until(attack, || number(&whole) < 8 * MIB);
        assert_eq!(bed.status(&app)["instances"], serde_json::json!([]), "{attack}");
        assert_eq!(get(other.port, "/").expect("undisturbed"), "ok");
    }
    let after = bed.status(&other);
    assert_eq!((pid(&after), &after["restarts"]), (pid(&before), &before["restarts"]));
    bed.end();
}

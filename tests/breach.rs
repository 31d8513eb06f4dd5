//! The ceiling: what breaches it, what it takes along, what never counts as one.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::time::Duration;

use bed::{App, Bed, get, is_guest, is_unified, pid};
use kernel::{app_folder, events, instance, instance_folder, lives, number, processes};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const CEILING: u64 = 64 * MIB;

/// A ceiling of 64 MiB and a quick restart; `more` goes on in `[limits]`.
fn profile(bed: &Bed, app: &App, more: &str) {
    let limits = format!("[limits]\nmemory-max = \"64M\"\n{more}");
    let restart = "\n[restart]\nfirst-delay = \"1ms\"\n";
    bed.probe(app, &(kernel::writable(app) + &limits + restart));
}

/// Waits for the restart that follows, and gives the status.
#[track_caller]
fn restarted(bed: &Bed, app: &App) -> Value {
    bed.until(app, "it is restarted", |s| s["state"] == "online" && s["restarts"] == 1)
}

#[track_caller]
fn is_breach(status: &Value, bed: &Bed, app: &App) {
    let last = &status["last_exit"];
    assert_eq!(last["cause"], "memory-ceiling", "{status:#}");
    assert_eq!((&last["signal"], &last["code"]), (&"SIGKILL".into(), &Value::Null));
    let peak = last["peak"].as_u64().expect("known");
    assert!(peak > CEILING / 4 * 3 && peak <= CEILING, "{peak}");
    assert!(status["memory"]["oom_kills"].as_u64() >= Some(1), "{status:#}");
    let ended = events(bed, app, "ended");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((&ended[0]["cause"], &ended[0]["peak"]), (&last["cause"], &last["peak"]));
}

#[test]
fn a_leak_ends_the_whole_tree_and_nothing_else() {
    let bed = Bed::running();
    let (shop, other) = (bed.app("shop"), bed.app("other"));
    profile(&bed, &shop, "");
    bed.probe(&other, "");
    let before = bed.start(&other);
    let first = bed.start(&shop);
    get(shop.port, "/leak?mb=4&child=1").expect("it answers");
    let beats = shop.home.join("beats");
    get(shop.port, &format!("/daemonize?file={}", beats.display())).expect("it answers");
    // The app, its child, a daemon of its own; the step between may take a moment to go.
    kernel::until("a tree of three", || processes(&bed, &shop, &first).len() == 3);
    let tree = processes(&bed, &shop, &first);

    get(shop.port, "/leak?mb=200").expect_err("it is killed");
    let second = restarted(&bed, &shop);
    is_breach(&second, &bed, &shop);
    assert_ne!(second["pid"], first["pid"]);
    assert!(!tree.iter().any(|pid| lives(*pid)), "{tree:?}");
    assert_eq!(processes(&bed, &shop, &second), [pid(&second)]);
    assert_eq!(get(shop.port, "/").expect("it serves again"), "ok");

    let after = bed.status(&other);
    assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &before["restarts"]));
    assert_eq!(get(other.port, "/").expect("it serves"), "ok");
    bed.end();
}

#[test]
fn a_leak_in_a_forked_child_counts() {
    let bed = Bed::running();
    let app = bed.app("shop");
    profile(&bed, &app, "");
    let first = bed.start(&app);
    // Whether the request is answered before the app dies with its child is a race.
    let _ = get(app.port, "/leak?mb=200&child=1");
    let second = restarted(&bed, &app);
    is_breach(&second, &bed, &app);
    assert!(!lives(pid(&first)), "the parent dies with the child that leaked");
    bed.end();
}

#[test]
fn shared_memory_counts_and_goes_with_the_instance() {
    let bed = Bed::running();
    let app = bed.app("shop");
    profile(&bed, &app, "");
    let first = bed.start(&app);
    let file = get(app.port, "/shm?mb=32").expect("it answers");
    let full = bed.until(&app, "it counts", |s| s["memory"]["current"].as_u64() > Some(32 * MIB));
    assert_eq!(full["restarts"], 0);
    // The rest is the app's own: only together they are too much.
    get(app.port, "/leak?mb=40").expect_err("it is killed");
    let second = restarted(&bed, &app);
    is_breach(&second, &bed, &app);

    // The tmpfs of the dead instance is gone: not charged anywhere in the environment, not seen.
    for controller in ["unified", "memory"] {
        let folder = instance_folder(&bed, &app, controller, instance(&first));
        kernel::until("the old group is removed", || !folder.exists());
    }
    let usage = if is_unified() { "memory.current" } else { "memory.usage_in_bytes" };
    let whole = app_folder(&bed, &app, "memory").join(usage);
    kernel::until("its memory is given back", || number(&whole) < 32 * MIB);
    assert!(second["memory"]["current"].as_u64().expect("known") < 32 * MIB, "{second:#}");
    let seen: Value =
        serde_json::from_str(&get(app.port, &format!("/report?path={file}")).expect("it answers"))
            .expect("JSON");
    assert_eq!(seen["paths"][&file]["exists"], false, "{}", seen["paths"]);
    bed.end();
}

/// Page cache of four times the ceiling, for an app that runs on.
fn is_no_breach(bed: &Bed, app: &App, before: &Value) {
    let after = bed.status(app);
    assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &0.into()), "{after:#}");
    assert_eq!(after["memory"]["oom_kills"], 0, "{after:#}");
    assert_eq!(after["state"], "online");
    assert_eq!(events(bed, app, "ended"), Vec::<Value>::new());
}

/// That page cache was charged to the app at all.
fn did_fill(bed: &Bed, app: &App) {
    let status = bed.status(app);
    assert!(status["memory"]["peak"].as_u64() > Some(CEILING / 3), "it did fill: {status:#}");
}

#[test]
fn writing_and_reading_files_of_four_times_the_ceiling_is_no_breach() {
    if is_guest() {
        println!("skipped: every folder that can be written there is a tmpfs, which does count");
        return;
    }
    let bed = Bed::running();
    for (name, high) in [("shop", ""), ("soft", "memory-high = \"32M\"")] {
        let app = bed.app(name);
        profile(&bed, &app, high);
        let before = bed.start(&app);
        let path = format!("/files?mb={}&dir={}", 4 * CEILING / MIB, app.home.display());
        assert_eq!(get(app.port, &path).expect("it answers"), "done");
        is_no_breach(&bed, &app, &before);
        did_fill(&bed, &app);
    }
    bed.end();
}

#[test]
fn reading_what_is_installed_is_no_breach() {
    let bed = Bed::running();
    for (name, high) in [("shop", ""), ("soft", "memory-high = \"32M\"\n")] {
        let app = bed.app(name);
        let script = format!(
            "find /usr/lib /usr/bin -type f -size +500k -exec cat {{}} + 2>/dev/null | \
             head -c {} | wc -c; exec sleep 900",
            4 * CEILING
        );
        let limits = format!("[limits]\nmemory-max = \"64M\"\n{high}");
        bed.profile(&app, &["/bin/sh", "-c", &script], &limits);
        bed.start(&app);
        // A monitor that is slow to answer leaves the pid out.
        let before = bed.until(&app, "a pid", |s| !s["pid"].is_null());
        kernel::until("it has read", || !bed.log(&app, "out.log").is_empty());
        assert_eq!(bed.log(&app, "out.log"), [(4 * CEILING).to_string()]);
        is_no_breach(&bed, &app, &before);
        // Elsewhere these files may be in memory already, charged to whoever read them first.
        if is_guest() {
            did_fill(&bed, &app);
        }
    }
    bed.end();
}

/// Growth over the soft ceiling, below the hard one; the app has its say.
#[track_caller]
fn is_graceful(bed: &Bed, app: &App, status: &Value) {
    let last = &status["last_exit"];
    assert_eq!(last["cause"], "memory-high", "{status:#}");
    assert_eq!((&last["code"], &last["signal"]), (&0.into(), &Value::Null), "{status:#}");
    assert!(last["peak"].as_u64() > Some(32 * MIB), "{status:#}");
    assert_eq!(status["memory"]["oom_kills"], 0, "{status:#}");
    let log = bed.log(app, "out.log");
    assert!(log.iter().any(|line| line == "got SIGTERM"), "{log:?}");
}

#[test]
fn growth_over_the_soft_ceiling_is_a_graceful_restart() {
    let bed = Bed::running();
    let app = bed.app("shop");
    profile(&bed, &app, "memory-high = \"32M\"");
    bed.start(&app);
    // The kernel slows it down from 32 MiB on (v2); 48 would still be no breach.
    let _ = get(app.port, "/grow?mb=48&rate=400");
    is_graceful(&bed, &app, &restarted(&bed, &app));
    bed.end();
}

#[test]
fn growth_of_a_child_over_the_soft_ceiling_counts() {
    let bed = Bed::running();
    let app = bed.app("shop");
    profile(&bed, &app, "memory-high = \"32M\"");
    bed.start(&app);
    let _ = get(app.port, "/grow?mb=48&rate=400&child=1");
    is_graceful(&bed, &app, &restarted(&bed, &app));
    bed.end();
}

fn voluntary_switches(pid: i64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a field").trim().parse().expect("a number")
}

#[test]
fn an_idle_monitor_sleeps_and_the_kernel_wakes_it() {
    let bed = Bed::running();
    let app = bed.app("shop");
    profile(&bed, &app, "memory-high = \"48M\"");
    let status = bed.start(&app);
    let monitor = status["monitor_pid"].as_i64().expect("known");
    // Nothing tells that nothing happens: this one test lets time pass. A sample is due every 10 s, so one
    // may fall into it; into the first stretch alone falls what follows a start: its copy of /etc ends, and
    // after a second it counts as up.
    let woken = [0; 2].map(|_| {
        let before = voluntary_switches(monitor);
        std::thread::sleep(Duration::from_secs(4));
        voluntary_switches(monitor) - before
    });
    assert!(woken[0] <= 6 && woken[1] <= 2, "woken {woken:?} times in 4 s with nothing to do");
    if is_guest() {
        println!("skipped in part: there growth takes longer than the pause between two samples");
        return bed.end();
    }
    // A sample would meet the growth too, 10 s after the start and the one before. In one of three
    // rounds at least the machine is fast enough to tell the kernel's event from that.
    let mut was_woken = false;
    for round in 1..=3 {
        let _ = get(app.port, "/grow?mb=56&rate=400");
        bed.until(&app, "restarted", |s| s["state"] == "online" && s["restarts"] == round);
        let times = |kind| events(&bed, &app, kind).last().map(seconds).expect("one");
        let started = events(&bed, &app, "started");
        let begun = seconds(&started[started.len() - 2]);
        was_woken |= round > 1 && times("ended") - begun < 8;
    }
    assert!(was_woken, "only the sample told of the growth: {:?}", bed.events(&app));
    bed.end();
}

/// The time of an event in seconds.
fn seconds(event: &Value) -> i64 {
    let at: jiff::Timestamp = event["at"].as_str().expect("a time").parse().expect("RFC 3339");
    at.as_second()
}

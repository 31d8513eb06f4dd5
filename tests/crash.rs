//! Crash and restart: the pauses, what ends them, what an operator is told.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;

use bed::{App, Bed, get, is_guest, pid, probe};
use kernel::events;
use serde_json::Value;

/// A shell as the app, that may write its home.
fn shell(bed: &Bed, app: &App, script: &str, more: &str) {
    bed.profile(app, &["/bin/sh", "-c", script], &(kernel::writable(app) + more));
}

fn delays(bed: &Bed, app: &App) -> Vec<u64> {
    let pauses = events(bed, app, "backoff");
    pauses.iter().map(|event| event["delay_ms"].as_u64().expect("a number")).collect()
}

#[test]
fn every_end_is_told_and_followed_by_a_new_process() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[restart]\nfirst-delay = \"1ms\"\n");
    let mut before = bed.start(&app);
    let ends = [
        ("/crash?code=7", "crash", Value::from(7), Value::Null),
        ("/crash?code=0", "exit", Value::from(0), Value::Null),
        ("/signal?n=9", "crash", Value::Null, "SIGKILL".into()),
        ("/signal?n=11", "crash", Value::Null, "SIGSEGV".into()),
    ];
    for (count, (path, cause, code, signal)) in (1..).zip(ends) {
        let _ = get(app.port, path);
        let after =
            bed.until(&app, "a restart", |s| s["state"] == "online" && s["restarts"] == count);
        let last = &after["last_exit"];
        assert_eq!((&last["code"], &last["signal"]), (&code, &signal), "{path}: {last}");
        assert_eq!(last["cause"], cause, "{path}: {last}");
        assert_ne!(after["pid"], before["pid"], "{path}");
        assert!(!kernel::lives(pid(&before)), "{path}");
        let ended = events(&bed, &app, "ended");
        assert_eq!(ended.last().expect("one")["cause"], cause, "{path}");
        before = after;
    }
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    bed.end();
}

#[test]
fn the_pause_grows_to_its_cap_and_calms_down() {
    let bed = Bed::running();
    let app = bed.app("loop");
    // The seventh run is a calm one.
    let script = "n=$(cat n || echo 0); echo $((n + 1)) >n; [ $n != 6 ] || sleep 4; exit 3";
    shell(&bed, &app, script, "[restart]\nfirst-delay = \"100ms\"\nmax-delay = \"800ms\"\n");
    bed.swrun(&["start", "--no-wait", &app.name]);
    kernel::until("eight deaths", || delays(&bed, &app).len() >= 8);
    let seen = delays(&bed, &app);
    assert_eq!(seen[0], 100);
    for pair in seen.windows(2) {
        // Where a run took longer than the cap, on a slow machine, that has calmed it down, too.
        assert!(pair[1] == 100 || pair[1] == (pair[0] * 2).min(800), "{seen:?}");
    }
    assert!(seen[..6].contains(&800), "it grows: {seen:?}");
    assert_eq!(seen[6], 100, "it calms down: {seen:?}");
    bed.end();
}

#[test]
fn a_pause_is_told_and_an_order_ends_it() {
    let bed = Bed::running();
    let app = bed.app("loop");
    let script = "test -e ok || exit 3; exec sleep 900";
    shell(&bed, &app, script, "[restart]\nfirst-delay = \"50s\"\nmax-delay = \"50s\"\n");
    bed.swrun(&["start", "--no-wait", &app.name]);
    let waits = bed.until(&app, "it waits", |s| s["state"] == "backoff" && s["unstable"] == 1);
    assert_eq!((&waits["wanted"], &waits["pid"]), (&"online".into(), &Value::Null));
    assert_eq!((&waits["unstable"], &waits["restarts"]), (&1.into(), &0.into()), "{waits:#}");
    assert_eq!(
        (&waits["last_exit"]["cause"], &waits["last_exit"]["code"]),
        (&"crash".into(), &3.into())
    );
    let next = waits["next_try_ms"].as_u64().expect("a time");
    assert!((1..=50_000).contains(&next), "{next}");
    let reason = waits["reason"].as_str().expect("one");
    assert!(reason.contains("1 in a row, next try in"), "{reason}");
    let error = bed.swrun(&["status"]);
    assert_eq!(error.status.code(), Some(3), "a wanted environment is not online");

    // An order does not wait for the pause. It fails again, then works. (Whether the order sees the
    // moment between the program's start and its end is a race, so its outcome says nothing.)
    bed.swrun(&["start", &app.name]);
    kernel::until("it was tried at once", || events(&bed, &app, "ended").len() == 2);
    bed.until(&app, "it waits again", |s| s["state"] == "backoff" && s["unstable"] == 1);
    fs::write(app.home.join("ok"), "").expect("our own folder");
    for verb in ["restart", "start"] {
        bed.ok(&[verb, &app.name]);
        let up = bed.until(&app, "online", |s| s["state"] == "online");
        assert_eq!((&up["unstable"], &up["next_try_ms"]), (&0.into(), &Value::Null), "{up:#}");
    }
    bed.end();
}

#[test]
fn what_dies_before_it_listens_without_a_pause_leaves_nothing_behind_meanwhile() {
    let bed = Bed::running();
    let app = bed.app("loop");
    let script = format!("[ -e fixed ] || exit 3; exec {} serve", probe::path().display());
    let ports = format!(
        "ports = [{}]\nread-only = [\"{}\"]\n[env]\nPORT = \"{0}\"\n",
        app.port,
        probe::path().display()
    );
    bed.profile(&app, &["/bin/sh", "-c", &script], &(ports + "[restart]\nfirst-delay = \"0s\"\n"));
    bed.swrun(&["start", "--no-wait", &app.name]);
    bed.until(&app, "a hundred deaths", |status| status["restarts"].as_u64() > Some(100));
    let monitor = bed.status(&app)["monitor_pid"].as_i64().expect("known");
    let open = kernel::descriptors(monitor);
    assert!(open < 100, "{open} open files");
    fs::write(app.home.join("fixed"), "").expect("ours");
    bed.until(&app, "it is up", |status| status["state"] == "online");
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    bed.end();
}

#[test]
fn it_never_gives_up_by_default() {
    let bed = Bed::running();
    let app = bed.app("loop");
    let crashes = if is_guest() { 20 } else { 50 };
    shell(&bed, &app, "exit 3", "[restart]\nfirst-delay = \"1ms\"\nmax-delay = \"1ms\"\n");
    bed.swrun(&["start", "--no-wait", &app.name]);
    let status = bed.until(&app, "it goes on", |s| s["restarts"].as_u64() >= Some(crashes));
    assert_eq!(status["wanted"], "online");
    assert_eq!(events(&bed, &app, "gave-up"), Vec::<Value>::new());
    // And on.
    bed.until(&app, "and on", |s| s["restarts"].as_u64() >= Some(crashes + 5));
    let text = bed.ok(&["stop", &app.name]);
    assert!(text.contains("is stopped"), "{text}");
    bed.end();
}

#[test]
fn give_up_after_is_a_stated_end_that_orders_clear() {
    let bed = Bed::running();
    let app = bed.app("loop");
    let rules = "[restart]\nfirst-delay = \"1ms\"\nmax-delay = \"20ms\"\ngive-up-after = 3\n";
    shell(&bed, &app, "test -e ok || exit 3; exec sleep 900", rules);
    let ok = app.home.join("ok");
    let gives_up = |deaths: usize| {
        let status = bed.until(&app, "it gives up", |s| {
            s["state"] == "errored" && events(&bed, &app, "ended").len() == deaths
        });
        let reason = status["reason"].as_str().expect("one");
        assert!(
            reason.contains("died 3 times") && reason.contains("give-up-after is 3"),
            "{reason}"
        );
        assert_eq!((&status["next_try_ms"], &status["pid"]), (&Value::Null, &Value::Null));
        assert_eq!(status["last_exit"]["code"], 3);
        let gave_up = events(&bed, &app, "gave-up");
        assert_eq!(gave_up.last().expect("one")["reason"], reason);
    };
    bed.swrun(&["start", "--no-wait", &app.name]);
    gives_up(3);
    // Each order begins the count anew.
    for (verb, deaths) in [("start", 6), ("restart", 9)] {
        bed.swrun(&[verb, &app.name]);
        gives_up(deaths);
    }
    for (verb, deaths) in [("start", 13), ("restart", 16)] {
        fs::write(&ok, "").expect("our own folder");
        bed.ok(&[verb, &app.name]);
        let up = bed.until(&app, "online", |s| s["state"] == "online");
        assert_eq!((&up["unstable"], &up["reason"]), (&0.into(), &Value::Null), "{up:#}");
        if verb == "start" {
            fs::remove_file(&ok).expect("it is there");
            // The first of three deaths is a kill from outside: the last one tells code 3 again.
            bed::kill(pid(&up));
            gives_up(deaths - 1);
        }
    }
    bed.end();
}

#[test]
fn the_policy_decides_who_is_restarted() {
    let bed = Bed::running();
    let quick = |policy: &str| format!("[restart]\npolicy = \"{policy}\"\nfirst-delay = \"1ms\"\n");
    for (name, policy, script, cause, why) in [
        ("good", "on-failure", "exit 0", "exit", "ended with code 0"),
        ("bad", "never", "exit 5", "crash", "\"never\""),
        ("fine", "never", "exit 0", "exit", "\"never\""),
    ] {
        let app = bed.app(name);
        shell(&bed, &app, script, &quick(policy));
        bed.swrun(&["start", "--no-wait", &app.name]);
        let status = bed.until(&app, "it rests", |s| {
            s["state"] == "stopped" && s["last_exit"]["cause"] == cause
        });
        let reason = status["reason"].as_str().expect("one");
        assert!(reason.contains(why), "{name}: {reason}");
        assert_eq!((&status["restarts"], &status["next_try_ms"]), (&0.into(), &Value::Null));
        assert_eq!(events(&bed, &app, "started").len(), 1, "{name}");
    }
    // A failure and then a good end: one restart.
    let app = bed.app("second");
    shell(&bed, &app, "test -e n && exit 0; touch n; exit 4", &quick("on-failure"));
    bed.swrun(&["start", "--no-wait", &app.name]);
    let status = bed.until(&app, "it rests", |s| s["state"] == "stopped" && s["restarts"] == 1);
    assert_eq!(status["last_exit"]["cause"], "exit", "{status:#}");
    let causes: Vec<Value> =
        events(&bed, &app, "ended").iter().map(|event| event["cause"].clone()).collect();
    assert_eq!(causes, ["crash", "exit"]);
    bed.end();
}

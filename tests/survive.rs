//! Who dies, and what goes on: the runner, a monitor, an init, an app, each killed while the others
//! live; a runner asked to end; a boot.

mod bed;
#[path = "common/census.rs"]
mod census;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, is_guest, kill, patience, pid, probe};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// A crash loop of a test must not wait for its backoff.
const QUICK: &str = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"50ms\"\n";

/// Waits for what no status tells, the runner being dead.
#[track_caller]
fn until(what: &str, bed: &Bed, is: impl Fn() -> bool) {
    let deadline = Instant::now() + patience();
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not so\n{}", bed.daemon_log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn lives(pid: i32) -> bool {
    // proc_pid_stat(5): a zombie has ended.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn monitor(status: &Value) -> i32 {
    let pid = status["monitor_pid"].as_i64().and_then(|pid| pid.try_into().ok());
    pid.unwrap_or_else(|| panic!("no monitor: {status}"))
}

fn init(status: &Value) -> i32 {
    let pid = status["instances"][0]["init_pid"].as_i64().and_then(|pid| pid.try_into().ok());
    pid.unwrap_or_else(|| panic!("no init: {status}"))
}

/// A bed with two environments that are online.
fn two(more: &str) -> (Bed, App, App) {
    let bed = Bed::running();
    let (shop, blog) = (bed.app("shop"), bed.app("blog"));
    for app in [&shop, &blog] {
        bed.probe(app, &format!("{more}{QUICK}"));
        bed.start(app);
    }
    (bed, shop, blog)
}

/// What must not change by the death of another.
fn identity(status: &Value) -> [Value; 5] {
    ["pid", "monitor_pid", "restarts", "last_exit", "state"].map(|key| status[key].clone())
}

/// The last pid that the journal tells of a start.
fn last_started(bed: &Bed, app: &App) -> Option<i64> {
    let events = bed.events(app);
    events.iter().rev().find(|e| e["event"] == "started").and_then(|e| e["pid"].as_i64())
}

fn ends(bed: &Bed, app: &App) -> Vec<Value> {
    bed.events(app).into_iter().filter(|event| event["event"] == "ended").collect()
}

#[test]
fn with_the_runner_dead_the_monitors_go_on_and_a_new_one_finds_all() {
    let mut bed = Bed::running();
    let (shop, blog) = (bed.app("shop"), bed.app("blog"));
    for app in [&shop, &blog] {
        bed.probe(app, &format!("[limits]\nmemory-max = \"64M\"\n{QUICK}"));
        bed.start(app);
    }
    let first = pid(&bed.status(&shop));
    get(shop.port, "/crash?code=3").expect("it answers first");
    bed.until(&shop, "restarted", |s| s["restarts"] == 1 && s["state"] == "online");
    // An uptime that can be told from one that began again.
    let is_older = |s: &Value| s["uptime_s"].as_u64().is_some_and(|uptime| uptime >= 2);
    let blog_before = bed.until(&blog, "up for a while", is_older);
    let shop_before = bed.until(&shop, "up for a while", is_older);
    assert_ne!(pid(&shop_before), first);

    bed.kill_daemon();
    for app in [&shop, &blog] {
        assert_eq!(get(app.port, "/").expect("it goes on"), "ok");
    }
    assert!(lives(pid(&shop_before)) && lives(pid(&blog_before)));
    let lines = || bed.log(&blog, "err.log").iter().filter(|l| l.starts_with("err ")).count();
    assert_eq!(lines(), 0);
    get(blog.port, "/err?lines=5").expect("it answers");
    until("log lines go on", &bed, || lines() == 5);

    // A crash.
    get(shop.port, "/crash?code=7").expect("it answers first");
    until("the crash is written down", &bed, || ends(&bed, &shop).len() == 2);
    assert_eq!(ends(&bed, &shop)[1]["cause"], "crash");
    assert_eq!(ends(&bed, &shop)[1]["code"], 7);
    until("it answers again", &bed, || get(shop.port, "/").is_ok());
    // It may answer before its start is written down.
    let starts = || bed.events(&shop).iter().filter(|event| event["event"] == "started").count();
    until("its start is written down", &bed, || starts() == 3);
    let after_crash = last_started(&bed, &shop).expect("it was started");
    // A breach of the ceiling.
    let _ = get(shop.port, "/leak?mb=200");
    until("the breach is written down", &bed, || ends(&bed, &shop).len() == 3);
    assert_eq!(ends(&bed, &shop)[2]["cause"], "memory-ceiling");
    until("it answers again", &bed, || get(shop.port, "/").is_ok());
    until("its start is written down", &bed, || starts() == 4);
    let after_breach = last_started(&bed, &shop).expect("it was started");
    assert_ne!(after_crash, after_breach);

    bed.daemon();
    let found = census::settle(&bed);
    let (shop_after, blog_after) = (bed.status(&shop), bed.status(&blog));
    assert_eq!(identity(&blog_after), identity(&blog_before), "{found:#}");
    assert!(blog_after["uptime_s"].as_u64() >= blog_before["uptime_s"].as_u64());
    assert_eq!(i64::from(pid(&shop_after)), after_breach);
    assert_eq!(monitor(&shop_after), monitor(&shop_before));
    assert_eq!(shop_after["restarts"], 3);
    assert_eq!(shop_after["last_exit"]["cause"], "memory-ceiling");
    bed.end();
}

#[test]
fn five_runners_killed_in_a_row_leave_everything_as_it_was() {
    let (mut bed, shop, blog) = two("");
    let before = [&shop, &blog].map(|app| identity(&bed.status(app)));
    let mut uptime = 0;
    for round in 1..=5 {
        bed.kill_daemon();
        assert_eq!(get(shop.port, "/").expect("it goes on"), "ok");
        bed.daemon();
        census::settle(&bed);
        assert_eq!([&shop, &blog].map(|app| identity(&bed.status(app))), before, "round {round}");
        let now = bed.status(&shop)["uptime_s"].as_u64().expect("known");
        assert!(now >= uptime, "round {round}: up for {now} s after {uptime} s");
        uptime = now;
    }
    bed.end();
}

#[test]
fn a_killed_monitor_takes_down_its_own_environment_alone_and_cleanly() {
    let (mut bed, shop, blog) = two("");
    get(shop.port, "/daemonize").expect("it answers");
    let blog_before = identity(&bed.status(&blog));
    let before = bed.status(&shop);
    let (root, group) = (bed.root().to_owned(), bed.groups()[0].join("shop/app"));
    let group = group.to_str().expect("a plain path").rsplit_once("/swrun-").expect("ours").1;
    let count_of_shop = || {
        let all = bed::processes_of(&root);
        let pids = all.iter().filter_map(|line| line.split(' ').next()?.parse::<i32>().ok());
        let is_shop = |pid: &i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            lives(*pid) && groups.contains(group)
        };
        pids.filter(is_shop).count()
    };
    assert_eq!(count_of_shop(), 2, "the app, and its daemonised grandchild");
    bed.kill_daemon();
    kill(monitor(&before));
    until("no process is left", &bed, || count_of_shop() == 0 && !lives(init(&before)));
    assert!(bed::is_free(shop.port));
    assert_eq!(get(blog.port, "/").expect("it goes on"), "ok");

    bed.daemon();
    census::settle(&bed);
    let after = bed.status(&shop);
    assert_eq!(after["restarts"], 1);
    assert_ne!(pid(&after), pid(&before));
    let last = &after["last_exit"];
    assert_eq!((&last["cause"], &last["signal"]), (&"crash".into(), &"SIGKILL".into()), "{after}");
    assert!(last["detail"].as_str().is_some_and(|text| text.contains("monitor")), "{after}");
    assert_eq!(identity(&bed.status(&blog)), blog_before);

    // And with a runner: it comes back by itself.
    kill(monitor(&after));
    let back = bed.until(&shop, "back", |s| s["restarts"] == 2 && s["state"] == "online");
    assert_ne!(monitor(&back), monitor(&after));
    assert_eq!(get(shop.port, "/").expect("it is back"), "ok");
    census::settle(&bed);
    assert_eq!(identity(&bed.status(&blog)), blog_before);
    bed.end();
}

#[test]
fn what_gave_up_stays_so_when_its_monitor_is_killed() {
    let bed = Bed::running();
    let shop = bed.app("shop");
    let rules = "first-delay = \"1ms\"\nmax-delay = \"2ms\"\ngive-up-after = 3";
    bed.profile(&shop, &["/bin/false"], &format!("[restart]\n{rules}\n"));
    // Whether the order sees it up for a moment is a race.
    bed.swrun(&["start", "shop"]);
    let errored = bed.until(&shop, "it gave up", |status| status["state"] == "errored");
    kill(monitor(&errored));
    let again = bed.until(&shop, "another monitor", |status| {
        status["monitor_pid"].is_i64() && status["monitor_pid"] != errored["monitor_pid"]
    });
    assert_eq!(again["state"], "errored");
    for key in ["restarts", "last_exit", "reason"] {
        assert_eq!(again[key], errored[key], "{key}");
    }
    let count = |word| bed.events(&shop).iter().filter(|event| event["event"] == word).count();
    assert_eq!(count("started"), 3, "it was not tried again");
    // An order clears it.
    bed.swrun(&["start", "shop"]);
    until("it is tried again", &bed, || count("started") > 3);
    bed.end();
}

#[test]
fn an_environment_whose_profile_got_an_error_comes_back_with_the_last_good_spec() {
    let (mut bed, shop, blog) = two("");
    let path = bed.profile_path(&shop);
    let good = fs::read_to_string(&path).expect("readable");
    fs::write(&path, good.replace("command", "comand")).expect("our own file");
    // A boot: nothing lives.
    let monitors = [&shop, &blog].map(|app| monitor(&bed.status(app)));
    bed.kill_daemon();
    monitors.into_iter().for_each(kill);
    bed.daemon();
    bed.until(&shop, "it is back", |status| status["state"] == "online");
    // An order reads the profile, and says what is wrong with it.
    let said = bed.fails(1, &["restart", "shop"]);
    assert!(said.contains("comand") && said.contains("command"), "{said}");
    assert_eq!(bed.status(&shop)["state"], "online");
    bed.end();
}

#[test]
fn twenty_monitors_killed_in_a_row_are_each_back_within_a_second() {
    let bed = Bed::running();
    let (app, other) = (bed.app("shop"), bed.app("blog"));
    bed.probe(&other, "");
    let probe = probe::path().to_str().expect("a plain path");
    let more = format!("read-only = [\"{probe}\"]\n[env]\nPROBE_LISTEN = \"0\"");
    bed.profile(&app, &[probe, "serve"], &more);
    bed.start(&other);
    let mut before = bed.start(&app);
    let other_before = identity(&bed.status(&other));
    let mut times = Vec::new();
    for round in 1_u32..=20 {
        let killed = Instant::now();
        kill(monitor(&before));
        let is_back = |status: &Value| {
            let monitor = &status["monitor_pid"];
            status["state"] == "online" && monitor.is_u64() && *monitor != before["monitor_pid"]
        };
        let back = bed.until(&app, "back", is_back);
        times.push(killed.elapsed());
        assert_eq!(back["restarts"], round);
        assert_ne!(pid(&back), pid(&before));
        before = back;
    }
    println!("back after {times:?}");
    times.sort();
    assert!(times[19] < patience());
    if !is_guest() {
        assert!(times[10] < Duration::from_secs(1), "{times:?}");
    }
    census::settle(&bed);
    assert_eq!(identity(&bed.status(&other)), other_before);
    bed.end();
}

#[test]
fn a_killed_init_takes_its_app_with_it_and_a_killed_app_is_a_crash() {
    let (bed, shop, blog) = two("");
    let blog_before = identity(&bed.status(&blog));
    let before = bed.status(&shop);
    kill(init(&before));
    let after = bed.until(&shop, "back", |s| s["restarts"] == 1 && s["state"] == "online");
    assert!(!lives(pid(&before)), "the app outlived its init");
    assert_ne!(init(&after), init(&before));
    assert_eq!(monitor(&after), monitor(&before));
    assert_eq!(after["last_exit"]["cause"], "crash");
    assert_eq!(after["last_exit"]["detail"], "its init was killed");
    assert_eq!(get(shop.port, "/").expect("it is back"), "ok");

    kill(pid(&after));
    let last = bed.until(&shop, "back", |s| s["restarts"] == 2 && s["state"] == "online");
    let exit = &last["last_exit"];
    assert_eq!((&exit["cause"], &exit["signal"]), (&"crash".into(), &"SIGKILL".into()), "{last}");
    assert_eq!((&exit["code"], &exit["detail"]), (&Value::Null, &Value::Null), "{last}");
    census::settle(&bed);
    assert_eq!(identity(&bed.status(&blog)), blog_before);
    bed.end();
}

#[test]
fn runner_and_monitors_killed_at_once_are_all_back_with_a_new_runner() {
    let (mut bed, shop, blog) = two("");
    bed.ok(&["stop", "blog"]);
    let before = bed.status(&shop);
    let daemon = i32::try_from(bed.daemon_pid()).expect("a pid");
    kill(daemon);
    kill(monitor(&before));
    bed.kill_daemon();
    bed.daemon();
    census::settle(&bed);
    assert_eq!(bed.status(&shop)["state"], "online");
    assert_eq!(bed.status(&shop)["restarts"], 1);
    assert_eq!(get(shop.port, "/").expect("it is back"), "ok");
    assert_eq!(bed.status(&blog)["state"], "stopped");
    bed.end();
}

#[test]
fn a_stop_whose_runner_was_killed_is_finished_by_the_next() {
    let (mut bed, shop, blog) = two("");
    let [of_shop, of_blog] = [&shop, &blog].map(|app| bed.status(app));
    bed.kill_daemon();
    // As a runner leaves it that saved the order and lived no longer: one monitor lives, one was
    // killed too.
    let path = bed.root().join("var/lib/swrun/state.json");
    let text = fs::read_to_string(&path).expect("readable");
    assert_eq!(text.matches("\"online\"").count(), 2, "{text}");
    // Without its checksum, as a version before had it.
    let lines = text.lines().filter(|line| !line.contains("\"checksum\""));
    let edited = lines.collect::<Vec<_>>().join("\n").replace("\"online\"", "\"stopped\"");
    fs::write(&path, edited).expect("our own file");
    kill(monitor(&of_blog));
    bed.daemon();
    for app in [&shop, &blog] {
        let is_stopped = |s: &Value| s["state"] == "stopped" && s["wanted"] == "stopped";
        bed.until(app, "stopped", is_stopped);
    }
    census::settle(&bed);
    assert!(!lives(pid(&of_shop)) && !lives(monitor(&of_shop)));
    assert_eq!(ends(&bed, &shop).last().expect("it ended")["cause"], "stopped");
    bed.end();
}

/// A runner in the foreground: it leads a process group, as a shell makes it one.
fn foreground(bed: &Bed) -> (Child, std::path::PathBuf) {
    let said = bed.root().join("foreground.log");
    let log = fs::File::create(&said).expect("our own folder");
    let child = Command::new(bed::swrun())
        .arg("daemon")
        .env("SWRUN_ROOT", bed.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("the program under test");
    until("the runner answers", bed, || {
        matches!(bed.swrun(&["status"]).status.code(), Some(0 | 3))
    });
    (child, said)
}

#[test]
fn ctrl_c_ends_nothing_but_the_runner_and_it_says_what_goes_on() {
    let mut bed = Bed::new();
    let (shop, blog) = (bed.app("shop"), bed.app("blog"));
    bed.probe(&shop, "");
    bed.probe(&blog, "");
    let mut before = None;
    for signal in [Signal::INT, Signal::TERM] {
        // Monitors that this runner started itself, and with the second one those that it found.
        let (mut runner, said) = foreground(&bed);
        for app in [&shop, &blog] {
            bed.start(app);
        }
        let now = [&shop, &blog].map(|app| identity(&bed.status(app)));
        assert_eq!(*before.get_or_insert(now.clone()), now);
        let group = Pid::from_raw(i32::try_from(runner.id()).expect("a pid")).expect("a pid");
        kill_process_group(group, signal).expect("it lives");
        let ended = runner.wait().expect("our own child");
        assert!(ended.success(), "{signal:?}: {ended}");
        let text = fs::read_to_string(said).expect("readable");
        let line = text.lines().find(|line| line.contains("go on without it"));
        let line = line.unwrap_or_else(|| panic!("it does not say what goes on:\n{text}"));
        assert!(line.contains("shop") && line.contains("blog"), "{line}");
        for app in [&shop, &blog] {
            assert_eq!(get(app.port, "/").expect("it goes on"), "ok", "{signal:?}");
        }
        let error = bed.fails(4, &["status"]);
        assert!(error.contains("the runner is not running"), "{error}");
    }
    bed.daemon();
    census::settle(&bed);
    assert_eq!(Some([&shop, &blog].map(|app| identity(&bed.status(app)))), before);
    bed.end();
}

#[test]
fn profiles_that_change_come_or_go_are_told_and_touch_nothing_that_runs() {
    let (bed, shop, blog) = two("");
    let before = [&shop, &blog].map(|app| identity(&bed.status(app)));
    let flags = |status: &Value| ["changed", "no_profile"].map(|key| status[key] == true);
    assert_eq!(flags(&bed.status(&shop)), [false, false]);

    bed.probe(&shop, "instances = 1\n");
    assert_eq!(flags(&bed.status(&shop)), [true, false]);
    fs::remove_file(bed.profile_path(&blog)).expect("our own file");
    assert_eq!(flags(&bed.status(&blog)), [false, true]);
    // New ones: one that is to start by itself, one that is not.
    let (news, idle) = (bed.app("news"), bed.app("idle"));
    bed.probe(&news, "");
    bed.probe(&idle, "autostart = false\n");
    assert_eq!(bed.status(&news), Value::Null, "nobody has read it yet");
    let daemon = Pid::from_raw(i32::try_from(bed.daemon_pid()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(daemon, Signal::HUP).expect("it lives");
    bed.until(&news, "read", |status| !status.is_null());
    assert_eq!(bed.status(&idle)["state"], "stopped");
    bed.until(&news, "started", |status| status["state"] == "online");

    // Still so after it was read, and nothing was touched.
    assert_eq!(flags(&bed.status(&shop)), [true, false]);
    assert_eq!(flags(&bed.status(&blog)), [false, true]);
    assert_eq!([&shop, &blog].map(|app| identity(&bed.status(app))), before);
    // A restart takes the edited one in; the one without a file restarts with what it had.
    bed.ok(&["restart", "shop", "blog"]);
    assert_eq!(flags(&bed.status(&shop)), [false, false]);
    assert_eq!(flags(&bed.status(&blog)), [false, true]);
    assert_eq!(get(blog.port, "/").expect("it runs"), "ok");
    census::settle(&bed);
    bed.end();
}

#[test]
fn kill_ends_all_and_leaves_nothing_and_a_new_runner_brings_all_back() {
    let (mut bed, shop, blog) = two("");
    bed.ok(&["stop", "blog"]);
    get(shop.port, "/daemonize").expect("it answers");
    let app = pid(&bed.status(&shop));
    bed.ok(&["kill"]);
    assert!(bed.wait_for_daemon().success());
    assert!(!lives(app));
    assert_eq!(bed::processes_of(bed.root()), Vec::<String>::new());
    assert_eq!(bed.groups(), Vec::<std::path::PathBuf>::new());
    assert!(!bed.root().join("run/swrun/swrun.sock").exists());
    for port in [shop.port, blog.port] {
        assert!(bed::is_free(port));
    }
    // What is wanted was not changed by it.
    bed.daemon();
    census::settle(&bed);
    assert_eq!(bed.status(&shop)["state"], "online");
    assert_eq!(bed.status(&blog)["state"], "stopped");
    bed.end();
}

#[test]
fn a_second_runner_refuses_and_disturbs_nothing() {
    let (bed, shop, _blog) = two("");
    let before = identity(&bed.status(&shop));
    let error = bed.fails(1, &["daemon"]);
    assert!(error.contains("another runner has \""), "{error}");
    assert_eq!(identity(&bed.status(&shop)), before);
    census::settle(&bed);
    bed.end();
}

#[test]
fn after_a_boot_what_was_wanted_is_up_and_nothing_else() {
    let (mut bed, shop, blog) = two("");
    bed.ok(&["stop", "blog"]);
    let (news, idle) = (bed.app("news"), bed.app("idle"));
    // All at once, as a power cut ends them.
    let shop_before = bed.status(&shop);
    kill(i32::try_from(bed.daemon_pid()).expect("a pid"));
    kill(monitor(&shop_before));
    bed.kill_daemon();
    until("the app is gone", &bed, || !lives(pid(&shop_before)));
    // Sockets and locks are in a folder that is empty after a boot.
    fs::remove_dir_all(bed.root().join("run/swrun/env")).expect("our own folder");
    bed.probe(&news, "");
    bed.probe(&idle, "autostart = false\n");
    bed.daemon();
    for app in [&shop, &news] {
        bed.until(app, "up", |status| status["state"] == "online");
        assert_eq!(get(app.port, "/").expect("it is up"), "ok");
    }
    census::settle(&bed);
    assert_eq!(bed.status(&shop)["wanted"], "online");
    for app in [&blog, &idle] {
        let status = bed.status(app);
        assert_eq!((&status["state"], &status["wanted"]), (&"stopped".into(), &"stopped".into()));
        assert!(
            bed.events(app).iter().all(|event| event["event"] != "started" || app.name == "blog")
        );
    }
    bed.end();
}

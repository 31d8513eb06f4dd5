//! The limits of an instance: in the kernel's files, and in what they hold an app to.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;

use bed::{Bed, get, is_unified, pid};
use kernel::{app_folder, instance, instance_folder, number, read};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// One limit: the hierarchy and file of v1, the file of v2, what it holds.
fn held(folder: impl Fn(&str) -> std::path::PathBuf, v1: (&str, &str), v2: &str, value: &str) {
    let path = folder(v1.0).join(if is_unified() { v2 } else { v1.1 });
    assert_eq!(read(&path), value, "{}", path.display());
}

#[test]
fn the_kernel_holds_what_the_profile_says() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let limits = |memory: &str, cpu: &str, pids: u32| {
        format!(
            "[limits]\nmemory-max = \"{memory}\"\ncpu = \"{cpu}\"\npids = {pids}\nopen-files = 512\n"
        )
    };
    bed.probe(&app, &limits("48M", "50%", 40));
    let first = bed.start(&app);
    let of_app = |controller: &str| app_folder(&bed, &app, controller);
    let is_held = |status: &Value, memory: u64, quota: u32, pids: u32| {
        let id = instance(status);
        let of_instance = |controller: &str| instance_folder(&bed, &app, controller, id);
        let bytes = memory.to_string();
        held(of_instance, ("memory", "memory.limit_in_bytes"), "memory.max", &bytes);
        if is_unified() {
            assert_eq!(read(&of_instance("memory").join("memory.oom.group")), "1");
            let swap = of_instance("memory").join("memory.swap.max");
            assert!(!swap.exists() || read(&swap) == "0", "no swap");
            assert_eq!(read(&of_app("cpu").join("cpu.max")), format!("{quota} 100000"));
        } else {
            assert_eq!(read(&of_instance("memory").join("memory.swappiness")), "0");
            let swap = of_instance("memory").join("memory.memsw.limit_in_bytes");
            assert!(!swap.exists() || read(&swap) == bytes, "no swap");
            assert_eq!(read(&of_app("cpu").join("cpu.cfs_quota_us")), quota.to_string());
            assert_eq!(read(&of_app("cpu").join("cpu.cfs_period_us")), "100000");
        }
        assert_eq!(read(&of_app("pids").join("pids.max")), pids.to_string());
        // The app lives in each of them.
        let app_pid = pid(status).to_string();
        let mut groups = vec![of_instance("unified"), of_instance("memory")];
        if !is_unified() {
            groups.extend([of_app("cpu"), of_app("pids")]);
        }
        for group in groups {
            let pids = read(&group.join("cgroup.procs"));
            assert!(pids.lines().any(|line| line == app_pid), "{}: {pids}", group.display());
        }
        assert_eq!(status["memory"]["max"], memory, "{status:#}");
        assert_eq!(status["pids"]["max"], pids, "{status:#}");
        assert_eq!(status["cpu"]["limit_percent"], f64::from(quota) / 1000.0, "{status:#}");
    };
    is_held(&first, 48 * MIB, 50_000, 40);
    let report: Value =
        serde_json::from_str(&get(app.port, "/report").expect("it answers")).expect("JSON");
    assert_eq!(report["rlimits"]["nofile"], serde_json::json!([512, 512]));

    // An edited profile counts from the next restart on.
    bed.probe(&app, &limits("56M", "150%", 44));
    bed.ok(&["restart", &app.name]);
    let second = bed.until(&app, "online", |s| s["state"] == "online" && s["pid"] != first["pid"]);
    is_held(&second, 56 * MIB, 150_000, 44);
    bed.end();
}

#[test]
fn each_instance_has_a_cgroup_of_its_own() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[limits]\nmemory-max = \"96M\"\n[restart]\nfirst-delay = \"1ms\"\n");
    let first = bed.start(&app);
    get(app.port, "/leak?mb=40").expect("it answers");
    let grown =
        bed.until(&app, "the leak is counted", |s| s["memory"]["peak"].as_u64() > Some(40 * MIB));
    assert_eq!(grown["pid"], first["pid"]);
    bed::kill(pid(&first));
    let second = bed.until(&app, "a restart", |s| s["state"] == "online" && s["restarts"] == 1);
    let (old, new) = (instance(&first), instance(&second));
    assert!(new > old, "{old} {new}");
    // The peak of the dead one is none of the next one's business.
    assert!(second["memory"]["peak"].as_u64().expect("known") < 40 * MIB, "{second:#}");
    for controller in ["unified", "memory"] {
        let folder = instance_folder(&bed, &app, controller, old);
        kernel::until("the old group is removed", || !folder.exists());
        assert!(instance_folder(&bed, &app, controller, new).exists());
    }
    bed.end();
}

#[test]
fn a_group_that_is_in_the_way_is_told_and_removed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let first = bed.start(&app);
    // The place of the next instance is made already, that of the one after it is not.
    let group = |ahead| instance_folder(&bed, &app, "unified", instance(&first) + ahead);
    kernel::until("the next has its place", || group(1).exists());
    let next = group(2);
    fs::create_dir(&next).expect("root may");
    let ends_and_is_back = |status: &Value, as_number: i64| {
        bed::kill(pid(status));
        bed.until(&app, "the next one", |status| {
            status["state"] == "online" && instance(status) == instance(&first) + as_number
        })
    };
    let second = ends_and_is_back(&first, 1);
    let back = ends_and_is_back(&second, 3);
    let ends = kernel::events(&bed, &app, "ended");
    let failed = ends.last().expect("an end");
    let detail = failed["detail"].as_str().expect("a reason");
    assert_eq!(failed["cause"], "start-failed");
    assert!(
        detail.contains(next.to_str().expect("plain")) && detail.contains("os error 17"),
        "{detail}"
    );
    let inits = next.parent().and_then(|app| app.parent()).expect("BASE").join("init");
    assert_eq!(read(&inits.join("cgroup.procs")), back["instances"][0]["init_pid"].to_string());
    kernel::until("what was in the way is removed", || !next.exists());
    bed.end();
}

#[test]
fn the_cpu_limit_throttles() {
    let bed = Bed::running();
    let app = bed.app("busy");
    let script = "while :; do :; done";
    bed.profile(&app, &["/bin/sh", "-c", script], "[limits]\ncpu = \"20%\"\n");
    bed.start(&app);
    let throttled = |s: &Value| s["cpu"]["throttled_us"].as_u64();
    let once = bed.until(&app, "it is throttled", |s| throttled(s) > Some(0));
    let more = bed.until(&app, "and again", |s| throttled(s) > throttled(&once));
    assert!(more["cpu"]["usage_us"].as_u64() >= once["cpu"]["usage_us"].as_u64());
    bed.end();
}

#[test]
fn a_fork_storm_meets_the_limit_and_disturbs_nobody() {
    let bed = Bed::running();
    let (storm, other) = (bed.app("storm"), bed.app("other"));
    bed.probe(&other, "");
    let before = bed.start(&other);
    // bash tries again for a while where a fork fails.
    let script = "while :; do sleep 900 & done";
    bed.profile(&storm, &["/bin/bash", "-c", script], "[limits]\npids = 30\n");
    bed.start(&storm);
    // The limit counts the processes of the app alone, and status goes on.
    let full = bed.until(&storm, "the limit is met", |s| s["pids"]["current"] == 30);
    assert_eq!(full["pids"]["max"], 30);
    assert_eq!(get(other.port, "/").expect("it answers"), "ok");
    assert_eq!(bed.status(&other)["pid"], before["pid"]);
    // Where nothing more can be started it can be restarted: the trial start is no part of it.
    bed.ok(&["restart", &storm.name]);
    let again = bed.until(&storm, "another one is at the limit", |s| {
        s["pids"]["current"] == 30 && s["pid"] != full["pid"]
    });
    let pids = kernel::processes(&bed, &storm, &again);
    assert_eq!(pids.len(), 30);
    bed.ok(&["delete", &storm.name]);
    assert!(!pids.iter().any(|pid| kernel::lives(*pid)), "the storm is over");
    bed.end();
}

#[test]
fn the_ceiling_counts_forked_children() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[limits]\nmemory-max = \"96M\"\n");
    let before = bed.start(&app);
    let anon = |s: &Value| s["memory"]["anon"].as_u64().expect("known");
    get(app.port, "/leak?mb=30&child=1").expect("it answers");
    let after = bed.status(&app);
    assert!(anon(&after) >= anon(&before) + 30 * MIB, "{before:#} {after:#}");
    let current = after["memory"]["current"].as_u64().expect("known");
    let file = if is_unified() { "memory.current" } else { "memory.usage_in_bytes" };
    let kernel = number(&instance_folder(&bed, &app, "memory", instance(&after)).join(file));
    assert!(current.abs_diff(kernel) < 4 * MIB, "{current} {kernel}");
    // It is the child's, not the app's own.
    let own = fs::read_to_string(format!("/proc/{}/status", pid(&after))).expect("it lives");
    let own = own.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a field");
    let own: u64 = own.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(own * 1024 < 30 * MIB, "{own} kB");
    bed.end();
}

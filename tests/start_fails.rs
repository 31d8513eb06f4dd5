//! An app that cannot be started at all: it fails at once, with the step and the errno, before
//! anything is torn down.

mod bed;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, patience, pid, probe};

/// A program of the app's that is there, with a mode.
fn script(app: &App, name: &str, mode: u32) -> String {
    let path = app.home.join(name);
    fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").expect("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    path.to_str().expect("plain").to_owned()
}

/// A profile that cannot be started, and what is said of it.
struct Broken {
    what: &'static str,
    /// Changes a sound profile's text.
    change: Box<dyn Fn(&str) -> String>,
    says: Vec<String>,
}

/// Each kind, for an app whose profile has the line `command = [...]`, `user = N` and `cwd = "..."`.
fn kinds(app: &App) -> Vec<Broken> {
    let home = app.home.to_str().expect("plain").to_owned();
    let line = |key: &'static str, value: String| -> Box<dyn Fn(&str) -> String> {
        Box::new(move |text| {
            let changed = text.lines().map(|line| {
                let is_it = line.starts_with(&format!("{key} = "));
                if is_it { format!("{key} = {value}") } else { line.to_owned() }
            });
            changed.collect::<Vec<_>>().join("\n")
        })
    };
    let missing = format!("{home}/gone/server");
    let folder = format!("{home}/folder");
    fs::create_dir_all(&folder).expect("ours");
    let plain = script(app, "plain.sh", 0o644);
    let of_root = script(app, "of-root.sh", 0o700);
    let gone = format!("{home}/gone");
    let closed = format!("{home}/closed");
    fs::create_dir_all(&closed).expect("ours");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
    vec![
        Broken {
            what: "a missing program",
            change: line("command", format!("[\"{missing}\"]")),
            says: vec![format!("could not execute \"{missing}\""), "(os error 2)".into()],
        },
        Broken {
            what: "a program that PATH does not have",
            change: line("command", "[\"no-such-program-here\"]".into()),
            says: vec![
                "could not execute \"no-such-program-here\"".into(),
                "(os error 2) (looked in PATH, inside the cage)".into(),
            ],
        },
        Broken {
            what: "a program that PATH has, not executable",
            change: {
                let change = line("command", "[\"plain.sh\"]".into());
                let path = format!("\n[env]\nPATH = \"/usr/bin:{home}:/bin\"\n");
                Box::new(move |text| change(text) + &path)
            },
            says: vec!["could not execute \"plain.sh\"".into(), "(os error 13)".into()],
        },
        Broken {
            what: "a file that is not executable",
            change: line("command", format!("[\"{plain}\"]")),
            says: vec![format!("could not execute \"{plain}\""), "(os error 13)".into()],
        },
        Broken {
            what: "a program for root alone",
            change: line("command", format!("[\"{of_root}\"]")),
            says: vec![format!("could not execute \"{of_root}\""), "(os error 13)".into()],
        },
        Broken {
            what: "a folder as program",
            change: line("command", format!("[\"{folder}\"]")),
            says: vec![format!("could not execute \"{folder}\""), "(os error 13)".into()],
        },
        Broken {
            what: "a missing cwd",
            change: line("cwd", format!("\"{gone}\"")),
            says: vec![format!("{}.toml:", app.name), gone.clone()],
        },
        Broken {
            what: "a cwd for root alone",
            // The variables come from a file that can be read: it is the folder that fails.
            change: line(
                "cwd",
                format!("\"{closed}\"\nbase = \"{home}\"\nenv-file = \"plain.sh\""),
            ),
            says: vec![format!("could not enter \"{closed}\""), "(os error 13)".into()],
        },
        Broken {
            what: "an unknown user",
            change: line("user", "\"deploy-nobody-here\"".into()),
            says: vec![
                format!("{}.toml:2:8", app.name),
                "deploy-nobody-here".into(),
                "swrun setup".into(),
            ],
        },
    ]
}

#[test]
fn it_fails_at_once_and_says_why() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.profile(&app, &[&script(&app, "server.sh", 0o755)], "");
    let sound = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    for Broken { what, change, says } in kinds(&app) {
        let broken = change(&sound);
        assert_ne!(broken, sound, "{what}");
        fs::write(bed.profile_path(&app), broken).expect("ours");
        let said = bed.fails(1, &["start", "shop"]);
        for words in says {
            assert!(said.contains(&words), "{what}: {words:?} is not in: {said}");
        }
        let status = bed.status(&app);
        assert_eq!((&status["state"], &status["wanted"]), (&"stopped".into(), &"stopped".into()));
        assert_eq!(status["pid"], serde_json::Value::Null, "{what}");
    }
    // Mended, the next order works.
    fs::write(bed.profile_path(&app), sound).expect("ours");
    bed.start(&app);
    bed.end();
}

#[test]
fn a_restart_that_cannot_work_leaves_the_running_one_alone() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let sound = fs::read_to_string(bed.profile_path(&app)).expect("ours");
    let before = bed.start(&app);
    for Broken { what, change, says } in kinds(&app) {
        fs::write(bed.profile_path(&app), change(&sound)).expect("ours");
        let said = bed.fails(1, &["restart", "shop"]);
        for words in says {
            assert!(said.contains(&words), "{what}: {words:?} is not in: {said}");
        }
        let status = bed.status(&app);
        assert_eq!(pid(&status), pid(&before), "{what}: {status:#}");
        assert_eq!(
            (&status["state"], &status["restarts"]),
            (&"online".into(), &0.into()),
            "{what}"
        );
        assert!(get(app.port, "/").is_ok(), "{what}");
    }
    // The spec that its monitor would begin again with is the one that works.
    let _ = get(app.port, "/crash?code=1");
    bed.until(&app, "back by itself", |status| {
        status["state"] == "online" && pid(status) != pid(&before)
    });
    bed.end();
}

/// What was there when the environment came up may go: then it cannot come back, and says so until
/// it can.
#[test]
fn a_program_that_goes_is_waited_for() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let program = app.home.join("server");
    fs::copy(probe::path(), &program).expect("ours");
    chown(&program, Some(app.uid), Some(app.uid)).expect("root may");
    bed.env_file(&app, &format!("PORT={}\n", app.port));
    let command = [program.to_str().expect("plain"), "serve"];
    let more = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"50ms\"";
    bed.profile(&app, &command, &format!("ports = [{}]\n{more}", app.port));
    bed.start(&app);
    let aside = app.home.join("aside");
    fs::rename(&program, &aside).expect("ours");
    let _ = get(app.port, "/crash?code=1");
    let status = bed.until(&app, "backoff", |status| {
        status["state"] == "backoff" && status["last_exit"]["cause"] == "start-failed"
    });
    let text = status.to_string();
    assert!(text.contains("could not execute") && text.contains("(os error 2)"), "{status:#}");
    fs::rename(&aside, &program).expect("ours");
    bed.until(&app, "back", |status| status["state"] == "online");
    bed.end();
}

/// An init that hangs on its way to the exec: its group is frozen, as a file system that does not
/// answer would hold it. The deadline is 30 s, so this is one of the long ones.
#[test]
fn what_hangs_on_its_way_to_the_exec_is_killed_at_the_deadline() {
    if std::env::var_os("SWRUN_FULL").is_none() {
        eprintln!("skipped: it takes a minute (SWRUN_FULL=1)");
        return;
    }
    let bed = Bed::running();
    let app = bed.app("shop");
    let quick = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"50ms\"\n";
    bed.probe(&app, quick);
    let before = bed.start(&app);
    let tree = bed.groups().into_iter().find(|folder| folder.join("cgroup.events").exists());
    let inits = tree.expect("the v2 tree").join("shop/init");
    let freeze = |text: &str| fs::write(inits.join("cgroup.freeze"), text).expect("root may");
    let says = "it did not come to its exec in time; does a file system hang?";
    let deadline = Duration::from_secs(30);
    let is_in_time = |begun: Instant| {
        let taken = begun.elapsed();
        assert!(taken >= deadline && taken < deadline + patience(), "{taken:?}");
    };

    // A trial start: what runs is not touched.
    freeze("1");
    let begun = Instant::now();
    let said = bed.fails(1, &["restart", "shop"]);
    is_in_time(begun);
    assert!(said.contains(says) && said.contains("goes on as it was"), "{said}");
    let status = bed.status(&app);
    assert_eq!(pid(&status), pid(&before), "{status:#}");
    assert_eq!((&status["state"], &status["restarts"]), (&"online".into(), &0.into()));
    assert!(get(app.port, "/").is_ok());
    let count = || fs::read_to_string(inits.join("cgroup.procs")).expect("there").lines().count();
    assert_eq!(count(), 1, "the trial start is dead, its init lives");

    // A start of its own: the init dies, frozen as it is, and the next one hangs.
    let init = before["instances"][0]["init_pid"].as_i64().expect("known");
    let begun = Instant::now();
    bed::kill(i32::try_from(init).expect("a pid"));
    bed.until(&app, "it is starting", |status| status["state"] == "starting");
    let is_given_up = |status: &serde_json::Value| status["last_exit"]["cause"] == "start-failed";
    while !is_given_up(&bed.status(&app)) {
        assert!(begun.elapsed() < deadline + patience(), "{:#}", bed.status(&app));
        std::thread::sleep(Duration::from_millis(50));
    }
    is_in_time(begun);
    assert!(bed.status(&app)["last_exit"].to_string().contains(says), "{:#}", bed.status(&app));
    freeze("0");
    bed.until(&app, "back by itself", |status| status["state"] == "online");
    assert!(get(app.port, "/").is_ok());
    bed.end();
}

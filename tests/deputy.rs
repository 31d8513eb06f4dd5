//! What an app puts in the way of a runner that is root: things that change under its hands, folders that go,
//! names meant for terminals, a group that stands still.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bed::{App, Bed, get, is_guest, patience, pid, processes_of};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use scripts::{python, says};
use serde_json::Value;

/// Exchanges two names as fast as it can for as long as `meanwhile` takes.
fn while_exchanged(one: &Path, other: &Path, meanwhile: impl FnOnce()) {
    /// Ends it also where something fails meanwhile.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        let _over = Over(&is_over);
        meanwhile();
    });
}

#[test]
fn a_file_of_variables_that_changes_all_the_time_is_read_whole_or_refused() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "say(os.environ.get('SECRET'))\nserve()\n", "");
    let outside = bed.root().join("outside.env");
    fs::write(&outside, "SECRET=of-another\n").expect("ours");
    let (file, other) = (app.home.join(".env"), app.home.join("other"));
    fs::write(&file, "SECRET=own\n").expect("ours");
    chown(&file, Some(app.uid), Some(app.uid)).expect("root may");
    bed.start(&app);
    symlink(&outside, &other).expect("ours");
    lchown(&other, Some(app.uid), Some(app.uid)).expect("root may");
    let (mut started, mut refused) = (0, 0);
    let deadline = Instant::now() + patience();
    while_exchanged(&file, &other, || {
        while started < 3 || refused < 3 {
            assert!(Instant::now() < deadline, "{started} started, {refused} refused");
            let output = bed.swrun(&["restart", "shop"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => started += 1,
                _ => {
                    assert!(said.contains("could not read") && !said.contains("another"), "{said}");
                    refused += 1;
                }
            }
        }
    });
    let said = says(&bed, &app, 1 + started);
    assert!(said.iter().all(|line| line == "own"), "{said:?}");
    bed.end();
}

#[test]
fn no_log_is_where_an_app_could_write() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let logs = bed.root().join("var/log/swrun");
    let folder = logs.join("shop");
    let file = folder.join("out.log");
    for path in [&logs, &folder, &file] {
        let found = fs::metadata(path).expect("it is there");
        assert_eq!((found.uid(), found.mode() & 0o022), (0, 0), "{}", path.display());
    }
    bed.ok(&["stop", "shop"]);
    // And were it there all the same, nothing would be written through it.
    let other = bed.root().join("other");
    fs::write(&other, "as it was").expect("ours");
    type Make<'a> = Box<dyn Fn() + 'a>;
    let kinds: [(&str, Make<'_>); 3] = [
        ("a link", Box::new(|| symlink(&other, &file).expect("ours"))),
        (
            "a FIFO",
            Box::new(|| {
                let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
                nix::unistd::mkfifo(&file, mode).expect("ours");
            }),
        ),
        ("a folder", Box::new(|| fs::create_dir(&file).expect("ours"))),
    ];
    for (what, make) in kinds {
        fs::remove_file(&file).expect("ours");
        make();
        let said = bed.fails(1, &["start", "shop"]);
        assert!(said.contains("out.log"), "{what}: {said}");
        assert_eq!(fs::read_to_string(&other).expect("ours"), "as it was", "{what}");
    }
    fs::remove_dir(&file).expect("ours");
    bed.start(&app);
    bed.end();
}

#[test]
fn a_working_directory_that_goes_is_said_and_what_runs_goes_on() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let cwd = app.home.join("current");
    let make = || {
        fs::create_dir(&cwd).expect("ours");
        chown(&cwd, Some(app.uid), Some(app.uid)).expect("root may");
    };
    make();
    bed.probe(&app, &format!("[env]\nPORT = \"{}\"", app.port));
    let path = bed.profile_path(&app);
    let text = fs::read_to_string(&path).expect("just written");
    let from = format!("cwd = \"{}\"", app.home.display());
    let to = format!("base = \"{}\"\ncwd = \"{}\"", app.home.display(), cwd.display());
    fs::write(&path, text.replacen(&from, &to, 1)).expect("ours");
    let running = pid(&bed.start(&app));
    type Change<'a> = Box<dyn Fn() + 'a>;
    let outside = bed.root().join("elsewhere");
    fs::create_dir(&outside).expect("ours");
    let changes: [(&str, Change<'_>); 3] = [
        ("gone", Box::new(|| ())),
        ("a file", Box::new(|| fs::write(&cwd, "").expect("ours"))),
        ("a link out", Box::new(|| symlink(&outside, &cwd).expect("ours"))),
    ];
    fs::remove_dir(&cwd).expect("ours");
    for (what, change) in changes {
        change();
        let said = bed.fails(1, &["restart", "shop"]);
        let is_told =
            said.contains(cwd.to_str().expect("plain")) || said.contains("is not beneath base");
        assert!(is_told, "{what}: {said}");
        let status = bed.status(&app);
        assert_eq!((pid(&status), &status["state"]), (running, &"online".into()), "{what}");
        let _ = fs::remove_file(&cwd);
    }
    make();
    bed.ok(&["restart", "shop"]);
    assert_ne!(pid(&bed.status(&app)), running);
    bed.end();
}

#[test]
fn many_that_start_at_once_have_their_own_descriptors_and_folder_alone() {
    let bed = Bed::running();
    let count = if is_guest() { 6 } else { 50 };
    let script = r#"
found = []
for number in sorted(map(int, os.listdir("/proc/self/fd"))):
    try: found.append((number, os.readlink(f"/proc/self/fd/{number}").split(":")[0]))
    except FileNotFoundError: pass
say(found, os.getcwd() == os.environ["HOME"])
serve()
"#;
    let apps: Vec<App> =
        (0..count).map(|number| python(&bed, &format!("shop-{number}"), script, "")).collect();
    let started = bed.swrun(&["start"]);
    let errors = || apps.iter().flat_map(|app| bed.log(app, "err.log")).collect::<Vec<_>>();
    assert!(started.status.success(), "{:#?} {}", errors(), bed::texts(&started).1);
    for app in &apps {
        let said = says(&bed, app, 1);
        let wanted = "[(0, '/dev/null'), (1, 'pipe'), (2, 'pipe')] True";
        assert_eq!(said[0], wanted, "{}", app.name);
    }
    bed.end();
}

/// What a process is called is its own to say; who it is is not.
#[test]
fn a_hostile_name_neither_moves_the_terminal_nor_breaks_the_document() {
    let bed = Bed::running();
    let name = r#"\033]0;x\a\033[2J\"\\"#;
    let script = format!(
        "libc.prctl(15, b'{name}', 0, 0, 0)\nsay('{name} \\u202e \\x9b2J')\nlistener = create_server(('', PORT))\nlistener.listen()\nsys.stderr.write('{name}')\nsys.stderr.flush()\nserve(listener)\n"
    );
    let app = python(&bed, "shop", &script, "");
    let status = bed.start(&app);
    says(&bed, &app, 1);
    bed.until(&app, "sampled", |status| status["cpu"]["percent"].is_number());
    let is_control = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    for words in [&["status"][..], &["show", "shop"], &["ports"], &["show", "shop", "--security"]] {
        let said = bed.ok(words);
        assert!(!said.contains(is_control), "{words:?}: {said:?}");
    }
    for words in [&["status", "--json"][..], &["show", "shop", "--json"], &["ports", "--json"]] {
        let document: Value = serde_json::from_str(&bed.ok(words)).expect("JSON");
        assert!(document.is_object(), "{document}");
    }
    assert_eq!(bed.status(&app)["pid"], status["pid"]);
    bed.end();
}

#[test]
fn a_group_that_was_left_frozen_is_thawed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let before = bed.start(&app);
    let base = kernel::app_folder(&bed, &app, "unified");
    let base = base.parent().expect("that of the environment").to_owned();
    for group in [base.clone(), base.join("app"), base.join("init")] {
        let title = "__monitor shop ";
        let monitor = processes_of(bed.root()).into_iter().find(|line| line.contains(title));
        let monitor = monitor.expect("it lives");
        let monitor: i32 = monitor.split(' ').next().and_then(|n| n.parse().ok()).expect("a pid");
        fs::write(group.join("cgroup.freeze"), "1").expect("root may");
        bed::kill(monitor);
        bed.until(&app, "back by itself", |status| {
            status["state"] == "online" && status["monitor_pid"] != monitor
        });
        assert_eq!(get(app.port, "/").expect("it serves"), "ok", "{}", group.display());
    }
    assert_ne!(pid(&bed.status(&app)), pid(&before));
    bed.end();
}

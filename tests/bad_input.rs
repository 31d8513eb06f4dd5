//! Bad input from every side: profiles, the control socket, saved state, callers without a right.
//! (How each slip of a profile is told is held by the unit tests of `src/profile`.)

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, is_guest, patience, pid, texts};

// ---------------------------------------------------------------- profiles

#[test]
fn check_tells_every_problem_of_every_file_in_one_run() {
    let bed = Bed::new();
    let apps = ["one", "two", "three", "four", "five", "six", "seven"].map(|name| bed.app(name));
    for app in &apps {
        bed.profile(app, &["/bin/true"], &format!("ports = [{}]", app.port));
    }
    let [one, two, three, four, five, six, seven] = &apps;
    let folder = bed.root().join("etc/swrun/profiles");
    let edit = |app: &App, from: &str, to: &str| {
        let path = bed.profile_path(app);
        let text = fs::read_to_string(&path).expect("ours");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).expect("ours");
    };
    let write = |name: &str, text: &[u8]| {
        fs::write(folder.join(name), text).expect("ours");
        folder.join(name)
    };
    // `five.toml` is the first by name, so it is the others that are told.
    edit(one, &format!("user = {}", one.uid), &format!("user = {}", five.uid));
    edit(two, &format!("[{}]", two.port), &format!("[{}]", five.port));
    edit(three, "name = \"three\"", "name = \"five\"");
    edit(four, "ports = ", "portz = ");
    edit(four, "[\"/bin/true\"]", "\"/bin/true\"");
    edit(six, &six.home.display().to_string(), &format!("{}/gone", six.home.display()));
    fs::set_permissions(&seven.home, fs::Permissions::from_mode(0o777)).expect("ours");
    write("z-name.toml", b"name = \"Bad_Name\"\nuser = 0\ncommand = [\"a\"]\ncwd = \"/srv/z\"\n");
    write("z-size.toml", b"name = \"size\"\n\n[limits]\nmemory-max = \"512\"\n");
    write(
        "z-user.toml",
        b"name = \"user\"\nuser = \"nobody-here\"\ncommand = [\"a\"]\ncwd = \"/srv/z\"\n",
    );
    write("z-root.toml", b"name = \"rooty\"\nuser = \"root\"\n");
    write("z-half.toml", b"name = \"half\n");
    write("z-bytes.toml", b"name = \"x\xff\"\n");
    write("z-large.toml", &vec![b'#'; 10 << 20]);
    let open = write("z-open.toml", b"name = \"open\"\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).expect("ours");
    let foreign = write("z-foreign.toml", b"name = \"foreign\"\n");
    chown(&foreign, Some(seven.uid), None).expect("root may");
    symlink("five.toml", folder.join("z-link.toml")).expect("ours");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&folder.join("z-fifo.toml"), mode).expect("ours");

    let output = bed.swrun(&["check"]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    let cwd = |app: &App| format!("\"{}", app.home.display());
    for (file, place, words) in [
        ("one.toml", "2:8", "the user is already that of another environment"),
        ("two.toml", "5:10", &*format!("port {} is already taken", five.port)),
        ("three.toml", "1:8", "the name \"five\" is already taken"),
        ("four.toml", "5:1", "unknown key \"portz\""),
        ("four.toml", "4:11", "is a string, expected a list"),
        ("six.toml", "3:7", &*format!("{}/gone\": No such file", cwd(six))),
        ("seven.toml", "3:7", "can be written by everybody"),
        ("z-name.toml", "1:8", "[a-z][a-z0-9-]{0,31}"),
        ("z-name.toml", "2:8", "never runs as root"),
        ("z-size.toml", "4:14", "\"512\" has no unit"),
        ("z-user.toml", "2:8", "there is no user \"nobody-here\""),
        ("z-root.toml", "2:8", "never runs as root"),
        ("z-half.toml", "1:13", ""),
        ("z-bytes.toml", "1:10", "not UTF-8"),
        ("z-large.toml", "1:1", "it has 10M"),
        ("z-open.toml", "1:1", "can be written by"),
        ("z-foreign.toml", "1:1", "refused"),
        ("z-link.toml", "1:1", "it is a link"),
        ("z-fifo.toml", "1:1", "not a regular file"),
    ] {
        let start = format!("{}:{place}: error: ", folder.join(file).display());
        let found = out.lines().any(|line| line.starts_with(&start) && line.contains(words));
        assert!(found, "no line of {file}:{place} says {words:?}:\n{out}");
    }
    // With what to do about it.
    for hint in ["did you mean \"ports\"?", "useradd", "chmod go-w", "512M"] {
        assert!(out.contains(hint), "{hint}:\n{out}");
    }
    let five_is_sound = !out.contains(&format!("{}:", folder.join("five.toml").display()))
        || !out
            .lines()
            .any(|line| line.starts_with(&format!("{}:", folder.join("five.toml").display())));
    assert!(five_is_sound, "{out}");

    // The same for programs, and a file by name alone.
    let json: serde_json::Value =
        serde_json::from_slice(&bed.swrun(&["check", "--json"]).stdout).expect("one document");
    let errors = json["problems"].as_array().expect("a list");
    let is_size = |p: &&serde_json::Value| p["line"] == 4 && p["column"] == 14;
    assert!(errors.iter().find(is_size).is_some_and(|p| p["severity"] == "error"), "{json:#}");
    let alone = bed.swrun(&["check", bed.profile_path(five).to_str().expect("plain")]);
    assert!(alone.status.success(), "{:?}", texts(&alone));
    // What is in two of them at once is refused by a start too.
    let mut bed = bed;
    bed.daemon();
    bed.fails(1, &["start", "two"]);
    bed.ok(&["start", "--no-wait", "five"]);
    bed.end();
}

// ---------------------------------------------------------- control socket

fn connect(bed: &Bed) -> UnixStream {
    let stream = UnixStream::connect(bed.root().join("run/swrun/swrun.sock")).expect("it listens");
    stream.set_read_timeout(Some(patience())).expect("a time-out");
    stream.set_write_timeout(Some(patience())).expect("a time-out");
    stream
}

/// What the runner says until it closes.
fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A runner that closes with unread bytes of ours resets the connection.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Holds that the runner answers others within a moment.
#[track_caller]
fn serves(bed: &Bed) {
    let begun = Instant::now();
    let output = bed.swrun(&["status"]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}", texts(&output));
    let moment = if is_guest() { 60 } else { 4 };
    assert!(begun.elapsed() < Duration::from_secs(moment), "it took {:?}", begun.elapsed());
}

#[test]
fn garbage_is_answered_and_serves_nobody_less() {
    let bed = Bed::running();
    let deep = "[".repeat(60_000) + "\0";
    let many = "{\"method\":\"status\",\"parameters\":{\"targets\":[\"".to_owned()
        + &"x\",\"".repeat(8_000)
        + "x\"]}}\0";
    for (what, bytes) in [
        ("words", &b"hello\0"[..]),
        ("nothing", b"\0"),
        ("bytes", b"\xff\xfe\x80\x01\0"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0"),
        ("an unknown method", b"{\"method\":\"exec\",\"parameters\":{}}\0"),
        ("an unknown key", b"{\"method\":\"kill\",\"parameters\":{\"force\":true}}\0"),
        ("a wrong type", b"{\"method\":\"status\",\"parameters\":{\"targets\":1}}\0"),
        ("two at once", b"{\"method\":\"status\"\0{\"method\":\"status\"\0"),
        ("brackets", deep.as_bytes()),
    ] {
        let mut stream = connect(&bed);
        stream.write_all(bytes).expect("it is small");
        let said = rest(&mut stream);
        assert!(said.contains("\"bad-request\""), "{what}: {said}");
        serves(&bed);
    }
    let mut stream = connect(&bed);
    stream.write_all(many.as_bytes()).expect("it is bounded");
    assert!(rest(&mut stream).contains("unknown-environment"));
    // The end in the middle of a frame is an answer's too.
    let mut stream = connect(&bed);
    stream.write_all(b"{\"method\":").expect("it is small");
    stream.shutdown(std::net::Shutdown::Write).expect("ours");
    assert!(rest(&mut stream).contains("ends in the middle"));
    bed.end();
}

fn memory_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_frame_without_end_is_cut_off() {
    let bed = Bed::running();
    let before = memory_of(bed.daemon_pid());
    let mut stream = connect(&bed);
    // As another protocol would announce 4 GiB, and then as much of it as is taken.
    let chunk = vec![b'x'; 64 << 10];
    let mut sent: u64 = 0;
    let cut = loop {
        match stream.write(&chunk) {
            Ok(count) => sent += count as u64,
            Err(error) => break error,
        }
        assert!(sent < 4 << 30, "all of it was taken");
    };
    assert!(sent < 8 << 20, "it was cut off after {sent} bytes: {cut}");
    let said = rest(&mut stream);
    assert!(said.is_empty() || said.contains("longer than 65536 bytes"), "{said}");
    // The longest request that can be valid, and no byte more, is what it keeps.
    let mut stream = connect(&bed);
    stream.write_all(&chunk[..65_536]).expect("it is bounded");
    stream.write_all(b"x").expect("it is bounded");
    assert!(rest(&mut stream).contains("longer than 65536 bytes"));
    let grown = memory_of(bed.daemon_pid()) - before;
    assert!(grown < 4096, "the runner grew by {grown} kB");
    serves(&bed);
    bed.end();
}

#[test]
fn half_a_frame_and_silence_times_out_alone() {
    let bed = Bed::running();
    let begun = Instant::now();
    let mut half = connect(&bed);
    half.write_all(b"{\"method\":\"stat").expect("it is small");
    let mut silent = connect(&bed);
    // A length of 4 GiB in front, as other protocols have it, and nothing after it.
    let mut announced = connect(&bed);
    announced.write_all(&[0xff; 4]).expect("it is small");
    for _ in 0..5 {
        serves(&bed);
    }
    for stream in [&mut half, &mut announced, &mut silent] {
        let said = rest(stream);
        assert!(said.contains("no whole request came within"), "{said}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(4), "not before its time");
    serves(&bed);
    bed.end();
}

/// Many silent connections at once, of another user: the peer's ids are those of the thread that
/// connects (unix(7), SO_PEERCRED).
fn crowd(bed: &Bed, uid: u32, size: usize) -> Vec<UnixStream> {
    let connect_all = || {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may");
        (0..size).map(|_| connect(bed)).collect()
    };
    std::thread::scope(|scope| scope.spawn(connect_all).join().expect("all are connected"))
}

#[test]
fn ten_thousand_callers_keep_nobody_out() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let most = if is_guest() { 500 } else { 10_000 };
    let files = rustix::process::Rlimit { current: Some(12_000), maximum: Some(12_000) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).expect("root may");
    let before = memory_of(bed.daemon_pid());
    for (uid, size) in [(app.uid, most), (0, 200), (65_534, 200)] {
        let crowd = crowd(&bed, uid, size);
        // While they are there: a look, and an order.
        serves(&bed);
        let before = pid(&bed.status(&app));
        bed.ok(&["restart", "shop"]);
        assert_ne!(pid(&bed.status(&app)), before, "uid {uid}");
        serves(&bed);
        assert_eq!(crowd.len(), size);
    }
    let grown = memory_of(bed.daemon_pid()) - before;
    assert!(grown < 8192, "the runner grew by {grown} kB");
    // All at once, each with a question: every one has an answer, if only that it is too much.
    let mut streams: Vec<_> = (0..200).map(|_| connect(&bed)).collect();
    let ask = b"{\"method\":\"status\",\"parameters\":{\"targets\":[]}}\0";
    let sent: Vec<bool> = streams.iter_mut().map(|s| s.write_all(ask).is_ok()).collect();
    let answers: Vec<String> = streams.iter_mut().map(rest).collect();
    let good = answers.iter().filter(|answer| answer.contains("\"shop\"")).count();
    assert!(good >= 16, "{good} of {} asked were answered", sent.iter().filter(|s| **s).count());
    for answer in &answers {
        let is_known = answer.is_empty() || answer.contains("\"shop\"") || answer.contains("busy");
        assert!(is_known, "{answer}");
    }
    serves(&bed);
    bed.end();
}

// ------------------------------------------------------------- saved state

fn state_file(bed: &Bed, name: &str) -> PathBuf {
    bed.root().join("var/lib/swrun").join(name)
}

#[test]
fn a_truncated_state_is_set_aside_and_what_runs_goes_on() {
    let mut bed = Bed::running();
    let (app, idle) = (bed.app("shop"), bed.app("idle"));
    bed.probe(&app, "");
    bed.probe(&idle, "");
    bed.start(&app);
    bed.start(&idle);
    bed.ok(&["stop", "idle"]);
    // One more change, so that the generation before knows of the two as well.
    bed.ok(&["stop", "shop"]);
    let running = pid(&bed.start(&app));
    let path = state_file(&bed, "state.json");
    let whole = fs::read(&path).expect("saved");
    for length in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        bed.kill_daemon();
        fs::write(&path, &whole[..length]).expect("ours");
        bed.daemon();
        let status = bed.until(&app, "found again", |status| status["state"] == "online");
        assert_eq!(pid(&status), running, "cut at {length}");
        assert_eq!(bed.status(&idle)["state"], "stopped", "cut at {length}");
        let log = bed.daemon_log();
        assert!(log.contains("is damaged") && log.contains("state.json.damaged"), "{log}");
        let aside = fs::read(state_file(&bed, "state.json.damaged")).expect("kept");
        assert_eq!(aside, whole[..length], "nothing is lost in silence");
        // The next change saves a whole one.
        bed.ok(&["stop", "idle"]);
        bed.ok(&["start", "shop"]);
        serde_json::from_slice::<serde_json::Value>(&fs::read(&path).expect("saved"))
            .expect("whole");
    }
    bed.end();
}

/// Starts a runner that must refuse to run; what it says. One that runs is ended with the test.
#[track_caller]
fn refuses_to_run(bed: &Bed) -> String {
    // timeout(1) of Debian's coreutils: 124 when it had to end the runner.
    let output = Command::new("timeout")
        .arg(patience().as_secs().to_string())
        .arg(bed::swrun())
        .arg("daemon")
        .env("SWRUN_ROOT", bed.root())
        .stdin(Stdio::null())
        .output()
        .expect("Debian has it");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    err
}

#[test]
fn a_newer_or_unreadable_state_is_refused_and_left_as_it_is() {
    let mut bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let running = pid(&bed.start(&app));
    let path = state_file(&bed, "state.json");
    let whole = fs::read(&path).expect("saved");
    bed.kill_daemon();

    let newer = String::from_utf8(whole.clone()).expect("JSON");
    let newer = newer.replacen("\"schema\": 1", "\"schema\": 7", 1);
    fs::write(&path, &newer).expect("ours");
    let said = refuses_to_run(&bed);
    assert!(said.contains("newer swrun (version 7") && said.contains("state.json"), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("ours"), newer);

    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("ours");
    let said = refuses_to_run(&bed);
    assert!(said.contains("could not read") && said.contains("(os error 21)"), "{said}");
    assert!(path.is_dir());
    fs::remove_dir(&path).expect("ours");

    let elsewhere = bed.root().join("elsewhere.json");
    fs::write(&elsewhere, &whole).expect("ours");
    symlink(&elsewhere, &path).expect("ours");
    let said = refuses_to_run(&bed);
    assert!(said.contains("could not read") && said.contains("(os error 40)"), "{said}");
    assert!(fs::symlink_metadata(&path).expect("ours").is_symlink());
    fs::remove_file(&path).expect("ours");

    // All the while the app ran on, and a runner that can read finds it.
    assert!(get(app.port, "/").is_ok());
    fs::write(&path, whole).expect("ours");
    bed.daemon();
    let status = bed.until(&app, "found again", |status| status["state"] == "online");
    assert_eq!(pid(&status), running);
    bed.end();
}

#[test]
fn a_damaged_spec_is_said_and_mended_by_the_next_order() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let path = state_file(&bed, "env/shop.spec");
    let whole = fs::read_to_string(&path).expect("saved");
    for (damaged, why) in [
        (whole[..whole.len() / 2].to_owned(), "damaged"),
        (String::new(), "damaged"),
        (whole.replacen("\"schema\": 1", "\"schema\": 9", 1), "version 9"),
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).expect("ours");
        bed::kill(kernel::monitor(&bed, &app));
        let status = bed.until(&app, "in trouble", |status| {
            status["reason"].as_str().is_some_and(|reason| reason.contains(why))
        });
        let reason = status["reason"].as_str().expect("seen");
        assert!(reason.contains("shop.spec"), "{reason}");
        assert_eq!(status["wanted"], "online", "what is wanted stays");
        assert_eq!(fs::read_to_string(&path).expect("there"), damaged, "left untouched");
        bed.ok(&["restart", "shop"]);
        bed.until(&app, "mended", |status| status["state"] == "online");
        assert_eq!(fs::read_to_string(&path).expect("saved"), whole);
    }
    bed.end();
}

#[test]
fn a_damaged_memory_of_a_monitor_is_set_aside() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let mut before = pid(&bed.start(&app));
    let path = state_file(&bed, "env/shop.state");
    let whole = fs::read_to_string(&path).expect("saved");
    for damaged in [
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        whole.replacen("\"schema\":1", "\"schema\":9", 1),
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).expect("ours");
        bed::kill(kernel::monitor(&bed, &app));
        let status =
            bed.until(&app, "back", |status| status["state"] == "online" && pid(status) != before);
        before = pid(&status);
        let aside = fs::read_to_string(state_file(&bed, "env/shop.state.damaged")).expect("kept");
        assert_eq!(aside, damaged);
        let events = bed.events(&app).iter().map(ToString::to_string).collect::<String>();
        assert!(events.contains("could not be understood"), "{events}");
    }
    bed.end();
}

#[test]
fn a_state_that_is_damaged_twice_over_is_kept_twice_and_what_runs_goes_on() {
    let mut bed = Bed::running();
    let (app, idle) = (bed.app("shop"), bed.app("idle"));
    bed.probe(&app, "");
    bed.probe(&idle, "autostart = false\n");
    let running = pid(&bed.start(&app));
    let [path, before] = ["state.json", "state.json.before"].map(|name| state_file(&bed, name));
    bed.ok(&["start", "idle"]);
    bed.ok(&["stop", "idle"]);
    assert!(before.exists(), "there is a generation before");
    bed.kill_daemon();
    fs::write(&path, "{\"schema\": 1, \"envir").expect("ours");
    fs::write(&before, "\0\0").expect("ours");
    bed.daemon();
    let status = bed.until(&app, "found again", |status| status["state"] == "online");
    assert_eq!(pid(&status), running);
    assert_eq!(bed.status(&idle)["state"], "stopped", "as its profile says");
    let log = bed.daemon_log();
    for words in ["is damaged", "state.json.damaged", "nothing else was saved"] {
        assert!(log.contains(words), "{words:?}:\n{log}");
    }
    let aside = fs::read_to_string(state_file(&bed, "state.json.damaged")).expect("kept");
    assert_eq!(aside, "{\"schema\": 1, \"envir");
    // Changes go on being saved, each with the generation before it; nothing that was there is lost.
    bed.ok(&["stop", "shop"]);
    bed.ok(&["start", "shop"]);
    let kept = fs::read(state_file(&bed, "state.json.before.damaged")).expect("kept");
    assert_eq!(kept, b"\0\0");
    bed.end();
}

#[test]
fn a_state_that_is_gone_is_that_of_the_generation_before() {
    let mut bed = Bed::running();
    let (app, idle) = (bed.app("shop"), bed.app("idle"));
    bed.probe(&app, "");
    bed.probe(&idle, "");
    bed.start(&idle);
    bed.ok(&["stop", "idle"]);
    let running = pid(&bed.start(&app));
    bed.kill_daemon();
    fs::remove_file(state_file(&bed, "state.json")).expect("ours");
    bed.daemon();
    let status = bed.until(&app, "found again", |status| status["state"] == "online");
    assert_eq!(pid(&status), running);
    assert_eq!(bed.status(&idle)["wanted"], "stopped", "it is not started by itself");
    let log = bed.daemon_log();
    assert!(log.contains("state.json\" is gone"), "{log}");
    bed.end();
}

#[test]
fn a_folder_in_the_place_of_a_spec_or_a_memory_is_said_and_left() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    for (name, says) in [("shop.spec", "could not read the spec"), ("shop.state", "could not read")]
    {
        let path = state_file(&bed, &format!("env/{name}"));
        let whole = fs::read(&path).expect("saved");
        fs::remove_file(&path).expect("ours");
        fs::create_dir(&path).expect("ours");
        bed::kill(kernel::monitor(&bed, &app));
        let status = bed.until(&app, "in trouble", |status| {
            status["reason"].as_str().is_some_and(|reason| reason.contains(says))
        });
        let reason = status["reason"].as_str().expect("seen");
        assert!(reason.contains(name) && reason.contains("(os error 21)"), "{reason}");
        assert_eq!(status["wanted"], "online", "what is wanted stays");
        // An order cannot write it either, and says so.
        let said = bed.fails(1, &["restart", "shop"]);
        assert!(said.contains(name) && said.contains("(os error 21)"), "{said}");
        assert!(path.is_dir(), "left as it is");
        fs::remove_dir(&path).expect("ours");
        fs::write(&path, whole).expect("ours");
        bed.until(&app, "back", |status| status["state"] == "online");
    }
    bed.end();
}

// ------------------------------------------------------------ without a right

/// The program where every user can execute it.
fn public_swrun(bed: &Bed) -> PathBuf {
    let path = bed.root().join("swrun-for-all");
    if !path.exists() {
        fs::copy(bed::swrun(), &path).expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    path
}

fn swrun_as(bed: &Bed, uid: u32, arguments: &[&str]) -> Output {
    let uid = uid.to_string();
    swrun_with(bed, &["--reuid", &uid, "--regid", &uid, "--clear-groups"], arguments)
}

/// With what setpriv(1) is to make of it.
fn swrun_with(bed: &Bed, identity: &[&str], arguments: &[&str]) -> Output {
    Command::new("setpriv")
        .args(identity)
        .arg(public_swrun(bed))
        .args(arguments)
        .env("SWRUN_ROOT", bed.root())
        .env_remove("NODE_ENV")
        .env_remove("PORT")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .expect("Debian has it")
}

#[track_caller]
fn refused(output: &Output) -> String {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "one line: {err}");
    err
}

#[test]
fn without_root_it_says_what_works() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let nobody = 65_534;
    for words in [
        &["start", "shop"][..],
        &["stop", "shop"],
        &["restart"],
        &["status"],
        &["show", "shop"],
        &["delete", "shop"],
        &["kill"],
    ] {
        let said = refused(&swrun_as(&bed, nobody, words));
        assert!(said.contains("root") && said.contains("group \"swrun\""), "{words:?}: {said}");
        assert!(said.contains("look, start, stop and restart"), "{words:?}: {said}");
    }
    let said = refused(&swrun_as(&bed, nobody, &["daemon"]));
    assert!(said.contains("root"), "{said}");
    assert_eq!(bed.status(&app)["state"], "online");

    let checked = swrun_as(&bed, nobody, &["check"]);
    let (out, err) = texts(&checked);
    assert!(out.contains("1 files, 0 errors"), "{out}{err}");
    assert_eq!(checked.status.code(), Some(0), "{out}{err}");
    let path = bed.profile_path(&app);
    let alone = swrun_as(&bed, nobody, &["check", path.to_str().expect("plain")]);
    assert_eq!(alone.status.code(), Some(0), "{:?}", texts(&alone));
    bed.end();
}

#[test]
fn a_deploy_user_has_its_own_environment_and_no_other() {
    let bed = Bed::running();
    let (own, other) = (bed.app("own"), bed.app("other"));
    for app in [&own, &other] {
        bed.probe(app, "");
        bed.start(app);
    }
    let run = |words: &[&str]| swrun_as(&bed, own.uid, words);
    let names = |output: &Output| -> Vec<String> {
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let all = document["environments"].as_array().expect("a list").iter();
        all.map(|e| e["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&run(&["status", "--json"])), ["own"], "it sees its own alone");
    assert!(run(&["show", "own"]).status.success());
    refused(&run(&["show", "other"]));

    let untouched = pid(&bed.status(&other));
    let before = pid(&bed.status(&own));
    let restarted = run(&["restart", "own"]);
    assert!(restarted.status.success(), "{:?}", texts(&restarted));
    assert_ne!(pid(&bed.status(&own)), before);
    for verb in ["stop", "restart", "start"] {
        refused(&run(&[verb, "other"]));
        // Among those of its own, nothing is done either.
        let before = pid(&bed.status(&own));
        refused(&run(&[verb, "own", "other"]));
        assert_eq!(pid(&bed.status(&own)), before, "{verb}");
    }
    // All of them are its own ones.
    assert!(run(&["stop"]).status.success());
    assert_eq!(bed.status(&own)["state"], "stopped");
    assert!(run(&["start", "own"]).status.success());
    assert_eq!(pid(&bed.status(&other)), untouched);

    // Its logs, those put aside and those to come, and nobody else's.
    get(own.port, "/out?lines=3").expect("it says so");
    get(other.port, "/out?lines=7").expect("it says so");
    let read = |words: &[&str]| -> String {
        let output = run(&[&["logs", "--nostream"], words].concat());
        assert!(output.status.success(), "{:?}", texts(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    kernel::until("it is written", || read(&["own"]).contains("out 3"));
    assert!(read(&[]).contains("out 3") && !read(&[]).contains("out 7"), "{}", read(&[]));
    let denied = run(&["logs", "--nostream", "other"]);
    assert!(!denied.status.success() && denied.stdout.is_empty(), "{:?}", texts(&denied));
    refused(&run(&["flush", "other"]));
    assert!(run(&["flush", "own"]).status.success());
    assert_eq!(read(&["own"]), "");
    get(own.port, "/out?lines=5").expect("it says so");
    kernel::until("it is written", || read(&["own"]).contains("out 5"));

    // What brings a path, a command or a variable, or changes what is known, is root's.
    refused(&run(&["start", "/bin/sleep", "--name", "mine", "--", "1000"]));
    let uid = own.uid.to_string();
    refused(&run(&["start", "/bin/sh", "--name", "own", "--user", &uid, "--env", "A=b"]));
    refused(&run(&["delete", "own"]));
    refused(&run(&["kill"]));
    assert!(get(own.port, "/").is_ok());
    // Names of others are not told.
    let said = refused(&run(&["stop", "no-such"]));
    assert!(!said.contains("other"), "{said}");
    bed.end();
}

/// A user who is in the group of operators by the host's files; the group is made where the host has
/// none. Both are gone with this value.
struct Operator {
    user: String,
    uid: u32,
    made_group: bool,
}

fn tool(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("Debian has it");
    assert!(output.status.success(), "{words:?}: {:?}", texts(&output));
}

impl Operator {
    fn new(uid: u32) -> Self {
        let made_group = nix::unistd::Group::from_name("swrun").expect("readable").is_none();
        let operator = Self { user: format!("swt{uid}"), uid, made_group };
        if made_group {
            tool(&["groupadd", "--system", "swrun"]);
        }
        let number = uid.to_string();
        tool(&["useradd", "-M", "-U", "-u", &number, "-G", "swrun", &operator.user]);
        operator
    }

    /// As a login of theirs runs it.
    fn swrun(&self, bed: &Bed, arguments: &[&str]) -> Output {
        let uid = self.uid.to_string();
        let gid =
            nix::unistd::User::from_uid(self.uid.into()).expect("readable").expect("ours").gid;
        swrun_with(bed, &["--reuid", &uid, "--regid", &gid.to_string(), "--init-groups"], arguments)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.user).output();
        if self.made_group {
            let _ = Command::new("groupdel").arg("swrun").output();
        }
    }
}

#[test]
fn a_member_of_the_operators_looks_starts_stops_and_reads_logs_and_no_more() {
    let mut bed = Bed::new();
    let app = bed.app("shop");
    // An owner's number, so no other bed's; its environment is never made.
    let operator = Operator::new(bed.app("of-an-operator").uid);
    // It gives its logs to a group that is there when it starts.
    bed.daemon();
    bed.probe(&app, "");
    bed.start(&app);
    get(app.port, "/out?lines=1").expect("it answers");
    let member = |words: &[&str]| operator.swrun(&bed, words);
    let stranger = |words: &[&str]| swrun_as(&bed, 65_534, words);
    let sees = |output: &Output| texts(output).0.contains("shop");

    assert!(sees(&member(&["status"])) && sees(&member(&["show", "shop"])));
    let before = pid(&bed.status(&app));
    for (verb, state) in [("stop", "stopped"), ("start", "online"), ("restart", "online")] {
        let done = member(&[verb, "shop"]);
        assert!(done.status.success(), "{verb}: {:?}", texts(&done));
        assert_eq!(bed.status(&app)["state"], state, "{verb}");
    }
    assert_ne!(pid(&bed.status(&app)), before);
    let read = member(&["logs", "shop", "--nostream"]);
    assert!(read.status.success() && texts(&read).0.contains("out 1"), "{:?}", texts(&read));
    // What changes what is known is root's.
    let uid = app.uid.to_string();
    for words in [
        &["delete", "shop"][..],
        &["kill"],
        &["start", "/bin/sh", "--name", "more", "--user", &uid],
    ] {
        let said = refused(&member(words));
        assert!(said.contains("you may not"), "{words:?}: {said}");
    }

    // Who is in no group and owns no environment.
    refused(&stranger(&["status"]));
    refused(&stranger(&["stop", "shop"]));
    let read = stranger(&["logs", "shop", "--nostream"]);
    let (out, err) = texts(&read);
    assert_eq!((read.status.code(), &*out), (Some(1), ""), "{err}");
    assert!(err.contains("join the group swrun"), "{err}");
    assert_eq!(bed.status(&app)["state"], "online");
    bed.end();
}

#[test]
fn a_process_inside_a_cage_is_refused_even_as_root() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let group = bed
        .groups()
        .into_iter()
        .find(|folder| folder.join("cgroup.events").exists())
        .expect("the v2 tree");
    let instances = fs::read_dir(group.join("shop/app")).expect("it runs").flatten();
    let instance = instances
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .expect("an instance")
        .join("cgroup.procs");
    let inside = |uid: u32, words: &[&str]| {
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&instance)
            .args(["setpriv", "--reuid", &uid.to_string(), "--regid", &uid.to_string()])
            .arg("--clear-groups")
            .arg(public_swrun(&bed))
            .args(words)
            .env("SWRUN_ROOT", bed.root())
            .stdin(Stdio::null())
            .output()
            .expect("a shell")
    };
    for uid in [0, app.uid] {
        for words in [&["status"][..], &["stop", "shop"], &["restart"], &["kill"]] {
            refused(&inside(uid, words));
        }
    }
    assert_eq!(bed.status(&app)["state"], "online");
    // Outside the same callers are served.
    assert!(swrun_as(&bed, app.uid, &["status"]).status.success());
    assert!(Path::new(&instance).exists());
    bed.end();
}

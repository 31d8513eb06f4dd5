//! Logs under all that can happen to them: floods, deaths, full disks, other programs that move them. Lines are
//! counted and compared byte by byte.

mod bed;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bed::{App, Bed, is_guest, patience, pid};
use disk::Disk;
use scripts::python;
use swrun::formats::log_store::{self, Older};

/// An environment whose program is a shell script; it goes on sleeping after it.
fn shell(bed: &Bed, name: &str, script: &str, more: &str) -> App {
    let app = bed.app(name);
    let script = format!("{script}\nexec sleep 900");
    let more = format!("{more}\n[restart]\npolicy = \"never\"\n");
    bed.profile(&app, &["/bin/sh", "-c", &script], &more);
    app
}

fn folder(bed: &Bed, app: &App) -> PathBuf {
    bed.root().join("var/log/swrun").join(&app.name)
}

/// All that the app wrote to stdout and is kept, byte for byte.
fn raw(bed: &Bed, app: &App) -> Vec<u8> {
    let words = ["logs", &app.name, "--out", "--raw", "--nostream", "-n", "100000000"];
    let output = bed.swrun(&words);
    assert!(output.status.success(), "{:?}", bed::texts(&output));
    output.stdout
}

/// Waits until what is kept has this end, and gives it.
#[track_caller]
fn until_it_ends(bed: &Bed, app: &App, end: &str) -> Vec<u8> {
    let deadline = Instant::now() + patience();
    loop {
        let last = bed.swrun(&["logs", &app.name, "--out", "--raw", "--nostream", "-n", "1"]);
        if last.stdout == end.as_bytes() {
            return raw(bed, app);
        }
        assert!(Instant::now() < deadline, "{:?} is not {end:?}", bed::texts(&last));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `seq -f %0100.0f FIRST LAST` writes.
fn numbers(first: u32, last: u32) -> Vec<u8> {
    (first..=last).flat_map(|number| format!("{number:0100}\n").into_bytes()).collect()
}

/// The last of those, as a line.
fn number(number: u32) -> String {
    format!("{number:0100}\n")
}

const SEQ: &str = "seq -f %0100.0f";

fn sizes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("there");
    // One that is packed goes meanwhile.
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// Somebody who follows, until this goes.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(bed: &Bed, app: &App, into: &Path) -> Follower {
    let file = File::create(into).expect("ours");
    let mut command = Command::new(bed::swrun());
    command.arg("--root").arg(bed.root());
    // All that is there, too: it may begin when much has been written.
    let words = ["logs", &app.name, "--out", "--raw", "-n", "100000000"];
    command.args(words).stdout(file).stdin(Stdio::null());
    Follower(command.spawn().expect("it starts"))
}

#[test]
fn a_flood_is_kept_whole_over_many_files_packed_and_not_and_followed_meanwhile() {
    let bed = Bed::running();
    let lines = if is_guest() { 30_000 } else { 200_000 };
    let script = format!("until test -e go; do sleep 0.01; done; {SEQ} 1 {lines}");
    let rules = "[logs]\nrotate-size = \"1M\"\nkeep = 10000\n";
    let app = shell(&bed, "shop", &script, rules);
    bed.start(&app);
    let followed = bed.root().join("followed");
    let follower = follow(&bed, &app, &followed);
    fs::write(app.home.join("go"), "").expect("ours");
    let kept = until_it_ends(&bed, &app, &number(lines));
    let wanted = numbers(1, lines);
    assert!(kept == wanted, "{} of {} bytes", kept.len(), wanted.len());
    // Whoever looked all the time saw the same.
    kernel::until("it is followed to its end", || {
        fs::metadata(&followed).expect("ours").len() >= wanted.len() as u64
    });
    drop(follower);
    assert!(fs::read(&followed).expect("ours") == wanted);
    // In the end all that was put aside is packed, and others can read it.
    let names = || -> Vec<String> {
        let entries = fs::read_dir(folder(&bed, &app)).expect("there");
        let names = entries.map(|e| e.expect("there").file_name().into_string().expect("plain"));
        names.filter(|name| name.starts_with("out.log.")).collect()
    };
    kernel::until("all are packed", || names().iter().all(|name| name.ends_with(".gz")));
    // A flood that is over within a second had the machine to itself.
    let older = log_store::older(&folder(&bed, &app).join("out.log")).expect("readable");
    let packed_at = |older: &Older| fs::metadata(&older.path).and_then(|found| found.modified());
    let first = older.iter().map(|older| packed_at(older).expect("there")).min().expect("one");
    let first = first.duration_since(UNIX_EPOCH).expect("it is after 1970");
    // The clock of files is behind by a tick.
    let waited = first.saturating_sub(Duration::from_millis(older[0].at_millis));
    assert!(waited > Duration::from_millis(950), "{waited:?}");
    // By a process that takes no CPU from the app: nice(2) alone does not count beyond a cgroup.
    assert!(bed.groups().iter().any(|group| group.join("shop/pack").is_dir()));
    let many = if is_guest() { 3 } else { 20 };
    assert!(names().len() >= many, "{:?}", names());
    let script = "set -e; zcat -f out.log.*.gz out.log | wc -l; gzip -t out.log.*.gz";
    let zcat =
        Command::new("/bin/sh").args(["-c", script]).current_dir(folder(&bed, &app)).output();
    let zcat = zcat.expect("sh");
    assert!(zcat.status.success(), "{:?}", bed::texts(&zcat));
    assert_eq!(String::from_utf8_lossy(&zcat.stdout).trim(), lines.to_string());
    assert!(raw(&bed, &app) == wanted, "packed it is the same");
    // From the middle of what is packed.
    let some = bed.swrun(&["logs", "shop", "--out", "--raw", "--nostream", "-n", "25000"]);
    assert!(some.stdout == numbers(lines - 24_999, lines));
    bed.end();
}

/// Node does not wait until a line is written; what a nonblocking pipe does not take dies with it. Nobody reads
/// here while it writes, until the pipe is full for a good while.
#[test]
fn a_program_that_throws_after_a_flood_loses_no_line() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let lines = if is_guest() { 20_000 } else { 200_000 };
    let script = format!(
        "const pause = new Int32Array(new SharedArrayBuffer(4));\n\
         while (!require('fs').existsSync('go')) Atomics.wait(pause, 0, 0, 10);\n\
         for (let i = 1; i <= {lines}; i++) console.log(String(i).padStart(100, '0'));\n\
         throw new Error('the end');\n"
    );
    fs::write(app.home.join("app.js"), script).expect("ours");
    bed.profile(&app, &["node", "app.js"], "[restart]\npolicy = \"never\"\n");
    bed.start(&app);
    let monitor = rustix::process::Pid::from_raw(kernel::monitor(&bed, &app)).expect("a pid");
    let signal = |signal| rustix::process::kill_process(monitor, signal).expect("ours");
    signal(rustix::process::Signal::STOP);
    fs::write(app.home.join("go"), "").expect("ours");
    std::thread::sleep(Duration::from_millis(800));
    signal(rustix::process::Signal::CONT);
    let kept = until_it_ends(&bed, &app, &number(lines));
    assert!(kept == numbers(1, lines), "{} lines", kept.len() / 101);
    let errors = || bed.ok(&["errors", "shop"]);
    kernel::until("its last words are there", || errors().contains("Error: the end"));
    bed.end();
}

#[test]
fn whatever_bytes_it_writes_come_out_unchanged_and_leave_a_terminal_unharmed() {
    let bed = Bed::running();
    let script = r"
import random
random.seed(7)
data = bytes(random.choices(range(256), k=300_000)) + b'x' * 70_000 + b'\n\x1b]0;title\x07\x1b[2J\n' + b'\n\n' + b'no end'
open(os.environ['HOME'] + '/wrote', 'wb').write(data)
sys.stdout.buffer.write(data)
sys.stdout.buffer.flush()
";
    let app = python(&bed, "shop", script, "");
    let path = bed.profile_path(&app);
    let text = fs::read_to_string(&path).expect("just written");
    let rest = format!("writable = [\".\"]\n{text}[restart]\npolicy = \"never\"\n");
    fs::write(&path, rest).expect("ours");
    bed.swrun(&["start", "--no-wait", "shop"]);
    let kept = until_it_ends(&bed, &app, "no end");
    let wrote = fs::read(app.home.join("wrote")).expect("it wrote it");
    assert!(kept == wrote, "{} of {} bytes", kept.len(), wrote.len());
    let shown = bed.swrun(&["logs", "shop", "--nostream", "-n", "100000"]).stdout;
    let shown = String::from_utf8(shown).expect("text");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    assert!(shown.contains(r"\x1b]0;title\x07\x1b[2J"));
    bed.end();
}

#[test]
fn however_fast_it_writes_all_files_together_keep_their_bound() {
    let bed = Bed::running();
    let rules = "[logs]\nrotate-size = \"1M\"\nkeep = 10000\ntotal-max = \"8M\"\n";
    let app =
        shell(&bed, "shop", "until test -e go; do sleep 0.01; done; yes | head -c 400M", rules);
    bed.start(&app);
    let monitor = kernel::monitor(&bed, &app);
    fs::write(app.home.join("go"), "").expect("ours");
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        most = most.max(sizes(&folder(&bed, &app)));
    }
    assert!(most > 3 << 20 && most <= 8 << 20, "{most}");
    let status = fs::read_to_string(format!("/proc/{monitor}/status")).expect("it lives");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has it");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 24 << 10, "{peak} kB, in a build without optimisation");
    bed.end();
}

#[test]
fn a_flush_empties_everything_and_loses_nothing_of_what_comes() {
    let bed = Bed::running();
    let lines = if is_guest() { 30_000 } else { 300_000 };
    let script = format!("until test -e go; do sleep 0.01; done; {SEQ} 1 {lines}");
    let app = shell(&bed, "shop", &script, "[logs]\nrotate-size = \"1M\"\nkeep = 10000\n");
    bed.start(&app);
    fs::write(app.home.join("go"), "").expect("ours");
    kernel::until("there is something to flush", || sizes(&folder(&bed, &app)) > 0);
    for _ in 0..3 {
        let said = bed.ok(&["flush", "shop"]);
        assert!(said.contains("has empty logs"), "{said}");
    }
    let kept = until_it_ends(&bed, &app, &number(lines));
    let wanted = numbers(1, lines);
    assert!(wanted.ends_with(&kept), "what is there goes on to the end");
    assert!(kept.len() < wanted.len(), "something was flushed");
    bed.ok(&["flush"]);
    assert_eq!(raw(&bed, &app), b"");
    assert_eq!(sizes(&folder(&bed, &app)), 0);
    // Of one that is stopped there is no monitor that could.
    bed.ok(&["restart", "shop"]);
    until_it_ends(&bed, &app, &number(lines));
    bed.ok(&["stop", "shop"]);
    bed.ok(&["flush", "shop"]);
    assert_eq!((raw(&bed, &app), sizes(&folder(&bed, &app))), (Vec::new(), 0));
    bed.end();
}

/// The numbers up to `last` in order, and where some are missing swrun says how many and why; their count.
#[track_caller]
fn every_line_is_there_or_counted(bed: &Bed, app: &App, last: u64, why: &str) -> u64 {
    let (mut next, mut lost) = (1, 0);
    let words = ["logs", &app.name, "--out", "--nostream", "-n", "100000"];
    for line in bed.ok(&words).lines() {
        let (_, line) = line.split_once(' ').expect("a time and a text");
        if let Some(said) = line.strip_prefix("swrun: ") {
            let (count, rest) = said.split_once(' ').expect("a number and words");
            assert!(rest.starts_with("lines are missing here: ") && rest.contains(why), "{line}");
            let count: u64 = count.parse().expect("a number");
            (next, lost) = (next + count, lost + count);
        } else {
            assert_eq!(line.parse(), Ok(next), "{line}");
            next += 1;
        }
    }
    assert_eq!(next, last + 1);
    lost
}

#[test]
fn a_full_disk_stops_no_app_and_what_is_lost_is_counted() {
    let bed = Bed::running();
    let disk = Disk::new(bed.root().join("var/log/swrun/shop"), "1M");
    let script = format!(
        "{SEQ} 1 30000; touch ran-on; until test -e go; do sleep 0.01; done; {SEQ} 30001 30010"
    );
    let app = shell(&bed, "shop", &script, "writable = [\".\"]");
    bed.start(&app);
    kernel::until("the app goes on", || app.home.join("ran-on").exists());
    let warned = || {
        let events = kernel::events(&bed, &app, "warning");
        events.iter().any(|event| event["text"].to_string().contains("No space left on device"))
    };
    kernel::until("it is told", warned);
    disk.grow("64M");
    fs::write(app.home.join("go"), "").expect("ours");
    until_it_ends(&bed, &app, &number(30_010));
    let lost = every_line_is_there_or_counted(&bed, &app, 30_010, "No space left on device");
    assert!(lost > 10_000, "{lost}");
    // Of the app's bytes swrun's own words are no part.
    let own = raw(&bed, &app);
    assert!(!own.windows(5).any(|window| window == b"swrun"), "{}", own.len());
    let events = || kernel::events(&bed, &app, "lines-lost");
    kernel::until("it is an event", || {
        let told: Option<u64> = events().iter().map(|event| event["lines"].as_u64()).sum();
        told == Some(lost)
    });
    assert!(events().iter().all(|event| event["stream"] == "out"));
    let lost = events().last().expect("one")["lines"].clone();
    let shown = bed.ok(&["show", "shop"]);
    assert!(shown.contains(&format!("{lost} lines of out were lost")), "{shown}");
    bed.ok(&["stop", "shop"]);
    drop(disk);
    bed.end();
}

/// Moved by logrotate(8) itself, in both its ways.
#[test]
fn another_program_may_move_the_files() {
    if is_guest() {
        println!("skipped: seen on a host");
        return;
    }
    let bed = Bed::running();
    let script = format!(
        "for n in 1 2 3; do {SEQ} ${{n}}001 ${{n}}500; until test -e go$n; do sleep 0.01; done; done; {SEQ} 4001 4500"
    );
    let app = shell(&bed, "shop", &script, "");
    bed.start(&app);
    let logs = folder(&bed, &app);
    let rotate = |how: &str| {
        let text = format!("\"{}/*.log\" {{\nrotate 9\n{how}\nsu root root\n}}\n", logs.display());
        let configuration = bed.root().join("logrotate.conf");
        fs::write(&configuration, text).expect("ours");
        let state = bed.root().join("logrotate.state");
        let output = Command::new("/usr/sbin/logrotate")
            .arg("-f")
            .arg("-s")
            .args([&state, &configuration])
            .output()
            .expect("install logrotate");
        assert!(output.status.success(), "{:?}", bed::texts(&output));
    };
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    for (n, how) in [(1, "create 0640 root root"), (2, "copytruncate"), (3, "nocreate")] {
        kernel::until("the part is written", || lines(&logs.join("out.log")) == 500);
        // It is looked once a second whether the file is still the same.
        std::thread::sleep(Duration::from_millis(1100));
        rotate(how);
        assert_eq!(lines(&logs.join("out.log.1")), 500, "{how}");
        fs::write(app.home.join(format!("go{n}")), "").expect("ours");
    }
    kernel::until("the last part is written", || lines(&logs.join("out.log")) == 500);
    assert!(raw(&bed, &app) == numbers(4001, 4500));
    bed.end();
}

#[test]
fn with_the_runner_killed_again_and_again_no_line_is_lost() {
    let mut bed = Bed::running();
    let lines = if is_guest() { 20_000 } else { 300_000 };
    let script = format!("until test -e go; do sleep 0.01; done; {SEQ} 1 {lines}");
    let app = shell(&bed, "shop", &script, "[logs]\nrotate-size = \"4M\"\n");
    let before = bed.start(&app);
    fs::write(app.home.join("go"), "").expect("ours");
    for _ in 0..3 {
        bed.kill_daemon();
        bed.daemon();
    }
    let kept = until_it_ends(&bed, &app, &number(lines));
    assert!(kept == numbers(1, lines), "{} lines", kept.len() / 101);
    assert_eq!(pid(&bed.status(&app)), pid(&before));
    // With no runner at all they are read as well.
    bed.kill_daemon();
    assert!(raw(&bed, &app) == kept);
    bed.daemon();
    bed.end();
}

#[test]
fn lines_that_come_faster_than_they_are_kept_are_dropped_where_the_profile_says_so() {
    let bed = Bed::running();
    let script = format!("until test -e go; do sleep 0.01; done; {SEQ} 1 30000; touch done");
    let app = shell(&bed, "shop", &script, "writable = [\".\"]\n[logs]\non-full = \"drop\"\n");
    bed.start(&app);
    let monitor = rustix::process::Pid::from_raw(kernel::monitor(&bed, &app)).expect("a pid");
    let signal = |signal| rustix::process::kill_process(monitor, signal).expect("ours");
    signal(rustix::process::Signal::STOP);
    fs::write(app.home.join("go"), "").expect("ours");
    // The pipe is full, and the app waits.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!app.home.join("done").exists());
    signal(rustix::process::Signal::CONT);
    until_it_ends(&bed, &app, &number(30_000));
    let lost = every_line_is_there_or_counted(&bed, &app, 30_000, "faster than they could be kept");
    assert!(lost > 1_000, "{lost}");
    let events = || kernel::events(&bed, &app, "lines-lost");
    kernel::until("it is an event", || {
        let told: Option<u64> = events().iter().map(|event| event["lines"].as_u64()).sum();
        told == Some(lost)
    });
    bed.end();
}

#[test]
fn long_lines_of_several_instances_stay_whole() {
    let bed = Bed::running();
    let script = r"
own = os.environ['SWRUN_INSTANCE'].encode()[-1:]
for number in range(300):
    line = own * 50_000 + b'\n'
    # In several writes, as by a program whose buffer is smaller.
    for start in range(0, len(line), 9_000):
        os.write(1, line[start:start + 9_000])
os.write(2, b'done\n')
time.sleep(900)
";
    let app = python(&bed, "shop", script, "instances = 3\n");
    bed.swrun(&["start", "--no-wait", &app.name]);
    kernel::until("all are done", || bed.log(&app, "err.log").len() == 3);
    let kept = raw(&bed, &app);
    let lines: Vec<&[u8]> = kept.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()).collect();
    let is_whole = |line: &&[u8]| line.len() == 50_000 && line.iter().all(|byte| *byte == line[0]);
    let whole = lines.iter().copied().filter(is_whole).count();
    assert_eq!((lines.len(), whole), (900, 900));
    bed.end();
}

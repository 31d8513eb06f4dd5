use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use procfs::process::Process;
use swrun::formats::log_store;

use super::idle::on_cpus;
use super::rounds;
use crate::common::process::kib;
use crate::lab::{Lab, add, note};
use crate::manager::{Verb, ok};
use crate::result::Run;

const LINES: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(90);

/// One after the other.
pub fn measure(lab: &Lab, run: &mut Run) {
    let names = [
        "first to last line, s",
        "lines lost",
        "CPU of the manager until the last line, s",
        "CPU of the manager with what it packs afterwards, s",
        "peak of the manager's memory (RSS), MiB",
    ];
    lab.each(|mut guest| {
        for round in 0..rounds(9) {
            let job = lab.small(&format!("lines{round}"), &[&LINES.to_string(), "HOME/go"]);
            guest.manager.add(&job);
            std::thread::sleep(Duration::from_millis(1500));
            let log = guest.manager.log(&job);
            let own = guest.manager.own();
            for pid in &own {
                // The peak from here on (proc_pid_clear_refs(5)).
                let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
            }
            let (before, packed) = (on_cpus(&own), on_cpus_of_ended(&own));
            let begun = Instant::now();
            fs::write(job.home.join("go"), "").expect("ours");
            while !ends_with_last(&log) && begun.elapsed() < LONGEST {
                std::thread::sleep(Duration::from_millis(1));
            }
            let seconds = begun.elapsed();
            let used = on_cpus(&own) - before;
            // Who packs begins after the last line, or has not ended with it.
            std::thread::sleep(Duration::from_millis(1500));
            while guest.manager.own().len() > own.len() && begun.elapsed() < LONGEST {
                std::thread::sleep(Duration::from_millis(10));
            }
            let all = on_cpus(&own) - before + on_cpus_of_ended(&own) - packed;
            let peak: u64 = own.iter().filter_map(|pid| kib(*pid, "status", "VmHWM:")).sum();
            let peak = peak as f64 / 1024.0;
            // What is packed meanwhile is in one file, then in the other: nobody packs once it is stopped.
            if let Some(stop) = guest.manager.order(Verb::Stop, &job) {
                ok(stop);
            }
            let kept = count(&log);
            assert!(kept <= LINES, "{kept} lines under {}", guest.name);
            if seconds > LONGEST {
                note(run, names[0], guest.name, "the last one never came");
            } else {
                add(run, names[0], guest.name, seconds.as_secs_f64());
            }
            let values = [(LINES - kept) as f64, used, all, peak];
            for (name, value) in names[1..].iter().zip(values) {
                add(run, name, guest.name, value);
            }
            let _ = fs::remove_file(&log);
        }
        guest.manager.end();
    });
}

/// Seconds on a CPU, of children that have ended and were waited for (proc_pid_stat(5), in ticks of ten milliseconds).
fn on_cpus_of_ended(own: &[u32]) -> f64 {
    let ended =
        own.iter().filter_map(|pid| Process::new(i32::try_from(*pid).ok()?).ok()?.stat().ok());
    let ticks: i64 = ended.map(|stat| stat.cutime + stat.cstime).sum();
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// Whether the last line of all has been written.
fn ends_with_last(log: &Path) -> bool {
    use std::os::unix::fs::FileExt as _;
    let Ok(file) = fs::File::open(log) else { return false };
    let size = file.metadata().map_or(0, |found| found.len());
    let mut end = [0; 100];
    let is_there = size >= 100 && file.read_exact_at(&mut end, size - 100).is_ok();
    is_there && end.starts_with(format!("{LINES:010}").as_bytes())
}

/// Lines of the log, of its older files and of those that were packed; each whole.
fn count(log: &Path) -> u64 {
    let folder = log.parent().expect("a folder");
    let is_runit = log.file_name().is_some_and(|name| name == "current");
    let start = log.file_name().and_then(|name| name.to_str()).expect("plain").to_owned();
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Half packed: the whole of it is there too.
            let is_half = name.ends_with(log_store::PARTIAL);
            !is_half && (name.starts_with(&start) || is_runit && name.starts_with('@'))
        })
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("nobody writes there now");
            let text = if bytes.starts_with(&[0x1f, 0x8b]) { unpack(&bytes) } else { bytes };
            text.split(|byte| *byte == b'\n').filter(|line| is_whole(line)).count() as u64
        })
        .sum()
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let _ = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text);
    text
}

/// A line's own text is at its end, whatever a manager puts before it.
fn is_whole(line: &[u8]) -> bool {
    line.len() >= 99
        && line[line.len() - 89..].iter().all(|byte| *byte == b'x')
        && line[line.len() - 99..line.len() - 89].iter().all(u8::is_ascii_digit)
}

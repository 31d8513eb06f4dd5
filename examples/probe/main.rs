//! The test backend: run inside a cage, it reports what it sees there and misbehaves on request.
//!
//! ```text
//! probe report FILE|- [PATH…]   one JSON object (fields: `report.rs`); each PATH is tried
//! probe serve                   an HTTP server on $PORT (paths: `serve.rs`)
//!       PROBE_TERM=ignore       SIGTERM does nothing
//!       PROBE_TERM=slow:MS      SIGTERM: after MS ms prints "drained", exits 0
//!       (without)               SIGTERM: prints "got SIGTERM", exits 0
//!       PROBE_LISTEN=0          opens no port
//! probe stamp FILE exit:N|stay  appends CLOCK_MONOTONIC (ns) of its first step to FILE
//! probe storm N [processes]     starts N threads (or processes); prints {"asked","got","error"}
//! ```
//!
//! Hidden, for children: `__wait` (until stdin ends), `__hold MB`, `__grow MB RATE` (the same, with
//! memory), `__middle FILE`, `__daemon FILE`. Children are re-executions: a fork would need unsafe.

mod children;
mod report;
mod serve;

use std::io::Write;
use std::process::ExitCode;

/// CLOCK_MONOTONIC in nanoseconds.
fn monotonic() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

fn main() -> ExitCode {
    let stamp = monotonic();
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["stamp", file, then] => write_stamp(stamp, file, then),
        ["report", file, paths @ ..] => write_report(file, paths),
        ["serve"] => serve::main(),
        ["storm", count] => children::storm(number(count), false),
        ["storm", count, "processes"] => children::storm(number(count), true),
        ["__wait"] => children::wait(),
        ["__hold", mebibytes] => children::hold(number(mebibytes)),
        ["__grow", mebibytes, rate] => children::grow_and_wait(number(mebibytes), number(rate)),
        ["__middle", file] => children::middle(file),
        ["__daemon", file] => children::daemon(file),
        _ => {
            eprintln!("probe: unknown arguments {words:?}: see the head of examples/probe/main.rs");
            ExitCode::from(2)
        }
    }
}

/// The number that `text` is; a test that passes another thing is wrong and is told so.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn write_stamp(stamp: i128, file: &str, then: &str) -> ExitCode {
    let line = format!("{stamp}\n");
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("could not append to {file:?}: {error}"));
    if let Some(code) = then.strip_prefix("exit:") {
        std::process::exit(code.parse().unwrap_or_else(|_| panic!("{code:?} is no exit code")));
    }
    assert_eq!(then, "stay", "the third argument is exit:N or stay");
    loop {
        nix::unistd::pause();
    }
}

fn write_report(file: &str, paths: &[&str]) -> ExitCode {
    // Gathered first: the output's descriptor is not to be among those reported.
    let text = format!("{:#}\n", report::gather(paths));
    if file == "-" {
        print!("{text}");
    } else {
        std::fs::write(file, text)
            .unwrap_or_else(|error| panic!("could not write {file:?}: {error}"));
    }
    ExitCode::SUCCESS
}

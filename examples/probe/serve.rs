//! The probe as a backend: one request a connection, the simplest HTTP that works.
//!
//! `/` · `/pid` · `/report?path=P` (P may be given many times) · `/env?key=K` (404: not set) ·
//! `/leak?mb=N[&child=1]` · `/grow?mb=N&rate=MB/s[&child=1]` (answers at once) · `/files?mb=N&dir=D`
//! (writes, syncs, reads, removes) · `/shm?mb=N` (stays) · `/crash?code=N` · `/signal?n=N` ·
//! `/daemonize?file=F` (answers the pid) · `/out?lines=N` · `/err?lines=N` · `/partial`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};

use crate::{children, report};

/// Serves until SIGTERM, as `PROBE_TERM` says.
pub fn main() -> ExitCode {
    // Before any thread exists. std empties the mask of the children it starts.
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block().expect("SIGTERM can be blocked");
    if std::env::var("PROBE_LISTEN").as_deref() == Ok("0") {
        println!("probe: no port, pid {}", std::process::id());
    } else {
        let port = std::env::var("PORT").expect("PORT is set");
        let listener = TcpListener::bind(format!("0.0.0.0:{port}"))
            .unwrap_or_else(|error| panic!("could not listen on {port:?}: {error}"));
        let port = listener.local_addr().expect("it is bound").port();
        println!("probe: listening on {port}, pid {}", std::process::id());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || converse(stream));
            }
        });
    }
    let term = std::env::var("PROBE_TERM").unwrap_or_default();
    loop {
        signals.wait().expect("SIGTERM can be waited for");
        if let Some(milliseconds) = term.strip_prefix("slow:") {
            thread::sleep(Duration::from_millis(crate::number(milliseconds)));
            println!("drained");
            return ExitCode::SUCCESS;
        }
        if term != "ignore" {
            println!("got SIGTERM");
            return ExitCode::SUCCESS;
        }
    }
}

/// What happens once the answer is sent.
enum Then {
    Nothing,
    Exit(i32),
    Signal(i32),
    Partial,
}

fn converse(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(length) if length > 0 && head.len() < 65_536 => {
                head.extend_from_slice(&chunk[..length]);
            }
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, body, then) = match answer(path, &Query(query)) {
        Ok((Some(body), then)) => (200, body, then),
        Ok((None, then)) => (404, "not found".to_owned(), then),
        Err(error) => (500, error.to_string(), Then::Nothing),
    };
    let length = body.len();
    let _ = stream.write_all(
        format!(
            "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    );
    drop(stream);
    match then {
        Then::Nothing => {}
        Then::Exit(code) => std::process::exit(code),
        Then::Partial => {
            print!("a line without an end");
            let _ = io::stdout().flush();
            std::process::exit(3);
        }
        Then::Signal(number) => {
            let signal = Signal::try_from(number).expect("checked before");
            kill(nix::unistd::getpid(), signal).expect("a process may signal itself");
            // Rust's handler of these two takes the first for a fault, and lets the next one kill.
            if matches!(signal, Signal::SIGSEGV | Signal::SIGBUS) {
                loop {
                    thread::sleep(Duration::from_millis(1));
                    kill(nix::unistd::getpid(), signal).expect("a process may signal itself");
                }
            }
        }
    }
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn all(&self, key: &str) -> Vec<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| decoded(value)).collect()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.all(key).into_iter().next()
    }

    fn number(&self, key: &str, default: u64) -> io::Result<u64> {
        self.text(key).map_or(Ok(default), |text| text.parse().map_err(io::Error::other))
    }

    fn is_set(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value == "1")
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn answer(path: &str, query: &Query<'_>) -> io::Result<(Option<String>, Then)> {
    let mut then = Then::Nothing;
    let mebibytes = query.number("mb", 1)?;
    let lines = query.number("lines", 1)?;
    let body = match path {
        "/" => "ok".to_owned(),
        "/pid" => std::process::id().to_string(),
        "/report" => {
            let paths = query.all("path");
            report::gather(&paths.iter().map(String::as_str).collect::<Vec<_>>()).to_string()
        }
        "/env" => match query.text("key").and_then(std::env::var_os) {
            Some(value) => value.to_string_lossy().into_owned(),
            None => return Ok((None, then)),
        },
        "/leak" if query.is_set("child") => {
            children::start(&["__hold", &mebibytes.to_string()])?.to_string()
        }
        "/leak" => {
            children::keep(mebibytes);
            "kept".to_owned()
        }
        "/grow" => {
            let rate = query.number("rate", 1)?;
            if query.is_set("child") {
                let words = ["__grow", &mebibytes.to_string(), &rate.to_string()];
                children::start(&words)?.to_string()
            } else {
                thread::spawn(move || children::grow(mebibytes, rate));
                "growing".to_owned()
            }
        }
        "/files" => {
            let folder = query.text("dir").ok_or_else(|| io::Error::other("dir is missing"))?;
            files(&folder, mebibytes)?;
            "done".to_owned()
        }
        "/shm" => {
            let name = format!("/dev/shm/probe-{}", std::process::id());
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&name)?;
            fill(&mut file, mebibytes)?;
            name
        }
        "/crash" => {
            let code = query.number("code", 1)?;
            then = Then::Exit(i32::try_from(code).map_err(io::Error::other)?);
            "crashing".to_owned()
        }
        "/signal" => {
            let number = i32::try_from(query.number("n", 9)?).map_err(io::Error::other)?;
            then = Then::Signal(Signal::try_from(number)? as i32);
            "signalling".to_owned()
        }
        "/daemonize" => children::daemonize(&query.text("file").unwrap_or_default())?,
        "/out" => {
            let mut out = io::stdout().lock();
            (1..=lines).try_for_each(|line| writeln!(out, "out {line}"))?;
            "printed".to_owned()
        }
        "/err" => {
            let mut err = io::stderr().lock();
            (1..=lines).try_for_each(|line| writeln!(err, "err {line}"))?;
            "printed".to_owned()
        }
        "/partial" => {
            then = Then::Partial;
            "exiting".to_owned()
        }
        _ => return Ok((None, then)),
    };
    Ok((Some(body), then))
}

fn fill(file: &mut File, mebibytes: u64) -> io::Result<()> {
    let step = vec![0x5a; 1 << 20];
    (0..mebibytes).try_for_each(|_| file.write_all(&step))
}

/// Page cache without memory of one's own: files of 16 MiB at most, synced, read back, removed.
fn files(folder: &str, mebibytes: u64) -> io::Result<()> {
    let count = mebibytes.div_ceil(16);
    let names: Vec<String> =
        (0..count).map(|index| format!("{folder}/probe-{}-{index}", std::process::id())).collect();
    for (index, name) in (0_u64..).zip(&names) {
        let mut file = File::create(name)?;
        fill(&mut file, (mebibytes - index * 16).min(16))?;
        file.sync_all()?;
    }
    let mut read = 0;
    for name in &names {
        read += io::copy(&mut File::open(name)?, &mut io::sink())?;
    }
    names.iter().try_for_each(fs::remove_file)?;
    if read == mebibytes << 20 { Ok(()) } else { Err(io::Error::other("read less than written")) }
}

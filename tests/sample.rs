//! The sample backend over real sockets, and as the real binary where its process is the point.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use swrun::sample::{Options, serve};

/// A server in this process; dropping `stop` stops it.
struct Server {
    address: SocketAddr,
    stop: std::io::PipeWriter,
    thread: JoinHandle<u64>,
}

fn start(options: Options) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (watched, stop) = std::io::pipe().unwrap();
    let thread = thread::spawn(move || serve(&listener, watched.as_fd(), &options).unwrap());
    Server { address, stop, thread }
}

impl Server {
    fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    fn ask(&self, target: &str) -> (u16, String) {
        ask(self.address, target)
    }

    /// Stops it; tells how many requests it answered.
    fn end(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(address: SocketAddr, target: &str) -> (u16, String) {
    let mut stream = connect(address);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    let (status, _, body) = read_answer(&mut BufReader::new(stream)).unwrap();
    (status, body)
}

/// Reads one answer by its length: status, head in lower case, body. None at the connection's end.
fn read_answer(reader: &mut impl BufRead) -> Option<(u16, String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            assert_eq!(head, "", "the connection ended within a head");
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Some((status, head, String::from_utf8(body).unwrap()))
}

/// Sends `bytes` and reads the one answer that ends the connection.
fn refused(server: &Server, bytes: &[u8]) -> u16 {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    let mut reader = BufReader::new(stream);
    let (status, head, _) = read_answer(&mut reader).unwrap();
    assert!(head.contains("connection: close"), "{head}");
    assert!(read_answer(&mut reader).is_none(), "the connection must end");
    status
}

#[test]
fn every_path_answers() {
    let server = start(Options::default());
    let (status, home) = server.ask("/");
    assert_eq!(status, 200);
    assert!(home.contains(&format!("pid {}\n", std::process::id())), "{home}");
    assert!(home.ends_with("requests 1\n"), "{home}");
    assert_eq!(server.ask("/healthz"), (200, "ok\n".to_owned()));

    let environment: serde_json::Value = serde_json::from_str(&server.ask("/env").1).unwrap();
    assert!(environment["names"].as_array().unwrap().iter().any(|name| name == "PATH"));
    assert!(environment["values"].get("PATH").is_none());

    let before: serde_json::Value = serde_json::from_str(&server.ask("/memory").1).unwrap();
    assert_eq!(server.ask("/leak?mb=32"), (200, "32 MiB kept\n".to_owned()));
    let after: serde_json::Value = serde_json::from_str(&server.ask("/memory").1).unwrap();
    let grown = after["rss"].as_u64().unwrap() - before["rss"].as_u64().unwrap();
    assert!(grown >= 31 << 20, "the leak is resident, not only reserved: {grown}");
    assert!(after["cpus"].as_u64().unwrap() >= 1);

    let begun = Instant::now();
    assert_eq!(server.ask("/burn?ms=50").0, 200);
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, text) = server.ask(&format!("/bind?port={port}"));
    assert!(status == 403 && text.contains("could not be bound"), "{status} {text}");
    drop(taken);
    assert_eq!(server.ask(&format!("/bind?port={port}")).0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(50));

    assert_eq!(server.ask("/leak?mb=lots").0, 400);
    assert_eq!(server.ask("/healthz/").0, 404);
    assert_eq!(server.end(), 11);
}

#[test]
fn a_connection_carries_many_requests_one_after_the_other_or_all_at_once() {
    let server = start(Options::default());
    let mut stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        let (status, head, body) = read_answer(&mut reader).unwrap();
        assert_eq!((status, body.as_str()), (200, "ok\n"));
        assert!(head.contains("connection: keep-alive"), "{head}");
    }
    // Pipelined, and cut at an odd place.
    let many = b"GET /a HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\nGET /leak HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(&many[..25]).unwrap();
    stream.write_all(&many[25..]).unwrap();
    let statuses: Vec<u16> = (0..3).map(|_| read_answer(&mut reader).unwrap().0).collect();
    assert_eq!(statuses, [404, 200, 400]);
    assert!(read_answer(&mut reader).is_none());
    assert_eq!(server.end(), 6);
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = start(Options::default());
    let mut stream = server.connect();
    stream.write_all(b"HEAD /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    server.end();
}

#[test]
fn what_is_no_request_is_refused_and_the_others_are_served() {
    let server = start(Options::default());
    assert_eq!(refused(&server, b"\x16\x03\x01 tls?\r\n\r\n"), 400);
    assert_eq!(refused(&server, b"GET /\xff\xfe HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused(&server, b"POST /crash HTTP/1.1\r\nContent-Length: 3\r\n\r\nGET"), 400);
    assert_eq!(refused(&server, b"DELETE / HTTP/1.1\r\n\r\n"), 405);
    // Over-long, whether its end comes or not, and though more is sent than is read.
    let mut long = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    long.resize(8 * 1024, b'x');
    assert_eq!(refused(&server, &long), 431);
    long.resize(40 * 1024, b'x');
    long.extend_from_slice(b"\r\n\r\n");
    assert_eq!(refused(&server, &long), 431);
    assert_eq!(server.ask("/healthz").0, 200);
    server.end();
}

#[test]
fn the_longest_head_that_is_allowed_is_answered() {
    let server = start(Options::default());
    let mut head = b"GET /healthz HTTP/1.1\r\nConnection: close\r\nCookie: ".to_vec();
    head.resize(8 * 1024 - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    let mut stream = server.connect();
    stream.write_all(&head).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(stream)).unwrap().0, 200);
    server.end();
}

#[test]
fn half_a_request_and_silence_times_out() {
    let patience = Duration::from_millis(200);
    let server = start(Options { patience, ..Options::default() });
    let begun = Instant::now();
    assert_eq!(refused(&server, b"GET / HTTP/1.1\r\nHo"), 408);
    assert!(begun.elapsed() >= patience);

    // A byte now and then does not extend the time.
    let mut stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let dripping = thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) && stream.write_all(b"G").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    });
    assert_eq!(read_answer(&mut reader).unwrap().0, 408);
    drop(reader);
    assert!(dripping.join().unwrap() < Duration::from_secs(10), "it was cut off");
    server.end();
}

#[test]
fn an_idle_connection_is_closed() {
    let idle = Duration::from_millis(200);
    let server = start(Options { idle, ..Options::default() });
    let mut stream = server.connect();
    let begun = Instant::now();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert!(begun.elapsed() >= idle);
    assert_eq!(server.end(), 0);
}

#[test]
fn connections_beyond_the_bound_wait_their_turn() {
    let server = start(Options { connections: 2, ..Options::default() });
    let held: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    // Both places are taken by connections in the middle of a request.
    for mut stream in &held {
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    }
    let mut third = server.connect();
    third.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waiting = third.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(waiting, std::io::ErrorKind::WouldBlock, "the third has no place yet");

    for mut stream in &held {
        stream.write_all(b"\r\n").unwrap();
        assert_eq!(read_answer(&mut BufReader::new(stream)).unwrap().0, 200);
    }
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(third)).unwrap().0, 200);
    server.end();
}

#[test]
fn a_stop_answers_the_request_in_hand_and_no_more() {
    let server = start(Options::default());
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    // An answer on a third connection: by then the two were accepted, since it came after them.
    assert_eq!(server.ask("/healthz").0, 200);
    let Server { stop, thread, .. } = server;
    drop(stop);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "an idle connection is closed at once");
    assert!(!thread.is_finished(), "the request in hand holds the end back");
    busy.write_all(b" t\r\n\r\nGET /never HTTP/1.1\r\n\r\n").unwrap();
    let mut reader = BufReader::new(busy);
    let (status, head, _) = read_answer(&mut reader).unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    assert!(read_answer(&mut reader).is_none());
    assert_eq!(thread.join().unwrap(), 2);
}

/// The binary itself, on a port of the kernel's choice.
struct Process {
    child: Child,
    address: SocketAddr,
    log: BufReader<ChildStdout>,
}

fn spawn() -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_swrun"))
        .arg(swrun::sample::ROLE)
        .env_clear()
        .envs([("PORT", "0"), ("SWRUN_ENV", "prod"), ("DATABASE_URL", "hunter2")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let port = line.strip_prefix("listening on 0.0.0.0:").expect(&line);
    let port = port.split(',').next().unwrap().parse().unwrap();
    Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)), log }
}

impl Process {
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn rest(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.log.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

#[test]
fn two_hundred_connections_at_once_are_all_served_and_logged() {
    let process = spawn();
    let mut streams: Vec<TcpStream> = (0..200).map(|_| connect(process.address)).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    }
    for stream in streams {
        assert_eq!(read_answer(&mut BufReader::new(stream)).unwrap().0, 200);
    }
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, out, err) = process.rest();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out.lines().filter(|line| *line == "GET /healthz 200").count(), 200);
}

#[test]
fn sigterm_ends_it_after_the_request_in_hand() {
    let process = spawn();
    assert!(ask(process.address, "/").1.contains("\nenvironment prod\n"));
    let environment = ask(process.address, "/env").1;
    assert!(environment.contains("DATABASE_URL") && !environment.contains("hunter2"));

    let mut busy = connect(process.address);
    let mut late = connect(process.address);
    busy.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    // Answered after those two were accepted, as the queue is in order.
    assert_eq!(ask(process.address, "/memory").0, 200);
    // What it sees at once when it goes on: the signal, and a request that came before it.
    process.signal(nix::sys::signal::Signal::SIGSTOP);
    late.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(read_answer(&mut BufReader::new(late)).unwrap().0, 200);
    busy.write_all(b"\r\n").unwrap();
    assert_eq!(read_answer(&mut BufReader::new(busy)).unwrap().0, 200);
    let (code, out, _) = process.rest();
    assert_eq!(code, Some(0));
    assert!(out.ends_with("GET /healthz 200\nended by SIGTERM after 5 requests\n"), "{out}");
}

#[test]
fn a_crash_answers_first_and_exits_with_code_1() {
    let process = spawn();
    assert_eq!(ask(process.address, "/crash"), (200, "crashing with exit code 1\n".to_owned()));
    let (code, out, err) = process.rest();
    assert_eq!(code, Some(1));
    assert_eq!((out.as_str(), err.contains("crashed")), ("GET /crash 200\n", true));
}

#[test]
fn a_log_that_nobody_reads_does_not_end_it() {
    let Process { mut child, address, log } = spawn();
    drop(log);
    for _ in 0..3 {
        assert_eq!(ask(address, "/healthz").0, 200);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_a_port_it_says_so() {
    for port in [None, Some("http")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swrun"));
        command.arg(swrun::sample::ROLE).env_clear().envs(port.map(|port| ("PORT", port)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("PORT"));
    }
}

#[test]
fn a_client_that_resets_is_survived() {
    let server = start(Options::default());
    for _ in 0..20 {
        let mut stream = server.connect();
        stream.write_all(b"GET /env HTTP/1.1\r\n\r\nGET /env HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Read).unwrap();
    }
    assert_eq!(server.ask("/healthz").0, 200);
    server.end();
}

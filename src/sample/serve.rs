//! The connections of the sample: blocking, a thread each, bounded in number, time and length.
//!
//! `stop` is a descriptor that every thread polls beside its socket: once it is ready (a signalfd, or
//! a pipe that was closed) nothing new is taken, and requests in hand are answered.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::answer::{Answer, State, answer};
use super::request::{self, HEAD_MAX, Refusal};

/// A connection's stack: no answer needs more.
const STACK: usize = 256 * 1024;

/// How much of what a refused client still sends is read away (see [`close`]).
const DRAIN_MAX: usize = 64 * 1024;

/// The bounds of [`serve`].
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections at one time; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a kept connection may wait for its next request. While it waits it takes a place.
    pub idle: Duration,
    /// How long a head may take from its first byte, and an answer to be taken.
    pub patience: Duration,
}

impl Default for Options {
    /// 64 connections, and the 5 s of Node's `keepAliveTimeout`.
    fn default() -> Self {
        Self { connections: 64, idle: Duration::from_secs(5), patience: Duration::from_secs(5) }
    }
}

/// Serves `listener` until `stop` is ready and all requests in hand are answered; tells how many
/// requests that were.
///
/// # Errors
/// The listener could not be made non-blocking or polled.
pub fn serve(listener: &TcpListener, stop: BorrowedFd<'_>, options: &Options) -> io::Result<u64> {
    // Others may accept from the same socket: after a poll the connection can be gone already.
    listener.set_nonblocking(true)?;
    let state = State::default();
    let places = Places { free: Mutex::new(options.connections), freed: Condvar::new() };
    thread::scope(|scope| {
        loop {
            places.wait();
            if wait(listener.as_fd(), Some(stop), None)? == Woken::Stop {
                return Ok(());
            }
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    // Out of descriptors, most likely: the queue keeps the poll ready, so pause.
                    let _ = writeln!(io::stderr(), "could not accept a connection: {error}");
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            let place = places.take();
            let (state, places) = (&state, &places);
            let connection = move || {
                let _place = place;
                // A client that went away is its own affair.
                let _ = converse(stream, stop, options, state, places);
            };
            let spawned = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, connection);
            if let Err(error) = spawned {
                // At the limit of threads: the client sees its connection closed.
                let _ = writeln!(io::stderr(), "could not start a thread: {error}");
            }
        }
    })
    .map(|()| state.requests.load(Ordering::Relaxed))
}

/// Answers the requests of one connection, in turn.
fn converse(
    mut stream: TcpStream,
    stop: BorrowedFd<'_>,
    options: &Options,
    state: &State,
    places: &Places,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(options.patience))?;
    let mut received = Vec::new();
    loop {
        let head = match read_head(&mut stream, &mut received, stop, options)? {
            Head::None => return Ok(()),
            Head::Complete(length) => {
                let request = request::parse(&received[..length]);
                received.drain(..length);
                request
            }
            Head::Refused(refusal) => Err(refusal),
        };
        state.requests.fetch_add(1, Ordering::Relaxed);
        let (answer, asked, is_head, wants_more) = match &head {
            Ok(request) => {
                let verb = if request.is_head { "HEAD" } else { "GET" };
                let asked = format!("{verb} {}", request.target());
                (answer(request, state), asked, request.is_head, request.keeps_alive)
            }
            Err(refusal) => (Answer::from(refusal), "-".to_owned(), false, false),
        };
        // With all places taken a kept connection would shut others out.
        let keeps = wants_more && !answer.crashes && !places.are_taken() && !is_ready(stop)?;
        super::say(&format!("{asked} {}", answer.status));
        stream.write_all(&written(&answer, is_head, keeps))?;
        if !keeps {
            close(stream);
            if answer.crashes {
                let _ = writeln!(io::stderr(), "sample: crashed, as \"/crash\" asked");
                std::process::exit(1);
            }
            return Ok(());
        }
    }
}

/// What came of waiting for a head.
enum Head {
    /// The connection ended, or idled, or the server stops: there is no request.
    None,
    /// The first so many bytes are a head.
    Complete(usize),
    Refused(Refusal),
}

fn read_head(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    stop: BorrowedFd<'_>,
    options: &Options,
) -> io::Result<Head> {
    let mut begun = Instant::now();
    loop {
        match request::head_length(received) {
            Some(length) if length <= HEAD_MAX => return Ok(Head::Complete(length)),
            None if received.len() < HEAD_MAX => {}
            Some(_) | None => {
                let reason = "the head is longer than 8 KiB";
                return Ok(Head::Refused(Refusal { status: 431, reason }));
            }
        }
        // A stop ends the wait for a first byte only: a request that has begun is in hand.
        let is_idle = received.is_empty();
        let (stop, allowed) =
            if is_idle { (Some(stop), options.idle) } else { (None, options.patience) };
        match wait(stream.as_fd(), stop, Some(allowed.saturating_sub(begun.elapsed())))? {
            Woken::Socket => {}
            // Its first bytes came with the stop, or before: that is a request in hand.
            Woken::Stop if is_ready(stream.as_fd())? => {}
            Woken::Time if !is_idle => {
                let reason = "the head took too long";
                return Ok(Head::Refused(Refusal { status: 408, reason }));
            }
            Woken::Time | Woken::Stop => return Ok(Head::None),
        }
        let mut chunk = [0; 2048];
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(Head::None);
        }
        if is_idle {
            begun = Instant::now();
        }
        received.extend_from_slice(&chunk[..length]);
    }
}

fn written(answer: &Answer, is_head: bool, keeps: bool) -> Vec<u8> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    };
    let allow = if answer.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let connection = if keeps { "keep-alive" } else { "close" };
    let body = if is_head { "" } else { &answer.body };
    format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Connection: {connection}\r\n\r\n{body}",
        answer.status,
        answer.kind,
        answer.body.len(),
    )
    .into_bytes()
}

/// Ends a connection so that the last answer arrives: closing with unread bytes would reset it,
/// and a reset makes the client lose what it has not read yet (RFC 9112, section 9.6).
fn close(mut stream: TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let begun = Instant::now();
    let mut drained = 0;
    let mut chunk = [0; 2048];
    while drained < DRAIN_MAX {
        let left = Duration::from_millis(500).saturating_sub(begun.elapsed());
        match wait(stream.as_fd(), None, Some(left)) {
            Ok(Woken::Socket) => match stream.read(&mut chunk) {
                Ok(length) if length > 0 => drained += length,
                _ => return,
            },
            _ => return,
        }
    }
}

/// What ended a wait.
#[derive(PartialEq, Eq)]
enum Woken {
    Socket,
    Stop,
    Time,
}

/// Waits for the socket, for the stop (which goes first), or for the time, if there is one.
fn wait(
    socket: BorrowedFd<'_>,
    stop: Option<BorrowedFd<'_>>,
    time: Option<Duration>,
) -> io::Result<Woken> {
    let deadline = time.map(|time| Instant::now() + time);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            // Rounded up: a wait that ends a little early would be gone through again and again.
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
        });
        let mut watched = vec![PollFd::new(socket, PollFlags::POLLIN)];
        watched.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Ok(Woken::Time),
            Ok(_) if watched.get(1).is_some_and(|stop| stop.any().unwrap_or(true)) => {
                return Ok(Woken::Stop);
            }
            Ok(_) => return Ok(Woken::Socket),
        }
    }
}

fn is_ready(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(wait(descriptor, None, Some(Duration::ZERO))? == Woken::Socket)
}

/// The places for connections.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    /// Waits until a place is free. It needs no stop of its own: at a stop connections end.
    fn wait(&self) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let _free = self.freed.wait_while(free, |free| *free == 0);
    }

    /// Takes a place, until what is returned is dropped. Only the accepting thread takes.
    fn take(&self) -> Place<'_> {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }

    fn are_taken(&self) -> bool {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }
}

/// A taken place.
struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

//! The command line's end of the control socket: one request, progress, one final answer.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::exit::Failure;
use crate::model::Places;
use crate::wire::ask::{Answer, Ask, Refusal};
use crate::wire::frame::{LONGEST_ANSWER, LONGEST_REQUEST, decode, encode};

/// How long a runner may take to let us in, and to answer what needs no waiting.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the runner of `places`; `progress` is told what happens meanwhile (environment, text). An
/// answer that refuses is an error, exit status 1.
///
/// # Errors
/// The runner cannot be reached (exit status 4), or it refused.
pub fn ask(
    places: &Places,
    ask: &Ask,
    patience: Duration,
    progress: impl FnMut(&str, &str),
) -> Result<Answer, Failure> {
    ask_at(&places.socket(), ask, patience, progress)
}

/// The same, at the socket where nothing can be changed: for a process that others talk to.
///
/// # Errors
/// As [`ask`].
pub fn look(places: &Places, asked: &Ask) -> Result<Answer, Failure> {
    ask_at(&places.see_socket(), asked, PATIENCE, |_, _| ())
}

fn ask_at(
    socket: &Path,
    ask: &Ask,
    patience: Duration,
    progress: impl FnMut(&str, &str),
) -> Result<Answer, Failure> {
    let frame =
        encode(ask).map_err(|error| Failure::failed(format!("cannot ask the runner: {error}")))?;
    if frame.len() > LONGEST_REQUEST {
        return Err(Failure::usage(format!(
            "the order is {} bytes long, the runner reads {LONGEST_REQUEST} at most: name fewer",
            frame.len()
        )));
    }
    let mut stream = connect(socket, patience)?;
    let may_take = if is_waiting(ask) { None } else { Some(patience) };
    let timeouts = stream.set_write_timeout(Some(patience));
    timeouts
        .and_then(|()| stream.set_read_timeout(may_take))
        .map_err(|error| broken(socket, &error))?;
    // A runner that refuses before it has read all closes its end: its answer is there all the same.
    let written = stream.write_all(&frame);
    match read_answer(&mut stream, socket, patience, progress) {
        Err(failure) => match written {
            Err(error) => Err(broken(socket, &error)),
            Ok(()) => Err(failure),
        },
        Ok(Answer::Refused(Refusal { text, .. })) => Err(Failure::failed(text)),
        Ok(answer) => Ok(answer),
    }
}

/// An answer that does not belong to what was asked.
#[must_use]
pub fn unexpected() -> Failure {
    Failure::failed(
        "the runner answered something else than what was asked: is it of another version? \
         compare \"swrun --version\" with the runner's, and restart the runner",
    )
}

/// Whether the answer comes only when an outcome is known, which has no bound: an app's grace time is
/// the operator's to choose.
fn is_waiting(ask: &Ask) -> bool {
    match ask {
        Ask::Status { .. }
        | Ask::Show { .. }
        | Ask::History { .. }
        | Ask::Events { .. }
        | Ask::Logs { .. }
        | Ask::Ports { .. }
        | Ask::Trace { .. }
        | Ask::Exec { .. }
        | Ask::List {}
        | Ask::Renew {} => false,
        Ask::Start(order)
        | Ask::Stop(order)
        | Ask::Restart(order)
        | Ask::Reload(order)
        | Ask::Scale { order, .. }
        | Ask::Flush(order)
        | Ask::Upgrade(order)
        | Ask::Delete(order) => order.wait,
        Ask::StartAdHoc(ad_hoc) => ad_hoc.wait,
        Ask::Kill {} | Ask::Evict { .. } | Ask::Restore(_) | Ask::Deploy { .. } => true,
    }
}

/// Connects; a runner that is stopped or drowned in callers must not hold the caller for ever, so the
/// send time-out is set before (unix(7): it bounds connect too).
fn connect(socket: &Path, patience: Duration) -> Result<UnixStream, Failure> {
    let connected = (|| {
        let address = SocketAddrUnix::new(socket)?;
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_socket_timeout(&fd, Timeout::Send, Some(patience))?;
        rustix::net::connect(&fd, &address)?;
        Ok(UnixStream::from(fd))
    })();
    connected.map_err(|errno: Errno| {
        let shown = socket.display();
        match errno {
            Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => Failure::unreachable(format!(
                "the runner is not running (\"{shown}\": {errno}): start it with \
                 \"systemctl start swrun\", or \"swrun daemon\" without systemd"
            )),
            Errno::ACCESS | Errno::PERM => Failure::unreachable(format!(
                "no permission to talk to the runner at \"{shown}\": use sudo, or join the group swrun \
                 (\"usermod -aG swrun USER\", then log in anew)"
            )),
            Errno::AGAIN | Errno::TIMEDOUT => Failure::unreachable(format!(
                "the runner at \"{shown}\" lets nobody in (waited {} s): look at \"systemctl status swrun\"",
                patience.as_secs()
            )),
            Errno::NAMETOOLONG | Errno::INVAL => Failure::unreachable(format!(
                "the path of the runner's socket \"{shown}\" is too long (107 bytes at most): use a shorter --root"
            )),
            other => Failure::unreachable(format!("cannot connect to the runner at \"{shown}\": {other}")),
        }
    })
}

fn read_answer(
    stream: &mut impl Read,
    socket: &Path,
    patience: Duration,
    mut progress: impl FnMut(&str, &str),
) -> Result<Answer, Failure> {
    let mut bytes = Vec::new();
    // Bytes known to hold no end of a frame are not searched again.
    let mut searched = 0;
    // Of hundreds of environments the answer has hundreds of kilobytes.
    let mut block = vec![0; 128 << 10];
    loop {
        while bytes[searched..].contains(&0) || bytes.len() > LONGEST_ANSWER {
            let decoded = decode::<Answer>(&bytes, LONGEST_ANSWER).map_err(|error| {
                Failure::unreachable(format!(
                    "what answers at \"{}\" is not a runner of this version ({error}): restart the runner",
                    socket.display()
                ))
            })?;
            match decoded {
                Some((Answer::Progress { name, text }, used)) => {
                    progress(&name, &text);
                    bytes.drain(..used);
                    searched = 0;
                }
                Some((answer, _)) => return Ok(answer),
                None => break,
            }
        }
        searched = bytes.len();
        match stream.read(&mut block) {
            Ok(0) => {
                return Err(Failure::unreachable(format!(
                    "the runner at \"{}\" closed the connection before it answered: whether the order was \
                     carried out is unknown, see \"swrun status\" and \"journalctl -u swrun\"",
                    socket.display()
                )));
            }
            Ok(read) => bytes.extend_from_slice(&block[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Failure::unreachable(format!(
                    "the runner at \"{}\" does not answer (waited {} s): look at \"systemctl status swrun\"",
                    socket.display(),
                    patience.as_secs()
                )));
            }
            Err(error) => return Err(broken(socket, &error)),
        }
    }
}

fn broken(socket: &Path, error: &std::io::Error) -> Failure {
    Failure::unreachable(format!(
        "the connection to the runner at \"{}\" broke: {error}: whether the order was carried out is \
         unknown, see \"swrun status\"",
        socket.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::super::exit::Exit;
    use super::*;
    use crate::wire::ask::{Order, Outcome};

    const SHORT: Duration = Duration::from_millis(200);

    /// A runner that takes one caller, reads its request and then does `answer`.
    fn runner(
        answer: impl FnOnce(&mut UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, Places, JoinHandle<Ask>) {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::below(folder.path());
        std::fs::create_dir_all(places.run()).expect("made");
        let listener = UnixListener::bind(places.socket()).expect("bound");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut bytes = Vec::new();
            let mut block = [0; 1024];
            let request = loop {
                let read = stream.read(&mut block).expect("read");
                assert!(read > 0, "half a request");
                bytes.extend_from_slice(&block[..read]);
                if let Some((request, used)) = decode(&bytes, LONGEST_REQUEST).expect("a request") {
                    assert_eq!(used, bytes.len(), "one request a connection");
                    break request;
                }
            };
            answer(&mut stream);
            request
        });
        (folder, places, thread)
    }

    fn stop() -> Ask {
        Ask::Stop(Order { targets: vec!["prod".into()], wait: true })
    }

    fn failure(outcome: Result<Answer, Failure>) -> (Exit, String) {
        match outcome {
            Err(Failure::Because(exit, text)) => (exit, text),
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn progress_comes_before_the_answer() {
        let done = Answer::Done {
            outcomes: vec![Outcome {
                name: "backend-prod".into(),
                ok: true,
                text: "stopped".into(),
            }],
        };
        let sent = done.clone();
        let (_folder, places, thread) = runner(move |stream| {
            let step =
                |text: &str| Answer::Progress { name: "backend-prod".into(), text: text.into() };
            let mut bytes = encode(&step("stopping")).expect("JSON");
            bytes.extend(encode(&step("grace is over")).expect("JSON"));
            bytes.extend(encode(&sent).expect("JSON"));
            // In pieces that respect no frame.
            for piece in bytes.chunks(7) {
                stream.write_all(piece).expect("written");
            }
        });
        let mut seen = Vec::new();
        let answer =
            ask(&places, &stop(), PATIENCE, |name, text| seen.push(format!("{name}: {text}")));
        assert_eq!(answer, Ok(done));
        assert_eq!(seen, ["backend-prod: stopping", "backend-prod: grace is over"]);
        assert_eq!(thread.join().expect("served"), stop());
    }

    #[test]
    fn frames_may_come_in_any_pieces() {
        /// Gives so many bytes a read.
        struct Dribble<'a>(&'a [u8], usize);
        impl Read for Dribble<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let (now, later) = self.0.split_at(self.1.min(self.0.len()));
                into[..now.len()].copy_from_slice(now);
                self.0 = later;
                Ok(now.len())
            }
        }
        let done = Answer::Done { outcomes: Vec::new() };
        let mut bytes = Vec::new();
        for text in ["a", "bb", "a longer text"] {
            let step = Answer::Progress { name: "n".into(), text: text.into() };
            bytes.extend(encode(&step).expect("JSON"));
        }
        bytes.extend(encode(&done).expect("JSON"));
        for piece in 1..=bytes.len() {
            let mut seen = 0;
            let mut stream = Dribble(&bytes, piece);
            let answer = read_answer(&mut stream, Path::new("s"), PATIENCE, |_, _| seen += 1);
            assert_eq!((answer, seen), (Ok(done.clone()), 3), "{piece} bytes a read");
        }
    }

    #[test]
    fn a_refusal_is_a_failure_in_the_runners_words() {
        let (_folder, places, _thread) = runner(|stream| {
            let refusal =
                Refusal { code: "unknown-environment".into(), text: "no \"prod\" here".into() };
            stream.write_all(&encode(&Answer::Refused(refusal)).expect("JSON")).expect("written");
        });
        assert_eq!(
            failure(ask(&places, &stop(), PATIENCE, |_, _| ())),
            (Exit::Failed, "no \"prod\" here".into())
        );
    }

    #[test]
    fn a_missing_runner_is_4_and_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::below(folder.path());
        let missing = failure(ask(&places, &stop(), PATIENCE, |_, _| ()));
        std::fs::create_dir_all(places.run()).expect("made");
        drop(UnixListener::bind(places.socket()).expect("bound"));
        let refused = failure(ask(&places, &stop(), PATIENCE, |_, _| ()));
        for (exit, text) in [missing, refused] {
            assert_eq!(exit, Exit::Unreachable);
            assert!(
                text.contains("systemctl start swrun") && text.contains("swrun daemon"),
                "{text}"
            );
        }
        let long = Places::below(folder.path().join("x".repeat(120)));
        let (exit, text) = failure(ask(&long, &stop(), PATIENCE, |_, _| ()));
        assert!(exit == Exit::Unreachable && text.contains("too long"), "{text}");
    }

    #[test]
    fn garbage_half_an_answer_and_silence_are_4() {
        let half = &encode(&Answer::Done { outcomes: Vec::new() }).expect("JSON")[..10];
        let half = half.to_vec();
        let cases: [(Vec<u8>, &str); 4] = [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n\0".to_vec(), "not a runner of this version"),
            (vec![b'x'; LONGEST_ANSWER + 1], "longer than"),
            (half, "closed the connection"),
            (Vec::new(), "closed the connection"),
        ];
        for (bytes, words) in cases {
            let (_folder, places, _thread) = runner(move |stream| {
                // The caller hangs up on a frame without end.
                let _ = stream.write_all(&bytes);
            });
            let (exit, text) = failure(ask(&places, &stop(), PATIENCE, |_, _| ()));
            assert_eq!(exit, Exit::Unreachable);
            assert!(text.contains(words), "{text}");
        }
        let (silent, waits) = std::sync::mpsc::channel::<()>();
        let (_folder, places, _thread) = runner(move |_| {
            let _ = waits.recv();
        });
        let (exit, text) =
            failure(ask(&places, &Ask::Status { targets: Vec::new() }, SHORT, |_, _| ()));
        drop(silent);
        assert!(exit == Exit::Unreachable && text.contains("does not answer"), "{text}");
    }

    #[test]
    fn a_runner_that_lets_nobody_in_is_4() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::below(folder.path());
        std::fs::create_dir_all(places.run()).expect("made");
        let flags = SocketFlags::CLOEXEC;
        let stopped =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .expect("a socket");
        let address = SocketAddrUnix::new(places.socket()).expect("short enough");
        rustix::net::bind(&stopped, &address).expect("bound");
        rustix::net::listen(&stopped, 0).expect("listens");
        let _first_in_the_queue =
            UnixStream::connect(places.socket()).expect("the queue takes one");
        let (exit, text) =
            failure(ask(&places, &Ask::Status { targets: Vec::new() }, SHORT, |_, _| ()));
        assert!(exit == Exit::Unreachable && text.contains("lets nobody in"), "{text}");
    }

    #[test]
    fn an_order_too_long_is_not_sent() {
        let ask_for = Ask::Status { targets: vec!["x".repeat(LONGEST_REQUEST)] };
        let places = Places::below("/nonexistent");
        assert_eq!(failure(ask(&places, &ask_for, SHORT, |_, _| ())).0, Exit::Usage);
    }
}

//! The control socket: bounded in frames, time and connections, so that no caller can starve another.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::answer::answer;
use super::peer;
use super::registry::Runner;
use crate::sys::files;
use crate::wire::ask::{Answer, Ask, Refusal};
use crate::wire::frame::{self, LONGEST_REQUEST};

/// How long a caller may take to send its request, and to read an answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// How long those who are let in hold up the end of the server.
const LEFT_WITHIN: Duration = Duration::from_secs(1);

/// Connections served at once, of all callers and of one that is not root.
const MOST_CONNECTIONS: usize = 128;
const MOST_OF_ONE_USER: usize = 16;

/// What is answered at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Whatever the caller may.
    All,
    /// Of that, what only looks (`Places::see_socket`).
    See,
}

/// Binds the socket at `path`, or goes on with the one that a runner before left, where it is that one.
/// Everybody may connect, since a deploy user may ask for its own environment: who is connected decides.
///
/// # Errors
/// In words for the operator.
pub fn listen(path: &Path, left: Option<OwnedFd>) -> Result<UnixListener, String> {
    if let Some(listener) = left.and_then(|socket| go_on(socket, path)) {
        return Ok(listener);
    }
    // The runner's lock is held: a socket that is there is a dead runner's.
    files::remove_if_there(path)
        .map_err(|e| format!("could not remove the old socket \"{}\": {e}", path.display()))?;
    let listener = UnixListener::bind(path)
        .map_err(|e| format!("could not listen at \"{}\": {e}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(|e| format!("could not open \"{}\" to its users: {e}", path.display()))?;
    Ok(listener)
}

/// Bound there, and it is still what is found there.
fn go_on(socket: OwnedFd, path: &Path) -> Option<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    let is_at_path = listener.local_addr().is_ok_and(|at| at.as_pathname() == Some(path));
    listener.set_nonblocking(true).ok()?;
    (is_at_path && path.exists()).then(|| UnixListener::from_std(listener).ok())?
}

/// A connection that is served.
#[derive(Debug)]
struct Guest {
    uid: u32,
    /// Its request has not come yet: nothing is lost when it is sent away.
    is_silent: Cell<bool>,
}

/// Who is served now, the oldest first; and each time one leaves.
#[derive(Debug, Default)]
struct Guests(RefCell<Vec<(Rc<Guest>, AbortHandle)>>, Notify);

impl Guests {
    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn of_user(&self, uid: u32) -> usize {
        self.0.borrow().iter().filter(|(guest, _)| guest.uid == uid).count()
    }

    /// Sends the oldest silent guest away, of the user who has the most: who opens connections and
    /// says nothing takes the place of nobody else. `false` where all have asked for something.
    fn make_room(&self) -> bool {
        let oldest = self
            .0
            .borrow()
            .iter()
            .enumerate()
            .filter(|(_, (guest, _))| guest.is_silent.get())
            .max_by_key(|(index, (guest, _))| (self.of_user(guest.uid), Reverse(*index)))
            .map(|(index, _)| index);
        let Some(oldest) = oldest else { return false };
        let (_, task) = self.0.borrow_mut().remove(oldest);
        task.abort();
        true
    }

    fn leave(&self, guest: &Rc<Guest>) {
        self.0.borrow_mut().retain(|(other, _)| !Rc::ptr_eq(other, guest));
        self.1.notify_one();
    }

    async fn all_left(&self) {
        while self.count() > 0 {
            self.1.notified().await;
        }
    }
}

/// Serves until `ends`; who was let in has a second more, and who was not waits at the socket.
pub async fn serve(runner: Rc<Runner>, listener: UnixListener, scope: Scope, ends: Rc<Notify>) {
    let guests: Rc<Guests> = Rc::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ends.notified() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is left: those in use come back.
                tracing::warn!("could not take a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let uid = stream.peer_cred().map_or(u32::MAX, |credentials| credentials.uid());
        let is_full = || guests.count() >= MOST_CONNECTIONS && !guests.make_room();
        // However many others there are, root gets in.
        if uid != 0 && (guests.of_user(uid) >= MOST_OF_ONE_USER || is_full()) {
            tokio::task::spawn_local(refuse(stream));
            continue;
        }
        let guest = Rc::new(Guest { uid, is_silent: Cell::new(true) });
        let task = {
            let (runner, guests, guest) =
                (Rc::clone(&runner), Rc::clone(&guests), Rc::clone(&guest));
            tokio::task::spawn_local(async move {
                // A caller that misbehaves is its own problem.
                let _ = one(runner, stream, scope, &guest).await;
                guests.leave(&guest);
            })
        };
        guests.0.borrow_mut().push((guest, task.abort_handle()));
    }
    let _ = tokio::time::timeout(LEFT_WITHIN, guests.all_left()).await;
}

async fn refuse(mut stream: UnixStream) {
    let text = "too many requests at once; try again".to_owned();
    let busy = Answer::Refused(Refusal { code: "busy".to_owned(), text });
    let _ = tokio::time::timeout(Duration::from_millis(100), send(&mut stream, &busy)).await;
}

async fn one(
    runner: Rc<Runner>,
    mut stream: UnixStream,
    scope: Scope,
    guest: &Guest,
) -> io::Result<()> {
    let bad = |text: String| Answer::Refused(Refusal { code: "bad-request".to_owned(), text });
    let ask = match tokio::time::timeout(REQUEST_WITHIN, read(&mut stream)).await {
        Ok(Ok(Some(ask))) => ask,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(text)) => return send(&mut stream, &bad(text)).await,
        Err(_) => {
            let text = format!("no whole request came within {} s", REQUEST_WITHIN.as_secs());
            return send(&mut stream, &bad(text)).await;
        }
    };
    guest.is_silent.set(false);
    if scope == Scope::See && !ask.only_looks() {
        let text = "this socket is for looking; orders are taken at the other one".to_owned();
        let refused = Answer::Refused(Refusal { code: "not-permitted".to_owned(), text });
        return send(&mut stream, &refused).await;
    }
    let Some(peer) = peer::of(&stream, &runner) else {
        return send(&mut stream, &bad("the kernel does not say who asks".to_owned())).await;
    };
    let is_kill = ask == Ask::Kill {};
    let (progress, mut news) = mpsc::channel(16);
    let mut answering = tokio::task::spawn_local(answer(Rc::clone(&runner), peer, ask, progress));
    let last = loop {
        tokio::select! {
            Some(text) = news.recv() => send(&mut stream, &text).await?,
            last = &mut answering => break last,
        }
    };
    while let Ok(text) = news.try_recv() {
        send(&mut stream, &text).await?;
    }
    let last = last.unwrap_or_else(|_| bad("the runner lost this request".to_owned()));
    let is_done = is_kill
        && matches!(&last, Answer::Done { outcomes } if outcomes.iter().all(|outcome| outcome.ok));
    let sent = send(&mut stream, &last).await;
    if is_done {
        runner.finish_kill();
    }
    if matches!(last, Answer::Renew { is_other: true, .. }) {
        runner.renew();
    }
    sent
}

/// Reads one request; `None` when the caller went away before it sent one.
async fn read(stream: &mut UnixStream) -> Result<Option<Ask>, String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Err("the request ends in the middle".to_owned()),
            Err(error) => return Err(format!("could not read the request: {error}")),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        match frame::decode(&bytes, LONGEST_REQUEST) {
            Ok(Some((ask, _))) => return Ok(Some(ask)),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn send(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let frame = frame::encode(answer).map_err(io::Error::other)?;
    match tokio::time::timeout(REQUEST_WITHIN, stream.write_all(&frame)).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

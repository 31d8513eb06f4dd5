//! The control socket: bounded in frames, time and connections, so that no caller can starve another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::answer::answer;
use super::peer;
use super::registry::Runner;
use crate::model::Places;
use crate::wire::ask::{Answer, Ask, Refusal};
use crate::wire::frame::{self, LONGEST_REQUEST};

/// How long a caller may take to send its request, and to read an answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Connections served at once, of all callers and of one that is not root.
const MOST_CONNECTIONS: usize = 128;
const MOST_OF_ONE_USER: usize = 16;

/// Binds the socket; everybody may connect, since a deploy user may ask for its own environment: who
/// is connected decides.
///
/// # Errors
/// In words for the operator.
pub fn listen(places: &Places) -> Result<UnixListener, String> {
    let path = places.socket();
    // The runner's lock is held: a socket that is there is a dead runner's.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("could not remove the old socket \"{}\": {error}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path)
        .map_err(|e| format!("could not listen at \"{}\": {e}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
        .map_err(|e| format!("could not open \"{}\" to its users: {e}", path.display()))?;
    Ok(listener)
}

/// Serves for ever.
pub async fn serve(runner: Rc<Runner>, listener: UnixListener) {
    let connected: Rc<RefCell<HashMap<u32, usize>>> = Rc::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is left: those in use come back.
                tracing::warn!("could not take a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let uid = stream.peer_cred().map_or(u32::MAX, |credentials| credentials.uid());
        let is_full = {
            let connected = connected.borrow();
            let own = connected.get(&uid).copied().unwrap_or(0);
            connected.values().sum::<usize>() >= MOST_CONNECTIONS
                || (uid != 0 && own >= MOST_OF_ONE_USER)
        };
        if is_full {
            tokio::task::spawn_local(refuse(stream));
            continue;
        }
        *connected.borrow_mut().entry(uid).or_default() += 1;
        let (runner, connected) = (Rc::clone(&runner), Rc::clone(&connected));
        tokio::task::spawn_local(async move {
            // A caller that misbehaves is its own problem.
            let _ = one(runner, stream).await;
            let mut connected = connected.borrow_mut();
            if let Some(count) = connected.get_mut(&uid) {
                *count -= 1;
                if *count == 0 {
                    connected.remove(&uid);
                }
            }
        });
    }
}

async fn refuse(mut stream: UnixStream) {
    let text = "too many requests at once; try again".to_owned();
    let busy = Answer::Refused(Refusal { code: "busy".to_owned(), text });
    let _ = tokio::time::timeout(Duration::from_millis(100), send(&mut stream, &busy)).await;
}

async fn one(runner: Rc<Runner>, mut stream: UnixStream) -> io::Result<()> {
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
    let is_done = is_kill && matches!(last, Answer::Done { .. });
    let sent = send(&mut stream, &last).await;
    if is_done {
        runner.finish_kill();
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

//! HTTP/1 on a loopback port or a unix socket, for processes that need no root: bounded in connections, time and
//! the length of a request.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, LocalSet};

use super::exit::{Ended, Exit, Failure};
use super::output::say;

/// An answer.
pub type Response = hyper::Response<Full<Bytes>>;

/// How long a request may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// After so long a connection is closed, when it has answered what it was asked.
const CONNECTION: Duration = Duration::from_secs(60);

/// How long that may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// A loopback address with a port, as it was written: nobody but this host is to connect.
///
/// # Errors
/// How it is to be written.
pub fn loopback(text: &str, example: u16) -> Result<SocketAddr, Failure> {
    let hint = format!("write it as 127.0.0.1:{example} or [::1]:{example}");
    let address: SocketAddr = text
        .parse()
        .map_err(|_| Failure::usage(format!("\"{text}\" is no address with a port: {hint}")))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(Failure::usage(format!(
            "\"{text}\" is not of the loopback interface: {hint}, and let a reverse proxy or an agent on this host fetch it"
        ))),
    }
}

/// An answer with a body.
pub fn answer(status: StatusCode, form: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
    response
}

/// An answer that is a line of text.
pub fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    answer(status, "text/plain; charset=utf-8", format!("{}\n", text.into()))
}

/// In a request (its extensions): whether who asks on that connection was let in. Such a one is not ended for a newcomer.
#[derive(Debug, Clone, Default)]
pub struct LetIn(Arc<AtomicBool>);

impl LetIn {
    /// It is.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves whoever connects by `answer`, at most `most` at once. A newcomer takes the place of the oldest who was not let
/// in: nobody shuts others out by staying.
pub struct Server {
    answer: Rc<dyn Fn(Request<Incoming>) -> Answering>,
    most: usize,
    guests: Rc<RefCell<Vec<Guest>>>,
}

/// A connection that is served.
struct Guest {
    is_let_in: LetIn,
    task: AbortHandle,
}

type Answering = Pin<Box<dyn Future<Output = Response>>>;

impl Server {
    pub fn new<A>(most: usize, answer: impl Fn(Request<Incoming>) -> A + 'static) -> Self
    where
        A: Future<Output = Response> + 'static,
    {
        let answer = Rc::new(move |request| Box::pin(answer(request)) as Answering);
        Self { answer, most, guests: Rc::default() }
    }

    /// Serves on a port until it is ended; `says` is told where.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn on_port(self, address: SocketAddr, says: impl FnOnce(SocketAddr) -> String) -> Ended {
        block_on(async {
            let failed = |error| Failure::failed(format!("could not listen on {address}: {error}"));
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            say(&says(listener.local_addr().map_err(failed)?));
            self.all(async || Ok(listener.accept().await?.0)).await
        })
    }

    /// The same on a unix socket, for its owner and group.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn on_socket(self, path: &Path, says: &str) -> Ended {
        block_on(async {
            let failed = |error: std::io::Error| {
                Failure::failed(format!("could not listen at \"{}\": {error}", path.display()))
            };
            // What an ended one left; one that listens, or another kind of file, stays.
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
                && std::os::unix::net::UnixStream::connect(path).is_err()
            {
                std::fs::remove_file(path).map_err(failed)?;
            }
            let listener = UnixListener::bind(path).map_err(failed)?;
            let mode = std::fs::Permissions::from_mode(0o660);
            std::fs::set_permissions(path, mode).map_err(failed)?;
            say(says);
            self.all(async || Ok(listener.accept().await?.0)).await
        })
    }

    /// Serves whom `accept` lets in, for ever.
    async fn all<S>(&self, accept: impl AsyncFn() -> std::io::Result<S>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        loop {
            match accept().await {
                Ok(stream) => {
                    self.make_room();
                    let (answer, guests) = (Rc::clone(&self.answer), Rc::clone(&self.guests));
                    let is_let_in = LetIn::default();
                    let own = is_let_in.clone();
                    let task = tokio::task::spawn_local(async move {
                        converse(stream, &*answer, &own).await;
                        let is_other = |guest: &Guest| !Arc::ptr_eq(&guest.is_let_in.0, &own.0);
                        guests.borrow_mut().retain(is_other);
                    });
                    let task = task.abort_handle();
                    self.guests.borrow_mut().push(Guest { is_let_in, task });
                }
                Err(error) => {
                    // No descriptor is left: those in use come back.
                    say(&format!("could not take a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Ends the oldest connection that was not let in where there are as many as may be, else the oldest of all.
    fn make_room(&self) {
        let mut guests = self.guests.borrow_mut();
        if guests.len() >= self.most {
            let oldest = guests.iter().position(|guest| !guest.is_let_in.0.load(Ordering::Relaxed));
            let oldest = oldest.unwrap_or(0);
            guests.remove(oldest).task.abort();
        }
    }
}

/// One connection. A caller that misbehaves is its own problem.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &dyn Fn(Request<Incoming>) -> Answering,
    is_let_in: &LetIn,
) {
    let answering = |mut request: Request<Incoming>| {
        request.extensions_mut().insert(is_let_in.clone());
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service_fn(answering));
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(ANSWERED_WITHIN, connection).await;
}

fn block_on(serving: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::failed(format!("could not start the runtime: {e}")))?;
    let ended = LocalSet::new().block_on(&runtime, async {
        let ended = async {
            let mut term =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                _ = term.recv() => Ok(()),
                done = tokio::signal::ctrl_c() => done,
            }
        };
        tokio::select! {
            ended = serving => ended,
            _ = ended => Ok(Exit::Done),
        }
    });
    // A question that the runner has not answered yet holds nobody up.
    runtime.shutdown_background();
    ended
}

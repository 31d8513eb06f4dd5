//! `GET /metrics` over HTTP, on a loopback port or a unix socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::say;
use crate::model::Places;

/// The form (OpenMetrics 1.0).
const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections served at once; others wait.
const MOST: usize = 8;

/// How long a request may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(60);

/// Serves until it is ended.
pub fn on_port(places: &Places, address: SocketAddr) -> Ended {
    block_on(async {
        let failed = |error| Failure::failed(format!("could not listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        say(&format!("metrics: http://{}/metrics", listener.local_addr().map_err(failed)?));
        Served::new(places).all(async || Ok(listener.accept().await?.0)).await
    })
}

/// The same on a unix socket, for its owner and group.
pub fn on_socket(places: &Places, path: &Path) -> Ended {
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
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
        say(&format!("metrics: GET /metrics at \"{}\"", path.display()));
        Served::new(places).all(async || Ok(listener.accept().await?.0)).await
    })
}

fn block_on(serving: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::failed(format!("could not start the runtime: {e}")))?;
    LocalSet::new().block_on(&runtime, async {
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
    })
}

/// No descriptor is left: those in use come back.
async fn pause_after(error: &std::io::Error) {
    say(&format!("could not take a connection: {error}"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

struct Served {
    places: Places,
    room: Arc<Semaphore>,
}

type Permit = tokio::sync::OwnedSemaphorePermit;

impl Served {
    fn new(places: &Places) -> Self {
        Self { places: places.clone(), room: Arc::new(Semaphore::new(MOST)) }
    }

    /// Waits until there is room for one more.
    async fn room(&self) -> Permit {
        match Arc::clone(&self.room).acquire_owned().await {
            Ok(permit) => permit,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Serves whom `accept` lets in, for ever.
    async fn all<S>(&self, accept: impl AsyncFn() -> std::io::Result<S>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        loop {
            let permit = self.room().await;
            match accept().await {
                Ok(stream) => self.serve(stream, permit),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, permit: Permit) {
        let places = self.places.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(places.clone(), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // A caller that misbehaves is its own problem.
            let _ = tokio::time::timeout(CONNECTION, connection).await;
            drop(permit);
        });
    }
}

async fn answer(
    places: Places,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            // The client waits; others are served meanwhile.
            let asked = tokio::task::spawn_blocking(move || super::known_or_down(&places)).await;
            match asked {
                Ok(text) => {
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    let form = hyper::header::HeaderValue::from_static(FORM);
                    response.headers_mut().insert(CONTENT_TYPE, form);
                    response
                }
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the text could not be made\n"),
            }
        }
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET it\n"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics\n"),
    })
}

//! `GET /metrics` over HTTP, on a loopback port or a unix socket.

use std::net::SocketAddr;
use std::path::Path;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::cli::exit::Ended;
use crate::cli::http::{Response, Server, answer, plain};
use crate::model::Places;

/// The form (OpenMetrics 1.0).
const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections served at once; others wait.
const MOST: usize = 8;

/// Serves until it is ended.
pub fn on_port(places: &Places, address: SocketAddr) -> Ended {
    server(places).on_port(address, |address| format!("metrics: http://{address}/metrics"))
}

/// The same on a unix socket, for its owner and group.
pub fn on_socket(places: &Places, path: &Path) -> Ended {
    server(places).on_socket(path, &format!("metrics: GET /metrics at \"{}\"", path.display()))
}

fn server(places: &Places) -> Server {
    let places = places.clone();
    Server::new(MOST, move |request| answered(places.clone(), request))
}

async fn answered(places: Places, request: Request<Incoming>) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            // The client waits; others are served meanwhile.
            let asked = tokio::task::spawn_blocking(move || super::known_or_down(&places)).await;
            match asked {
                Ok(text) => answer(StatusCode::OK, FORM, text),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the text could not be made"),
            }
        }
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET it"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics"),
    }
}

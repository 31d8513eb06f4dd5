//! One task for each environment: connects to its monitor, starts one where it is wanted and there is
//! none, and again when it dies.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::registry::{Entry, Runner, View};
use super::{link, orders};
use crate::model::Wanted;
use crate::sys::channel;
use crate::wire::keep::Brief;

/// A monitor that lived less than this is started again with a pause.
const QUICK_DEATH: Duration = Duration::from_secs(2);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the environment until the runner forgets it or ends everything.
pub async fn keep(runner: Rc<Runner>, entry: Rc<Entry>) {
    let mut wanted = entry.wanted.subscribe();
    let mut pause = Duration::ZERO;
    while runner.knows(&entry) {
        let is_wanted = *wanted.borrow_and_update() == Wanted::Online && !runner.is_killing();
        if let Ok(socket) = channel::connect(&runner.places.monitor(&entry.name).join("sock")) {
            let since = Instant::now();
            serve(&entry, socket).await;
            if *entry.wanted.borrow() == Wanted::Stopped {
                // Whoever ordered the stop may not have waited for the end.
                runner.layout.clean(runner.driver.as_ref(), &runner.places, &entry.name);
            }
            pause = if since.elapsed() < QUICK_DEATH { grow(pause) } else { Duration::ZERO };
            continue;
        }
        if !is_wanted {
            entry.view.send_modify(|view| (view.is_launching, view.trouble) = (false, None));
            if wanted.changed().await.is_err() {
                return;
            }
            pause = Duration::ZERO;
            continue;
        }
        if !runner.places.spec(&entry.name).exists() {
            // Nothing to try until an order writes one.
            let text = orders::no_spec(&runner, &entry.name);
            tracing::error!("{}: {text}", entry.name);
            entry.view.send_modify(|view| view.trouble = Some(text));
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        if !pause.is_zero() {
            // An order changes the mind at once.
            let is_over = tokio::time::timeout(pause, wanted.changed()).await.is_err();
            pause = if is_over { pause } else { Duration::ZERO };
            if !is_over || runner.is_killing() {
                continue;
            }
        }
        entry.view.send_modify(|view| view.is_launching = true);
        let launched = runner.layout.launch(&runner.places, &entry.name).await;
        if let Err(text) = launched {
            tracing::error!("{}: {text}", entry.name);
            entry.view.send_modify(|view| {
                (view.is_launching, view.trouble) = (false, Some(text));
            });
            pause = grow(pause);
        }
    }
}

fn grow(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE)
}

async fn serve(entry: &Entry, socket: std::os::fd::OwnedFd) {
    let connected: io::Result<_> = link::connect(socket);
    let Ok((link, connection)) = connected else {
        entry.view.send_modify(|view| view.is_launching = false);
        return;
    };
    *entry.link.borrow_mut() = Some(link);
    entry.view.send_modify(|view| {
        *view = View { is_connected: true, ..View::default() };
    });
    let on_change = |brief: Brief| entry.view.send_modify(|view| view.brief = Some(brief));
    connection.serve(on_change).await;
    *entry.link.borrow_mut() = None;
    entry.view.send_modify(|view| view.is_connected = false);
}

//! One task for each environment: connects to its monitor, starts one where it is wanted and there is
//! none, and again when it dies.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::entry::{Entry, View};
use super::launch::{Layout, is_unit_stopped};
use super::link::News;
use super::registry::Runner;
use super::{link, orders};
use crate::model::Wanted;
use crate::sys::trace::Trace;
use crate::sys::{channel, files, sockets};

/// A monitor that lived less than this is started again with a pause.
const QUICK_DEATH: Duration = Duration::from_secs(2);

/// The shortest pause after something went wrong.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause before the next monitor after one that could not be started.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The same after one that came up and was killed: however often that happens, its environment is to
/// be back within a second.
const LONGEST_PAUSE_ONCE_UP: Duration = Duration::from_millis(400);

/// For so long a new runner looks for monitors that the runner before had on their way up.
const LOOKS_FOR: Duration = Duration::from_secs(2);
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// How long, in growing steps up to this, a monitor that is ending is waited for.
const ENDS_WITHIN: Duration = Duration::from_millis(500);

/// Keeps the environment until the runner forgets it or ends everything.
pub async fn keep(runner: Rc<Runner>, entry: Rc<Entry>) {
    let mut wanted = entry.wanted.subscribe();
    let mut pause = Duration::ZERO;
    // systemd starts a unit again that died by itself; one that "systemctl stop" ended stays so.
    // So does one that was stopped before this runner began, in this boot.
    let mut is_systemds = matches!(runner.layout, Layout::Units)
        && runner.places.monitor(&entry.name).join("lock").exists()
        && runner.saved(&entry.name).is_some_and(|saved| saved.wanted == Wanted::Online)
        && !runner.was_killed();
    while runner.knows(&entry) {
        let is_wanted = *wanted.borrow_and_update() == Wanted::Online && !runner.is_killing();
        if let Ok(socket) = channel::connect(&runner.places.monitor(&entry.name).join("sock")) {
            let since = Instant::now();
            let was_saved = runner.saved(&entry.name).map(|saved| saved.wanted);
            if was_saved == Some(Wanted::Stopped) {
                // The runner that was ordered to stop it died over it.
                tokio::task::spawn_local(finish_stop(Rc::clone(&runner), Rc::clone(&entry)));
            }
            serve(&entry, socket).await;
            // It may have ended, by whosever order.
            runner.walls.sweep();
            // An end that was ordered is no death: a start right after it does not wait.
            let was_ordered = *entry.wanted.borrow() == Wanted::Stopped;
            pause = if since.elapsed() < QUICK_DEATH && !was_ordered {
                grow(pause, LONGEST_PAUSE_ONCE_UP)
            } else {
                Duration::ZERO
            };
            is_systemds = matches!(runner.layout, Layout::Units);
            if !pause.is_zero() && runner.knows(&entry) {
                // One that cuts the connection off again and again must not be spun for.
                tokio::time::sleep(SHORTEST_PAUSE).await;
            }
            continue;
        }
        if !is_wanted {
            entry.view.send_modify(|view| (view.is_launching, view.trouble) = (false, None));
            shut(&entry);
            clean(&runner, &entry).await;
            let is_new = runner.since.elapsed() < LOOKS_FOR;
            if is_new && tokio::time::timeout(LOOKS_EVERY, wanted.changed()).await.is_err() {
                continue;
            }
            if !is_new && wanted.changed().await.is_err() {
                return;
            }
            (is_systemds, pause) = (false, Duration::ZERO);
            continue;
        }
        if is_systemds {
            let is_stopped = is_unit_stopped(&entry.name).await;
            entry.view.send_modify(|view| view.is_unit_stopped = is_stopped);
            pause = grow(pause, LONGEST_PAUSE);
            if tokio::time::timeout(pause, wanted.changed()).await.is_ok() {
                // An order: it is the runner's to start again.
                (is_systemds, pause) = (false, Duration::ZERO);
            }
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
        // Kept here until it runs: it may fail to start.
        let copies = entry.sockets.borrow().values().map(OwnedFd::try_clone).collect();
        let sockets: Vec<OwnedFd> = io::Result::unwrap_or_default(copies);
        let mut trace = Trace::begin("runner");
        let launched =
            runner.layout.launch(&runner.places, &entry.name, &sockets, &mut trace).await;
        *entry.launch_trace.borrow_mut() = trace;
        drop(sockets);
        if let Err(text) = launched {
            tracing::error!("{}: {text}", entry.name);
            entry.view.send_modify(|view| {
                (view.is_launching, view.trouble) = (false, Some(text));
            });
            pause = grow(pause, LONGEST_PAUSE);
        }
    }
}

/// Asks the monitor to end, once it is connected.
async fn finish_stop(runner: Rc<Runner>, entry: Rc<Entry>) {
    let mut views = entry.view.subscribe();
    let _ = views.wait_for(|view| view.is_connected).await;
    if *entry.wanted.borrow() == Wanted::Stopped
        && let Err(text) = orders::end_monitor(&runner, &entry).await
    {
        tracing::error!("{}: {text}", entry.name);
    }
}

/// Removes what a monitor left. One that is ending has the lock until it is dead, a moment after its
/// last connection; one that is on its way up keeps it.
async fn clean(runner: &Runner, entry: &Entry) {
    let path = runner.places.monitor(&entry.name).join("lock");
    let mut pause = Duration::from_millis(1);
    while pause < ENDS_WITHIN {
        match files::lock(&path) {
            Ok(Some(_lock)) => {
                runner.layout.clean(runner.driver.as_ref(), &runner.places, &entry.name);
                return;
            }
            Ok(None) => tokio::time::sleep(pause).await,
            Err(_) => return,
        }
        pause *= 2;
    }
}

/// Nobody is to answer any more: who waits is told so, and nobody is let in from here on. Not by closing alone,
/// which comes a moment later.
pub fn shut(entry: &Entry) {
    let sockets: Vec<OwnedFd> =
        std::mem::take(&mut *entry.sockets.borrow_mut()).into_values().collect();
    for socket in &sockets {
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
    }
    close(sockets.into_iter());
}

/// Closes copies of apps' sockets, beside the runner's own thread: the last holder of one may be made to
/// wait by its app.
fn close(sockets: impl Iterator<Item = OwnedFd>) {
    let sockets: Vec<OwnedFd> = sockets.collect();
    if !sockets.is_empty() {
        tokio::task::spawn_blocking(|| sockets.into_iter().for_each(sockets::close));
    }
}

fn grow(pause: Duration, longest: Duration) -> Duration {
    (pause * 2).clamp(SHORTEST_PAUSE, longest)
}

async fn serve(entry: &Entry, socket: OwnedFd) {
    let connected: io::Result<_> = link::connect(socket);
    let Ok((link, connection)) = connected else {
        entry.view.send_modify(|view| view.is_launching = false);
        return;
    };
    *entry.link.borrow_mut() = Some(link);
    let mut before = None;
    entry.view.send_modify(|view| {
        before = view.brief.take();
        *view = View { is_connected: true, ..View::default() };
    });
    let mut is_first = true;
    let on_news = |news: News| {
        // Each monitor says anew what it holds; one that is dying says nothing, and what the one before
        // it held is still to be handed on.
        if std::mem::replace(&mut is_first, false) {
            close(std::mem::take(&mut *entry.sockets.borrow_mut()).into_values());
        }
        match news {
            News::Changed(brief) => entry.view.send_modify(|view| view.brief = Some(*brief)),
            News::Standing(full) => *entry.standing.borrow_mut() = Some(full),
            News::Hold(cookie, socket) => {
                let before = socket.and_then(|s| entry.sockets.borrow_mut().insert(cookie, s));
                close(before.into_iter());
            }
            News::Release(cookies) => {
                let mut sockets = entry.sockets.borrow_mut();
                close(cookies.iter().filter_map(|cookie| sockets.remove(cookie)));
            }
        }
    };
    connection.serve(on_news).await;
    *entry.link.borrow_mut() = None;
    *entry.standing.borrow_mut() = None;
    // A monitor that ends closes its connections before its listener: one that was made between the
    // two hears nothing, and the last word of the one before stands.
    entry.view.send_modify(|view| {
        view.is_connected = false;
        view.brief = view.brief.take().or(before);
    });
}

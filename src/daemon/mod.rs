//! The runner: reads profiles, takes orders, starts monitors and finds them again. It may die at any
//! time without an app noticing.
//!
//! One thread, tokio. `registry` holds what is known; for each environment one `keeper` task holds
//! the connection to its monitor and starts one when it is wanted; `orders` turn a request into a
//! wanted state and wait for the outcome; `server` is the socket.

mod addresses;
mod adhoc;
mod answer;
mod entry;
mod evict;
mod glance;
mod host;
mod keeper;
mod launch;
mod link;
mod one_shot;
mod orders;
mod owners;
mod past;
mod peer;
mod peers;
mod profiles;
mod registry;
mod releases;
mod renew;
mod saved;
mod scope;
mod security;
mod server;
mod show;
mod state;
mod status;
mod targets;
mod wall;

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::cgroup;
use crate::model::Places;
use crate::sys::{files, groups, memory};

use launch::Layout;
use registry::Runner;
use server::Scope;
use wall::Walls;

/// How the runner is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything lies.
    pub places: Places,
    /// Monitors are units of systemd's (`swrun-env@NAME.service`), not processes of the runner's.
    pub units: bool,
    /// Whose binds the wall of ports decides.
    pub reach: Reach,
}

/// Whom the ports of environments are kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every process of the host.
    Host,
    /// The processes of this runner's own environments.
    Own,
    /// Nobody: there is no wall.
    Nobody,
}

/// Runs until SIGTERM or SIGINT, which end the runner and nothing else, or `swrun kill`.
#[must_use]
pub fn main(options: Options) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        return fail("the runner must be started by root (try: sudo swrun daemon)");
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Without the capability it is as any other.
    let _ = memory::set_oom_score(memory::LAST);
    if !options.units
        && let Err(text) = scope::enter_if_needed()
    {
        return fail(&text);
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("could not start the runtime: {error}")),
    };
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, run(options));
    // A file that is being read for a caller, from a disk that hangs, holds nobody up.
    runtime.shutdown_background();
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        // All that it had open but the socket is closed over the exec, its lock too.
        Ok(Some(heir)) => fail(&renew::execute(&heir)),
        Err(text) => fail(&text),
    }
}

/// Runs until it is to end; gives what is to take its place.
async fn run(options: Options) -> Result<Option<renew::Heir>, String> {
    let places = &options.places;
    let left = renew::inherited();
    make_folders(places)?;
    let lock_path = places.lock();
    let lock = files::lock(&lock_path)
        .map_err(|e| format!("could not lock \"{}\": {e}", lock_path.display()))?;
    let Some(_lock) = lock else {
        return Err(format!("another runner has \"{}\"", lock_path.display()));
    };
    let mut on_term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut on_int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut on_hup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let driver = cgroup::detect_own().map_err(|e| e.to_string())?;
    let layout = Layout::choose(&options, driver.as_ref())?;
    layout.note(&options.places);
    let walls = Walls::build(&options, &layout, driver.as_ref());
    let runner = Rc::new(Runner::new(options.places.clone(), layout, driver, walls)?);
    let listener = server::listen(&places.socket(), left)?;
    let lookers = server::listen(&places.see_socket(), None)?;
    let socket = listener.as_fd().try_clone_to_owned();
    let socket = socket.map_err(|e| format!("could not keep the socket: {e}"))?;
    tokio::task::spawn_local(feed_watchdog());
    launch::reap_inherited();
    runner.begin().await;
    tokio::task::spawn_local(addresses::follow(Rc::clone(&runner)));
    tokio::task::spawn_local(wall::keep_swept(Rc::clone(&runner)));
    let leaves: Rc<Notify> = Rc::default();
    let serving = server::serve(Rc::clone(&runner), listener, Scope::All, Rc::clone(&leaves));
    let server = tokio::task::spawn_local(serving);
    // Who looks asks again; it ends with the process.
    let seen = server::serve(Rc::clone(&runner), lookers, Scope::See, Rc::default());
    tokio::task::spawn_local(seen);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!("swrun {} is ready: {}", env!("CARGO_PKG_VERSION"), runner.summary());
    loop {
        tokio::select! {
            _ = on_term.recv() => break,
            _ = on_int.recv() => break,
            _ = on_hup.recv() => runner.reload().await,
            () = runner.renewed() => match renew::installed() {
                Ok(Some(program)) => {
                    tracing::info!("\"{}\" takes over", program.display());
                    leaves.notify_one();
                    let _ = server.await;
                    return Ok(Some(renew::Heir { program, socket }));
                }
                Ok(None) => {}
                Err(text) => tracing::error!("not upgraded: {text}"),
            },
            () = runner.killed() => {
                tracing::info!("every environment is stopped; the runner ends");
                server.abort();
                let _ = std::fs::remove_file(options.places.socket());
                let _ = std::fs::remove_file(options.places.see_socket());
                return Ok(None);
            }
        }
    }
    let going_on = runner.running();
    if !going_on.is_empty() {
        let names = going_on.join(", ");
        tracing::info!(
            "the runner ends; these go on without it: {names} (\"swrun kill\" ends them)"
        );
    }
    server.abort();
    Ok(None)
}

/// Tells systemd that the runner's one thread goes round, if its unit wants to know (sd_watchdog_enabled(3)).
async fn feed_watchdog() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    loop {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        tokio::time::sleep(within / 3).await;
    }
}

fn make_folders(places: &Places) -> Result<(), String> {
    let state = places.state();
    let below_var = |name: &str| places.root().join("var").join(name);
    for (path, mode) in [
        // Below a new prefix; as every host has them, or operators would not come to their logs.
        (below_var("lib"), 0o755),
        (below_var("log"), 0o755),
        (places.run(), 0o755),
        (places.monitors(), 0o700),
        (state.clone(), 0o700),
        (state.join("env"), 0o700),
        (places.ad_hoc_profiles(), 0o700),
        // A deploy user gets to its own environment's, and sees no names of others.
        (places.all_logs(), 0o751),
    ] {
        files::make_folder(&path, mode)
            .map_err(|e| format!("could not make the folder \"{}\": {e}", path.display()))?;
    }
    if let Some(group) = groups::operators() {
        // Its members read logs without root.
        let _ = std::os::unix::fs::chown(places.all_logs(), None, Some(group));
    }
    Ok(())
}

fn fail(text: &str) -> ExitCode {
    eprintln!("swrun: {text}");
    ExitCode::FAILURE
}

//! What the demo tells: a crash, a breach, and what they cost the others.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Show, Stop};
use crate::cli::exit::Failure;
use crate::model::{Cause, Phase, format_bytes};

/// Tells it all.
///
/// # Errors
/// Ctrl-C, or something that should have happened did not.
pub fn tell(show: &mut Show<'_>) -> Result<(), Stop> {
    let [test, dev, prod] = show.stage.ports;
    show.tell("three environments of the built-in sample backend, each in its own cage: its own user\n(no entry in /etc/passwd), its own processes, files and memory ceiling\n")?;
    for target in ["test", "dev", "prod"] {
        show.until(target, |status| status.state == Phase::Online)?;
    }
    show.table()?;
    let before = show.until("prod", |_| true)?;
    let visitors = Visitors::to(prod);

    show.tell(&format!("\n1. a crash: GET localhost:{dev}/crash"))?;
    let since = Instant::now();
    ask(dev, "/crash");
    let crashed =
        show.until("dev", |status| status.restarts == 1 && status.state == Phase::Online)?;
    let after = since.elapsed().as_millis();
    show.table()?;
    let code = crashed.last_exit.as_ref().and_then(|last| last.code);
    must(code == Some(1), "the crash was not seen as one")?;
    show.tell(&format!(
        "   it ended with code 1 and answers again after {after} ms (its first pause is 100 ms)"
    ))?;

    show.tell(&format!("\n2. a leak: GET localhost:{test}/leak?mb=100, against a ceiling of 64M"))?;
    let since = Instant::now();
    ask(test, "/leak?mb=100");
    let breached =
        show.until("test", |status| status.restarts == 1 && status.state == Phase::Online)?;
    let after = since.elapsed().as_millis();
    show.table()?;
    let last = breached.last_exit.clone();
    must(
        last.as_ref().is_some_and(|last| last.cause == Cause::MemoryCeiling),
        "the breach was not seen as one",
    )?;
    let peak = last.and_then(|last| last.peak).map_or_else(|| "unknown".to_owned(), format_bytes);
    show.tell(&format!("   the kernel stopped it at its ceiling (most memory it had: {peak}); the whole instance was\n   killed, and a new one answers {after} ms after the request"))?;

    show.tell(&format!("\n3. a port of another's: GET localhost:{dev}/bind?port={prod}"))?;
    let is_held = before.ports.iter().any(|port| port.state.as_deref() == Some("held"));
    let is_refused = !ask(dev, &format!("/bind?port={prod}"));
    if is_held {
        must(is_refused, "dev could bind prod's port")?;
        show.tell("   refused by the kernel (permission denied): the port is prod's, running or not; \"swrun show\" tells")?;
    } else {
        show.tell("   this host cannot guard ports: \"swrun doctor\" says why")?;
    }

    let (answered, failed) = visitors.end();
    let now = show.until("prod", |_| true)?;
    show.tell("\n4. what that cost the others")?;
    must(now.pid == before.pid && now.restarts == 0, "prod was touched")?;
    must(
        answered > 0 && failed == 0,
        &format!("prod failed {failed} of {} requests", answered + failed),
    )?;
    show.tell(&format!("   prod kept its process (pid {}), and answered {answered} requests meanwhile; {failed} failed", now.pid.unwrap_or(0)))?;
    Ok(())
}

fn must(is_so: bool, otherwise: &str) -> Result<(), Stop> {
    if is_so {
        Ok(())
    } else {
        Err(Failure::failed(format!("the demo failed: {otherwise}")).into())
    }
}

/// One request; that the app dies of it is the point of some.
fn ask(port: u16, path: &str) -> bool {
    let answer = || -> io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.starts_with("HTTP/1.1 200"))
    };
    answer().unwrap_or(false)
}

/// Somebody who visits an environment all the time, and counts.
struct Visitors {
    is_over: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
    thread: JoinHandle<()>,
}

impl Visitors {
    fn to(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let which = usize::from(!ask(port, "/healthz"));
                count[which].fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { is_over, counts, thread }
    }

    /// How many requests were answered, and how many failed.
    fn end(self) -> (u64, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }
}

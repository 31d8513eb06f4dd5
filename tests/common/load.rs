//! A client that makes one new connection after the other and counts every failure by its kind.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything that is awaited; a connection that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Counts {
    pub good: AtomicU64,
    /// Nobody listened.
    pub refused: AtomicU64,
    /// The connection was there, and ended before the whole answer came.
    pub broken: AtomicU64,
    pub timed_out: AtomicU64,
}

/// Clients that ask until they are stopped.
pub struct Load {
    counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn begin(address: SocketAddr, clients: usize) -> Self {
        let (counts, is_over) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (counts, is_over) = (Arc::clone(&counts), Arc::clone(&is_over));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let counter = match ask(address) {
                        Ok(()) => &counts.good,
                        Err(ErrorKind::ConnectionRefused) => &counts.refused,
                        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => &counts.timed_out,
                        Err(_) => &counts.broken,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { counts, is_over, clients }
    }

    /// Returns once `more` further requests were answered.
    pub fn wait_for(&self, more: u64) {
        let until = self.counts.good.load(Ordering::Relaxed) + more;
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.counts.good.load(Ordering::Relaxed) < until {
            assert!(std::time::Instant::now() < deadline, "no answers any more: {:?}", self.counts);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn end(self) -> Counts {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client");
        }
        Arc::into_inner(self.counts).expect("all clients have ended")
    }
}

/// One request over a new connection.
pub fn ask(address: SocketAddr) -> Result<(), ErrorKind> {
    let talk = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let is_whole = answer.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            head.starts_with("HTTP/1.") && head.contains(" 200 ") && !body.is_empty()
        });
        if is_whole { Ok(()) } else { Err(std::io::Error::from(ErrorKind::UnexpectedEof)) }
    };
    talk().map_err(|error| error.kind())
}

//! A client that makes one new connection after the other and counts every failure by its kind.
#![allow(dead_code, reason = "each file that includes it uses a part of it")]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
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
    pub counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Each request over a connection of its own.
    pub fn begin(address: SocketAddr, clients: usize) -> Self {
        Self::of(clients, || move || ask(address))
    }

    /// Each client keeps its connection as long as the server allows it.
    pub fn begin_kept(address: SocketAddr, clients: usize) -> Self {
        Self::of(clients, || {
            let mut kept = None;
            move || ask_kept(address, &mut kept)
        })
    }

    fn of<A>(clients: usize, client: impl Fn() -> A) -> Self
    where
        A: FnMut() -> Result<(), ErrorKind> + Send + 'static,
    {
        let new_client = client;
        let (counts, is_over) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (counts, is_over) = (Arc::clone(&counts), Arc::clone(&is_over));
            let mut ask = new_client();
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let counter = match ask() {
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

/// One request over the connection that is kept, or over a new one.
pub fn ask_kept(
    address: SocketAddr,
    kept: &mut Option<BufReader<TcpStream>>,
) -> Result<(), ErrorKind> {
    let mut talk = || {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect_timeout(&address, PATIENCE)?),
        };
        stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let is_good = line.starts_with("HTTP/1.1 200 ");
        let (mut length, mut is_last) = (None, false);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let head = line.trim_end().to_ascii_lowercase();
            length = length.or(head.strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
            is_last |= head == "connection: close";
        }
        let length = length.filter(|length| is_good && *length > 0);
        let mut body = vec![0; length.ok_or(ErrorKind::InvalidData)?];
        stream.read_exact(&mut body)?;
        *kept = (!is_last).then_some(stream);
        Ok(())
    };
    talk().map_err(|error: std::io::Error| error.kind())
}

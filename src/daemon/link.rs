//! The connection to a monitor.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::sys::{channel, readiness};
use crate::wire::keep::{Brief, Call, Full, Message, Reply, Request};

/// The asking end; cheap to copy.
#[derive(Debug, Clone)]
pub struct Link(mpsc::UnboundedSender<Asked>);

/// A request, what goes with it, and who waits for the answer.
type Asked = (Request, Option<OwnedFd>, oneshot::Sender<Reply>);

impl Link {
    /// Asks the monitor; `None` when it goes away before it answers.
    pub async fn ask(&self, request: Request) -> Option<Reply> {
        self.send(request, None).await
    }

    /// The same, with a descriptor.
    pub async fn ask_with(&self, request: Request, descriptor: OwnedFd) -> Option<Reply> {
        self.send(request, Some(descriptor)).await
    }

    async fn send(&self, request: Request, with: Option<OwnedFd>) -> Option<Reply> {
        let (answer, answered) = oneshot::channel();
        self.0.send((request, with, answer)).ok()?;
        answered.await.ok()
    }

    /// Whether the monitor was still there when the connection was looked at last.
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }
}

/// What a monitor tells unasked.
#[derive(Debug)]
pub enum News {
    /// Something changed.
    Changed(Box<Brief>),
    /// All of it, as it is now.
    Standing(Box<Full>),
    /// A listening socket to keep for the next monitor.
    Hold(u64, Option<OwnedFd>),
    /// Sockets that are to be kept no more.
    Release(Vec<u64>),
}

/// The serving end.
#[derive(Debug)]
pub struct Connection {
    socket: AsyncFd<OwnedFd>,
    asked: mpsc::UnboundedReceiver<Asked>,
    open: HashMap<u64, oneshot::Sender<Reply>>,
    last: u64,
}

/// Connects the two ends over `socket`.
///
/// # Errors
/// The socket could not be registered.
pub fn connect(socket: OwnedFd) -> io::Result<(Link, Connection)> {
    let (ask, asked) = mpsc::unbounded_channel();
    let socket = readiness::watch(socket)?;
    Ok((Link(ask), Connection { socket, asked, open: HashMap::new(), last: 0 }))
}

impl Connection {
    /// Serves until the monitor is gone; `on_news` is told of every change, and of every socket to keep.
    pub async fn serve(mut self, mut on_news: impl FnMut(News)) {
        loop {
            tokio::select! {
                ready = self.socket.readable() => {
                    let Ok(mut guard) = ready else { return };
                    match guard.try_io(|socket| channel::receive(socket.get_ref().as_fd())) {
                        Ok(Ok(Some(message))) => match serde_json::from_slice(&message.bytes) {
                            Ok(Message::Changed(brief)) => on_news(News::Changed(Box::new(brief))),
                            Ok(Message::Standing(full)) => on_news(News::Standing(full)),
                            Ok(Message::Hold { cookie }) => {
                                let socket = message.descriptors.into_iter().next();
                                on_news(News::Hold(cookie, socket));
                            }
                            Ok(Message::Release { cookies }) => on_news(News::Release(cookies)),
                            Ok(Message::Reply { id, reply }) => {
                                if let Some(answer) = self.open.remove(&id) {
                                    // Who asked may have gone.
                                    let _ = answer.send(reply);
                                }
                            }
                            Err(error) => tracing::warn!("a monitor was not understood: {error}"),
                        },
                        Ok(Ok(None) | Err(_)) => return,
                        Err(_would_block) => {}
                    }
                }
                Some((request, with, answer)) = self.asked.recv() => {
                    self.last += 1;
                    let call = Call { id: self.last, request };
                    let Ok(bytes) = serde_json::to_vec(&call) else { continue };
                    // A monitor whose queue is full does not answer: the asker's time limit tells.
                    let with: Vec<BorrowedFd<'_>> = with.iter().map(|fd| fd.as_fd()).collect();
                    if channel::send(self.socket.get_ref().as_fd(), &bytes, &with).is_ok() {
                        self.open.insert(self.last, answer);
                    }
                }
            }
        }
    }
}

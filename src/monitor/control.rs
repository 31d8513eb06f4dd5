//! The monitor's socket: the runner asks, and is told of every change. Only root reaches the folder.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::sys::{channel, files};
use crate::wire::keep::{Brief, Call, Message, Reply};

/// The most connections at once: a runner, its successor, and a test.
const MOST_CLIENTS: usize = 8;

/// The socket and who is connected.
#[derive(Debug)]
pub struct Control {
    listener: OwnedFd,
    clients: Vec<OwnedFd>,
    last: Option<Brief>,
}

impl Control {
    /// Listens at `path`; the lock is held, so a socket that is there is a dead monitor's.
    ///
    /// # Errors
    /// unlink(2), bind(2).
    pub fn listen(path: &Path) -> io::Result<Self> {
        files::remove_if_there(path)?;
        Ok(Self { listener: channel::listen(path)?, clients: Vec::new(), last: None })
    }

    /// The descriptors to wait for, the listener first.
    pub fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        std::iter::once(&self.listener).chain(&self.clients)
    }

    /// Takes every connection that waits and every call, with the client that made it.
    pub fn calls(&mut self) -> Vec<(usize, Call)> {
        while let Ok(Some(client)) = channel::accept(self.listener.as_fd()) {
            if self.clients.len() < MOST_CLIENTS {
                self.clients.push(client);
                if let Some(brief) = self.last.clone() {
                    let newest = self.clients.len() - 1;
                    self.send(newest, &Message::Changed(brief));
                }
            }
        }
        let mut calls = Vec::new();
        let mut gone = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            match channel::receive(client.as_fd()) {
                Ok(Some(message)) => match serde_json::from_slice(&message.bytes) {
                    Ok(call) => calls.push((number, call)),
                    Err(_) => gone.push(number),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(None) | Err(_) => gone.push(number),
            }
        }
        if !gone.is_empty() {
            // Numbers of calls taken in the same round shift with the clients that go: answer those
            // that stay.
            calls.retain(|(number, _)| !gone.contains(number));
            for (number, _) in &mut calls {
                *number -= gone.iter().filter(|g| *g < number).count();
            }
            let mut number = 0;
            self.clients.retain(|_| {
                number += 1;
                !gone.contains(&(number - 1))
            });
        }
        calls
    }

    /// Answers a call.
    pub fn reply(&mut self, client: usize, id: u64, reply: Reply) {
        self.send(client, &Message::Reply { id, reply });
    }

    /// Tells all, if it is news.
    pub fn tell(&mut self, brief: Brief) {
        if self.last.as_ref() == Some(&brief) {
            return;
        }
        for client in 0..self.clients.len() {
            self.send(client, &Message::Changed(brief.clone()));
        }
        self.last = Some(brief);
    }

    fn send(&mut self, client: usize, message: &Message) {
        let Some(socket) = self.clients.get(client) else { return };
        let Ok(bytes) = serde_json::to_vec(message) else { return };
        if channel::send(socket.as_fd(), &bytes, None).is_err() {
            // One that does not read is cut off, so that it sees that it missed something.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }
}

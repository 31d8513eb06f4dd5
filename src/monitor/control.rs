//! The monitor's socket: the runner asks, and is told of every change. Only root reaches the folder.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::handover::one;
use crate::sys::{channel, files};
use crate::wire::keep::{Brief, Call, Full, Message, Reply};

/// The most connections at once: a runner, its successor, and a test.
const MOST_CLIENTS: usize = 8;

/// Who is connected: a number that no other client ever has.
pub type Client = u64;

/// What goes over to another program in this process's place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    listener: RawFd,
    clients: BTreeMap<Client, RawFd>,
    newest: Client,
}

/// The socket and who is connected.
#[derive(Debug)]
pub struct Control {
    listener: OwnedFd,
    clients: BTreeMap<Client, OwnedFd>,
    newest: Client,
    /// Connected since they were asked for last.
    newcomers: Vec<Client>,
    last: Option<Brief>,
    standing: Option<Box<Full>>,
}

impl Control {
    /// Listens at `path`; the lock is held, so a socket that is there is a dead monitor's.
    ///
    /// # Errors
    /// unlink(2), bind(2).
    pub fn listen(path: &Path) -> io::Result<Self> {
        files::remove_if_there(path)?;
        let listener = channel::listen(path)?;
        Ok(Self {
            listener,
            clients: BTreeMap::new(),
            newest: 0,
            newcomers: Vec::new(),
            last: None,
            standing: None,
        })
    }

    /// What is handed over; `number` hears of each descriptor.
    pub fn state(&self, number: &mut impl FnMut(BorrowedFd<'_>) -> RawFd) -> State {
        let clients = self.clients.iter().map(|(client, socket)| (*client, number(socket.as_fd())));
        State {
            clients: clients.collect(),
            listener: number(self.listener.as_fd()),
            newest: self.newest,
        }
    }

    /// Goes on with what was handed over; who is connected is told everything anew.
    ///
    /// # Errors
    /// A descriptor is not there.
    pub fn resume(state: State) -> io::Result<Self> {
        let clients = state.clients.into_iter().map(|(client, number)| Ok((client, one(number)?)));
        Ok(Self {
            listener: one(state.listener)?,
            clients: clients.collect::<io::Result<_>>()?,
            newest: state.newest,
            newcomers: Vec::new(),
            last: None,
            standing: None,
        })
    }

    /// Readable when somebody wants to connect.
    pub fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Readable when there is a call.
    pub fn clients(&self) -> impl Iterator<Item = &OwnedFd> {
        self.clients.values()
    }

    /// Takes every connection that waits.
    pub fn admit(&mut self) {
        while let Ok(Some(client)) = channel::accept(self.listener.as_fd()) {
            if self.clients.len() < MOST_CLIENTS {
                self.newest += 1;
                self.clients.insert(self.newest, client);
                self.newcomers.push(self.newest);
                if let Some(standing) = self.standing.clone() {
                    self.send(self.newest, &Message::Standing(standing), &[]);
                }
                if let Some(brief) = self.last.clone() {
                    self.send(self.newest, &Message::Changed(brief), &[]);
                }
            }
        }
    }

    /// Takes a call of each client that has one, with the client that made it and what came with it.
    pub fn calls(&mut self) -> Vec<(Client, Call, Vec<OwnedFd>)> {
        let mut calls = Vec::new();
        self.clients.retain(|number, client| match channel::receive(client.as_fd()) {
            Ok(Some(message)) => match serde_json::from_slice(&message.bytes) {
                Ok(call) => {
                    calls.push((*number, call, message.descriptors));
                    true
                }
                Err(_) => false,
            },
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(None) => false,
        });
        calls
    }

    /// Who connected since the last time.
    pub fn newcomers(&mut self) -> Vec<Client> {
        std::mem::take(&mut self.newcomers)
    }

    /// Tells one, with descriptors.
    pub fn tell_one(&self, client: Client, message: &Message, with: &[BorrowedFd<'_>]) {
        self.send(client, message, with);
    }

    /// Tells all, with descriptors.
    pub fn tell_all(&self, message: &Message, with: &[BorrowedFd<'_>]) {
        for client in self.clients.keys() {
            self.send(*client, message, with);
        }
    }

    /// Answers a call; a client that has gone hears nothing.
    pub fn reply(&mut self, client: Client, id: u64, reply: Reply) {
        self.send(client, &Message::Reply { id, reply }, &[]);
    }

    /// Whether it has not been told yet.
    pub fn is_news(&self, brief: &Brief) -> bool {
        self.last.as_ref() != Some(brief)
    }

    /// Tells all, if it is news.
    pub fn tell_standing(&mut self, full: Full) {
        if self.standing.as_ref().is_none_or(|told| !told.is_as(&full)) {
            let standing = Box::new(full);
            self.tell_all(&Message::Standing(standing.clone()), &[]);
            self.standing = Some(standing);
        }
    }

    /// Tells all, if it is news.
    pub fn tell(&mut self, brief: Brief) {
        if !self.is_news(&brief) {
            return;
        }
        self.tell_all(&Message::Changed(brief.clone()), &[]);
        self.last = Some(brief);
    }

    fn send(&self, client: Client, message: &Message, with: &[BorrowedFd<'_>]) {
        let Some(socket) = self.clients.get(&client) else { return };
        let Ok(bytes) = serde_json::to_vec(message) else { return };
        if channel::send(socket.as_fd(), &bytes, with).is_err() {
            // One that does not read is cut off, so that it sees that it missed something.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }
}

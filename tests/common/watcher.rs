//! The page's user on this host, and `swrun web` as it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::bed::{self, Bed};

/// How many tests need the user now, and whether it was made for them.
static USERS: Mutex<(usize, bool)> = Mutex::new((0, false));

/// The user `swrun-web` of this host, made where it is missing; goes with the last test that needs it.
pub struct Watcher(());

impl Watcher {
    pub fn on_this_host() -> Self {
        let mut users = USERS.lock().expect("no panic");
        if users.0 == 0 && nix::unistd::User::from_name("swrun-web").expect("readable").is_none() {
            tool(&[
                "useradd",
                "--system",
                "--user-group",
                "--home-dir",
                "/nonexistent",
                "swrun-web",
            ]);
            users.1 = true;
        }
        users.0 += 1;
        Self(())
    }

    pub fn uid(&self) -> u32 {
        let user = nix::unistd::User::from_name("swrun-web").expect("readable");
        user.expect("it is there").uid.as_raw()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut users = USERS.lock().expect("no panic");
        users.0 -= 1;
        if users.0 == 0 && std::mem::take(&mut users.1) {
            let _ = Command::new("userdel").arg("swrun-web").output();
            let _ = Command::new("groupdel").arg("swrun-web").output();
        }
    }
}

fn tool(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("passwd is installed");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `swrun web`, until the test ends.
pub struct Web {
    child: Child,
    /// What it said first.
    pub said: String,
}

impl Web {
    pub fn start(bed: &Bed, arguments: &[&str]) -> Self {
        let mut command = Command::new(bed::swrun());
        command.args(["web", "--root"]).arg(bed.root()).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        stderr.read_line(&mut said).expect("it says where");
        Self { child, said: said.trim().to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address with the token.
    pub fn url(&self) -> &str {
        self.said.strip_prefix("the page: ").unwrap_or_else(|| panic!("{}", self.said))
    }

    /// The address and port, and the token.
    pub fn parts(&self) -> (&str, &str) {
        let rest = self.url().strip_prefix("http://").expect("an address");
        rest.split_once("/#token=").expect("a token")
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A program at a real pseudo-terminal (pty(7)), and what its screen shows.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::bed::{patience, until};

pub struct Screen {
    master: File,
    /// Kept open: the terminal's settings are looked at after the program has ended.
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    all: Arc<Mutex<Vec<u8>>>,
}

fn cells(count: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(count).expect("some")
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Screen {
    /// Starts the program with its own session at a new terminal.
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let path = ptsname(&master, Vec::new()).expect("a name");
        let path = path.into_string().expect("a plain name");
        let open = || OpenOptions::new().read(true).write(true).open(&path).expect("a terminal");
        let slave = OwnedFd::from(open());
        tcsetwinsize(&slave, size(rows, columns)).expect("ours");
        command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open()));
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("COLUMNS");
        // SAFETY: between fork and exec both are allowed (signal-safety(7)); nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(std::io::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().expect("the program under test");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let all = Arc::new(Mutex::new(Vec::new()));
        let mut reader = File::from(master.as_fd().try_clone_to_owned().expect("ours"));
        let (shown, bytes) = (Arc::clone(&screen), Arc::clone(&all));
        std::thread::spawn(move || {
            let mut block = [0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut block) {
                shown.lock().expect("no panic").process(&block[..count]);
                bytes.lock().expect("no panic").extend_from_slice(&block[..count]);
            }
        });
        Self { master: File::from(master), slave, child, screen, all }
    }

    /// What it shows now.
    pub fn text(&self) -> String {
        self.screen.lock().expect("no panic").screen().contents()
    }

    /// All that was ever written to it.
    pub fn bytes(&self) -> Vec<u8> {
        self.all.lock().expect("no panic").clone()
    }

    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience();
        loop {
            let text = self.text();
            if is(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{what}: not so:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it reads");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.screen.lock().expect("no panic").screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.slave, size(rows, columns)).expect("ours");
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("a terminal")
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Waits for its end, and until all that it wrote has been read.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        // What comes to a terminal comes in order: a title of ours is after all of it.
        let last = b"\x1b]0;the end\x07";
        rustix::io::write(&self.slave, last).expect("a terminal");
        until("all of it has been read", || self.bytes().ends_with(last));
        status
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The colours of a common terminal, by number.
const COLOURS: [&str; 16] = [
    "#2e3436", "#ef5350", "#5fd39b", "#f0b94d", "#6cb6ff", "#c3a0ff", "#5fd3c4", "#d3d7cf",
    "#8a95a0", "#ff8a80", "#8af0b8", "#ffd479", "#9ccbff", "#dcc6ff", "#9fe8de", "#ffffff",
];

impl Screen {
    /// What it shows as a page of HTML, for a picture of it.
    pub fn html(&self) -> String {
        let shown = self.screen.lock().expect("no panic");
        let screen = shown.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let mut html = String::from(
            "<!doctype html><meta charset=utf-8><style>body{margin:0;background:#101418}pre{margin:0;display:inline-block;padding:12px 16px;color:#e6ebf0;background:#101418;font:14px/1.25 'DejaVu Sans Mono',monospace}</style><pre>",
        );
        let colour = |colour: vt100::Color| match colour {
            vt100::Color::Default => None,
            vt100::Color::Idx(index) => Some(COLOURS[usize::from(index) % 16].to_owned()),
            vt100::Color::Rgb(r, g, b) => Some(format!("rgb({r},{g},{b})")),
        };
        let last = (0..rows)
            .rev()
            .find(|row| !screen.contents_between(*row, 0, *row, columns).trim().is_empty());
        for row in 0..=last.unwrap_or(0) {
            for column in 0..columns {
                let Some(cell) = screen.cell(row, column) else { continue };
                let (mut front, mut back) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
                if cell.inverse() {
                    (front, back) = (
                        Some(back.unwrap_or_else(|| "#101418".to_owned())),
                        Some(front.unwrap_or_else(|| "#e6ebf0".to_owned())),
                    );
                }
                let mut style = String::new();
                style.extend(front.map(|colour| format!("color:{colour};")));
                style.extend(back.map(|colour| format!("background:{colour};")));
                style.push_str(if cell.bold() { "font-weight:bold;" } else { "" });
                style.push_str(if cell.dim() { "opacity:.65;" } else { "" });
                let text = if cell.contents().is_empty() { " " } else { cell.contents() };
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                match style.is_empty() {
                    true => html.push_str(&text),
                    false => html.push_str(&format!("<span style=\"{style}\">{text}</span>")),
                }
            }
            html.push('\n');
        }
        html + "</pre>"
    }
}

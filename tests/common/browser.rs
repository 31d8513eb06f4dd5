//! A real browser without a window, driven over its debugging pipe (Chrome DevTools Protocol: JSON, a NUL byte after
//! each message).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::patience;

/// Debian's `chromium-headless-shell`.
pub const PROGRAM: &str = "/usr/bin/chromium-headless-shell";

pub struct Browser {
    child: Child,
    folder: PathBuf,
    /// It ends with this.
    orders: Option<File>,
    comes: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// What it said without being asked.
    news: Vec<Value>,
}

impl Browser {
    /// Starts it with nothing open; what it keeps lies in `folder`.
    pub fn start(folder: &Path) -> Self {
        let (read_orders, orders) = rustix::pipe::pipe().expect("a pipe");
        let (answers, write_answers) = rustix::pipe::pipe().expect("a pipe");
        // Above the numbers that it has them under.
        let high = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 10).expect("a number is free");
        let (its_orders, its_answers) = (high(read_orders), high(write_answers));
        let (orders, answers) = (high(orders), high(answers));
        let (from, to) = (its_orders.as_raw_fd(), its_answers.as_raw_fd());
        let mut command = Command::new(PROGRAM);
        command
            .args(["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
            ])
            .args(["--lang=en-GB", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec dup2(2) is allowed (signal-safety(7)); nothing is allocated.
        unsafe {
            command.pre_exec(move || match (libc::dup2(from, 3), libc::dup2(to, 4)) {
                (-1, _) | (_, -1) => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command.spawn().expect("the browser");
        let (sender, comes) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(File::from(answers)).split(0) {
                let Ok(message) = message else { return };
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            folder: folder.to_owned(),
            orders: Some(File::from(orders)),
            comes,
            next: 0,
            session: None,
            news: Vec::new(),
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for part in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{part}.enable"), json!({}));
        }
        browser
    }

    /// One order, and what comes of it.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut order = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        let bytes = [order.to_string().as_bytes(), &[0]].concat();
        self.orders.as_ref().expect("it is open").write_all(&bytes).expect("it lives");
        loop {
            let message = self.comes.recv_timeout(patience());
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.next {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.news.push(message);
        }
    }

    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn js(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.js(&format!("document.querySelector({})?.innerText", json!(selector)));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + patience();
        while self.js(&format!("Boolean({expression})")) != true {
            if Instant::now() > deadline {
                let shown = self.js("document.body.innerText");
                panic!("{what}: not so:\n{}\n{:?}", shown.as_str().unwrap_or("?"), self.troubles());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn size(&mut self, width: u32, height: u32, is_phone: bool) {
        let scale = if is_phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// What the system wants: `light` or `dark`.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// A key, as from a keyboard: a character, or a name as `ArrowLeft`, `Tab`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            _ => 0,
        };
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        if key.chars().count() == 1 {
            event["text"] = key.into();
        } else if key == "Enter" {
            event["text"] = "\r".into();
        }
        self.call("Input.dispatchKeyEvent", event);
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
    }

    /// As typed.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// What it shows, as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let text = shot["data"].as_str().expect("a picture").to_owned();
        let mut decode = Command::new("base64");
        let decode = decode.arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut decode = decode.spawn().expect("coreutils");
        let mut stdin = decode.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = decode.wait_with_output().expect("it ends");
        writer.join().expect("no panic").expect("it reads all");
        assert!(output.status.success() && output.stdout.starts_with(b"\x89PNG"));
        output.stdout
    }

    /// Exceptions of the page, and what its policy or the browser complained of; told once.
    pub fn troubles(&mut self) -> Vec<String> {
        self.news.extend(self.comes.try_iter());
        let is_trouble = |news: &Value| match news["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => news["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => news["params"]["type"] == "error",
            _ => false,
        };
        self.news.drain(..).filter(is_trouble).map(|news| news["params"].to_string()).collect()
    }

    /// The addresses of all that it has asked for so far.
    pub fn asked(&mut self) -> Vec<String> {
        self.news.extend(self.comes.try_iter());
        let requests =
            self.news.iter().filter(|news| news["method"] == "Network.requestWillBeSent");
        requests
            .filter_map(|news| news["params"]["request"]["url"].as_str().map(str::to_owned))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The program is a script of Debian's: the browser itself is a process beside it.
        let folder = self.folder.as_os_str().as_bytes();
        let is_of_it = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.windows(folder.len()).any(|part| part == folder)
        };
        let deadline = Instant::now() + patience();
        while std::fs::read_dir("/proc")
            .is_ok_and(|mut all| all.any(|entry| entry.is_ok_and(|entry| is_of_it(&entry))))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! What the demo puts on the host for a while: one folder, one runner; and whether its ports are free.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::end_all;
use crate::cli::commands::status::document;
use crate::cli::exit::Failure;
use crate::formats::clean::clean;
use crate::model::{Places, Port, Protocol};
use crate::ports;
use crate::sys::command;

/// The runner and everything below its folder.
pub struct Stage {
    places: Places,
    runner: Child,
    is_left: bool,
    pub ports: [u16; 3],
}

/// Environments of the demo: target, memory ceiling.
pub const TARGETS: [(&str, &str); 3] = [("test", "64M"), ("dev", "64M"), ("prod", "64M")];

impl Stage {
    /// Makes the folder and the profiles, and starts the runner.
    ///
    /// # Errors
    /// In words; what was made is removed again.
    pub fn set(ports: [u16; 3]) -> Result<Self, Failure> {
        // Not below /tmp, which may be mounted noexec, and where others could have made it before.
        let root = PathBuf::from(format!("/var/lib/swrun-demo-{}", std::process::id()));
        let made = write_all(&root, ports).and_then(|()| {
            let log = fs::File::create(root.join("runner.log"))?;
            let program = root.join("bin/swrun");
            command::start(
                &program,
                &["--root".as_ref(), root.as_os_str(), "daemon".as_ref()],
                log,
                &[],
            )
        });
        let runner = made.map_err(|error| {
            let _ = fs::remove_dir_all(&root);
            Failure::failed(format!("could not set the demo up in \"{}\": {error}", root.display()))
        })?;
        let mut stage = Self { places: Places::below(root), runner, is_left: false, ports };
        stage.wait()?;
        Ok(stage)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while document(&self.places, &[]).is_err() {
            let has_ended = !matches!(self.runner.try_wait(), Ok(None));
            if has_ended || Instant::now() > deadline {
                return Err(Failure::failed(format!(
                    "the runner does not answer; it says:\n{}",
                    self.log()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What the runner and the monitors wrote.
    pub fn log(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let monitors = read(self.places.all_logs().join("monitor.log"));
        read(self.places.root().join("runner.log")) + &monitors
    }

    /// Leaves it running; gives the folder.
    pub fn leave(mut self) -> String {
        self.is_left = true;
        self.places.root().display().to_string()
    }

    /// Ends all and removes the folder.
    ///
    /// # Errors
    /// Something could not be ended or removed.
    pub fn strike(mut self) -> Result<(), Failure> {
        self.is_left = true;
        self.end()
    }

    fn end(&mut self) -> Result<(), Failure> {
        let ended = end_all(&self.places);
        if ended.is_err() {
            let _ = self.runner.kill();
        }
        let _ = self.runner.wait();
        let root = self.places.root();
        let removed = fs::remove_dir_all(root)
            .map_err(|e| Failure::failed(format!("could not remove \"{}\": {e}", root.display())));
        ended.and(removed)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_left {
            // Something failed before: that is what is told.
            let _ = self.end();
        }
    }
}

fn write_all(root: &Path, ports: [u16; 3]) -> io::Result<()> {
    let folder = |path: PathBuf, recursive| {
        fs::DirBuilder::new().mode(0o755).recursive(recursive).create(path)
    };
    folder(root.to_owned(), false)?;
    for path in ["bin", "etc/swrun/profiles"] {
        folder(root.join(path), true)?;
    }
    // The apps see this copy and nothing of where it came from.
    let program = root.join("bin/swrun");
    fs::copy("/proc/self/exe", &program)?;
    for ((target, ceiling), port) in TARGETS.iter().zip(ports) {
        let home = root.join("apps").join(target);
        folder(home.clone(), true)?;
        let text = format!(
            r#"name = "demo-{target}"
target = "{target}"
user = "auto"
command = ["{program}", "{role}"]
cwd = "{home}"
read-only = ["{program}"]
ports = [{port}]

[env]
NODE_ENV = "{target}"
PORT = "{port}"

[limits]
memory-max = "{ceiling}"
"#,
            program = program.display(),
            role = SAMPLE,
            home = home.display(),
        );
        fs::write(root.join(format!("etc/swrun/profiles/{target}.toml")), text)?;
    }
    Ok(())
}

/// The hidden role of the sample backend (a role of its own, so it is named and not called).
const SAMPLE: &str = "__sample";

/// Nobody may listen on the ports, on any address.
///
/// # Errors
/// Who holds one, and what to do.
pub fn must_be_free(ports: &[u16]) -> Result<(), String> {
    for port in ports {
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port));
        let taken = match v4
            .map(drop)
            .and_then(|()| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).map(drop))
        {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(format!("port {port} may not be bound: {error}"));
            }
            _ => false,
        };
        if taken {
            let holder =
                holder(*port).unwrap_or_else(|| "a process that could not be found".to_owned());
            return Err(format!(
                "port {port} is taken by {holder}; stop it, or choose other ports: swrun demo --base-port {}",
                suggestion(ports[0])
            ));
        }
    }
    Ok(())
}

fn suggestion(base: u16) -> u16 {
    if base < 60_000 { base + 1_000 } else { 3_000 }
}

/// Program, pid and user of the process that listens on a port.
fn holder(port: u16) -> Option<String> {
    let found = ports::holder(Port { port, proto: Protocol::Tcp }).ok()??;
    let ports::Holder { program, pid, uid, .. } = found;
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    let user = user.map_or_else(|| format!("uid {uid}"), |user| format!("user {}", user.name));
    Some(format!("\"{}\" (pid {pid}, {user})", clean(&program)))
}

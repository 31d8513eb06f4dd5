//! What a JavaScript file says: run by `node` in a cage of its own, for a number that owns nothing. It sees `/usr` and
//! its own folder, has no network, five seconds and a MiB for its answer; its cage and node are there when those begin.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::MemfdFlags;

use super::own_program;
use crate::cli::exit::Failure;
use crate::formats::clean::clean;
use crate::host::is_systemds;
use crate::model::{EnvSpec, Places};
use crate::profile::{self, HostFacts, Source};
use crate::sys::command::{self, Bounds};
use crate::wire::once::{self, Once, ROLE, SCOPE, Ticket};

const WITHIN: Duration = Duration::from_secs(5);
/// Until node runs: on a host that is busy, the cage and node's own start took more than the file's time.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
const MOST: usize = 1 << 20;

/// Run by node: the file, and what stands before the answer. What the file itself writes is not the answer.
const PROGRAM: &str = r#"
const [file, mark] = process.argv.splice(1);
const { createRequire } = require("node:module");
const { pathToFileURL } = require("node:url");
require("node:fs").writeSync(1, "\n"); // its time begins
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write = () => true;
const imported = async () => import(pathToFileURL(file).href);
const load = async () => {
  if (file.endsWith(".mjs")) return imported();
  try {
    return createRequire(file)(file);
  } catch (error) {
    if (error.code !== "ERR_REQUIRE_ESM") throw error;
    return imported();
  }
};
load().then((found) => {
  const value = found && found.default && !found.apps ? found.default : found;
  write(mark + (JSON.stringify(value) ?? "null"), () => process.exit(0));
}).catch((error) => {
  require("node:fs").writeSync(2, String((error && error.stack) || error).slice(0, 4000));
  process.exit(1);
});
"#;

/// What `file` says, as JSON.
///
/// # Errors
/// This is not root, the cage could not be made, or the program failed.
pub fn evaluate(places: &Places, file: &Path, user: Option<&str>) -> Result<String, Failure> {
    let failed = |text: String| {
        let shown = file.display();
        Failure::failed(format!(
            "\"{shown}\" is a program, and what it says is not known: {text}\nor import what runs already: \"pm2 save\", then swrun import pm2 ~/.pm2/dump.pm2"
        ))
    };
    if !rustix::process::geteuid().is_root() {
        return Err(failed("only root makes a cage for it (sudo swrun import …)".to_owned()));
    }
    let spec = spec(places, file, user).map_err(failed)?;
    let mark = format!("swrun-{:016x}-", number().map_err(|e| failed(e.to_string()))?);
    let folder = Folder::make().map_err(|e| failed(format!("could not make a folder: {e}")))?;
    let is_units = is_systemds();
    let mut command = spec.command.clone();
    command.extend([file.to_string_lossy().into_owned(), mark.clone()]);
    let ticket = Ticket {
        spec,
        group: (!is_units).then(|| PathBuf::from("swrun-import")),
        is_new: true,
        wall: None,
        etc: (folder.0.join("etc"), folder.0.join("own")),
    };
    let said = run(&Once { ticket, command, terminal: None }, is_units);
    drop(folder);
    let said = said.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => failed(format!("it took more than {} s", WITHIN.as_secs())),
        std::io::ErrorKind::FileTooLarge => failed("it says more than 1 MiB".to_owned()),
        _ => failed(reason(&error.to_string())),
    })?;
    match said.split_once(&mark) {
        Some((_, answer)) => Ok(answer.to_owned()),
        None => Err(failed("it ended before it said anything".to_owned())),
    }
}

/// What node said, in a line.
fn reason(said: &str) -> String {
    if said.contains("EACCES") {
        return "it, or what it asks for, cannot be read by others: name its user with --user"
            .to_owned();
    }
    if said.contains("exit status: 137") {
        return "it was killed, perhaps since it took more than 512M".to_owned();
    }
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.contains("Error"));
    clean(error.or_else(|| lines.next()).unwrap_or("node did not say why")).into_owned()
}

/// The cage, by way of a profile as any other.
fn spec(places: &Places, file: &Path, user: Option<&str>) -> Result<EnvSpec, String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut table = toml::Table::new();
    let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
    set("name", "import".into());
    set("user", user.unwrap_or("auto").into());
    // It has no folder of its own: what it sees of the file's is for reading.
    set("base", "/usr/share".into());
    let mut shown = vec![folder.to_string_lossy().into_owned()];
    let mut node = "node".to_owned();
    if let Some(own) = own_program("node") {
        let prefix = own.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        shown.push(prefix.to_string_lossy().into_owned());
        node = own.to_string_lossy().into_owned();
    }
    set("read-only", shown.into());
    set("command", vec![node, "-e".to_owned(), PROGRAM.to_owned(), "--".to_owned()].into());
    let section = |key: &str, value: toml::Value| toml::Table::from_iter([(key.to_owned(), value)]);
    set("network", section("mode", "private".into()).into());
    set("limits", section("memory-max", "512M".into()).into());
    let text = toml::to_string(&table).map_err(|e| e.to_string())?;
    let source = Source { file: PathBuf::from("its cage"), text };
    let mut checked = profile::check_all(&[source], &HostFacts::of_this_host(places.clone()));
    let spec = checked.profiles.pop().and_then(|one| one.spec);
    spec.ok_or_else(|| {
        let errors = checked.problems.iter().filter(|problem| problem.is_error());
        errors.map(|problem| clean(&problem.text)).collect::<Vec<_>>().join("; ")
    })
}

fn run(once: &Once, by_systemd: bool) -> std::io::Result<String> {
    let file = once::order(once, MemfdFlags::CLOEXEC)?;
    let number = file.as_raw_fd().to_string();
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or(std::io::ErrorKind::InvalidInput)?;
    let own = [ROLE, number.as_str()];
    let mut words = if by_systemd { SCOPE.to_vec() } else { Vec::new() };
    words.push(program);
    words.extend(own);
    let bounds =
        Bounds { begins_within: Some(BEGINS_WITHIN), within: WITHIN, most: MOST, asks_first: true };
    command::run_bounded(words[0], &words[1..], &[file.as_fd()], bounds)
}

/// Tells the answer from what the file itself writes; all of that is its word, so it need not be a secret.
fn number() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A folder of root's for the `/etc` of the cage, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Self> {
        Ok(Self(nix::unistd::mkdtemp("/run/swrun-import-XXXXXX")?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

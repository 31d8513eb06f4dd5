//! What a process sees of its cage, as one JSON object. `null`: it could not be read.
//!
//! uid, gid: [real, effective, saved, file system]; groups; capabilities: {inheritable, permitted,
//! effective, bounding, ambient} as the kernel's hex; no_new_privs; seccomp (mode); securebits;
//! descriptors: {number: target}; stdin: {target, is_dev_null}; environment; pid; ppid; pgid; sid;
//! init_comm; processes: [{pid, comm}], process_count; hostname; cgroup: lines; namespaces; mounts:
//! [{root, point, options, type, source, super_options}]; umask; rlimits: {nofile, core, nproc:
//! [soft, hard]}; oom_score_adj; cwd; signals: {blocked, ignored, caught, pending}; dumpable; paths:
//! {PATH: {exists, kind, error, can_list, can_read, can_write, write_error}}.
//!
//! Rust's runtime ignores SIGPIPE before `main` and opens /dev/null for a closed 0, 1 or 2: neither
//! can be told here, so the bit of SIGPIPE is left out of `ignored`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

/// Gathers the report; `paths` are tried one by one.
pub fn gather(paths: &[&str]) -> Value {
    // Before anything else opens something.
    let descriptors = descriptors();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| field(&status, name);
    let processes = processes();
    json!({
        "uid": field("Uid").and_then(numbers),
        "gid": field("Gid").and_then(numbers),
        "groups": field("Groups").and_then(numbers),
        "capabilities": {
            "inheritable": field("CapInh"),
            "permitted": field("CapPrm"),
            "effective": field("CapEff"),
            "bounding": field("CapBnd"),
            "ambient": field("CapAmb"),
        },
        "no_new_privs": field("NoNewPrivs").and_then(|text| text.parse::<u8>().ok()),
        "seccomp": field("Seccomp").and_then(|text| text.parse::<u8>().ok()),
        "securebits": rustix::thread::capabilities_secure_bits().ok().map(|bits| bits.bits()),
        "descriptors": descriptors,
        "stdin": stdin(),
        "environment": environment(),
        "pid": std::process::id(),
        "ppid": std::os::unix::process::parent_id(),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "sid": nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw),
        "init_comm": line("/proc/1/comm"),
        "process_count": processes.as_ref().map(Vec::len),
        "processes": processes,
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "cgroup": fs::read_to_string("/proc/self/cgroup").ok()
            .map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()),
        "namespaces": links("/proc/self/ns"),
        "mounts": fs::read_to_string("/proc/self/mountinfo").ok()
            .map(|text| text.lines().filter_map(mount).collect::<Vec<_>>()),
        "umask": field("Umask"),
        "rlimits": {
            "nofile": limit(Resource::RLIMIT_NOFILE),
            "core": limit(Resource::RLIMIT_CORE),
            "nproc": limit(Resource::RLIMIT_NPROC),
        },
        "oom_score_adj": line("/proc/self/oom_score_adj").and_then(|text| text.parse::<i32>().ok()),
        "cwd": std::env::current_dir().ok(),
        "signals": {
            "blocked": field("SigBlk"),
            "ignored": field("SigIgn").and_then(without_sigpipe),
            "caught": field("SigCgt"),
            "pending": field("ShdPnd"),
        },
        "dumpable": rustix::process::dumpable_behavior().ok().map(|behavior| behavior as i32),
        "paths": paths.iter().map(|path| ((*path).to_owned(), try_path(Path::new(path))))
            .collect::<BTreeMap<_, _>>(),
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

fn without_sigpipe(mask: &str) -> Option<String> {
    let bits = u64::from_str_radix(mask, 16).ok()?;
    Some(format!("{:016x}", bits & !(1 << (libc::SIGPIPE - 1))))
}

/// The open descriptors, without the one that reads the folder: it is closed before the links are
/// read, and so has none.
fn descriptors() -> Option<BTreeMap<String, String>> {
    links("/proc/self/fd")
}

fn links(folder: &str) -> Option<BTreeMap<String, String>> {
    let names: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let linked = names.iter().filter_map(|path| {
        let target = fs::read_link(path).ok()?;
        Some((path.file_name()?.to_string_lossy().into_owned(), target.display().to_string()))
    });
    Some(linked.collect())
}

fn stdin() -> Value {
    let meta = fs::metadata("/proc/self/fd/0").ok();
    json!({
        "target": fs::read_link("/proc/self/fd/0").ok(),
        // Device 1:3, null(4): the name alone proves nothing.
        "is_dev_null": meta.map(|meta| {
            meta.file_type().is_char_device() && meta.rdev() == nix::sys::stat::makedev(1, 3)
        }),
    })
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

fn processes() -> Option<Vec<Value>> {
    let mut found: Vec<(u32, Option<String>)> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(|pid| (pid, line(&format!("/proc/{pid}/comm"))))
        .collect();
    found.sort_unstable();
    Some(found.into_iter().map(|(pid, comm)| json!({ "pid": pid, "comm": comm })).collect())
}

/// A line of mountinfo: proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.splitn(3, ' ').collect();
    Some(json!({
        "root": left.get(3)?, "point": left.get(4)?, "options": left.get(5)?,
        "type": right.first()?, "source": right.get(1), "super_options": right.get(2),
    }))
}

fn limit(resource: Resource) -> Option<[u64; 2]> {
    getrlimit(resource).ok().map(|(soft, hard)| [soft, hard])
}

fn try_path(path: &Path) -> Value {
    let error = |error: io::Error| {
        nix::errno::Errno::try_from(error).map_or("other".to_owned(), |errno| format!("{errno:?}"))
    };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(failed) => return json!({ "exists": false, "error": error(failed) }),
    };
    let (is_folder, kind) = match meta.file_type() {
        kind if kind.is_dir() => (true, "folder"),
        kind if kind.is_file() => (false, "file"),
        kind if kind.is_symlink() => (path.is_dir(), "link"),
        kind if kind.is_socket() => (false, "socket"),
        kind if kind.is_fifo() => (false, "fifo"),
        _ => (false, "device"),
    };
    // Opening a fifo waits for its other end.
    let can_open = kind != "fifo";
    let written = if is_folder {
        let made = path.join(format!(".probe-{}", std::process::id()));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&made)
            .and_then(|_| fs::remove_file(&made))
    } else if can_open {
        fs::OpenOptions::new().append(true).open(path).map(drop)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    };
    json!({
        "exists": true,
        "kind": kind,
        "uid": meta.uid(),
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "can_list": is_folder && fs::read_dir(path).is_ok(),
        "can_read": !is_folder && can_open && fs::File::open(path).is_ok(),
        "can_write": written.is_ok(),
        "write_error": written.err().map(error),
    })
}

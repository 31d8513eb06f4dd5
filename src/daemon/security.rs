//! Which walls stand round an app: looked up at its process and its spec, judged apart from that.

use std::path::Path;

use crate::model::{EnvSpec, Stand, WallLine, format_bytes};

/// What was found of an app and its host.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `/proc/PID/status` of the app (proc_pid_status(5)).
    pub status: Option<String>,
    /// Its namespaces that are not the runner's own, by name.
    pub own_namespaces: Option<Vec<String>>,
    /// The version of Landlock.
    pub landlock: Option<u32>,
    /// Ports and connections are decided in the kernel.
    pub is_walled: bool,
    /// The whole group is killed at the ceiling at once.
    pub is_unified: bool,
}

/// The namespaces that an instance has of its own.
const NAMESPACES: [&str; 5] = ["mnt", "pid", "ipc", "uts", "cgroup"];

impl Facts {
    /// Looks at the process; it may be none of ours any more, which the caller's own look at its cgroup
    /// tells.
    pub fn look(pid: Option<i32>, is_walled: bool, is_unified: bool) -> Self {
        let read = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
        let namespace = |pid: &str, name: &str| {
            std::fs::read_link(Path::new("/proc").join(pid).join("ns").join(name)).ok()
        };
        let own = |pid: i32| {
            let mut own = Vec::new();
            for name in NAMESPACES.into_iter().chain(["net"]) {
                let (theirs, ours) = (namespace(&pid.to_string(), name)?, namespace("self", name)?);
                if theirs != ours {
                    own.push(name.to_owned());
                }
            }
            Some(own)
        };
        Self {
            status: pid.and_then(read),
            own_namespaces: pid.and_then(own),
            landlock: crate::sys::landlock::version(),
            is_walled,
            is_unified,
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.status.as_deref()?.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(str::trim)
    }
}

/// Every wall, and what is open by design.
pub fn judge(facts: &Facts, spec: &EnvSpec) -> Vec<WallLine> {
    vec![
        user(facts, spec),
        capabilities(facts),
        privileges(facts),
        system_calls(facts, spec),
        namespaces(facts, spec),
        files(spec),
        landlock(facts),
        ports(facts, spec),
        connections(facts, spec),
        memory(facts, spec),
        wall(
            "code",
            Stand::Open,
            "memory may be written and executed, for compilers at run time; it may run programs from /tmp",
        ),
    ]
}

fn wall(name: &str, stand: Stand, text: impl Into<String>) -> WallLine {
    WallLine { wall: name.to_owned(), stand, text: text.into() }
}

const NOT_SEEN: &str = "its process could not be looked at";

fn user(facts: &Facts, spec: &EnvSpec) -> WallLine {
    let ids = |name| facts.field(name).map(|text| text.split_whitespace().collect::<Vec<_>>());
    let (Some(uids), Some(gids), Some(groups)) = (ids("Uid"), ids("Gid"), ids("Groups")) else {
        return wall("user", Stand::Unknown, NOT_SEEN);
    };
    let is_all = |ids: &[&str], wanted: u32| ids.iter().all(|id| *id == wanted.to_string());
    let is_own = is_all(&uids, spec.identity.uid) && is_all(&gids, spec.identity.gid);
    let stand = if is_own { Stand::Firm } else { Stand::Open };
    let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(" ") };
    wall("user", stand, format!("uid {}, gid {}, other groups: {groups}", uids[0], gids[0]))
}

fn capabilities(facts: &Facts) -> WallLine {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let found: Option<Vec<&str>> = sets.iter().map(|name| facts.field(name)).collect();
    let Some(found) = found else { return wall("capabilities", Stand::Unknown, NOT_SEEN) };
    let held: Vec<String> = sets
        .iter()
        .zip(&found)
        .filter(|(_, set)| set.bytes().any(|byte| byte != b'0'))
        .map(|(name, set)| format!("{name} {set}"))
        .collect();
    match held.is_empty() {
        true => wall("capabilities", Stand::Firm, "none in all five sets"),
        false => wall("capabilities", Stand::Open, held.join(", ")),
    }
}

fn privileges(facts: &Facts) -> WallLine {
    match facts.field("NoNewPrivs") {
        Some("1") => {
            wall("privileges", Stand::Firm, "no program gives it more than it has (no_new_privs)")
        }
        Some(_) => wall("privileges", Stand::Open, "set-user-id programs have effect"),
        None => wall("privileges", Stand::Unknown, NOT_SEEN),
    }
}

fn system_calls(facts: &Facts, spec: &EnvSpec) -> WallLine {
    const WALL: &str = "system calls";
    let allowed = &spec.sandbox.allow_syscalls;
    match facts.field("Seccomp") {
        Some("2") if allowed.is_empty() => wall(WALL, Stand::Firm, "a list of what is allowed"),
        Some("2") => {
            let text =
                format!("a list of what is allowed, and of its profile: {}", allowed.join(" "));
            wall(WALL, Stand::Weaker, text)
        }
        Some(_) => wall(WALL, Stand::Open, "all of the kernel's"),
        None => wall(WALL, Stand::Unknown, NOT_SEEN),
    }
}

fn namespaces(facts: &Facts, spec: &EnvSpec) -> WallLine {
    const WALL: &str = "namespaces";
    let Some(own) = &facts.own_namespaces else { return wall(WALL, Stand::Unknown, NOT_SEEN) };
    let missing: Vec<&str> =
        NAMESPACES.into_iter().filter(|name| !own.iter().any(|own| own == name)).collect();
    if !missing.is_empty() {
        return wall(WALL, Stand::Open, format!("shared with the host: {}", missing.join(" ")));
    }
    let network = match spec.network.is_private {
        true => "the network too, with loopback alone",
        false => "the network is the host's: it sees who listens (/proc/net)",
    };
    wall(WALL, Stand::Firm, format!("its own {}; {network}", own.join(" ")))
}

fn files(spec: &EnvSpec) -> WallLine {
    let list = |paths: &[std::path::PathBuf]| match paths.is_empty() {
        true => "nothing".to_owned(),
        false => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
    };
    let text = format!(
        "a root of /usr, chosen files of /etc and {}; writable: {}; beyond that: {}",
        spec.base.display(),
        list(&spec.writable),
        list(&spec.read_only)
    );
    wall("files", if spec.read_only.is_empty() { Stand::Firm } else { Stand::Weaker }, text)
}

fn landlock(facts: &Facts) -> WallLine {
    const WALL: &str = "landlock";
    match facts.landlock {
        Some(version @ 6..) => {
            wall(WALL, Stand::Firm, format!("ABI {version}: files, abstract sockets, signals"))
        }
        Some(version) => wall(
            WALL,
            Stand::Weaker,
            format!("ABI {version}: files; abstract unix sockets of the host are in reach"),
        ),
        None => wall(WALL, Stand::Open, "this kernel has none: mounts alone keep files apart"),
    }
}

fn ports(facts: &Facts, spec: &EnvSpec) -> WallLine {
    let own: Vec<String> =
        spec.ports.iter().map(|port| format!("{}/{}", port.port, port.proto.word())).collect();
    let own = if own.is_empty() { "none".to_owned() } else { own.join(" ") };
    match facts.is_walled {
        true => wall("ports", Stand::Firm, format!("it may bind its own alone: {own}")),
        false => wall("ports", Stand::Open, "not guarded on this host: swrun doctor says why"),
    }
}

fn connections(facts: &Facts, spec: &EnvSpec) -> WallLine {
    const WALL: &str = "connections";
    let network = &spec.network;
    let allowed: Vec<String> = network.allow.iter().map(ToString::to_string).collect();
    let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(" ") };
    match (facts.is_walled, network.is_declared) {
        _ if network.is_private => wall(WALL, Stand::Firm, "nowhere: its network is private"),
        (false, _) => wall(WALL, Stand::Open, "anywhere: not guarded on this host"),
        (true, true) => wall(WALL, Stand::Firm, format!("to its own ports, and to {allowed}")),
        (true, false) => {
            let text = format!(
                "anywhere but to ports of other environments and addresses of cloud metadata; allowed all the same: {allowed}"
            );
            wall(WALL, Stand::Weaker, text)
        }
    }
}

fn memory(facts: &Facts, spec: &EnvSpec) -> WallLine {
    let text = format!(
        "at most {}, {} processes and threads, {} open files each",
        format_bytes(spec.limits.memory_max),
        spec.limits.pids,
        spec.limits.open_files
    );
    match facts.is_unified {
        true => wall("resources", Stand::Firm, text),
        false => wall(
            "resources",
            Stand::Weaker,
            format!(
                "{text}; on cgroup v1 the kernel kills one process at the ceiling, swrun the rest"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec_for_tests;

    const STATUS: &str = "Name:\tnode\nUid:\t61001\t61001\t61001\t61001\nGid:\t61001\t61001\t61001\t61001\n\
        Groups:\t \nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn stands(facts: &Facts, spec: &EnvSpec) -> Vec<(String, Stand)> {
        judge(facts, spec).into_iter().map(|line| (line.wall, line.stand)).collect()
    }

    #[test]
    fn what_is_found_decides_and_what_is_not_is_unknown() {
        let spec = spec_for_tests("shop");
        let own = NAMESPACES.map(str::to_owned).to_vec();
        let facts = Facts {
            status: Some(STATUS.to_owned()),
            own_namespaces: Some(own),
            landlock: Some(7),
            is_walled: true,
            is_unified: true,
        };
        let found = stands(&facts, &spec);
        for (wall, stand) in &found {
            let wanted = match wall.as_str() {
                "connections" => Stand::Weaker,
                "code" => Stand::Open,
                _ => Stand::Firm,
            };
            assert_eq!(*stand, wanted, "{wall}");
        }
        let of = |facts: &Facts, spec: &EnvSpec, name: &str| {
            stands(facts, spec).into_iter().find(|(wall, _)| wall == name).expect("there").1
        };
        let nothing = Facts::default();
        for name in ["user", "capabilities", "privileges", "system calls", "namespaces"] {
            assert_eq!(of(&nothing, &spec, name), Stand::Unknown, "{name}");
        }
        for (from, to, name) in [
            ("CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", "capabilities"),
            ("Uid:\t61001\t61001", "Uid:\t61001\t0", "user"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "privileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "system calls"),
        ] {
            let text = STATUS.replace(from, to);
            assert_ne!(text, STATUS);
            let facts = Facts { status: Some(text), ..facts.clone() };
            assert_eq!(of(&facts, &spec, name), Stand::Open, "{name}");
        }
        let mut looser = spec.clone();
        looser.sandbox.allow_syscalls = vec!["ptrace".to_owned()];
        looser.network.is_declared = true;
        assert_eq!(of(&facts, &looser, "system calls"), Stand::Weaker);
        assert_eq!(of(&facts, &looser, "connections"), Stand::Firm);
        let shared = Facts { own_namespaces: Some(vec!["mnt".to_owned()]), ..facts };
        assert_eq!(of(&shared, &spec, "namespaces"), Stand::Open);
    }
}

//! A service of systemd's with the same user, limits and walls (systemd.exec(5), systemd.resource-control(5)).

use std::fmt::Write as _;

use super::quote::{is_plain_variable, systemd_path, systemd_variable, systemd_word};
use super::{Export, File, Source, shown, unfit};
use crate::model::{EnvSpec, Ready, RestartPolicy};

/// Walls that every environment has here, as systemd's settings say them.
const WALLS: &str = "\
# No way to more rights
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
SecureBits=noroot noroot-locked
KeyringMode=private
UMask=0027
# What it sees of the host
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectProc=invisible
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
TemporaryFileSystem=/opt:ro /srv:ro /var:ro /mnt:ro /media:ro /run:ro /dev/shm
BindReadOnlyPaths=-/run/systemd/resolve
# System calls
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@keyring io_uring_setup io_uring_enter io_uring_register userfaultfd process_vm_readv process_vm_writev kcmp setns
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RemoveIPC=yes
";

pub fn export(source: &Source<'_>) -> Export {
    let spec = source.spec;
    let name = &spec.name;
    let (good, bad): (Vec<_>, Vec<_>) =
        source.all_variables().into_iter().partition(|(key, _)| is_plain_variable(key));
    let variables: String =
        good.iter().map(|(key, value)| systemd_variable(key, value) + "\n").collect();
    let left = bad.iter().map(|(key, _)| unfit(key)).collect();
    let files = vec![
        File { name: format!("{name}.service"), text: unit(source), is_secret: false },
        File { name: format!("{name}.env"), text: variables, is_secret: true },
    ];
    Export { files, left }
}

fn unit(source: &Source<'_>) -> String {
    let spec = source.spec;
    let name = &spec.name;
    let id = &spec.identity;
    // systemd starts nothing as a number that the user database does not know.
    let is_number = id.user.bytes().all(|byte| byte.is_ascii_digit());
    let user = match is_number {
        true => format!(
            "#   groupadd --gid {} {name} && useradd --uid {} --gid {0} --home-dir {} --no-create-home {name}\n",
            id.gid,
            id.uid,
            systemd_path(&shown(&spec.base))
        ),
        false => String::new(),
    };
    let mut text = format!(
        "# {name}, exported from swrun. Install it as root:\n\
         #   install -m 644 {name}.service /etc/systemd/system/\n\
         #   install -m 600 {name}.env /etc/\n\
         {user}#   swrun delete {name} && systemctl daemon-reload && systemctl enable --now {name}\n\n\
         {}",
        unit_section(spec)
    );
    let restart = &spec.restart;
    text.push_str("\n[Service]\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    match spec.ready {
        Ready::Notify => {
            set("Type", "notify");
            // Whoever of it says so, as here.
            set("NotifyAccess", "all");
            set("BindReadOnlyPaths", "/run/systemd/notify");
        }
        _ => set("Type", "exec"),
    }
    match is_number {
        true => (set("User", name.as_str()), set("Group", name.as_str())),
        false => (set("User", &id.user), set("Group", &id.gid.to_string())),
    };
    let groups: Vec<String> = id.groups.iter().map(u32::to_string).collect();
    if !groups.is_empty() {
        set("SupplementaryGroups", &groups.join(" "));
    }
    set("WorkingDirectory", &shown(&source.cwd()));
    set("EnvironmentFile", &format!("/etc/{name}.env"));
    set("ExecStart", &command(source));
    match restart.policy {
        RestartPolicy::Always => set("Restart", "always"),
        // "on-failure" there passes over signals that are a crash here.
        RestartPolicy::OnFailure => {
            set("Restart", "always");
            set("RestartPreventExitStatus", "0");
        }
        RestartPolicy::Never => set("Restart", "no"),
    }
    set("RestartSec", &milliseconds(restart.first_delay));
    set("KillMode", "mixed");
    set("KillSignal", &spec.stop.signal.to_string());
    // 0 would be for ever.
    set("TimeoutStopSec", &milliseconds(spec.stop.grace.max(std::time::Duration::from_millis(1))));
    limits(spec, &mut set);
    places(source, &mut set);
    text.push_str(WALLS);
    let allowed = &spec.sandbox.allow_syscalls;
    if !allowed.is_empty() {
        let _ = writeln!(text, "SystemCallFilter={}", allowed.join(" "));
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

/// When it is started, and how often in a row: of every unit, Quadlet's too.
pub fn unit_section(spec: &EnvSpec) -> String {
    let limit = match spec.restart.give_up_after {
        0 => "StartLimitIntervalSec=0".to_owned(),
        count => format!(
            "StartLimitIntervalSec={}\nStartLimitBurst={count}",
            milliseconds(spec.restart.within)
        ),
    };
    format!(
        "[Unit]\nDescription={}\nWants=network-online.target\nAfter=network-online.target\n{limit}\n",
        spec.name
    )
}

fn limits(spec: &EnvSpec, set: &mut impl FnMut(&str, &str)) {
    let limits = &spec.limits;
    set("MemoryMax", &limits.memory_max.to_string());
    set("MemorySwapMax", "0");
    // At the ceiling the whole of it goes, as here.
    set("OOMPolicy", "kill");
    if let Some(percent) = limits.cpu_percent {
        set("CPUQuota", &format!("{percent}%"));
    }
    set("TasksMax", &limits.pids.to_string());
    set("LimitNOFILE", &limits.open_files.to_string());
    set("LimitCORE", "0");
}

/// Its folders, and the ports that it may bind.
fn places(source: &Source<'_>, set: &mut impl FnMut(&str, &str)) {
    let spec = source.spec;
    let paths = |paths: &[std::path::PathBuf]| {
        let paths: Vec<String> = paths.iter().map(|path| systemd_path(&shown(path))).collect();
        paths.join(" ")
    };
    // One path in both lists would be read-only.
    let only_read: Vec<_> = std::iter::once(&spec.base)
        .chain(&spec.read_only)
        .filter(|path| !spec.writable.contains(path))
        .cloned()
        .collect();
    if !only_read.is_empty() {
        set("BindReadOnlyPaths", &paths(&only_read));
    }
    // By the other name of /run too: /var is empty there.
    for path in spec.read_only.iter().filter(|path| path.starts_with("/run")) {
        let path = systemd_path(&format!("{0}:/var{0}", shown(path)));
        set("BindReadOnlyPaths", &path);
    }
    if !spec.writable.is_empty() {
        set("BindPaths", &paths(&spec.writable));
    }
    let cwd = source.cwd();
    let data: Vec<_> =
        spec.writable.iter().filter(|path| !cwd.starts_with(path)).cloned().collect();
    if !data.is_empty() {
        set("NoExecPaths", &paths(&data));
    }
    if spec.network.is_private {
        set("PrivateNetwork", "yes");
    }
    // Not switched on: it would deny port 0 too, by which datagrams are sent.
    for port in &spec.ports {
        set("# SocketBindAllow", &format!("{}:{}", port.proto.word(), port.port));
    }
    set("# SocketBindDeny", "any");
}

/// The first word is no more than a path, and `$` is no mark in it.
fn command(source: &Source<'_>) -> String {
    let words = source.command_here();
    let mut line: Vec<String> = words.iter().take(1).map(|program| systemd_path(program)).collect();
    line.extend(words.iter().skip(1).map(|word| systemd_word(word)));
    line.join(" ")
}

/// As systemd's settings take a time.
pub fn milliseconds(time: std::time::Duration) -> String {
    format!("{}ms", time.as_millis())
}

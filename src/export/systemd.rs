//! A service of systemd's with the same user, limits and walls (systemd.exec(5), systemd.resource-control(5)).

use std::fmt::Write as _;

use super::quote::{
    is_plain_variable, systemd_path, systemd_value, systemd_variable, systemd_word,
};
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
TemporaryFileSystem=/opt:ro /srv:ro /var:ro /mnt:ro /media:ro
# System calls
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RemoveIPC=yes
";

/// Calls beyond @system-service that are refused here too.
const REFUSED: &str = "~@privileged @resources @keyring";

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
    let mut text = format!(
        "# {name}, exported from swrun. Install it as root:\n\
         #   install -m 644 {name}.service /etc/systemd/system/\n\
         #   install -m 600 {name}.env /etc/\n\
         #   swrun delete {name} && systemctl daemon-reload && systemctl enable --now {name}\n\n\
         [Unit]\nDescription={name}\nWants=network-online.target\nAfter=network-online.target\n"
    );
    let restart = &spec.restart;
    let _ = match restart.give_up_after {
        0 => writeln!(text, "StartLimitIntervalSec=0"),
        count => writeln!(
            text,
            "StartLimitIntervalSec={}\nStartLimitBurst={count}",
            seconds(restart.within)
        ),
    };
    text.push_str("\n[Service]\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    set("Type", if spec.ready == Ready::Notify { "notify" } else { "exec" });
    let id = &spec.identity;
    set("User", &id.user);
    set("Group", &id.gid.to_string());
    let groups: Vec<String> = id.groups.iter().map(u32::to_string).collect();
    if !groups.is_empty() {
        set("SupplementaryGroups", &groups.join(" "));
    }
    set("WorkingDirectory", &systemd_value(&shown(&source.cwd())));
    set("EnvironmentFile", &format!("/etc/{name}.env"));
    let words: Vec<String> = source.command().iter().map(|word| systemd_word(word)).collect();
    set("ExecStart", &words.join(" "));
    set(
        "Restart",
        match restart.policy {
            RestartPolicy::Always => "always",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "no",
        },
    );
    set("RestartSec", &seconds(restart.first_delay));
    set("KillMode", "mixed");
    set("KillSignal", &spec.stop.signal.to_string());
    set("TimeoutStopSec", &seconds(spec.stop.grace));
    limits(spec, &mut set);
    places(source, &mut set);
    text.push_str(WALLS);
    let _ = writeln!(text, "SystemCallFilter=@system-service");
    let _ = writeln!(text, "SystemCallFilter={REFUSED}");
    let allowed = &spec.sandbox.allow_syscalls;
    if !allowed.is_empty() {
        let _ = writeln!(text, "SystemCallFilter={}", allowed.join(" "));
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
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
    set("BindReadOnlyPaths", &paths(std::slice::from_ref(&spec.base)));
    if !spec.read_only.is_empty() {
        set("BindReadOnlyPaths", &paths(&spec.read_only));
    }
    if !spec.writable.is_empty() {
        set("BindPaths", &paths(&spec.writable));
    }
    if spec.network.is_private {
        set("PrivateNetwork", "yes");
    }
    for port in &spec.ports {
        set("SocketBindAllow", &format!("{}:{}", port.proto.word(), port.port));
    }
    set("SocketBindDeny", "any");
}

fn seconds(time: std::time::Duration) -> String {
    format!("{}ms", time.as_millis())
}

//! What does not carry over, and what to do about it.

use super::Format;
use crate::model::{EnvSpec, LeakAction, Protocol, Ready};

/// Of an environment, in that format; a line each.
pub fn of(format: Format, spec: &EnvSpec) -> Vec<String> {
    let is_kubernetes = format == Format::Kubernetes;
    let mut left = Vec::new();
    let mut say = |what: &str, instead: &str| left.push(format!("{what}: {instead}"));
    if !spec.ports.is_empty() && !is_kubernetes {
        say(
            "ports are no longer the environment's own",
            "while it is down any process may bind them, and connections are refused meanwhile",
        );
    }
    match (format, spec.instances) {
        (_, 1) | (Format::Kubernetes, _) => {}
        (_, count) => say(
            &format!("{count} instances on one port"),
            "one is exported; put a proxy before several with ports of their own",
        ),
    }
    if !is_kubernetes {
        say(
            "a reload without a refused connection",
            "a restart refuses connections until it is up",
        );
    }
    match spec.ready {
        Ready::Message => say("ready = \"message\"", "it counts as up once it runs"),
        Ready::Notify if format != Format::Systemd => {
            say("ready = \"notify\"", "it counts as up once it runs or its probe succeeds");
        }
        Ready::Ports | Ready::Notify | Ready::Health => {}
    }
    if spec.health.is_some() && format == Format::Systemd {
        say("[health]", "systemd asks no address; WatchdogSec= needs an app that reports");
    }
    if spec.limits.memory_high.is_some() {
        say(
            "memory-high",
            "there is no graceful restart at a soft ceiling; MemoryHigh= of a kernel group throttles instead",
        );
    }
    if matches!(format, Format::Nomad(_)) {
        say("pids and open-files", "limits of Nomad's own service on each client");
        say("cpu", "a share of the machine, no ceiling; cores = N gives whole ones");
        if spec.network.is_private {
            say("mode = \"private\"", "network { mode = \"none\" } of the group");
        }
        if !spec.identity.groups.is_empty() {
            say("further groups of its user", "those that each client's user database gives it");
        }
        say("a stop that takes longer than 30 s", "max_kill_timeout of the client");
    }
    if format == Format::Systemd {
        say(
            "a root of its own",
            "all of /etc and the other processes' numbers can be seen (not their content); which ports it binds is not limited: see the lines that are commented out",
        );
    }
    say("[logs]", "they go to the engine's own; what is in /var/log/swrun stays there");
    say("HOME, USER, SWRUN_ENV and SWRUN_INSTANCE", "the engine's own, or none");
    say("the profile", "\"swrun delete\" keeps it; remove it once you are sure");
    if !spec.autostart {
        say("autostart = false", "do not enable it");
    }
    say("leak detection and its history", "watch memory by the engine's own metrics");
    if spec.leak.action == LeakAction::Reload {
        say("[leak] action = \"reload\"", "restart it on a schedule, if need be");
    }
    if spec.notify.is_some() {
        say("[notify]", "OnFailure= of systemd, or alerts of the engine");
    }
    if let Some(cron) = &spec.cron {
        say(&format!("cron = \"{cron}\""), "a timer or a job of the engine that restarts it");
    }
    if spec.watch.is_some() {
        say("[watch]", "nothing restarts it when files change");
    }
    if spec.deploy.is_some() && !is_kubernetes {
        say("[deploy]", "what the link \"current\" leads to runs; it is yours to move");
    }
    if spec.network.is_declared {
        say(
            "connect = \"declared\"",
            match format {
                Format::Kubernetes => "a NetworkPolicy, where the cluster's network has them",
                _ => "IPAddressAllow= knows addresses without ports; a firewall by user knows both",
            },
        );
    }
    if !spec.network.is_declared && !is_kubernetes {
        say("addresses of cloud metadata and other environments' ports are in reach", "a firewall");
    }
    if spec.restart.max_delay > spec.restart.first_delay && format != Format::Kubernetes {
        say("a pause that grows", "the first delay is the pause (systemd 254 has RestartSteps=)");
    }
    if spec.ports.iter().any(|port| port.proto == Protocol::Udp)
        && matches!(format, Format::Nomad(_))
    {
        say("udp ports", "Nomad's port is reserved for both protocols");
    }
    if !spec.sandbox.allow_syscalls.is_empty() && format != Format::Systemd {
        say("allow-syscalls", "a seccomp profile of the engine's");
    }
    say(
        "values of variables",
        "they are in a file now: keep it as secret as .env, which no longer counts",
    );
    left
}

//! What is known of environments as OpenMetrics: names as Prometheus wants them (base units, `_total` for what only
//! rises). What is unknown is left out, never 0.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{EnvironmentStatus, LeakVerdict, Phase, PortsDocument, StatusDocument, Wanted};

type Number<L> = Family<L, Gauge<f64, AtomicU64>>;
type Total<L> = Family<L, Counter<f64, AtomicU64>>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    environment: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Info {
    environment: String,
    target: String,
    user: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    environment: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    environment: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Verdict {
    environment: String,
    verdict: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Port {
    environment: String,
    port: String,
    protocol: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Version {
    version: String,
    cgroup: String,
}

/// The whole text, `# EOF` at its end; without documents the runner could not be reached, and `swrun_up` says so.
///
/// # Errors
/// The text could not be made.
pub fn text(
    documents: Option<(&StatusDocument, &PortsDocument)>,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("swrun");
    let up = Gauge::<f64, AtomicU64>::default();
    registry.register("up", "Whether the runner could be asked", up.clone());
    if let Some((status, ports)) = documents {
        up.set(1.0);
        add_runner(&mut registry, status);
        add_environments(&mut registry, &status.environments);
        add_ports(&mut registry, ports);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn add_runner(registry: &mut Registry, status: &StatusDocument) {
    let info = Number::<Version>::default();
    registry.register("runner_info", "The runner", info.clone());
    let (version, cgroup) = (status.runner.version.clone(), status.runner.cgroup.clone());
    info.get_or_create(&Version { version, cgroup }).set(1.0);
    let uptime = Gauge::<f64, AtomicU64>::default();
    let help = "Since the runner started";
    registry.register_with_unit("runner_uptime", help, Unit::Seconds, uptime.clone());
    uptime.set(status.runner.uptime_s as f64);
    let degraded = Gauge::<f64, AtomicU64>::default();
    registry.register("host_degraded", "How many things this host lacks", degraded.clone());
    degraded.set(status.runner.degraded.len() as f64);
}

/// A gauge of each environment.
fn gauge(
    registry: &mut Registry,
    (name, help, unit): (&str, &str, Option<Unit>),
    environments: &[EnvironmentStatus],
    value: impl Fn(&EnvironmentStatus) -> Option<f64>,
) {
    let family = Number::<Of>::default();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
        None => registry.register(name, help, family.clone()),
    }
    for one in environments {
        if let Some(value) = value(one) {
            family.get_or_create(&Of { environment: one.name.clone() }).set(value);
        }
    }
}

/// A counter of each environment.
fn total(
    registry: &mut Registry,
    (name, help, unit): (&str, &str, Option<Unit>),
    environments: &[EnvironmentStatus],
    value: impl Fn(&EnvironmentStatus) -> Option<f64>,
) {
    let family = Total::<Of>::default();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
        None => registry.register(name, help, family.clone()),
    }
    for one in environments {
        if let Some(value) = value(one) {
            family.get_or_create(&Of { environment: one.name.clone() }).inc_by(value);
        }
    }
}

fn add_environments(registry: &mut Registry, all: &[EnvironmentStatus]) {
    let real = |value: Option<u64>| value.map(|value| value as f64);
    let seconds = |us: Option<u64>| us.map(|us| us as f64 / 1e6);
    let share = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
    let truth = |is: bool| Some(f64::from(u8::from(is)));

    let info = Number::<Info>::default();
    registry.register("environment_info", "The environment", info.clone());
    let states = Number::<State>::default();
    registry.register("environment_state", "1 for the state it is in", states.clone());
    let kinds = Number::<Kind>::default();
    let help = "Memory of all instances, by kind; current is all that is charged";
    registry.register_with_unit("memory", help, Unit::Bytes, kinds.clone());
    let verdicts = Number::<Verdict>::default();
    registry.register("leak_verdict", "1 for the verdict on its memory", verdicts.clone());
    for one in all {
        let environment = || one.name.clone();
        let target = one.target.clone().unwrap_or_default();
        let user = one.user.clone();
        info.get_or_create(&Info { environment: environment(), target, user }).set(1.0);
        for state in Phase::ALL {
            let of = State { environment: environment(), state: state.word().to_owned() };
            states.get_or_create(&of).set(f64::from(u8::from(one.state == state)));
        }
        let memory =
            [("current", one.memory.current), ("anon", one.memory.anon), ("swap", one.memory.swap)];
        for (kind, bytes) in memory {
            if let Some(bytes) = bytes {
                let of = Kind { environment: environment(), kind: kind.to_owned() };
                kinds.get_or_create(&of).set(bytes as f64);
            }
        }
        for verdict in LeakVerdict::ALL {
            let of = Verdict { environment: environment(), verdict: verdict.word().to_owned() };
            verdicts.get_or_create(&of).set(f64::from(u8::from(one.leak.verdict == verdict)));
        }
    }
    let (bytes, secs) = (Some(Unit::Bytes), Some(Unit::Seconds));
    gauge(registry, ("environment_up", "Whether it is online", None), all, |one| {
        truth(one.state == Phase::Online)
    });
    gauge(registry, ("environment_wanted", "Whether it is wanted online", None), all, |one| {
        truth(one.wanted == Wanted::Online)
    });
    gauge(
        registry,
        ("environment_uptime", "Since its oldest instance came up", secs.clone()),
        all,
        |one| real(one.uptime_s),
    );
    gauge(registry, ("environment_instances", "Instances that run", None), all, |one| {
        Some(one.instances.len() as f64)
    });
    gauge(
        registry,
        ("environment_unstable", "Deaths in a row, without calm between", None),
        all,
        |one| Some(f64::from(one.unstable)),
    );
    total(registry, ("environment_restarts", "Restarts since it was started", None), all, |one| {
        Some(f64::from(one.restarts))
    });
    total(
        registry,
        ("oom_kills", "Processes that the kernel killed at the ceiling", None),
        all,
        |one| real(one.memory.oom_kills),
    );
    gauge(registry, ("memory_limit", "The ceiling of all instances", bytes.clone()), all, |one| {
        real(one.memory.max)
    });
    gauge(
        registry,
        ("memory_soft_limit", "The soft ceiling, where one is set", bytes.clone()),
        all,
        |one| real(one.memory.high),
    );
    gauge(registry, ("memory_peak", "The most memory there was", bytes), all, |one| {
        real(one.memory.peak)
    });
    gauge(
        registry,
        ("memory_pressure_ratio", "Time stalled for want of memory (PSI some avg10)", None),
        all,
        |one| share(one.memory.pressure_avg10),
    );
    total(registry, ("cpu", "CPU time used", secs.clone()), all, |one| seconds(one.cpu.usage_us));
    total(
        registry,
        ("cpu_throttled", "Time that the CPU limit held it back", secs.clone()),
        all,
        |one| seconds(one.cpu.throttled_us),
    );
    gauge(registry, ("cpu_limit_ratio", "The CPU limit, 1 is one CPU", None), all, |one| {
        share(one.cpu.limit_percent)
    });
    gauge(registry, ("processes", "Processes and threads", None), all, |one| {
        real(one.pids.current)
    });
    gauge(registry, ("processes_limit", "The most there may be", None), all, |one| {
        real(one.pids.max)
    });
    gauge(
        registry,
        ("leak_growth_bytes_per_hour", "The slope of its anonymous memory", None),
        all,
        |one| one.leak.bytes_per_hour.map(|slope| slope as f64),
    );
    gauge(registry, ("leak_ceiling", "When that meets the ceiling", secs), all, |one| {
        real(one.leak.ceiling_in_s)
    });
}

fn add_ports(registry: &mut Registry, document: &PortsDocument) {
    let queue = Number::<Port>::default();
    registry.register("port_queue", "Connections that wait to be accepted", queue.clone());
    let backlog = Number::<Port>::default();
    registry.register("port_queue_limit", "How many may wait", backlog.clone());
    let accepted = Total::<Port>::default();
    registry.register("port_accepted", "Connections that were accepted", accepted.clone());
    let refused = Total::<Port>::default();
    registry.register("port_refused", "Binds of others that were refused", refused.clone());
    for line in &document.ports {
        let of = Port {
            environment: line.environment.clone(),
            port: line.port.to_string(),
            protocol: line.proto.word().to_owned(),
        };
        if let Some(waiting) = line.queue {
            queue.get_or_create(&of).set(f64::from(waiting));
        }
        if let Some(most) = line.backlog {
            backlog.get_or_create(&of).set(f64::from(most));
        }
        if let Some(count) = line.accepted {
            accepted.get_or_create(&of).inc_by(count as f64);
        }
        if let Some(count) = line.refused {
            refused.get_or_create(&of).inc_by(count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a value in each place.
    const STATUS: &str = r#"{"schema": 1,
        "runner": {"version": "0.1.0", "pid": 812, "uptime_s": 86400, "cgroup": "unified", "landlock": 7, "degraded": ["x"]},
        "environments": [{"name": "we\"ird", "target": "prod", "user": "deploy-prod", "state": "online", "wanted": "online",
            "reason": null, "pid": 4711, "monitor_pid": 4700, "instances": [], "ports": [], "blocked_by": null, "restarts": 2,
            "unstable": 1, "last_exit": null, "next_try_ms": null, "uptime_s": 3600,
            "memory": {"current": 9, "anon": 8, "high": 7, "max": 6, "peak": 5, "swap": 4, "oom_kills": 3, "pressure_avg10": 12.5},
            "cpu": {"percent": 1.2, "limit_percent": 150.0, "usage_us": 1500000, "throttled_us": 250000},
            "pids": {"current": 11, "max": 256},
            "leak": {"verdict": "leaking", "bytes_per_hour": 1024, "confidence": 0.999, "ceiling_in_s": 60, "doubt": null,
                "seen_s": 3600, "lives": null},
            "changed": false, "no_profile": false}]}"#;
    const PORTS: &str = r#"{"schema": 1, "ports": [{"environment": "we\"ird", "port": 3002, "proto": "tcp", "state": "held",
        "pid": 1, "program": "node", "processes": 1, "queue": 2, "backlog": 511, "accepted": 99,
        "accepted_since": null, "refused": 1}]}"#;

    fn all() -> String {
        let status: StatusDocument = serde_json::from_str(STATUS).expect("as it is answered");
        let ports: PortsDocument = serde_json::from_str(PORTS).expect("as it is answered");
        text(Some((&status, &ports))).expect("text")
    }

    #[test]
    fn units_are_base_units_and_labels_are_escaped() {
        let text = all();
        let of = r#"{environment="we\"ird"}"#;
        for line in [
            format!("swrun_cpu_seconds_total{of} 1.5"),
            format!("swrun_cpu_throttled_seconds_total{of} 0.25"),
            format!("swrun_cpu_limit_ratio{of} 1.5"),
            format!("swrun_memory_pressure_ratio{of} 0.125"),
            format!("swrun_memory_limit_bytes{of} 6.0"),
            format!("swrun_leak_ceiling_seconds{of} 60.0"),
            r#"swrun_leak_verdict{environment="we\"ird",verdict="leaking"} 1.0"#.to_owned(),
            r#"swrun_leak_verdict{environment="we\"ird",verdict="none"} 0.0"#.to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        let none = super::text(None).expect("text");
        assert!(none.contains("swrun_up 0.0") && !none.contains("environment"), "{none}");
    }

    /// Alerts and dashboard ask for nothing that there is not.
    #[test]
    fn every_series_that_is_asked_for_is_there() {
        let text = all();
        let asks = concat!(
            include_str!("../../../docs/prometheus/alerts.yml"),
            include_str!("../../../docs/prometheus/dashboard.json")
        );
        let is_other = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let names: Vec<&str> =
            asks.split(is_other).filter(|name| name.starts_with("swrun_")).collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let family = name.strip_suffix("_total").unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
        }
    }
}

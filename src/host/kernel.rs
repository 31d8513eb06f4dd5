//! The kernel: its version, the cgroups, pressure, seccomp, Landlock.

use std::path::Path;

use super::{Finding, read};
use crate::cgroup;

/// Looks at the kernel.
pub fn examine() -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut findings = vec![judge_version(&release)];
    findings.extend(cgroups());
    findings.push(judge_pressure(
        Path::new("/proc/pressure").exists(),
        read("/proc/pressure/memory").is_some(),
    ));
    findings.push(judge_seccomp(read("/proc/sys/kernel/seccomp/actions_avail").as_deref()));
    findings.push(judge_ports(crate::ports::try_out()));
    findings.push(judge_landlock(crate::sys::landlock::version()));
    findings
}

/// Major and minor number of a release such as `6.1.0-18-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn judge_version(release: &str) -> Finding {
    const TOPIC: &str = "kernel";
    let advice = "Debian 12, Ubuntu 22.04 and later have a newer one";
    match version(release) {
        None => Finding::unknown(TOPIC, "the kernel's version"),
        Some(version) if version < (5, 7) => Finding::bad(
            TOPIC,
            format!("Linux {release}: an app cannot be started inside its cgroup (needs 5.7)"),
            advice,
        ),
        Some(version) if version < (5, 14) => Finding::degraded(
            TOPIC,
            format!(
                "Linux {release}: an instance is killed process by process, not at once (5.14)"
            ),
            advice,
        ),
        Some(_) => Finding::good(TOPIC, format!("Linux {release}")),
    }
}

/// The layout, and a finding for each thing that is weaker there.
fn cgroups() -> Vec<Finding> {
    let driver = cgroup::detect_own();
    match driver {
        Ok(driver) => judge_cgroups(driver.kind(), driver.degraded()),
        Err(error) => vec![Finding {
            topic: "cgroups",
            level: super::Level::Bad,
            text: error.to_string(),
            advice: None,
        }],
    }
}

fn judge_cgroups(kind: &str, weaker: Vec<String>) -> Vec<Finding> {
    let layout = if kind == "unified" {
        Finding::good("cgroups", "unified (v2)")
    } else {
        Finding::degraded(
            "cgroups",
            "hybrid: limits from cgroup v1, which the kernel's authors have given up",
            "boot with \"systemd.unified_cgroup_hierarchy=1\" if nothing else needs v1",
        )
    };
    let mut findings = vec![layout];
    findings.extend(weaker.into_iter().map(|text| Finding {
        topic: "cgroups",
        level: super::Level::Degraded,
        text,
        advice: None,
    }));
    findings
}

fn judge_pressure(exists: bool, is_readable: bool) -> Finding {
    match (exists, is_readable) {
        (_, true) => Finding::good("pressure", "pressure stall information is there"),
        (true, false) => Finding::degraded(
            "pressure",
            "pressure stall information is off: memory pressure is unknown",
            "boot with \"psi=1\"",
        ),
        (false, false) => Finding::degraded(
            "pressure",
            "this kernel has no pressure stall information: memory pressure is unknown",
            "use a kernel with CONFIG_PSI",
        ),
    }
}

fn judge_ports(tried: std::io::Result<()>) -> Finding {
    const TOPIC: &str = "ports";
    let is_root = rustix::process::geteuid().is_root();
    match tried {
        Ok(()) => Finding::good(TOPIC, "ports can be owned, and held over restarts"),
        Err(_) if !is_root => Finding::unknown(TOPIC, "whether ports can be owned (needs root)"),
        Err(error) => Finding::degraded(
            TOPIC,
            format!(
                "ports cannot be owned: anybody may bind them, and restarts refuse connections ({error})"
            ),
            "use Linux 5.18 or newer with CONFIG_CGROUP_BPF; in a container CAP_BPF and CAP_NET_ADMIN are needed",
        ),
    }
}

fn judge_seccomp(actions: Option<&str>) -> Finding {
    let has = |name| actions.is_some_and(|text| text.split(' ').any(|word| word == name));
    if !has("errno") {
        return Finding::bad(
            "seccomp",
            "this kernel filters no system calls: an app could reach all of the kernel",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    if !has("user_notif") {
        return Finding::degraded(
            "seccomp",
            "system calls can be filtered but not answered (user_notif)",
            "Linux 5.0 and later have it",
        );
    }
    Finding::good("seccomp", "filters and notifications are there")
}

/// What each version of its interface brought (landlock(7)).
pub fn judge_landlock(version: Option<u32>) -> Finding {
    const TOPIC: &str = "landlock";
    let Some(version) = version else {
        return Finding::degraded(
            TOPIC,
            "Landlock is off: mounts alone decide which files an app sees, and abstract unix sockets of the host are in reach of apps",
            "use a kernel with CONFIG_SECURITY_LANDLOCK, with \"landlock\" in its \"lsm=\"",
        );
    };
    let has = format!("Landlock is on, ABI {version}");
    match version {
        6.. => {
            Finding::good(TOPIC, format!("{has}: files, devices, abstract unix sockets, signals"))
        }
        _ => Finding::degraded(
            TOPIC,
            format!("{has}: files; abstract unix sockets of the host are in reach of apps (ABI 6)"),
            "Linux 6.12 and later have it; nothing else keeps them apart on a shared network",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_version_decides_what_there_is() {
        for (release, level) in [
            ("5.4.0-150-generic", Level::Bad),
            ("5.10.0-28-amd64", Level::Degraded),
            ("5.14", Level::Good),
            ("6.18.44", Level::Good),
            ("10.0-rc1", Level::Good),
            ("unknown", Level::Degraded),
        ] {
            assert_eq!(judge_version(release).level, level, "{release}");
        }
    }

    #[test]
    fn each_weakness_of_the_cgroups_is_a_finding() {
        assert_eq!(judge_cgroups("unified", vec![]).len(), 1);
        let findings = judge_cgroups("hybrid", vec!["a".into(), "b".into()]);
        assert_eq!(findings.len(), 3);
        assert!(findings.iter().all(|finding| finding.level == Level::Degraded));
    }

    #[test]
    fn pressure_seccomp_and_landlock() {
        assert_eq!(judge_pressure(true, true).level, Level::Good);
        assert_ne!(judge_pressure(true, false).advice, judge_pressure(false, false).advice);
        assert_eq!(judge_seccomp(None).level, Level::Bad);
        assert_eq!(judge_seccomp(Some("kill errno allow")).level, Level::Degraded);
        assert_eq!(judge_seccomp(Some("kill errno user_notif allow")).level, Level::Good);
        assert_eq!(judge_landlock(None).level, Level::Degraded);
        let old = judge_landlock(Some(2));
        assert!(old.level == Level::Degraded && old.text.contains("ABI 2"), "{old:?}");
        assert_eq!(judge_landlock(Some(7)).level, Level::Good);
    }
}

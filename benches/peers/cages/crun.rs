//! crun, from Debian: a container as an engine would start it, without a network of its own.

use std::path::Path;
use std::process::Command;

use super::Cage;
use crate::debian;

pub struct Crun;

impl Cage for Crun {
    fn name(&self) -> &'static str {
        "crun"
    }

    fn version(&self) -> Result<String, String> {
        if Path::new("/sys/fs/cgroup/unified").exists() {
            return Err("it refuses a host whose cgroups are hybrid".to_owned());
        }
        debian("crun")
    }

    fn command(&self, folder: &Path, program: &Path, words: &[&str]) -> Command {
        let bundle = folder.join("bundle");
        std::fs::create_dir_all(bundle.join("rootfs")).expect("our own folder");
        let arguments: Vec<&str> = std::iter::once(program.to_str().expect("plain"))
            .chain(words.iter().copied())
            .collect();
        let mount = |target: &str, kind: &str, source: &str, options: &[&str]| serde_json::json!({ "destination": target, "type": kind, "source": source, "options": options });
        let own = folder.to_str().expect("plain");
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": arguments,
                "env": ["PATH=/usr/bin"],
                "cwd": "/",
                "capabilities": { "bounding": [], "effective": [], "permitted": [] },
                "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": false },
            "mounts": [
                mount("/proc", "proc", "proc", &[]),
                // It puts its devices there, and makes no folder in what it may not write to.
                mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755"]),
                mount("/usr", "bind", "/usr", &["rbind", "ro"]),
                mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]),
                mount(own, "bind", own, &["bind", "rw"])
            ],
            "linux": {
                "namespaces": [
                    { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }
                ],
                "maskedPaths": ["/proc/kcore", "/proc/keys"],
                "readonlyPaths": ["/proc/sys"],
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["kexec_load", "init_module"], "action": "SCMP_ACT_ERRNO" }]
                }
            }
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).expect("our own folder");
        let mut command = Command::new("crun");
        command.arg("--root").arg(folder.join("crun")).args([
            "--cgroup-manager",
            "disabled",
            "run",
            "--bundle",
        ]);
        command.arg(&bundle).arg("bench");
        command
    }
}

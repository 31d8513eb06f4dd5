//! A `.container` of Podman's Quadlet (podman-systemd.unit(5)): of an image, or of the host's own root.

use std::fmt::Write as _;

use super::quote::{podman_variable, systemd_word};
use super::systemd::{milliseconds, unit_section};
use super::{Export, File, Source, shown, whole_seconds};
use crate::model::RestartPolicy;

pub fn export(source: &Source<'_>) -> Result<Export, String> {
    let spec = source.spec;
    let name = &spec.name;
    let mut variables = String::new();
    let mut left = Vec::new();
    for (key, value) in source.all_variables() {
        match podman_variable(&key, &value) {
            Some(line) => variables.push_str(&(line + "\n")),
            None => left.push(format!(
                "{key}: Podman's files of variables hold a plain name and one line without spaces at its ends; make it a secret (podman secret create, Secret=… ,type=env)"
            )),
        }
    }
    if source.image.is_none() {
        left.push("the host's own root is the container's, read-only (Rootfs=/:O): with --image an image of yours is".to_owned());
    }
    let files = vec![
        File { name: format!("{name}.container"), text: unit(source), is_secret: false },
        File { name: format!("{name}.container.env"), text: variables, is_secret: true },
    ];
    Ok(Export { files, left })
}

fn unit(source: &Source<'_>) -> String {
    let spec = source.spec;
    let name = &spec.name;
    let mut text = format!(
        "# {name}, exported from swrun. Install it as root:\n\
         #   install -m 644 {name}.container /etc/containers/systemd/\n\
         #   install -m 600 {name}.container.env /etc/\n\
         #   swrun delete {name} && systemctl daemon-reload && systemctl start {name}\n\n\
         {}",
        unit_section(spec)
    );
    text.push_str("\n[Container]\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    set("ContainerName", name.as_str());
    match source.image {
        Some(image) => set("Image", image),
        None => set("Rootfs", "/:O"),
    }
    let words = match source.image {
        Some(_) => source.command(),
        None => source.command_here(),
    };
    let words: Vec<String> = words.iter().map(|word| systemd_word(word)).collect();
    set("Exec", &words.join(" "));
    set("User", &spec.identity.uid.to_string());
    set("Group", &spec.identity.gid.to_string());
    set("WorkingDir", &shown(&source.cwd()));
    set("EnvironmentFile", &format!("/etc/{name}.container.env"));
    let mount = |path: &std::path::Path, mode: &str| {
        let path = shown(path);
        format!("{path}:{path}:{mode}")
    };
    set("Volume", &mount(&spec.base, "ro"));
    for path in &spec.read_only {
        set("Volume", &mount(path, "ro"));
    }
    for path in &spec.writable {
        set("Volume", &mount(path, "rw"));
    }
    set("ReadOnly", "true");
    set("Tmpfs", "/tmp");
    set("Network", if spec.network.is_private { "none" } else { "host" });
    set("DropCapability", "all");
    set("NoNewPrivileges", "true");
    let limits = &spec.limits;
    let mut arguments = vec![
        format!("--memory={}b", limits.memory_max),
        format!("--memory-swap={}b", limits.memory_max),
        format!("--pids-limit={}", limits.pids),
        format!("--ulimit=nofile={0}:{0}", limits.open_files),
        format!("--stop-signal={}", spec.stop.signal),
        format!("--stop-timeout={}", whole_seconds(spec.stop.grace)),
        // That of the image would be put in front.
        "--entrypoint=".to_owned(),
    ];
    if let Some(percent) = limits.cpu_percent {
        arguments.push(format!("--cpus={}", f64::from(percent) / 100.0));
    }
    arguments.extend(spec.identity.groups.iter().map(|group| format!("--group-add={group}")));
    set("PodmanArgs", &arguments.join(" "));
    text.push_str("\n[Service]\n");
    let restart = &spec.restart;
    let policy = match restart.policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "no",
    };
    let _ = writeln!(text, "Restart={policy}\nRestartSec={}", milliseconds(restart.first_delay));
    let _ = writeln!(text, "TimeoutStopSec={}", whole_seconds(spec.stop.grace) + 10);
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

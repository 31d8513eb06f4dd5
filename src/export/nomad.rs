//! A job of Nomad's, in HCL 2: the driver exec2 starts plain programs with Landlock and cgroups, as here; raw_exec without.

use std::fmt::Write as _;

use super::quote::{hcl, hcl_list};
use super::{Driver, Export, File, Source, shown, whole_seconds};
use crate::model::RestartPolicy;
use crate::policy::health::Url;

pub fn export(source: &Source<'_>, driver: Driver) -> Export {
    let text = job(source, driver);
    let name = format!("{}.nomad.hcl", source.spec.name);
    let mut left = vec![
        "secrets: they are in the job itself; Nomad's variables or Vault are their place"
            .to_owned(),
    ];
    left.push(match driver {
        Driver::Exec2 => "users and folders: every client that may run it needs them, and the plugin nomad-driver-exec2 with unveil_by_task = true".to_owned(),
        Driver::RawExec => "every wall: raw_exec starts it as any process of that user, which sees all that the user sees, and memory is no ceiling; the client has to allow it (plugin \"raw_exec\")".to_owned(),
    });
    let is_replaced = |text: &String| text.contains("${");
    let values = source.all_variables().into_iter().filter(|(_, value)| is_replaced(value));
    left.extend(values.map(|(key, _)| {
        format!(
            "{key}: Nomad replaces \"${{…}}\" in it where it knows that name; set it by a template"
        )
    }));
    if source.command().iter().any(is_replaced) {
        left.push("arguments: Nomad replaces \"${…}\" in them where it knows that name".to_owned());
    }
    Export { files: vec![File { name, text, is_secret: true }], left }
}

fn job(source: &Source<'_>, driver: Driver) -> String {
    let spec = source.spec;
    let name = hcl(spec.name.as_str());
    let mut text = format!(
        "# {}, exported from swrun: nomad job run {0}.nomad.hcl\n\
         job {name} {{\n  datacenters = [\"*\"]\n  type        = \"service\"\n\n  group \"app\" {{\n    count = 1\n\n",
        spec.name
    );
    network(source, &mut text);
    let restart = &spec.restart;
    let (attempts, mode) = match (restart.policy, restart.give_up_after) {
        (RestartPolicy::Never, _) => (0, "fail"),
        (_, 0) => (10, "delay"),
        (_, count) => (count, "fail"),
    };
    let delay = whole_seconds(restart.first_delay);
    let _ = write!(
        text,
        "    restart {{\n      attempts = {attempts}\n      interval = \"{}s\"\n      delay    = \"{}ms\"\n      mode     = \"{mode}\"\n    }}\n\n",
        // Its own bounds: five seconds, and room for all attempts.
        whole_seconds(restart.within).max(5).max(u64::from(attempts) * (delay + 1)),
        restart.first_delay.as_millis()
    );
    if mode == "fail" {
        // Else it would be started elsewhere, without end.
        text.push_str("    reschedule {\n      attempts  = 0\n      unlimited = false\n    }\n\n");
    }
    let command = source.command_here();
    let (program, arguments) = command
        .split_first()
        .map_or((String::new(), &[][..]), |(program, rest)| (hcl(program), rest));
    let _ = write!(
        text,
        "    task \"app\" {{\n      driver       = \"{}\"\n      user         = {}\n      kill_signal  = {}\n      kill_timeout = \"{}s\"\n\n",
        match driver {
            Driver::Exec2 => "exec2",
            Driver::RawExec => "raw_exec",
        },
        hcl(&spec.identity.user),
        hcl(&spec.stop.signal.to_string()),
        whole_seconds(spec.stop.grace)
    );
    let cwd = shown(&source.cwd());
    let unveil = match driver {
        Driver::Exec2 => format!(
            "        # What Landlock may open\n        unveil   = {}\n",
            hcl_list(&unveiled(source))
        ),
        Driver::RawExec => String::new(),
    };
    let _ = write!(
        text,
        "      config {{\n        command  = {program}\n        args     = {}\n        work_dir = {}\n{unveil}      }}\n\n",
        hcl_list(arguments),
        hcl(&cwd),
    );
    // A block knows no names but words; a map any.
    text.push_str("      env = {\n");
    for (key, value) in source.all_variables() {
        let _ = writeln!(text, "        {} = {}", hcl(&key), hcl(&value));
    }
    let megabytes = spec.limits.memory_max.div_ceil(1 << 20);
    let _ = write!(
        text,
        "      }}\n\n      resources {{\n        # MHz: the share of the machine's clock; cores = N gives whole ones\n        cpu    = {}\n        memory = {megabytes}\n      }}\n    }}\n  }}\n}}\n",
        spec.limits.cpu_percent.unwrap_or(100) * 20
    );
    text
}

/// What exec2 is to open: `r` read, `w` write, `x` execute, `c` create.
fn unveiled(source: &Source<'_>) -> Vec<String> {
    let spec = source.spec;
    let mut list = vec![format!("rx:{}", shown(&spec.base))];
    list.extend(spec.read_only.iter().map(|path| format!("rx:{}", shown(path))));
    list.extend(spec.writable.iter().map(|path| format!("rwc:{}", shown(path))));
    list
}

fn network(source: &Source<'_>, text: &mut String) {
    let spec = source.spec;
    if spec.ports.is_empty() {
        return;
    }
    text.push_str("    network {\n      mode = \"host\"\n");
    for port in &spec.ports {
        let _ = write!(text, "      port \"p{0}\" {{\n        static = {0}\n      }}\n", port.port);
    }
    text.push_str("    }\n\n");
    let Some(port) = spec.ports.first() else { return };
    let check = match spec.health.as_ref().and_then(|health| Url::parse(&health.http)) {
        Some(url) => format!("type     = \"http\"\n        path     = {}", hcl(url.path())),
        None => "type     = \"tcp\"".to_owned(),
    };
    let _ = write!(
        text,
        "    service {{\n      name     = {}\n      port     = \"p{}\"\n      provider = \"nomad\"\n\n      check {{\n        {check}\n        interval = \"10s\"\n        timeout  = \"5s\"\n      }}\n    }}\n\n",
        hcl(spec.name.as_str()),
        port.port
    );
}

//! A Deployment, a Service and a Secret of Kubernetes, of an image.

use serde_json::{Map, Value, json};

use super::quote::{is_plain_variable, yaml};
use super::{Export, File, Source, shown, unfit, whole_seconds};
use crate::model::{EnvSpec, Protocol, StopSignal};
use crate::policy::health::Url;

pub fn export(source: &Source<'_>) -> Result<Export, String> {
    let Some(image) = source.image else {
        return Err("Kubernetes runs images: name yours with --image".to_owned());
    };
    let spec = source.spec;
    let name = name(spec);
    let mut left = vec![
        "the app's files: the image has to hold them, at the same paths".to_owned(),
        "127.0.0.1: an app has to listen on every address of its pod".to_owned(),
    ];
    if !spec.writable.is_empty() {
        left.push("writable folders: each is empty and gone with its pod; make it a PersistentVolumeClaim".to_owned());
    }
    if !spec.read_only.is_empty() {
        left.push("read-only paths of the host: the image has to hold them".to_owned());
    }
    if spec.stop.signal != StopSignal::TERM {
        left.push(format!("[stop] signal = \"{}\": STOPSIGNAL of the image", spec.stop.signal));
    }
    if spec.network.is_private {
        left.push("mode = \"private\": a NetworkPolicy that lets nothing through".to_owned());
    }
    left.push("pids and open-files: settings of the node".to_owned());
    left.push(
        "[restart]: a pod is started again after every end, with a pause of Kubernetes' own"
            .to_owned(),
    );
    let mut documents = vec![yaml(&deployment(source, image))];
    if !spec.ports.is_empty() {
        documents.push(yaml(&service(spec)));
    }
    let (good, bad): (Vec<_>, Vec<_>) =
        source.all_variables().into_iter().partition(|(key, _)| is_plain_variable(key));
    left.extend(bad.iter().map(|(key, _)| unfit(key)));
    let data: Map<String, Value> =
        good.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels(name)},
        "type": "Opaque", "stringData": data,
    });
    let head = format!(
        "# {name}, exported from swrun: kubectl apply -f {name}.secret.yaml -f {name}.yaml\n"
    );
    let files = vec![
        File {
            name: format!("{name}.yaml"),
            text: head + &documents.join("---\n"),
            is_secret: false,
        },
        File { name: format!("{name}.secret.yaml"), text: yaml(&secret), is_secret: true },
    ];
    Ok(Export { files, left })
}

/// A label of DNS ends with a letter or a digit (RFC 1123).
fn name(spec: &EnvSpec) -> &str {
    spec.name.as_str().trim_end_matches('-')
}

/// `$(NAME)` would be replaced by a variable; two dollars are one.
fn words(source: &Source<'_>) -> Vec<String> {
    source.command().iter().map(|word| word.replace('$', "$$")).collect()
}

fn labels(name: &str) -> Value {
    json!({"app.kubernetes.io/name": name})
}

fn deployment(source: &Source<'_>, image: &str) -> Value {
    let spec = source.spec;
    let name = name(spec);
    let grace = whole_seconds(spec.stop.grace);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels(name)},
        "spec": {
            "replicas": spec.instances,
            "selector": {"matchLabels": labels(name)},
            // The new one is up before the old one ends, as in a reload.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels(name)},
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": grace,
                    "securityContext": pod_security(spec),
                    "containers": [container(source, image)],
                    "volumes": volumes(spec),
                },
            },
        },
    })
}

fn pod_security(spec: &EnvSpec) -> Value {
    let id = &spec.identity;
    json!({
        "runAsNonRoot": true, "runAsUser": id.uid, "runAsGroup": id.gid, "fsGroup": id.gid,
        "supplementalGroups": id.groups, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn container(source: &Source<'_>, image: &str) -> Value {
    let spec = source.spec;
    let mut limits = json!({"memory": spec.limits.memory_max.to_string()});
    if let Some(percent) = spec.limits.cpu_percent {
        limits["cpu"] = json!(format!("{}m", percent * 10));
    }
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|port| json!({"containerPort": port.port, "protocol": protocol(port.proto)}))
        .collect();
    let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
    mounts.extend(spec.writable.iter().enumerate().map(
        |(number, path)| json!({"name": format!("writable-{number}"), "mountPath": shown(path)}),
    ));
    let mut container = json!({
        "name": "app", "image": image,
        "command": words(source), "workingDir": shown(&source.cwd()),
        "envFrom": [{"secretRef": {"name": name(spec)}}],
        "ports": ports,
        "resources": {"limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    });
    if let Some(probe) = probe(spec) {
        container["readinessProbe"] = probe;
    }
    container
}

/// Up is who listens, and answers where that is asked for.
fn probe(spec: &EnvSpec) -> Option<Value> {
    let health = spec.health.as_ref().and_then(|health| Url::parse(&health.http));
    let mut probe = match health {
        Some(url) => json!({"httpGet": {"path": url.path(), "port": url.address.port()}}),
        None => {
            let port = spec.ports.iter().find(|port| port.proto == Protocol::Tcp)?;
            json!({"tcpSocket": {"port": port.port}})
        }
    };
    probe["periodSeconds"] = json!(5);
    Some(probe)
}

fn volumes(spec: &EnvSpec) -> Vec<Value> {
    let mut volumes = vec![json!({"name": "tmp", "emptyDir": {"medium": "Memory"}})];
    let own = (0..spec.writable.len())
        .map(|number| json!({"name": format!("writable-{number}"), "emptyDir": {}}));
    volumes.extend(own);
    volumes
}

fn service(spec: &EnvSpec) -> Value {
    let name = name(spec);
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|port| {
            let word = port.proto.word();
            json!({"name": format!("{word}-{}", port.port), "port": port.port, "targetPort": port.port, "protocol": protocol(port.proto)})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels(name)},
        "spec": {"selector": labels(name), "ports": ports},
    })
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

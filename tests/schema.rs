//! `swrun status --json` against the JSON Schema that is shipped, by PyPI's jsonschema.

mod bed;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bed::Bed;
use serde_json::{Value, json};

const VALIDATE: &str = "
import json, sys, jsonschema
schema = json.load(open('docs/status.schema.json'))
jsonschema.Draft202012Validator.check_schema(schema)
errors = list(jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin)))
for error in errors[:5]:
    print(error.json_path, error.message)
sys.exit(1 if errors else 0)
";

/// Whether the document is valid, and what is wrong.
fn validate(python: &PathBuf, document: &Value) -> (bool, String) {
    let mut child = Command::new(python)
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(document.to_string().as_bytes()).expect("it reads all");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_state_is_as_the_schema_says() {
    let python = std::env::var_os("SWRUN_PYPI").map(|venv| PathBuf::from(venv).join("bin/python"));
    let Some(python) = python.filter(|python| python.exists()) else {
        println!("skipped: SWRUN_PYPI names no virtual environment with jsonschema");
        return;
    };
    let bed = Bed::running();
    let [online, stopped, crashes, gone] =
        ["online", "stopped", "crashes", "gone"].map(|name| bed.app(name));
    bed.probe(&online, "");
    bed.probe(&stopped, "");
    bed.profile(&crashes, &["/bin/false"], "[restart]\nfirst-delay = \"1h\"\nmax-delay = \"1h\"\n");
    bed.profile(&gone, &["/bin/true"], "[restart]\npolicy = \"never\"\n");
    bed.start(&online);
    bed.start(&stopped);
    bed.ok(&["stop", "stopped"]);
    bed.swrun(&["start", "crashes", "gone", "--no-wait"]);
    bed.until(&crashes, "it waits", |now| now["state"] == "backoff");
    bed.until(&gone, "it has ended", |now| now["state"] == "stopped");
    let document: Value =
        serde_json::from_slice(&bed.swrun(&["status", "--json"]).stdout).expect("JSON");
    let (is_valid, wrong) = validate(&python, &document);
    assert!(is_valid, "{wrong}\n{document:#}");
    assert!(document["host"]["memory_total"].as_u64().is_some_and(|total| total > 64 << 20));
    assert!(document["host"]["load"][0].is_f64(), "{document:#}");

    // What the schema does not know, lacks or is of another kind is found.
    for (path, value) in [
        ("/environments/0/colour", Some(json!("red"))),
        ("/environments/0/memory/current", Some(json!(-1))),
        ("/environments/0/state", Some(json!("asleep"))),
        ("/runner/pid", None),
        ("/environments/1/leak/verdict", None),
    ] {
        let mut other = document.clone();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let parent = other.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        match value {
            Some(value) => parent.insert(key.to_owned(), value),
            None => parent.remove(key),
        };
        assert!(!validate(&python, &other).0, "{path}");
    }
    bed.end();
}

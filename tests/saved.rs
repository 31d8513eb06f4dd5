//! `save` and `resurrect`: the list of environments in a file, and back from it on a host that has none of them.

mod bed;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bed::{Bed, get};

#[test]
fn what_is_saved_into_a_file_comes_back_with_its_scale_and_its_variables() {
    let bed = Bed::running();
    let (shop, idle, adhoc) = (bed.app("shop"), bed.app("idle"), bed.app("adhoc"));
    bed.probe(&shop, "");
    bed.probe(&idle, "");
    bed.start(&shop);
    bed.start(&idle);
    bed.ok(&["stop", "idle"]);
    bed.ok(&["scale", "shop", "2"]);
    let probe = adhoc.home.join("server");
    fs::copy(bed::probe::path(), &probe).expect("ours");
    let (cwd, port) = (adhoc.home.to_str().expect("plain"), adhoc.port.to_string());
    let words = ["start", probe.to_str().expect("plain"), "--name", "adhoc", "--cwd", cwd];
    let more = ["--port", &port, "--env", &format!("PORT={port}"), "--env", "COLOUR=red"];
    bed.ok(&[&words[..], &more, &["--", "serve"]].concat());

    let said = bed.ok(&["save"]);
    assert!(said.starts_with("3 environments, 2 of them wanted online"), "{said}");
    let file = bed.root().join("list.json");
    let path = file.to_str().expect("plain");
    bed.ok(&["save", path]);
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);

    bed.ok(&["delete", "--all"]);
    assert!(get(shop.port, "/").is_err() && get(adhoc.port, "/").is_err());
    let said = bed.ok(&["resurrect", path]);
    assert!(said.contains("idle: is left as it is"), "{said}");
    for app in [&shop, &adhoc] {
        assert_eq!(bed.status(app)["state"], "online", "{said}");
    }
    assert_eq!(bed.status(&shop)["instances"].as_array().map(Vec::len), Some(2));
    assert_eq!(bed.status(&idle)["state"], "stopped");
    assert_eq!(get(adhoc.port, "/env?key=COLOUR").expect("it serves"), "red");
    // Again it changes nothing.
    let before = (bed.status(&shop)["pid"].clone(), bed.status(&adhoc)["pid"].clone());
    bed.ok(&["resurrect", path]);
    bed.ok(&["resurrect"]);
    assert_eq!((&bed.status(&shop)["pid"], &bed.status(&adhoc)["pid"]), (&before.0, &before.1));
    bed.end();
}

#[test]
fn what_is_no_list_or_cannot_come_back_is_said() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let file = bed.root().join("list.json");
    let path = file.to_str().expect("plain");
    bed.ok(&["save", path]);
    let text = fs::read_to_string(&file).expect("written");
    let refused = |text: &str, why: &str| {
        fs::write(&file, text).expect("ours");
        let said = bed.fails(1, &["resurrect", path]);
        assert!(said.contains(why), "{said}");
    };
    refused("", "is no list of \"swrun save\"");
    refused(&text.replace("\"schema\": 1", "\"schema\": 2"), "is of version 2");
    refused(&text.replace("\"shop\"", "\"../shop\""), "is not a name");
    refused(&text.replace("\"shop\"", "\"gone\""), "has no profile in");
    // A profile of another's name, or one that names root, is not taken for it.
    let with = |profile: &str| {
        let list = serde_json::json!({"schema": 1, "environments": [
            {"name": "new", "wanted": "online", "profile": profile}]});
        list.to_string()
    };
    refused(&with("name = \"shop\"\nuser = 61001\ncommand = [\"x\"]\ncwd = \"/srv\""), "new:");
    refused(
        &with("name = \"new\"\nuser = \"root\"\ncommand = [\"x\"]\ncwd = \"/srv\""),
        "never runs as root",
    );
    assert!(bed.fails(1, &["resurrect", "/nonexistent"]).contains("/nonexistent"));
    assert_eq!(bed.status(&app)["state"], "online");
    bed.end();
}

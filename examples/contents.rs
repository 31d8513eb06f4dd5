//! Writes what the program is made of: the licences of its crates with their texts, and a bill of materials
//! (CycloneDX 1.5) for who looks for known holes in them.
//!
//! ```text
//! cargo run --example contents -- FOLDER     FOLDER/licences, FOLDER/swrun.cdx.json
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// How the files with the text are called, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("where to? give a folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let (folder, metadata) = (Path::new(&folder), serde_json::from_slice(&output.stdout)?);
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("licences"), licences(&metadata)?)?;
    let bill = serde_json::to_string_pretty(&bill(&metadata)?)?;
    std::fs::write(folder.join("swrun.cdx.json"), bill + "\n")?;
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The ids of the crates that the program is made of: neither of tests nor of build scripts.
fn in_the_program(metadata: &Value) -> BTreeSet<&str> {
    let nodes = list(&metadata["resolve"]["nodes"]);
    let mut ahead = vec![text(&metadata["resolve"]["root"])];
    let mut found = BTreeSet::new();
    while let Some(id) = ahead.pop() {
        let Some(node) = nodes.iter().find(|node| text(&node["id"]) == id) else { continue };
        for dependency in list(&node["deps"]) {
            let is_normal =
                list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let id = text(&dependency["pkg"]);
            if is_normal && found.insert(id) {
                ahead.push(id);
            }
        }
    }
    found
}

/// The crates of the program, as `cargo metadata` tells of them.
fn crates(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids = in_the_program(metadata);
    list(&metadata["packages"]).iter().filter(move |package| ids.contains(text(&package["id"])))
}

/// An SPDX expression; before there were those a slash stood for "or".
fn licence(package: &Value) -> String {
    text(&package["license"]).replace('/', " OR ")
}

fn bill(metadata: &Value) -> Result<Value, Box<dyn Error>> {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"))?;
    let lock: toml::Table = lock.parse()?;
    let locked = lock["package"].as_array().ok_or("no packages in Cargo.lock")?;
    let mut components = Vec::new();
    for package in crates(metadata) {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let found = locked.iter().find(|found| {
            found["name"].as_str() == Some(name) && found["version"].as_str() == Some(version)
        });
        let checksum = found.and_then(|found| found.get("checksum")?.as_str());
        components.push(json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{ "expression": licence(package) }],
            "hashes": [{ "alg": "SHA-256", "content": checksum.ok_or("no checksum")? }],
        }));
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": "swrun", "version": version } },
        "components": components,
    }))
}

fn licences(metadata: &Value) -> Result<String, Box<dyn Error>> {
    let mut told = String::new();
    // Many share a text: each is there once, with the crates that have it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates(metadata) {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        writeln!(told, "{name}: {}", licence(package))?;
        let folder = Path::new(text(&package["manifest_path"])).parent().ok_or("no folder")?;
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let upper = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && NAMES.iter().any(|name| upper.starts_with(name)) {
                let text = std::fs::read_to_string(&path)?.replace("\r\n", "\n");
                texts.entry(text.trim().to_owned()).or_default().push(name.clone());
            }
        }
    }
    let mut report = format!("The program contains these crates.\n\n{told}");
    for (text, mut names) in texts {
        names.dedup();
        write!(report, "\n{}\n{}:\n\n{text}\n", "-".repeat(80), names.join(", "))?;
    }
    Ok(report)
}

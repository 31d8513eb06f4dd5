//! What an app is started with: PM2's script, interpreter and arguments as one command.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::Facts;
use super::apps::{App, Kind};
use super::draft::Draft;
use super::take;

/// Folders that every cage shows.
const SHOWN: [&str; 4] = ["/usr", "/bin", "/sbin", "/lib"];

/// Sets `command`, `cwd`, and `read-only` where the command lies elsewhere.
pub fn set(draft: &mut Draft, app: &App, kind: Kind, facts: &Facts<'_>) -> PathBuf {
    let value = |key: &str| app.keys.get(key);
    let home = facts.file.parent().unwrap_or(Path::new("/"));
    let given = value(if kind == Kind::Dump { "pm_cwd" } else { "cwd" }).and_then(take::text);
    if given.is_none() {
        draft.note(
            "cwd",
            "none was given: it is the folder of the file (PM2 takes the one it is called in)",
        );
    }
    let cwd = tidy(&home.join(given.as_deref().unwrap_or(".")));
    let words = |draft: &mut Draft, key: &str| {
        let found = app.keys.get(key).filter(|value| !value.is_null());
        let words = found.map(take::words);
        if words == Some(None) {
            draft.note(key, "is no list of words, and left out");
        }
        words.flatten().unwrap_or_default()
    };
    let arguments = words(draft, "args");
    let mut options = words(draft, "node_args");
    let script =
        value(if kind == Kind::Dump { "pm_exec_path" } else { "script" }).and_then(take::text);
    let script = script.unwrap_or_else(|| {
        draft.note("script", "is missing: write what is to be started into \"command\"");
        "missing".to_owned()
    });
    let mut shares: Vec<PathBuf> = Vec::new();
    let mut command = Vec::new();
    if kind == Kind::Ecosystem && script.contains(' ') {
        // As PM2 does.
        command.extend(["bash".to_owned(), "-c".to_owned(), script]);
    } else {
        let path = tidy(&cwd.join(&script));
        // A file that is not there (yet) is one all the same, by its name.
        let is_program =
            !script.contains('/') && by_extension(&script).is_none() && !(facts.is_file)(&path);
        let named = value("exec_interpreter").and_then(take::text);
        // As PM2 has it: what is no binary and tells nothing by its name is node's (Express: bin/www).
        let by_default = || (!is_program && !(facts.is_binary)(&path)).then_some("node");
        let by_name = || by_extension(&script).or_else(by_default).map(str::to_owned);
        let interpreter = named.or_else(by_name);
        let interpreter = interpreter.filter(|name| name != "none" && !is_program);
        let is_node = interpreter.as_deref().is_some_and(is_node);
        if is_on(value("source_map_support"))
            && !is_on(value("disable_source_map_support"))
            && is_node
        {
            options.push("--enable-source-maps".to_owned());
        }
        match interpreter {
            Some(interpreter) => {
                command.push(program(&interpreter, facts, &mut shares));
                command.append(&mut options);
                command.push(beneath(&path, &cwd));
            }
            None if is_program => command.push(program(&script, facts, &mut shares)),
            // One without a slash would be looked for in PATH.
            None => command.push(match beneath(&path, &cwd) {
                word if word.contains('/') => word,
                word => format!("./{word}"),
            }),
        }
        if !options.is_empty() {
            draft.note("node_args", "there is no interpreter that they could be for");
        }
        if !is_program && !path.starts_with(&cwd) && !is_shown(&path) {
            shares.extend(path.parent().map(Path::to_path_buf));
        }
    }
    command.extend(arguments);
    draft.set("", "command", command);
    draft.set("", "cwd", cwd.to_string_lossy().into_owned());
    if !shares.is_empty() {
        let shares: Vec<String> =
            shares.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        draft.set("", "read-only", shares);
    }
    cwd
}

fn is_on(value: Option<&Value>) -> bool {
    value.and_then(take::truth) == Some(true)
}

fn is_node(interpreter: &str) -> bool {
    Path::new(interpreter).file_name().is_some_and(|name| name == "node")
}

/// As PM2 chooses it; Python's name here is that of today's Debian.
fn by_extension(script: &str) -> Option<&'static str> {
    match Path::new(script).extension()?.to_str()? {
        "js" | "mjs" | "cjs" => Some("node"),
        "py" => Some("python3"),
        "sh" => Some("bash"),
        "rb" => Some("ruby"),
        "php" => Some("php"),
        "pl" => Some("perl"),
        "ts" | "tsx" => Some("bun"),
        _ => None,
    }
}

/// A program by name, or by its path where only the operator's shell finds it: then its folder is to be shown.
fn program(name: &str, facts: &Facts<'_>, shares: &mut Vec<PathBuf>) -> String {
    let path = match name.starts_with('/') {
        true => Some(PathBuf::from(name)),
        false => (facts.program)(name),
    };
    let Some(path) = path else { return name.to_owned() };
    if !is_shown(&path) {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let whole = folder.parent().filter(|_| folder.ends_with("bin")).unwrap_or(folder);
        shares.push(whole.to_owned());
    }
    path.to_string_lossy().into_owned()
}

fn is_shown(path: &Path) -> bool {
    SHOWN.iter().any(|shown| path.starts_with(shown))
}

/// The path from `cwd`, where it lies beneath.
fn beneath(path: &Path, cwd: &Path) -> String {
    match path.strip_prefix(cwd) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_string_lossy().into_owned(),
        _ => path.to_string_lossy().into_owned(),
    }
}

/// Without `.` and `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

//! The floors of the house: a module uses only floors below it, the roles never one another, and
//! `unsafe` has one home. Read from the sources, so that an import says at once what it breaks.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, beside itself. `lib.rs` and `main.rs` put it all together and may use any.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &[]),
    ("policy", &["model"]),
    ("formats", &["model", "sys"]),
    ("privilege", &["model", "sys"]),
    ("cgroup", &["model", "sys", "privilege"]),
    ("lifecycle", &["model", "policy"]),
    ("profile", &["model", "sys", "formats"]),
    ("import", &["model"]),
    ("export", &["model", "policy"]),
    ("ports", &["model", "sys"]),
    ("host", &["model", "sys", "cgroup", "ports"]),
    ("wire", &["model", "sys"]),
    // The roles. A process of its own each, met only over `wire`.
    ("init", &["model", "sys", "formats", "privilege", "wire"]),
    (
        "monitor",
        &["model", "sys", "policy", "formats", "privilege", "cgroup", "lifecycle", "ports", "wire"],
    ),
    (
        "daemon",
        &["model", "sys", "policy", "formats", "cgroup", "profile", "host", "ports", "wire"],
    ),
    ("reader", &["model", "sys", "formats", "privilege", "profile"]),
    ("pack", &["sys", "formats", "cgroup", "wire"]),
    ("tell", &["sys", "cgroup", "wire"]),
    ("once", &["model", "sys", "formats", "privilege", "cgroup", "ports", "wire"]),
    ("sample", &[]),
    // doctor and check look for themselves, runner or not: hence `cgroup`, and `reader`, whose half
    // here only starts that role.
    (
        "cli",
        &[
            "model", "sys", "formats", "cgroup", "profile", "import", "export", "host", "ports",
            "wire", "reader",
        ],
    ),
];

/// Files that put roles together.
const ROOTS: &[&str] = &["lib.rs", "main.rs"];

/// Words that a path may begin with after `crate::` and that are no module.
const NO_MODULES: &[&str] = &["main"];

struct Source {
    /// Below `src`.
    path: PathBuf,
    /// Without comments and string literals, lines kept.
    code: String,
}

impl Source {
    /// The top module that it belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().expect("a name");
        let name = Path::new(first.as_os_str());
        name.with_extension("").to_string_lossy().into_owned()
    }

    /// The modules used by way of `super`, from as deep as the file is: `crate::` by another name.
    fn uses_by_super(&self) -> Vec<(usize, String)> {
        let depth = self.path.components().count() - usize::from(self.path.ends_with("mod.rs"));
        let code = self.code.replace(&"super::".repeat(depth), "crate::");
        // A module within the file is one deeper, and means the file's own things.
        uses(&code).into_iter().filter(|(_, name)| allowed(name).is_some()).collect()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = code_of(&fs::read_to_string(&path).expect("readable"));
                let path = path.strip_prefix(&root).expect("beneath").to_owned();
                found.push(Source { path, code });
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where they were");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A Rust text with comments and the insides of strings and characters blanked out.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    // How long the comment or literal that begins here is, if one does.
    let length = |at: usize| -> Option<usize> {
        let rest = &text[at..];
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_inside_a_word = at > 0 && is_word(bytes[at - 1]);
        if rest.starts_with("//") {
            return Some(rest.find('\n').unwrap_or(rest.len()));
        }
        if rest.starts_with("/*") {
            return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
        }
        if !is_inside_a_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
            if rest[1 + hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let from = hashes + 2;
                return Some(rest[from..].find(&end).map_or(rest.len(), |n| from + n + end.len()));
            }
        }
        if rest.starts_with('"') {
            let mut is_escaped = false;
            let end = rest.bytes().skip(1).position(|b| {
                let ends = b == b'"' && !is_escaped;
                is_escaped = b == b'\\' && !is_escaped;
                ends
            });
            return Some(end.map_or(rest.len(), |end| end + 2));
        }
        // A quote as a character would open a string that is none.
        ["'\"'", "'\\\"'", "'\\''"].iter().find(|c| rest.starts_with(**c)).map(|c| c.len())
    };
    while at < bytes.len() {
        if let Some(skipped) = length(at) {
            code.extend(text[at..at + skipped].matches('\n'));
            code.push(' ');
            at += skipped;
        } else {
            let character = text[at..].chars().next().expect("not at the end");
            code.push(character);
            at += character.len_utf8();
        }
    }
    code
}

/// The modules that a text names after `crate::`, with their lines; groups (`crate::{a, b::c}`) and
/// paths over several lines too.
fn uses(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = code[at + "crate::".len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut is_first = true;
        for (offset, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                c if depth == 0 && is_first && !c.is_whitespace() => {
                    is_first = false;
                    found.push((line, word(&group[offset..])));
                }
                _ => {}
            }
        }
    }
    found
}

fn allowed(module: &str) -> Option<&'static [&'static str]> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, below)| *below)
}

#[test]
fn every_module_uses_only_floors_below_it() {
    let mut broken = String::new();
    for source in sources() {
        if ROOTS.iter().any(|root| source.path == Path::new(root)) {
            continue;
        }
        let (module, path) = (source.module(), source.path.display());
        let Some(below) = allowed(&module) else {
            writeln!(broken, "src/{path}: \"{module}\" has no floor in this test").expect("text");
            continue;
        };
        for (line, used) in uses(&source.code).into_iter().chain(source.uses_by_super()) {
            let is_fine = used == module
                || below.contains(&used.as_str())
                || NO_MODULES.contains(&used.as_str());
            if !is_fine {
                writeln!(broken, "src/{path}:{line}: {module} may not use {used}").expect("text");
            }
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn the_table_itself_has_no_way_up() {
    for (at, (module, below)) in FLOORS.iter().enumerate() {
        for used in *below {
            let floor = FLOORS.iter().position(|(name, _)| name == used);
            assert!(
                floor.is_some_and(|floor| floor < at),
                "{module} uses {used}, which is no lower"
            );
        }
    }
}

#[test]
fn unsafe_has_one_home() {
    let is_unsafe = |line: &&str| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.into_iter().any(|word| word == "unsafe")
    };
    let mut count = 0;
    for source in sources() {
        if source.path.starts_with("sys") {
            count += source.code.lines().filter(is_unsafe).count();
            continue;
        }
        let stray = source.code.lines().zip(1..).find(|(line, _)| is_unsafe(line));
        assert!(
            stray.is_none(),
            "src/{}: {stray:?}: unsafe belongs into src/sys",
            source.path.display()
        );
    }
    assert!(count > 0, "the test does not see what it looks for");
}

/// No pager, no shell, no helper that an operator's environment could choose: what runs another program is
/// looked at here.
#[test]
fn programs_are_run_by_name_alone_where_it_is_said() {
    let runs = ["Command::new(", "command::run", "command::start"];
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| runs.iter().any(|run| source.code.contains(run)))
        .map(|source| source.path.display().to_string())
        .collect();
    let wanted = [
        "cgroup/tree.rs", // in its tests
        "cli/commands/setup.rs",
        "cli/commands/startup.rs",
        "cli/demo/host.rs",
        "cli/import/evaluate.rs",
        "daemon/launch.rs",
        "daemon/one_shot.rs",
        "daemon/renew.rs",
        "formats/dotenv/lint.rs", // in its tests
        "host/setup.rs",
        "host/software.rs",
        "monitor/handover.rs",
        "monitor/logs/mod.rs",
        "monitor/notices.rs",
        "profile/env_file.rs",
        "sys/command.rs",
        "tell/mod.rs",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_reader_of_sources_sees_what_counts() {
    let code = code_of(
        "use crate::model::X; // crate::a\n/// crate::b\nlet s = \"crate::c \\\" crate::d\";\n\
         let r = r#\"crate::e\"#; let q = '\"'; use crate::{sys::{clock, files}, wire, policy::x};\n\
         pub(crate) fn f() -> crate::cgroup::Y { $crate::no() }",
    );
    let names: Vec<String> =
        uses(&code).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 model", "4 sys", "4 wire", "4 policy", "5 cgroup"]);
    assert!(!code.contains("crate::a") && !code.contains("crate::d"));

    let by_super = |path: &str, code: &str| -> Vec<String> {
        let source = Source { path: path.into(), code: code.to_owned() };
        source.uses_by_super().into_iter().map(|(_, name)| name).collect()
    };
    let code = "use super::{monitor, init}; use super::super::daemon; use super::Own;";
    assert_eq!(by_super("init/mod.rs", code), ["monitor", "init", "daemon"]);
    assert_eq!(by_super("init/app.rs", code), ["daemon"]);
}

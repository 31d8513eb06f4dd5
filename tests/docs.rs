//! What is written for people: every command is one that the program takes, every page that shows some is run, and the
//! manual pages say what `--help` says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages, from the top of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "SECURITY.md", "benches/README.md", "docs/prometheus/README.md"]
            .map(PathBuf::from)
            .into();
    for entry in fs::read_dir(top().join("docs")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            pages.push(Path::new("docs").join(name));
        }
    }
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(top().join(page)).unwrap_or_else(|e| panic!("{}: {e}", page.display()))
}

/// What stands in blocks of shell commands, and in code within lines.
fn code(text: &str) -> Vec<String> {
    let mut code = Vec::new();
    let (mut block, mut heredoc) = (None::<&str>, false);
    for line in text.lines() {
        match block {
            Some(_) if line == "```" => block = None,
            Some("sh" | "") if line == "END" => heredoc = false,
            Some("sh" | "") if !heredoc => {
                code.push(line.to_owned());
                heredoc = line.contains("<<'END'");
            }
            Some(_) => {}
            None if line.starts_with("```") => block = Some(line.trim_start_matches('`')),
            None => code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    code
}

/// The calls of the program in a line of shell, as words.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    let parts = line.split(['|', ';', '(', ')']).flat_map(|part| part.split("&&"));
    let mut calls = Vec::new();
    for part in parts {
        let part = part.trim().trim_start_matches("! ").trim_start_matches("exec ");
        let part = part.split(" >").next().unwrap_or(part);
        let words: Vec<String> =
            part.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect();
        // Its roles are not for people.
        let is_call = words.first().is_some_and(|word| word == "swrun") && words.len() > 1;
        if is_call && !words[1].starts_with("__") {
            calls.push(words);
        }
    }
    calls
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    use clap::error::ErrorKind;
    let mut count = 0;
    for page in pages() {
        for call in code(&read(&page)).iter().flat_map(|line| calls(line)) {
            count += 1;
            let outcome = swrun::cli::command().try_get_matches_from(&call);
            let Err(error) = outcome else { continue };
            // What a text names without its operands is a command all the same.
            let is_fine = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            assert!(is_fine, "{}: {}\n{error}", page.display(), call.join(" "));
        }
    }
    assert!(count > 100, "only {count}: the pages are not read");
    // A slip is seen.
    let slip = ["swrun", "status", "--jsn"];
    assert!(swrun::cli::command().try_get_matches_from(slip).is_err());
    assert_eq!(
        calls("! swrun exec a -- x && swrun status || true # swrun no"),
        [
            ["swrun", "exec", "a", "--", "x"].map(str::to_owned).to_vec(),
            ["swrun", "status"].map(str::to_owned).to_vec(),
        ]
    );
}

/// In the virtual machine: all of a page, or each of its blocks by its number.
#[test]
fn every_block_of_commands_is_run() {
    let machine = read(Path::new("tests/vm/units/pages"));
    let looped = machine.lines().find(|line| line.starts_with("for page in ")).expect("a loop");
    let looped: BTreeSet<&str> = looped.split([' ', ';']).collect();
    let mut count = 0;
    for page in pages() {
        let name = page.to_str().expect("a plain path");
        let called = match name.strip_prefix("docs/") {
            Some(rest) => format!("\"$docs/{rest}\""),
            None => format!("/payload/{name}"),
        };
        let is_said = |after: &str| {
            let words = format!(" {called}{after}");
            machine
                .lines()
                .any(|line| line.ends_with(&words) || line.contains(&format!("{words} ")))
        };
        let stem = name.strip_prefix("docs/").and_then(|name| name.strip_suffix(".md"));
        let is_whole = stem.is_some_and(|stem| looped.contains(stem))
            || is_said(" || failed=1")
            || machine.lines().any(|line| line.ends_with(&format!("/payload/page {called}")));
        for block in 1..=read(&page).matches("\n```sh\n").count() {
            count += 1;
            let is_run = is_whole
                || is_said(&format!(" {block}"))
                || machine.contains(&format!("(show {called} sh {block})"));
            assert!(is_run, "block {block} of {name} is run by tests/vm/units/pages");
        }
    }
    assert!(count > 20, "only {count}: the blocks are not found");
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = top().join(&page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            let is_elsewhere = path.is_empty() || path.contains("://");
            assert!(is_elsewhere || folder.join(path).exists(), "{}: {link}", page.display());
        }
    }
}

/// A text without the marks of a manual page, and without line breaks.
fn plain(text: &str) -> String {
    let text =
        text.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\&", "");
    let text =
        ["\\fB", "\\fR", "\\fI", "\\fP"].iter().fold(text, |text, mark| text.replace(mark, ""));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn manual_pages_say_what_help_says() {
    let folder = tempfile::tempdir().expect("a folder");
    clap_mangen::generate_to(swrun::cli::command(), folder.path()).expect("pages");
    let mut command = swrun::cli::command();
    command.build();
    let mut count = 0;
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let name = sub.get_name();
        let page = fs::read_to_string(folder.path().join(format!("swrun-{name}.1")));
        let page = plain(&page.unwrap_or_else(|e| panic!("{name}: {e}")));
        let output = Command::new(env!("CARGO_BIN_EXE_swrun"))
            .args([name, "--help"])
            .env_clear()
            .env("COLUMNS", "10000")
            .output()
            .expect("it can be run");
        let help = plain(&String::from_utf8(output.stdout).expect("text"));
        let about = plain(&sub.get_about().expect("every command says what it does").to_string());
        assert!(help.contains(&about) && page.contains(&about), "{name}: {about}");
        for argument in
            sub.get_arguments().filter(|one| !one.is_hide_set() && one.get_id() != "help")
        {
            let words = plain(&argument.get_help().map(ToString::to_string).unwrap_or_default());
            assert!(!words.is_empty(), "{name}: {} says what it is for", argument.get_id());
            // Both wrap and end sentences as they like.
            let words = words.trim_end_matches('.');
            assert!(help.contains(words), "{name} --help: {words}\n{help}");
            assert!(page.contains(words), "swrun-{name}.1: {words}\n{page}");
            if let Some(long) = argument.get_long() {
                let option = format!("--{long}");
                assert!(help.contains(&option) && page.contains(&option), "{name}: {option}");
            }
            count += 1;
        }
    }
    assert!(count > 60, "only {count}");
    // And the profile's, which comes of the list of its keys.
    let manual = plain(&swrun::profile::manual());
    for key in ["memory-max", "releases", "build-within", "allow-connect"] {
        assert!(manual.contains(key), "{key}");
    }
}

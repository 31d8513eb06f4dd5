//! The reader against bad input: every slip with its line and column, and no text makes it panic.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Protocol, RestartPolicy, StopSignal};

const SOUND: [&str; 5] = [
    "name = \"backend-prod\"",
    "user = \"deploy-prod\"",
    "command = [\"node\", \"index.js\"]",
    "base = \"/opt/prod\"",
    "cwd = \"/opt/prod/backend\"",
];

fn reading(text: &str) -> Reading {
    read(Path::new("a.toml"), text)
}

/// A sound profile with more lines, from line 6 on.
fn with(more: &str) -> String {
    format!("{}\n{more}\n", SOUND.join("\n"))
}

fn found(text: &str) -> Vec<(usize, usize, String)> {
    let shown = |p: &Problem| format!("{} // {}", p.text, p.hint.as_deref().unwrap_or(""));
    let reading = reading(text);
    assert_eq!(reading.profile.is_some(), reading.problems.is_empty(), "{text}");
    reading.problems.iter().map(|p| (p.line, p.column, shown(p))).collect()
}

#[test]
fn defaults_are_those_of_the_interface() {
    let profile = reading(&with("")).profile.expect("it is sound");
    assert_eq!(profile.limits.memory_max, 512 << 20);
    assert_eq!((profile.limits.memory_high, profile.limits.cpu_percent), (None, None));
    assert_eq!((profile.limits.pids, profile.limits.open_files), (256, None));
    assert_eq!((profile.instances, profile.autostart), (1, true));
    assert_eq!(profile.restart.policy, RestartPolicy::Always);
    assert_eq!(profile.restart.first_delay, Duration::from_millis(100));
    assert_eq!(profile.restart.max_delay, Duration::from_secs(30));
    assert_eq!(
        (profile.restart.give_up_after, profile.restart.within),
        (0, Duration::from_secs(60))
    );
    assert_eq!(
        (profile.stop.signal, profile.stop.grace),
        (StopSignal::TERM, Duration::from_secs(10))
    );
    assert_eq!((profile.health, profile.env_file, profile.target), (None, None, None));
    assert!(profile.writable.is_empty() && profile.read_only.is_empty() && profile.env.is_empty());
}

#[test]
fn every_slip_has_its_place_and_its_hint() {
    // What is added at line 6; line, column, and words of the text and of the hint.
    for (more, line, column, words) in [
        ("memry = 1", 6, 1, ["unknown key \"memry\"", "known here: name, target"]),
        ("usr = \"a\"", 6, 1, ["unknown key \"usr\"", "did you mean \"user\"?"]),
        (
            "[limits]\nmemory_max = \"1G\"",
            7,
            1,
            ["\"memory_max\" in [limits]", "\"memory-max\" in [limits]?"],
        ),
        ("max_memory_restart = \"1G\"", 6, 1, ["unknown key", "\"memory-max\" in [limits]?"]),
        ("[limit]\npids = 1", 6, 2, ["unknown key \"limit\"", "the section [limits]?"]),
        ("access = []", 6, 1, ["\"access\" is not yet known to this version", "leave it out"]),
        ("[logs]\nrotate-size = \"5G\"\ntotal-max = \"1T\"", 7, 15, ["more than 4G", "smaller"]),
        ("[logs]\ntotal-max = \"63M\"", 7, 13, ["less than four times", "smaller rotate-size"]),
        ("[logs]\non-full = \"wait\"", 7, 11, ["\"wait\" is not known", "\"block\" or \"drop\""]),
        ("[network]\nmode = \"none\"", 7, 8, ["\"none\" is not known here", "\"private\""]),
        (
            "ports = [80]\n[network]\nmode = \"private\"",
            8,
            8,
            ["private, but the profile has ports", "nobody could reach them"],
        ),
        (
            "[network]\nallow-connect = [\"localhost:5432\", \"10.0.0.0/33:1\"]",
            7,
            36,
            ["\"10.0.0.0/33:1\" is no place to connect to", "as in"],
        ),
        (
            "[network]\nallow-connect = [\"::1:80\"]",
            7,
            18,
            ["\"::1:80\" is no place to connect to", "[2001:db8::1]:53"],
        ),
        (
            "[sandbox]\nallow-syscalls = [\"ptrace\", \"ptrase\"]",
            7,
            29,
            ["\"ptrase\" is no system call of Linux", "as in allow-syscalls"],
        ),
        ("ready = \"health\"", 6, 9, ["asks for an answer of [health]", "add [health]"]),
        ("access = \"x\"", 6, 1, ["\"access\" is not yet known", "leave it out"]),
        ("cron = \"0 3 * *\"", 6, 8, ["is no line of a crontab", "every night at three"]),
        ("instances = \"2\"", 6, 13, ["is a string, expected an integer", "instances = 1"]),
        ("instances = 0", 6, 13, ["\"0\" is out of range: 1 to 64", ""]),
        ("instances = 65", 6, 13, ["\"65\" is out of range", ""]),
        ("instances = -1", 6, 13, ["\"-1\" is out of range", ""]),
        ("autostart = \"yes\"", 6, 13, ["a string, expected true or false", "autostart = true"]),
        ("writable = \"a\"", 6, 12, ["a string, expected a list of strings", "writable = ["]),
        ("writable = [\"a\", 1]", 6, 18, ["holds an integer, expected a list of strings", ""]),
        ("writable = [\"../a\"]", 6, 13, ["has \"..\" in it", "without"]),
        ("limits = 3", 6, 10, ["an integer, expected a section", "[limits]"]),
        ("[[env]]\nA = \"1\"", 6, 1, ["a list, expected a section", "[env]"]),
        ("env-file = \"/etc/shadow\"", 6, 12, ["is absolute", "env-file = \"backend/.env\""]),
        ("env-file = \"../.env\"", 6, 12, ["has \"..\" in it", ""]),
        ("ports = [0]", 6, 10, ["\"0\" is not a port", "1 to 65535"]),
        ("ports = [70000]", 6, 10, ["\"70000\" is not a port", ""]),
        ("ports = [3000, \"3000/sctp\"]", 6, 16, ["is not a port", "3002/udp"]),
        (
            "ports = [3000, \"3000/udp\", 3000]",
            6,
            28,
            ["port 3000 is listed twice, first at 6:10", "leave one"],
        ),
        ("[limits]\nmemory-max = \"512\"", 7, 14, ["\"512\" has no unit", ""]),
        ("[limits]\nmemory-max = 512", 7, 14, ["\"512\" has no unit: write \"512M\"", ""]),
        ("[limits]\nmemory-max = \"1K\"", 7, 14, ["too little", ""]),
        ("[limits]\nmemory-high = \"512M\"", 7, 15, ["not below memory-max", "448M"]),
        ("[limits]\ncpu = 1.5", 7, 7, ["\"1.5\" is not a share of a CPU", "cpu = \"150%\""]),
        (
            "[limits]\npids = 1.5",
            7,
            8,
            ["a number with a point, expected an integer", "pids = 256"],
        ),
        ("limits.pids = \"x\"", 6, 15, ["a string, expected an integer", ""]),
        (
            "[restart]\npolicy = \"sometimes\"",
            7,
            10,
            ["\"sometimes\" is not a restart policy", "on-failure"],
        ),
        ("[restart]\nfirst-delay = 100", 7, 15, ["\"100\" has no unit", ""]),
        ("[restart]\nfirst-delay = \"1m\"", 7, 15, ["shorter than first-delay", "max-delay"]),
        ("[restart]\nwithin = \"0s\"", 7, 10, ["no length", "1m"]),
        ("[stop]\nsignal = \"SIGSTOP\"", 7, 10, ["is not a signal that ends a program", ""]),
        ("[stop]\ngrace = \"soon\"", 7, 9, ["\"soon\"", ""]),
        ("[health]", 6, 2, ["\"http\" in [health] is missing", "http://127.0.0.1"]),
        ("[health]\nhttp = \"http://10.1.1.1/\"", 7, 8, ["is not on this machine", "127.0.0.1"]),
        (
            "[env]\nPORT = 3000",
            7,
            8,
            ["\"PORT\" in [env] is an integer, expected a string", "quotes: PORT = \"…\""],
        ),
        ("[env]\nA = true", 7, 5, ["expected a string", "quotes"]),
        ("[env]\nA = [\"x\"]", 7, 5, ["a list, expected a string", "one text"]),
        ("[env]\n\"A=B\" = \"x\"", 7, 1, ["\"A=B\" in [env] is not the name of a variable", ""]),
        ("[env]\n\"\" = \"x\"", 7, 1, ["is not the name of a variable", ""]),
        ("[env]\nA = \"\\u0000\"", 7, 5, ["NUL", ""]),
        ("[deploy]\nkeep = 3", 6, 2, ["\"releases\" in [deploy] is missing", "as in releases"]),
        ("[deploy]\nreleases = \".\"", 7, 12, ["is \".\"", "a folder below base"]),
        (
            "[deploy]\nreleases = \"backend/r\"",
            5,
            7,
            ["lie in one another", "cwd = \"/opt/prod/app\""],
        ),
        ("[deploy]\nreleases = \"r\"\nwatch = \"2h\"", 8, 9, ["is more than 1h", "shorter"]),
        ("[deploy]\nreleases = \"r\"\nkeep = 1", 8, 8, ["", ""]),
        (
            "writable = [\"backend/up\"]\n[deploy]\nreleases = \"r\"",
            6,
            13,
            ["of writable lies in \"cwd\"", "let a release have a link"],
        ),
        ("target = \"Prod\"", 6, 10, ["\"Prod\" is not a name", ""]),
        ("target = ", 6, 10, ["", "not TOML"]),
        ("target = \"é\" x", 6, 14, ["", "not TOML"]),
        ("name = \"again\"", 6, 1, ["duplicate key", ""]),
    ] {
        let found = found(&with(more));
        let [(at, column_at, text)] = found.as_slice() else { panic!("{more}: {found:?}") };
        assert_eq!((*at, *column_at), (line, column), "{more}: {text}");
        for word in words {
            assert!(text.contains(word), "{more}: {text}");
        }
    }
}

#[test]
fn the_four_that_must_be_there_are_held() {
    for (line, instead, column, words) in [
        (1, "name = \"Backend\"", 8, ["[a-z][a-z0-9-]{0,31}", ""]),
        (1, "name = \"a-name-that-is-longer-than-32-bytes\"", 8, ["is not a name", ""]),
        (2, "user = \"root\"", 8, ["never runs as root", "swrun setup"]),
        (2, "user = 0", 8, ["never runs as root", "swrun setup"]),
        (2, "user = \"a b\"", 8, ["is not the name of a user", ""]),
        (
            3,
            "command = \"node index.js\"",
            11,
            ["a string, expected a list", "[\"node\", \"index.js\"]"],
        ),
        (3, "command = []", 11, ["names no program", "[\"node\""]),
        (3, "command = [\"node\", 3]", 20, ["an integer", ""]),
        (4, "base = \"opt/prod\"", 8, ["is relative", ""]),
    ] {
        let mut lines = SOUND;
        lines[line - 1] = instead;
        let found = found(&lines.join("\n"));
        let [(at, column_at, text)] = found.as_slice() else { panic!("{instead}: {found:?}") };
        assert_eq!((*at, *column_at), (line, column), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let texts: Vec<_> = found("")
        .into_iter()
        .map(|(line, column, text)| {
            assert_eq!((line, column), (1, 1));
            text
        })
        .collect();
    assert_eq!(texts.len(), 4);
    for (text, key) in texts.iter().zip(["name", "user", "command", "cwd"]) {
        assert!(
            text.starts_with(&format!("\"{key}\" is missing // add a line as {key} = ")),
            "{text}"
        );
    }
    let relative = SOUND.join("\n").replace("base = \"/opt/prod\"", "").replace("/opt/prod/", "");
    assert_eq!(found(&relative).iter().map(|(l, c, _)| (*l, *c)).collect::<Vec<_>>(), [(5, 7)]);
}

#[test]
fn all_problems_of_a_file_come_in_one_run_in_order() {
    let text = "name = \"A\"\nusr = \"x\"\nbase = 3\n[limits]\nmemory-max = \"512\"\npids = \"x\"\n[stop]\ngrase = \"1s\"\n";
    let places: Vec<_> = found(text).iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(1, 1), (1, 1), (1, 8), (2, 1), (3, 8), (5, 14), (6, 8), (8, 1)]);
    // No problem follows from another: what is compared with an unreadable value is left alone.
    let text = with(
        "[limits]\nmemory-max = \"2048\"\nmemory-high = \"1G\"\n\
         [restart]\nmax-delay = \"1h1h\"\nfirst-delay = \"10m\"",
    );
    let places: Vec<_> = found(&text).iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(7, 14), (10, 13)]);
    // What stands before a syntax error is sound, what comes after it is not told of.
    let text = "usr = 1\nuser = 1\nports = [1,\nports = x\nfoo = 1\n";
    let places: Vec<_> = found(text).iter().map(|(line, _, _)| *line).collect();
    assert_eq!(places.first(), Some(&1));
    assert!(places.iter().skip(1).all(|line| *line > 2), "{places:?}");
    // A key that is there twice breaks nothing else.
    let places: Vec<_> = found(&with("name = \"b\"\nfoo = 1")).iter().map(|(l, ..)| *l).collect();
    assert_eq!(places, [6, 7]);
}

#[test]
fn secrets_of_env_are_never_told() {
    for more in [
        "[env]\nA = 123456789",
        "[env]\nA = \"s3cret\\u0000\"",
        "[env]\nA = \"s3cret",
        "[env]\nA = s3cret",
    ] {
        let shown: String = reading(&with(more)).problems.iter().map(ToString::to_string).collect();
        assert!(
            !shown.is_empty() && !shown.contains("s3cret") && !shown.contains("123456789"),
            "{shown}"
        );
    }
}

#[test]
fn the_reader_knows_every_key_of_the_schema_and_its_examples() {
    for key in &KEYS {
        let section = if key.section.is_empty() { "" } else { &format!("[{}]\n", key.section) };
        // A date is never right: who does not complain does not read the key.
        let date = format!("{section}{} = 2020-01-01\n", key.name);
        let told = reading(&date).problems.iter().any(|p| p.text.contains("is a date"));
        assert!(told, "{key:?} is not read");
        let sound: String = SOUND
            .iter()
            .filter(|line| !key.section.is_empty() || !line.starts_with(&format!("{} =", key.name)))
            .map(|line| format!("{line}\n"))
            .collect();
        let sound = sound.replace("/opt/prod", "/opt/seawolf-marketplace/prod");
        // Without a command the others of its section have no meaning.
        let needed = match (key.section, key.name) {
            ("notify", "user" | "events" | "within") => "command = [\"/bin/true\"]\n",
            ("watch", "ignore" | "delay") => "paths = [\"src\"]\n",
            ("deploy", key) if key != "releases" => "releases = \"releases\"\n",
            _ => "",
        };
        let example = format!("{sound}{section}{needed}{} = {}\n", key.name, key.example);
        assert_eq!(reading(&example).problems, [], "{example}");
    }
}

#[test]
fn ports_users_and_dotted_keys_are_read() {
    let text = with(
        "ports = [3000, \"3001\", \"3002/udp\"]\nlimits.memory-max = \"1G\"\nenv.LD_PRELOAD = \"x\"",
    );
    let profile = reading(&text).profile.expect("it is sound");
    let ports: Vec<_> = profile.ports.iter().map(|p| (p.value.port, p.value.proto)).collect();
    assert_eq!(ports, [(3000, Protocol::Tcp), (3001, Protocol::Tcp), (3002, Protocol::Udp)]);
    assert_eq!(profile.limits.memory_max, 1 << 30);
    assert_eq!(profile.env.get("LD_PRELOAD").map(|value| value.value.as_str()), Some("x"));
    let number = reading(&text.replace("\"deploy-prod\"", "61001")).profile.expect("it is sound");
    assert_eq!(number.user.value, UserChoice::Number(61001));
    assert_ne!(number.digest, profile.digest);
}

/// The profiles that are shipped: sound, and between them they teach every key.
#[test]
fn the_shipped_profiles_are_sound_and_name_every_key() {
    let shipped = [
        ("test", 3000, include_str!("../../profiles/test.toml")),
        ("dev", 3001, include_str!("../../profiles/dev.toml")),
        ("prod", 3002, include_str!("../../profiles/prod.toml")),
    ];
    for (target, port, text) in shipped {
        let reading = reading(text);
        assert_eq!(reading.problems, [], "{target}");
        let profile = reading.profile.expect("it is sound");
        assert_eq!(profile.name.value.as_str(), format!("backend-{target}"));
        assert_eq!(profile.target.map(|t| t.value.to_string()).as_deref(), Some(target));
        assert_eq!(profile.user.value, UserChoice::Named(format!("deploy-{target}")));
        assert_eq!(profile.ports.iter().map(|p| p.value.port).collect::<Vec<_>>(), [port]);
        assert_eq!(profile.base.value, Path::new("/opt/seawolf-marketplace").join(target));
        assert_eq!(profile.cwd.value, profile.base.value.join("backend"));
        assert!(profile.env.contains_key("NODE_ENV"));
    }
    // With every commented key switched on, prod is still sound, and each key is in its section.
    let prod = shipped[2].2;
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| KEYS.iter().any(|known| known.name == key))
    };
    let lines = prod.lines().map(|line| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if is_key(bare) { bare } else { line }
    });
    let full: String = lines.flat_map(|line| [line, "\n"]).collect();
    assert_eq!(reading(&full).problems, [], "{full}");
    let mut section = "";
    let mut seen = Vec::new();
    for line in full.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            seen.push((section, key));
        }
    }
    for key in &KEYS {
        assert!(seen.contains(&(key.section, key.name)), "{key:?} is not in prod.toml");
    }
}

/// Texts that are near to profiles: lines of keys, values, sections and what breaks them.
fn near_profiles() -> impl Strategy<Value = String> {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let values: Vec<&str> = KEYS.iter().map(|key| key.example).collect();
    let broken = [
        "",
        "[",
        "\"",
        "'''",
        "{a = 1",
        "[[1], 2]",
        "1979-01-01",
        "nan",
        "-0",
        "0x1F",
        "\"\\u0000é\"",
        "\"\u{fffd}",
    ];
    let line = prop_oneof![
        (proptest::sample::select(names), proptest::sample::select(values))
            .prop_map(|(k, v)| format!("{k} = {v}")),
        (
            proptest::sample::select(vec![
                "name",
                "env.A",
                "limits.pids",
                "ports",
                "user",
                "é",
                "\"\""
            ]),
            proptest::sample::select(broken.to_vec())
        )
            .prop_map(|(k, v)| format!("{k} = {v}")),
        proptest::sample::select(vec![
            "[env]",
            "[limits]",
            "[health]",
            "[[stop]]",
            "[a.b",
            "\r",
            "# x\u{1b}",
            "\u{feff}"
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in prop_oneof![near_profiles(), ".{0,200}"]) {
        let reading = reading(&text);
        prop_assert!(reading.profile.is_some() || reading.problems.iter().any(Problem::is_error));
        let lines = text.split('\n').count();
        for problem in &reading.problems {
            prop_assert!((1..=lines + 1).contains(&problem.line) && problem.column >= 1);
            let shown = problem.to_string();
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            prop_assert!(shown.lines().count() <= 2);
        }
    }

    #[test]
    fn no_bytes_make_the_opener_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let temp = tempfile::NamedTempFile::new_in(own_folder()).expect("a temporary file");
        std::fs::write(temp.path(), &bytes).expect("it is written");
        match open(temp.path()) {
            Ok(source) => {
                prop_assert_eq!(source.text.as_bytes(), bytes.as_slice());
                let _ = reading(&source.text);
            }
            Err(problem) => {
                prop_assert!(std::str::from_utf8(&bytes).is_err());
                prop_assert!(problem.line >= 1 && problem.column >= 1);
            }
        }
    }
}

/// A folder of this user alone: the opener refuses what lies in /tmp itself.
fn own_folder() -> &'static Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path()
}

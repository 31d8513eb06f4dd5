//! The variables of an app: `.env` as npm's `dotenv` reads it, `[env]` over it, read anew at each
//! start, by the deploy user; and no value anywhere but in the app.

mod bed;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use bed::{App, Bed, get, pid, processes_of, texts};

/// What the app sees, none when it is not set.
fn variable(app: &App, key: &str) -> Option<String> {
    get(app.port, &format!("/env?key={key}")).ok()
}

/// Restarts an environment and waits until it is online again.
#[track_caller]
fn restart(bed: &Bed, app: &App) {
    bed.ok(&["restart", &app.name]);
    bed.until(app, "online", |status| status["state"] == "online");
}

#[test]
fn the_values_are_those_that_dotenv_reads_and_the_profile_wins() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[env]\nNODE_ENV = \"production\"\nDOLLAR = \"$HOME ${PORT}\"");
    let text = "DB_PASSWORD=pa$$w0rd\nQUOTED=\"two words\\nand lines\"\nSINGLE='as $IT is\\n'\n\
        export EXPORTED=yes\nEMPTY=\nHASH=a#b\n# COMMENTED=1\nNODE_ENV=test\nHOME=/root\n\
        MULTI=\"first\nsecond\"\nSPACED =  x y  \nNOTIFY_SOCKET=/run/x\nLISTEN_FDS=1\n";
    bed.env_file(&app, &format!("PORT={}\n{text}", app.port));
    bed.start(&app);
    for (key, wanted) in [
        ("DB_PASSWORD", Some("pa$$w0rd")),
        ("QUOTED", Some("two words\nand lines")),
        ("SINGLE", Some("as $IT is\\n")),
        ("EXPORTED", Some("yes")),
        ("EMPTY", Some("")),
        ("HASH", Some("a")),
        ("COMMENTED", None),
        ("MULTI", Some("first\nsecond")),
        ("SPACED", Some("x y")),
        // [env] wins, and is taken as it stands.
        ("NODE_ENV", Some("production")),
        ("DOLLAR", Some("$HOME ${PORT}")),
        // Who the app is and where it lives is nobody's to change.
        ("USER", Some(&*app.uid.to_string())),
        ("HOME", app.home.to_str()),
        ("SWRUN_ENV", Some("shop")),
        // Nobody passes descriptors or waits to be told.
        ("NOTIFY_SOCKET", None),
        ("LISTEN_FDS", None),
    ] {
        assert_eq!(variable(&app, key).as_deref(), wanted, "{key}");
    }
    bed.end();
}

#[test]
fn a_change_takes_effect_at_the_next_restart() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let text = |value: &str| format!("PORT={}\nCOLOUR={value}\n", app.port);
    bed.env_file(&app, &text("red"));
    bed.start(&app);
    assert_eq!(variable(&app, "COLOUR").as_deref(), Some("red"));
    bed.env_file(&app, &text("green"));
    assert_eq!(variable(&app, "COLOUR").as_deref(), Some("red"), "what runs keeps what it has");
    restart(&bed, &app);
    assert_eq!(variable(&app, "COLOUR").as_deref(), Some("green"));

    // A crash is a start too.
    bed.env_file(&app, &text("blue"));
    let before = pid(&bed.status(&app));
    let _ = get(app.port, "/crash?code=1");
    bed.until(&app, "back", |status| {
        status["state"] == "online" && status["pid"].as_i64() != Some(before.into())
    });
    assert_eq!(variable(&app, "COLOUR").as_deref(), Some("blue"));

    // Gone is as good as empty, where the profile does not name the file.
    fs::remove_file(app.home.join(".env")).expect("ours");
    bed.probe(&app, &format!("[env]\nPORT = \"{}\"", app.port));
    fs::remove_file(app.home.join(".env")).expect("ours");
    restart(&bed, &app);
    assert_eq!(variable(&app, "COLOUR"), None);
    bed.end();
}

/// Makes something of the app's in place of its `.env`.
fn place(app: &App, make: impl FnOnce(&Path)) {
    let path = app.home.join(".env");
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir(&path);
    make(&path);
    std::os::unix::fs::lchown(&path, Some(app.uid), Some(app.uid)).expect("root may");
}

#[test]
fn links_inside_the_base_are_followed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let folder = app.home.join("shared");
    fs::create_dir(&folder).expect("ours");
    let file = folder.join("production.env");
    fs::write(&file, format!("PORT={}\nLINKED=yes\n", app.port)).expect("ours");
    chown(&file, Some(app.uid), Some(app.uid)).expect("root may");
    place(&app, |path| symlink("shared/production.env", path).expect("ours"));
    bed.start(&app);
    assert_eq!(variable(&app, "LINKED").as_deref(), Some("yes"));
    // As deployment tools write it.
    fs::write(&file, format!("PORT={}\nLINKED=absolutely\n", app.port)).expect("ours");
    place(&app, |path| symlink(&file, path).expect("ours"));
    restart(&bed, &app);
    assert_eq!(variable(&app, "LINKED").as_deref(), Some("absolutely"));
    let checked = bed.swrun(&["check"]);
    assert!(checked.status.success(), "{:?}", texts(&checked));
    bed.end();
}

#[test]
fn a_bad_file_fails_at_once_and_what_runs_goes_on() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let outside = bed.root().join("outside.env");
    fs::write(&outside, "SECRET=of-another\n").expect("ours");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o644)).expect("ours");
    let port = app.port;
    let good = move |path: &Path| fs::write(path, format!("PORT={port}\n")).expect("ours");
    let write = |text: Vec<u8>| move |path: &Path| fs::write(path, text).expect("ours");
    let unreadable = |path: &Path| {
        fs::write(path, "A=1\n").expect("ours");
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("ours");
    };
    type Make<'a> = Box<dyn Fn(&Path) + 'a>;
    let link = |to: PathBuf| move |path: &Path| symlink(&to, path).expect("ours");
    let bad: Vec<(&str, Make<'_>, &str)> = vec![
        ("a link out of the base", Box::new(link(outside.clone())), "(os error 18)"),
        ("a link upwards", Box::new(link("../../outside.env".into())), "(os error 18)"),
        ("a link to the host", Box::new(link("/etc/hostname".into())), "(os error 18)"),
        (
            "a second name of another's",
            Box::new(|path: &Path| fs::hard_link(&outside, path).expect("ours")),
            "has another name",
        ),
        ("a link to itself", Box::new(link(".env".into())), "(os error 40)"),
        (
            "a fifo",
            Box::new(|path: &Path| {
                let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
                nix::unistd::mkfifo(path, mode).expect("ours");
            }),
            "not a regular file",
        ),
        (
            "a folder",
            Box::new(|path: &Path| fs::create_dir(path).expect("ours")),
            "not a regular file",
        ),
        ("more than 64 KiB", Box::new(move |path| write(vec![b'#'; 65_537])(path)), "65536 bytes"),
        ("an unreadable one", Box::new(unreadable), "(os error 13)"),
        ("a NUL", Box::new(move |path| write(b"A=1\nB=a\0b\n".to_vec())(path)), "line 2"),
    ];

    place(&app, good);
    let running = pid(&bed.start(&app));
    for (what, make, why) in &bad {
        place(&app, make);
        let said = bed.fails(1, &["restart", "shop"]);
        let step = format!("could not read \"{}\"", app.home.join(".env").display());
        assert!(said.contains(&step) && said.contains(why), "{what}: {said}");
        let status = bed.status(&app);
        assert_eq!(pid(&status), running, "{what}: {status:#}");
        assert_eq!(
            (&status["state"], &status["restarts"]),
            (&"online".into(), &0.into()),
            "{what}"
        );
    }
    assert!(get(app.port, "/").is_ok());
    bed.ok(&["stop", "shop"]);
    for (what, make, why) in &bad {
        place(&app, make);
        let said = bed.fails(1, &["start", "shop"]);
        assert!(said.contains("could not read") && said.contains(why), "{what}: {said}");
        assert_eq!(bed.status(&app)["state"], "stopped", "{what}");
    }
    // Named in the profile, it must be there.
    place(&app, good);
    fs::remove_file(app.home.join(".env")).expect("ours");
    let profile = bed.profile_path(&app);
    let text = fs::read_to_string(&profile).expect("ours");
    fs::write(&profile, format!("env-file = \".env\"\n{text}")).expect("ours");
    let said = bed.fails(1, &["start", "shop"]);
    assert!(said.contains(".env") && said.contains("(os error 2)"), "{said}");
    // Mended, it starts.
    place(&app, good);
    bed.start(&app);
    bed.end();
}

/// The largest file that is read, to the byte.
#[test]
fn sixty_four_kibibytes_are_read() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let head = format!("PORT={}\nLARGE=", app.port);
    let value = "x".repeat(65_536 - head.len());
    bed.env_file(&app, &(head + &value));
    bed.start(&app);
    assert_eq!(variable(&app, "LARGE").map(|value| value.len()), Some(value.len()));
    bed.end();
}

const FILE_SECRET: &str = "canary-of-the-file-7f3a";
const PROFILE_SECRET: &str = "canary-of-the-profile-91bc";
const AD_HOC_SECRET: &str = "canary-of-the-caller-c2d4";

fn holds_a_secret(text: &[u8]) -> bool {
    [FILE_SECRET, PROFILE_SECRET, AD_HOC_SECRET]
        .iter()
        .any(|secret| text.windows(secret.len()).any(|window| window == secret.as_bytes()))
}

#[test]
fn no_value_is_shown_or_kept_where_others_can_read_it() {
    let mut bed = Bed::running();
    let app = bed.app("shop");
    let broken = bed.app("broken");
    let adhoc = bed.app("adhoc");
    bed.probe(
        &app,
        &format!("[env]\nAPI_KEY = \"{PROFILE_SECRET}\"\nSHARED = \"{PROFILE_SECRET}\""),
    );
    let text = format!(
        "PORT={}\nSECRET={FILE_SECRET}\nSHARED={FILE_SECRET}\nODD=a${FILE_SECRET}\n",
        app.port
    );
    bed.env_file(&app, &text);
    bed.probe(&broken, &format!("[env]\nAPI_KEY = \"{PROFILE_SECRET}\""));
    bed.env_file(
        &broken,
        &format!("SECRET=\"{FILE_SECRET}\0\"\nthis line {FILE_SECRET} is none\n"),
    );

    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let mut run = |bed: &Bed, words: &[&str]| {
        let output = bed.swrun(words);
        said.push((words.join(" "), [output.stdout, output.stderr].concat()));
        output.status.code()
    };
    assert_eq!(run(&bed, &["start", "shop"]), Some(0));
    assert_eq!(run(&bed, &["start", "broken"]), Some(1));
    let probe = bed::probe::path().to_str().expect("plain");
    let secret = format!("API_KEY={AD_HOC_SECRET}");
    let cwd = adhoc.home.to_str().expect("plain");
    fs::copy(probe, adhoc.home.join("server")).expect("ours");
    let server = adhoc.home.join("server");
    bed.env_file(&adhoc, &format!("PORT={}\nSECRET={FILE_SECRET}\n", adhoc.port));
    let words = ["start", server.to_str().expect("plain"), "--name", "adhoc", "--cwd", cwd];
    let words = [&words[..], &["--env", &secret, "--", "serve"]].concat();
    assert_eq!(run(&bed, &words), Some(0), "{}", bed.daemon_log());
    // It is there, or nothing is proven.
    assert_eq!(variable(&app, "SECRET").as_deref(), Some(FILE_SECRET));
    assert_eq!(variable(&app, "API_KEY").as_deref(), Some(PROFILE_SECRET));
    assert_eq!(variable(&adhoc, "API_KEY").as_deref(), Some(AD_HOC_SECRET));
    for words in [
        &["show", "shop", "--json"][..],
        &["show", "shop"],
        &["show", "adhoc", "--json"],
        &["show", "broken", "--json"],
        &["status", "--json"],
        &["status"],
        &["check"],
        &["check", "--json"],
        &["logs", "--nostream"],
        &["restart", "broken"],
        &["restart", "shop"],
        &["start", "broken", "--no-wait"],
    ] {
        run(&bed, words);
    }
    bed.until(&app, "online", |status| status["state"] == "online");

    for (words, text) in &said {
        assert!(!holds_a_secret(text), "{words}: {}", String::from_utf8_lossy(text));
    }
    let shown =
        String::from_utf8_lossy(&said.iter().find(|(w, _)| w == "show shop --json").unwrap().1)
            .into_owned();
    assert!(shown.contains("API_KEY"), "the keys may be seen: {shown}");
    assert!(!holds_a_secret(bed.daemon_log().as_bytes()), "{}", bed.daemon_log());

    // Command lines and variables of every process of swrun's own: the runner, monitors, inits.
    let status = bed.status(&app);
    let init = status["instances"][0]["init_pid"].to_string();
    let pids = processes_of(bed.root())
        .into_iter()
        .filter_map(|process| Some(process.split(' ').next()?.to_owned()));
    let own = [init, bed.daemon_pid().to_string()];
    let mut seen = 0;
    for pid in pids.chain(own) {
        let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        assert!(!holds_a_secret(&command), "{pid}: {}", String::from_utf8_lossy(&command));
        if command.starts_with(b"swrun\0__") || command.ends_with(b"swrun\0daemon\0") {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            assert!(!holds_a_secret(&variables), "{pid}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "a runner, monitors and inits were looked at: {seen}");

    // Files: the operator's own, and what only root can read.
    let mut held = Vec::new();
    for file in files_below(bed.root()) {
        if !holds_a_secret(&fs::read(&file).unwrap_or_default()) {
            continue;
        }
        let place = file.strip_prefix(bed.root()).expect("below").to_str().expect("plain");
        if file.ends_with(".env") || place.starts_with("etc/swrun/profiles/") {
            continue;
        }
        let found = fs::metadata(&file).expect("it is there");
        assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, 0), "{place}");
        held.push(place.to_owned());
    }
    held.sort();
    let wanted = [
        "var/lib/swrun/env/adhoc.spec",
        "var/lib/swrun/env/broken.spec",
        "var/lib/swrun/env/shop.spec",
        "var/lib/swrun/profiles/adhoc.toml",
    ];
    assert_eq!(held, wanted);
    let state = fs::metadata(bed.root().join("var/lib/swrun")).expect("made").mode();
    assert_eq!(state & 0o7777, 0o700);
    // Nor after the runner has begun anew over all of it.
    bed.kill_daemon();
    bed.daemon();
    assert!(!holds_a_secret(bed.daemon_log().as_bytes()), "{}", bed.daemon_log());
    bed.end();
}

#[test]
fn a_secret_that_every_user_can_read_is_warned_of() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let checked = |lines: &str, mode: u32| {
        bed.probe(&app, lines);
        fs::set_permissions(bed.profile_path(&app), fs::Permissions::from_mode(mode))
            .expect("ours");
        bed.ok(&["check"])
    };
    let with_key = format!("[env]\nAPI_KEY = \"{PROFILE_SECRET}\"");
    let said = checked(&with_key, 0o644);
    assert!(said.contains("\"API_KEY\" in [env] can be read by every user"), "{said}");
    assert!(said.contains("chmod o-r") && said.contains("1 warnings"), "{said}");
    assert!(!holds_a_secret(said.as_bytes()), "{said}");
    for (lines, mode) in [(&*with_key, 0o640), ("[env]\nCOLOUR = \"red\"", 0o644)] {
        let said = checked(lines, mode);
        assert!(said.contains("0 warnings"), "{lines} {mode:o}: {said}");
    }
    bed.end();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

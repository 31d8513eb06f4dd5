//! `swrun exec`: a command in the cage of an environment, running or stopped, with a terminal of its own and nothing
//! of the operator's.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use bed::{Bed, get, texts};
use scripts::python;

/// Runs `swrun exec shop -- sh -c SCRIPT` with something on its stdin.
fn exec(bed: &Bed, script: &str, input: &str) -> Output {
    let mut child = Command::new(bed::swrun())
        .args(["exec", "shop", "--", "/bin/sh", "-c", script])
        .env("SWRUN_ROOT", bed.root())
        .env("CANARY", "of the operator")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("our own child")
}

#[test]
fn a_command_runs_in_the_cage_of_its_environment() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "serve()", "");
    bed.env_file(&app, "SECRET=of-the-env-file\n");
    let before = bed.start(&app);
    let script = "id -u; cat; echo $SECRET $PORT \"$CANARY\"; pwd; echo $$; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; ls /root /home; echo err >&2; exit 7";
    let output = exec(&bed, script, "from the operator\n");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(7), "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], app.uid.to_string());
    assert_eq!(lines[1], "from the operator");
    assert_eq!(lines[2], format!("of-the-env-file {} ", app.port));
    assert_eq!(lines[3], app.home.to_str().expect("plain"));
    // A pid namespace of its own: init is 1, not the app's.
    assert_eq!(lines[4], "2");
    let own = ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"];
    assert!(own.iter().all(|line| lines.contains(line)), "{lines:#?}");
    assert!(err.contains("No such file") && err.ends_with("err\n"), "{err}");
    // Nothing of it is left, and the app goes on.
    assert_eq!(bed.status(&app)["pid"], before["pid"]);
    assert_eq!(get(app.port, "/").expect("undisturbed"), "ok");
    let groups: Vec<_> = bed
        .groups()
        .into_iter()
        .filter(|group| group.to_string_lossy().contains("/app/1073"))
        .collect();
    assert!(groups.is_empty(), "{groups:?}");
    bed.end();
}

#[test]
fn a_stopped_environment_has_its_cage_too() {
    let bed = Bed::running();
    let _app = python(&bed, "shop", "serve()", "");
    bed.ok(&["start", "--no-wait", "shop"]);
    bed.ok(&["stop", "shop"]);
    // The same walls: it binds no port, and reaches no secret of a cloud.
    let script = "exec /usr/bin/python3 -c 'import socket\nfor what in (lambda: socket.create_server((\"\", 4567)), \
                  lambda: socket.create_connection((\"169.254.169.254\", 80), 2)):\n try: what(); print(\"open\")\n \
                  except OSError as error: print(error.errno)'";
    let output = exec(&bed, script, "");
    assert_eq!(texts(&output).0, "13\n13\n", "{:?}", texts(&output));
    let output = exec(&bed, "cat /dev/stdin", "by name");
    assert_eq!(
        (texts(&output).0.as_str(), output.status.code()),
        ("by name", Some(0)),
        "{output:?}"
    );
    let output = exec(&bed, "echo in; kill -9 $$", "");
    assert_eq!((texts(&output).0.as_str(), output.status.code()), ("in\n", Some(137)));
    let output = Command::new(bed::swrun())
        .args(["exec", "shop", "--", "/no/such/program"])
        .env("SWRUN_ROOT", bed.root())
        .output()
        .expect("the program under test");
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(127), "{err}");
    assert!(err.contains("could not execute \"/no/such/program\""), "{err}");
    // And it can be started as before.
    bed.ok(&["start", "shop"]);
    bed.end();
}

#[test]
fn its_ceiling_holds_and_what_it_leaves_behind_ends_with_it() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "serve()", "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    std::fs::write(&path, format!("{text}\n[limits]\nmemory-max = \"64M\"\n")).expect("ours");
    let before = bed.start(&app);
    let leak = "exec /usr/bin/python3 -c 'b = []\nwhile True: b.append(bytearray(1 << 20))'";
    assert_eq!(exec(&bed, leak, "").status.code(), Some(137), "killed at the ceiling");
    assert_eq!(bed.status(&app)["pid"], before["pid"], "a ceiling of its own");
    // A grandchild of another session, with the output open.
    let begun = std::time::Instant::now();
    let output = exec(&bed, "setsid sleep 300 & echo done", "");
    assert_eq!((texts(&output).0.as_str(), output.status.code()), ("done\n", Some(0)));
    assert!(begun.elapsed() < bed::patience());
    let left = bed::processes_of(bed.root());
    assert!(!left.iter().any(|process| process.contains("sleep")), "{left:?}");
    // Ports are the running app's.
    let listen = "exec /usr/bin/python3 -c 'import socket; socket.create_server((\"\", 0))'";
    let (_, err) = texts(&exec(&bed, listen, ""));
    assert!(err.contains("Permission denied"), "{err}");
    bed.end();
}

/// Runs it in a terminal made by Python, whose other end types and tells what it shows.
#[test]
fn a_session_has_a_terminal_of_its_own() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "serve()", "");
    bed.start(&app);
    let script = r#"
import fcntl, os, pty, signal, struct, sys, termios, time
def give_up(*_):
    print("STUCK AFTER", repr(shown), flush=True)
    os._exit(1)
signal.signal(signal.SIGTERM, give_up)
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
shown = b""
def until(what):
    global shown
    while what not in shown:
        shown += os.read(master, 4096)
until(b"ready")
os.write(master, b"stty size; tty; echo sum $((40 + 2))\n")
until(b"sum 42")
# Put together, so that the echo of what was typed is not taken for it. A trap is run whenever the signal comes.
os.write(master, b"sh -c \"trap 'echo cau''ght; exit' INT; echo snoo''ze; while :; do sleep 1; done\"\n")
until(b"snooze")
os.write(master, b"\x03")
until(b"caught")
os.write(master, b"python3 -c 'import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b\"x\")'\n")
until(b"not permitted")
os.write(master, b"exit 5\n")
try:
    while True:
        chunk = os.read(master, 4096)
        if not chunk: break
        shown += chunk
except OSError:
    pass
_, status = os.waitpid(pid, 0)
sys.stdout.write(shown.decode())
print("ended", os.waitstatus_to_exitcode(status))
"#;
    let file = bed.root().join("session.py");
    std::fs::write(&file, script).expect("our own folder");
    let output = Command::new("timeout")
        .args(["60", "/usr/bin/python3"])
        .arg(&file)
        .arg(bed::swrun())
        .args([
            "exec",
            "shop",
            "--",
            "/bin/sh",
            "-c",
            "stty rows 33 cols 99; echo ready; exec /bin/sh -i",
        ])
        .env("SWRUN_ROOT", bed.root())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("python3 is installed");
    let (out, err) = texts(&output);
    assert!(out.contains("33 99"), "{out}{err}");
    assert!(out.contains("not a tty") || out.contains("/dev/pts"), "{out}");
    assert!(out.contains("sum 42") && out.contains("not permitted"), "{out}{err}");
    assert!(out.trim_end().ends_with("ended 5"), "{out}{err}");
    bed.end();
}

#[test]
fn nobody_but_root_may() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "serve()", "");
    bed.start(&app);
    let program = bed.root().join("swrun-for-all");
    std::fs::copy(bed::swrun(), &program).expect("our own folder");
    let uid = app.uid.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .arg(&program)
        .args(["exec", "shop", "--", "/bin/true"])
        .env("SWRUN_ROOT", bed.root())
        .output()
        .expect("util-linux");
    assert_eq!(output.status.code(), Some(1), "{:?}", texts(&output));
    bed.end();
}

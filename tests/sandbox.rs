//! The list of system calls, seen from inside: what is refused is told, what a profile allows is allowed, and an
//! app that tries without pause disturbs nobody.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use bed::{Bed, get, pid};
use scripts::{python, says};
use serde_json::Value;

/// `call(number, …)` gives "ok" or the errno of a system call.
const CALL: &str = r#"
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return "ok" if result != -1 else errno.errorcode[ctypes.get_errno()]
"#;

#[test]
fn what_is_refused_is_named_in_show() {
    let bed = Bed::running();
    let script = format!(
        r#"{CALL}
PTRACE, UNSHARE, KEYCTL, CLONE3, IO_URING = 101, 272, 250, 435, 425
say(call(PTRACE, 16, 1, 0, 0), call(UNSHARE, 0x10000000), call(KEYCTL, 0, 0))
say(call(CLONE3, 0, 0), call(IO_URING, 8, 0), outcome(lambda: socket(38, SOCK_SEQPACKET)))
say(outcome(lambda: os.chmod("/tmp", 0o6777)), outcome(lambda: os.open("/tmp/x", os.O_CREAT, 0o4755)))
serve()
"#
    );
    let app = python(&bed, "shop", &script, "");
    let status = bed.start(&app);
    let said = says(&bed, &app, 3);
    assert_eq!(said, ["EPERM EPERM EPERM", "ENOSYS ENOSYS EAFNOSUPPORT", "EPERM EPERM"]);
    let events = kernel::events(&bed, &app, "refused-call");
    let named = |call: &str| {
        let event = events.iter().find(|event| event["call"] == call);
        event.unwrap_or_else(|| panic!("{call}: {events:#?}")).clone()
    };
    for call in ["ptrace", "unshare", "keyctl", "socket", "chmod", "openat"] {
        let event = named(call);
        assert_eq!((&event["program"], &event["pid"]), (&"python3".into(), &status["pid"]));
    }
    // What libraries try and do without is no news.
    assert!(!events.iter().any(|event| event["call"] == "clone3"), "{events:#?}");
    let shown = bed.ok(&["show", "shop"]);
    assert!(shown.contains("the system call ptrace was refused to its \"python3\""), "{shown}");
    bed.end();
}

#[test]
fn a_profile_allows_what_an_app_truly_needs() {
    let bed = Bed::running();
    let script = format!("{CALL}\nsay(call(101, 0, 0, 0, 0), call(272, 0x10000000))\nserve()");
    let app = python(&bed, "shop", &script, "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    std::fs::write(&path, format!("{text}\n[sandbox]\nallow-syscalls = [\"ptrace\"]\n"))
        .expect("our own file");
    bed.start(&app);
    // PTRACE_TRACEME is the kernel's to decide now; a new user namespace still is not.
    assert_eq!(says(&bed, &app, 1), ["ok EPERM"]);
    bed.end();
}

#[test]
fn show_tells_the_walls_as_they_are_found() {
    let bed = Bed::running();
    let app = python(&bed, "shop", "serve()", "");
    bed.start(&app);
    let shown: Value = serde_json::from_str(&bed.ok(&["show", "shop", "--json"])).expect("JSON");
    let stand = |wall: &str| {
        let lines = shown["security"].as_array().expect("a list");
        let line = lines.iter().find(|line| line["wall"] == wall);
        line.unwrap_or_else(|| panic!("{wall}: {lines:#?}"))["stand"].clone()
    };
    for wall in ["user", "capabilities", "privileges", "system calls", "namespaces", "ports"] {
        assert_eq!(stand(wall), "firm", "{wall}");
    }
    assert_eq!((stand("connections"), stand("code")), ("weaker".into(), "open".into()));
    let page = bed.ok(&["show", "shop", "--security"]);
    assert!(page.starts_with("walls of shop") && page.contains("none in all five sets"), "{page}");
    // Stopped, there is no process to look at.
    bed.ok(&["stop", "shop"]);
    let page = bed.ok(&["show", "shop", "--security"]);
    assert!(page.contains("its process could not be looked at"), "{page}");
    bed.end();
}

#[test]
fn refusals_without_pause_disturb_nobody() {
    let bed = Bed::running();
    let blog = python(&bed, "blog", "serve()", "");
    let before = bed.start(&blog);
    let script = format!(
        r#"{CALL}
def storm():
    while True: call(101, 16, 1, 0, 0)
for _ in range(20): threading.Thread(target=storm, daemon=True).start()
serve()
"#
    );
    let app = python(&bed, "shop", &script, "");
    let status = bed.start(&app);
    let monitor = status["monitor_pid"].as_i64().expect("known");
    let used = || -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{monitor}/schedstat")).expect("it lives");
        text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
    };
    let (begun, from) = (std::time::Instant::now(), used());
    for _ in 0..200 {
        assert_eq!(get(blog.port, "/").expect("undisturbed"), "ok");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let share = (used() - from) as f64 / begun.elapsed().as_nanos() as f64;
    println!("the monitor used {:.1} % of a processor", share * 100.0);
    // A thousand answers a second, however many are asked for.
    assert!(share < 0.5, "{share}");
    let logs: Value = bed.status(&app);
    assert_eq!((pid(&bed.status(&blog)), pid(&logs)), (pid(&before), pid(&status)));
    assert_eq!(kernel::events(&bed, &app, "refused-call").len(), 1);
    bed.ok(&["stop", "shop"]);
    bed.end();
}

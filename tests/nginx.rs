//! The page on nginx, word for word: a real nginx in front of a backend that is restarted, reloaded and killed, and that
//! never answers 502.

mod bed;
#[path = "common/load.rs"]
mod load;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bed::{Bed, kill, patience, pid};
use load::Load;

const BACKEND: &str = r#"
const server = require("http").createServer((request, answer) => answer.end(`hello ${request.headers["x-forwarded-for"]}`));
server.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
"#;

/// The first block of that kind in a page.
fn block(page: &str, kind: &str) -> String {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
    let after = page.split(&format!("```{kind}\n")).nth(1).expect("a block");
    after.split("```").next().expect("its end").to_owned()
}

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it (SIGTERM, nginx(8)).
        let pid = rustix::process::Pid::from_raw(self.0.id().try_into().expect("a pid"));
        let _ = rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_backend_behind_nginx_never_answers_502() {
    let bed = Bed::running();
    let mut app = bed.app("shop");
    // As the page has it; the bed has a network of its own.
    app.port = 3002;
    fs::write(app.home.join("index.js"), BACKEND).expect("ours");
    bed.profile(&app, &["node", "index.js"], "ports = [3002]\n[env]\nPORT = \"3002\"\n");
    bed.start(&app);
    let folder = bed.root().join("nginx");
    fs::create_dir(&folder).expect("ours");
    let settings = format!(
        "user nobody nogroup;\ndaemon off;\nworker_processes 1;\npid {0}/pid;\nerror_log {0}/error.log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{1}\n}}\n",
        folder.display(),
        block("docs/nginx.md", "nginx")
    );
    fs::write(folder.join("nginx.conf"), settings).expect("ours");
    let nginx = Command::new("/usr/sbin/nginx")
        .args(["-p", folder.to_str().expect("a plain path"), "-c"])
        .arg(folder.join("nginx.conf"))
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx");
    let nginx = Nginx(nginx);
    let deadline = Instant::now() + patience();
    while bed::get(8080, "/").is_err() {
        let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "nginx: {log}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(bed::get(8080, "/").expect("an answer"), "hello 127.0.0.1");
    let load = Load::begin(([127, 0, 0, 1], 8080).into(), 3);
    load.wait_for(20);
    bed.ok(&["restart", "shop"]);
    load.wait_for(20);
    bed.ok(&["reload", "shop"]);
    load.wait_for(20);
    bed.ok(&["scale", "shop", "2"]);
    load.wait_for(20);
    bed.ok(&["scale", "shop", "1"]);
    load.wait_for(20);
    let counts = load.end();
    let failed = [&counts.refused, &counts.broken, &counts.timed_out]
        .map(|count| count.load(Ordering::Relaxed));
    assert_eq!(failed, [0, 0, 0], "refused, broken, timed out");
    // Killed: what it was answering is lost, what comes after waits for the next one.
    kill(pid(&bed.status(&app)));
    assert_eq!(bed::get(8080, "/").expect("it waits"), "hello 127.0.0.1");
    drop(nginx);
    bed.end();
}

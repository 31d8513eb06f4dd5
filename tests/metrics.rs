//! `swrun metrics`, read by those for whom it is: the reference parser of OpenMetrics, promtool, a real Prometheus.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bed::{App, Bed, is_guest};
use serde_json::Value;

const PROMTOOL: &str = "/usr/bin/promtool";
const PROMETHEUS: &str = "/usr/bin/prometheus";

fn lacks(program: &str) -> bool {
    let lacks = is_guest() || !Path::new(program).exists();
    if lacks {
        println!("skipped: there is no {program} here");
    }
    lacks
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str], stdin: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is there");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn started(bed: &Bed) -> App {
    let app = bed.app("shop");
    bed.probe(&app, "target = \"prod\"\n");
    bed.start(&app);
    app
}

/// Serves, and gives what it says of itself.
fn serve(bed: &Bed, arguments: &[&str]) -> (Ends, String) {
    let mut child = Command::new(bed::swrun())
        .args(["metrics", "--root"])
        .arg(bed.root())
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stderr = child.stderr.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).expect("it says where");
    (Ends(child), line.trim().to_owned())
}

fn ask(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    write!(stream, "{request}\r\nHost: here\r\nConnection: close\r\n\r\n").expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[test]
fn the_numbers_are_those_of_the_status() {
    let bed = Bed::running();
    let app = started(&bed);
    let text = bed.ok(&["metrics"]);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let value = |series: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    };
    let status = bed.status(&app);
    let of = "{environment=\"shop\"}";
    assert_eq!(value("swrun_up"), Some(1.0));
    assert_eq!(value(&format!("swrun_environment_up{of}")), Some(1.0));
    assert_eq!(value("swrun_environment_state{environment=\"shop\",state=\"online\"}"), Some(1.0));
    assert_eq!(value("swrun_environment_state{environment=\"shop\",state=\"backoff\"}"), Some(0.0));
    assert_eq!(value(&format!("swrun_environment_restarts_total{of}")), Some(0.0));
    assert_eq!(value(&format!("swrun_memory_limit_bytes{of}")), status["memory"]["max"].as_f64());
    let memory = value("swrun_memory_bytes{environment=\"shop\",kind=\"anon\"}").expect("known");
    assert!(memory > 10_000.0, "{memory}");
    assert!(value(&format!("swrun_cpu_seconds_total{of}")).is_some_and(|cpu| cpu > 0.0));
    assert!(text.contains("swrun_environment_info{environment=\"shop\",target=\"prod\""), "{text}");
    let port = format!(
        "swrun_port_accepted_total{{environment=\"shop\",port=\"{}\",protocol=\"tcp\"}}",
        app.port
    );
    let before = value(&port);
    // What is unknown is left out.
    assert_eq!(value(&format!("swrun_memory_soft_limit_bytes{of}")), None);
    bed::get(app.port, "/").expect("it serves");
    let text = bed.ok(&["metrics"]);
    let after: Option<f64> =
        text.lines().find_map(|line| line.strip_prefix(&port)?.trim().parse().ok());
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after > before, "{before}, then {after}");
    }

    // Each series has the name that its page says, and nobody's is missing there.
    let page = include_str!("../docs/prometheus/README.md");
    let mut said = BTreeSet::new();
    let mut stem = String::new();
    for row in page.lines().filter(|line| line.starts_with("| `swrun_")) {
        for name in row.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            let name = name.split('{').next().unwrap_or(name);
            let name = match name.strip_prefix('_') {
                Some(rest) => format!("{stem}_{rest}"),
                None => name.to_owned(),
            };
            stem = name.splitn(3, '_').take(2).collect::<Vec<_>>().join("_");
            said.insert(name.trim_end_matches("_total").to_owned());
        }
    }
    let typed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let untold: Vec<&String> = typed.difference(&said).collect();
    assert_eq!(untold, Vec::<&String>::new(), "docs/prometheus/README.md does not have it");
    // Without a limit, a soft one, or a leak.
    let unknown =
        ["limit_ratio", "throttled_seconds", "ceiling_seconds", "per_hour", "soft_limit_bytes"];
    let is_known = |name: &&String| !unknown.iter().any(|end| name.ends_with(end));
    let missing: Vec<&String> = said.difference(&typed).filter(is_known).collect();
    assert_eq!(missing, Vec::<&String>::new(), "{text}");

    // As those read it for whom it is.
    if let Some(python) =
        std::env::var_os("SWRUN_PYPI").map(|venv| PathBuf::from(venv).join("bin/python"))
    {
        let parse = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; print(sum(len(f.samples) for f in parse(sys.stdin.read())))";
        let (is_read, said) = run(&python.to_string_lossy(), &["-c", parse], &text);
        assert!(is_read, "{said}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(said.trim().parse(), Ok(samples), "{said}");
    }
    bed.end();
}

#[test]
fn they_are_served_on_loopback_and_a_socket_and_written_to_a_file() {
    let mut bed = Bed::running();
    started(&bed);
    let (served, said) = serve(&bed, &["--listen", "127.0.0.1:0"]);
    let address =
        said.strip_prefix("metrics: http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{said}")).to_owned();
    let get = |request: &str| ask(TcpStream::connect(&address).expect("it listens"), request);
    let answer = get("GET /metrics HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        answer.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{answer}"
    );
    assert!(
        answer.contains("swrun_environment_up{environment=\"shop\"} 1")
            && answer.ends_with("# EOF\n")
    );
    assert!(get("GET / HTTP/1.1").starts_with("HTTP/1.1 404"));
    assert!(get("POST /metrics HTTP/1.1").starts_with("HTTP/1.1 405"));
    assert!(get("what is this").starts_with("HTTP/1.1 400"));
    // Who says nothing takes nobody's place.
    let silent: Vec<TcpStream> =
        (0..6).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
    assert!(get("GET /metrics HTTP/1.1").starts_with("HTTP/1.1 200"));
    drop(silent);

    let path = bed.root().join("metrics.sock");
    let (on_socket, _) = serve(&bed, &["--socket", &path.to_string_lossy()]);
    let answer = ask(UnixStream::connect(&path).expect("it listens"), "GET /metrics HTTP/1.1");
    assert!(answer.contains("swrun_up 1"), "{answer}");
    let error = bed.fails(1, &["metrics", "--socket", &path.to_string_lossy()]);
    assert!(error.contains("could not listen"), "one that listens stays: {error}");

    let file = bed.root().join("swrun.prom");
    let written = |bed: &Bed| {
        bed.ok(&["metrics", "--textfile", &file.to_string_lossy()]);
        fs::read_to_string(&file).expect("written")
    };
    let text = written(&bed);
    assert!(text.contains("# TYPE swrun_environment_restarts_total counter"), "{text}");
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    if !lacks(PROMTOOL) {
        let (is_well, said) = run(PROMTOOL, &["check", "metrics"], &text);
        assert!(is_well, "{said}");
    }
    for outside in ["0.0.0.0:9477", "192.0.2.1:9477", "9477", "localhost:9477"] {
        bed.fails(2, &["metrics", "--listen", outside]);
    }

    // Without a runner it is said as a number, to whoever fetches.
    bed.kill_daemon();
    assert!(get("GET /metrics HTTP/1.1").contains("swrun_up 0"));
    assert!(!written(&bed).contains("swrun_environment_up{"), "nothing old is told");
    bed.fails(4, &["metrics"]);
    bed.daemon();
    assert!(get("GET /metrics HTTP/1.1").contains("swrun_up 1"));
    drop((served, on_socket));
    bed.end();
}

#[test]
fn the_alerts_fire_when_they_should() {
    if lacks(PROMTOOL) {
        return;
    }
    let (is_well, said) = run(PROMTOOL, &["check", "rules", "docs/prometheus/alerts.yml"], "");
    assert!(is_well && said.contains("SUCCESS: 8 rules"), "{said}");
    let (is_well, said) = run(PROMTOOL, &["test", "rules", "docs/prometheus/alerts_test.yml"], "");
    assert!(is_well, "{said}");
}

#[test]
fn a_real_prometheus_scrapes_it() {
    if lacks(PROMETHEUS) {
        return;
    }
    let bed = Bed::running();
    started(&bed);
    let (served, said) = serve(&bed, &["--listen", "127.0.0.1:0"]);
    let address = said.trim_start_matches("metrics: http://").trim_end_matches("/metrics");
    let folder = bed.root().join("prometheus");
    fs::create_dir(&folder).expect("ours");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: swrun\n    static_configs:\n      - targets: [\"{address}\"]\n"
    );
    fs::write(folder.join("prometheus.yml"), config).expect("ours");
    let port = bed::free_port();
    let log = fs::File::create(folder.join("log")).expect("ours");
    let prometheus = Ends(
        Command::new(PROMETHEUS)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(log.try_clone().expect("ours"))
            .stderr(log)
            .spawn()
            .expect("it starts"),
    );
    let found = || -> Option<Value> {
        let answer = bed::get(port, "/api/v1/query?query=swrun_environment_up").ok()?;
        let body = answer.split("\r\n\r\n").last().unwrap_or(&answer).to_owned();
        let start = body.find('{')?;
        let end = body.rfind('}')?;
        serde_json::from_str(&body[start..=end]).ok()
    };
    kernel::until("it has scraped", || {
        found().is_some_and(|answer| answer["data"]["result"][0]["value"][1] == "1")
    });
    let answer = found().expect("it answers");
    assert_eq!(answer["data"]["result"][0]["metric"]["environment"], "shop", "{answer:#}");
    drop((served, prometheus));
    bed.end();
}

//! What the benchmarks share: the static app with its stamps, and the table of figures.
#![allow(dead_code, reason = "each benchmark uses its own part")]

#[path = "../../tests/bed/mod.rs"]
pub mod bed;
#[path = "../../tests/common/load.rs"]
pub mod load;
pub mod monitor;
pub mod process;
#[path = "../../tests/common/traced.rs"]
pub mod traced;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bed::{App, Bed};

/// How often each thing is measured.
pub const ROUNDS: usize = 50;

/// The longest that anything may take; then the benchmark is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the app into the bed's folder.
pub fn build(bed: &Bed) -> PathBuf {
    let program = bed.root().join("app");
    compile("benches/common/app.c", &program);
    program
}

/// Builds a program of the repository, linked statically: no loader is measured.
pub fn compile(source: &str, program: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    // A machine without a compiler has them built.
    if let Some(folder) = std::env::var_os("SWRUN_BENCH_BUILT") {
        let name = source.file_stem().expect("a file");
        fs::copy(Path::new(&folder).join(name), program).expect("it was built before");
        return;
    }
    let built = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-static", "-O2", "-o"])
        .args([program, &source])
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc: install gcc and libc6-dev");
}

/// What wrk says of requests a second, called by `command` for `url`.
pub fn wrk(mut command: Command, url: &str) -> f64 {
    let output = command.arg(url).output().expect("wrk is there: apt-get install wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// What became of requests by their kind: good, broken, refused, timed out.
pub type Outcomes = [u64; 4];

/// Four hundred requests a second by sixteen clients, as long as `what` takes.
pub fn under_load<A>(new_client: impl Fn() -> A, what: impl FnOnce()) -> Outcomes
where
    A: FnMut() -> Result<(), ErrorKind> + Send + 'static,
{
    const CLIENTS: u64 = 16;
    const EVERY: Duration = Duration::from_millis(40);
    let counts: Arc<[AtomicU64; 4]> = Arc::default();
    let is_over = Arc::<AtomicBool>::default();
    let client = |number: u64| {
        let (counts, is_over) = (Arc::clone(&counts), Arc::clone(&is_over));
        let mut ask = new_client();
        std::thread::spawn(move || {
            let mut next = Instant::now() + EVERY / CLIENTS as u32 * number as u32;
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                next = (next + EVERY).max(Instant::now());
                let at = match ask() {
                    Ok(()) => 0,
                    Err(ErrorKind::ConnectionRefused) => 2,
                    Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => 3,
                    Err(_) => 1,
                };
                counts[at].fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    what();
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    [0, 1, 2, 3].map(|at: usize| counts[at].load(Ordering::Relaxed))
}

/// An environment whose program is the static app, and its stamps.
pub struct Stamped {
    pub app: App,
    pub program: PathBuf,
    pub stamps: Stamps,
}

impl Stamped {
    /// Writes the profile: the app does `what`; `more` are further lines of TOML, tables last.
    pub fn new(bed: &Bed, program: &Path, name: &str, what: &[&str], more: &str) -> Self {
        let app = bed.app(name);
        let own = app.home.join("app");
        fs::copy(program, &own).expect("our own folder");
        let folder = app.home.join("stamps");
        fs::create_dir(&folder).expect("our own folder");
        let stamps = Stamps::new(&folder.join("stamps"));
        chown(&folder, Some(app.uid), Some(app.uid)).expect("root may");
        chown(&stamps.path, Some(app.uid), Some(app.uid)).expect("root may");
        let mut command = vec![text(&own), text(&stamps.path)];
        command.extend(what);
        bed.profile(&app, &command, &format!("writable = [\"stamps\"]\n{more}"));
        Self { app: app.clone(), program: own.clone(), stamps }
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The file that the app writes its stamps into, through shared memory.
pub struct Stamps {
    pub path: PathBuf,
    file: fs::File,
}

impl Stamps {
    pub fn new(path: &Path) -> Self {
        fs::write(path, vec![0; 64 << 10]).expect("our own folder");
        Self { path: path.to_owned(), file: fs::File::open(path).expect("just written") }
    }

    fn slot(&self, number: usize) -> u64 {
        let mut bytes = [0; 8];
        let at = number as u64 * 8;
        self.file.read_exact_at(&mut bytes, at).expect("the file is long enough");
        u64::from_ne_bytes(bytes)
    }

    /// How many runs there were.
    pub fn runs(&self) -> usize {
        usize::try_from(self.slot(0)).expect("small")
    }

    /// When run `number` was at `main()`, in nanoseconds on the monotonic clock; waits for it.
    pub fn born(&self, number: usize) -> u64 {
        until(&format!("run {number} of {}", self.path.display()), || self.runs() > number);
        self.slot(2 * number + 1)
    }

    /// When run `number` ended, or had its last piece of memory.
    pub fn last(&self, number: usize) -> u64 {
        self.slot(2 * number + 2)
    }

    /// Forgets all runs; none may be on its way.
    pub fn clear(&self) {
        let file = fs::File::options().write(true).open(&self.path).expect("our own file");
        file.write_all_at(&[0; 64 << 10], 0).expect("our own file");
    }
}

/// Waits until `is`. Shared memory has no event to wait for; looked at seldom, since each look takes a
/// CPU from what is measured.
pub fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nanoseconds on the monotonic clock, as the app stamps them.
pub fn now() -> u64 {
    u64::try_from(swrun::sys::clock::monotonic().as_nanos()).expect("for 500 years")
}

/// Measured values of one figure, in one unit.
#[derive(Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// A span of nanoseconds, as milliseconds.
    pub fn span(&mut self, from: u64, to: u64) {
        self.add((to as f64 - from as f64) / 1e6);
    }

    /// The value that `percent` of the values do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1).expect("at least one value");
        sorted[(last * percent).div_ceil(100)]
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub fn most(&self) -> f64 {
        self.percentile(100)
    }
}

/// The head of the table.
pub fn head(unit: &str) {
    println!("| {:<66} | median | p10    | p90    | n  | bound |", format!("figure ({unit})"));
    println!("|{:-<68}|--------|--------|--------|----|-------|", "");
}

/// A row of it.
pub fn row(what: &str, series: &Series, bound: &str) {
    println!(
        "| {what:<66} | {:>6.2} | {:>6.2} | {:>6.2} | {:>2} | {bound:<5} |",
        series.median(),
        series.percentile(10),
        series.percentile(90),
        series.0.len(),
    );
}

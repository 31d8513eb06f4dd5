//! From the breach of the memory ceiling to the death of every process, forked children counted.

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::bed::{Bed, is_unified};
use common::{Series, Stamped, build, head, now, row, until};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

const CEILING: u64 = 64 << 20;
const ROUNDS: usize = 20;

fn main() {
    let bed = Bed::running();
    let program = build(&bed);
    let more = "[limits]\nmemory-max = \"64M\"\n[restart]\npolicy = \"never\"";
    let shop = Stamped::new(&bed, &program, "shop", &["leak", "3"], more);
    let (mut from_event, mut from_last) = (Series::default(), Series::default());
    for round in 0..ROUNDS {
        let gate = Gate::close(&shop);
        bed.swrun(&["start", "shop"]);
        until("the app at its gate", || shop.stamps.runs() > round);
        let seen = watch(&instance(&bed), || gate.open());
        from_event.span(seen.event, seen.dead);
        from_last.span(shop.stamps.last(round), seen.dead);
        bed.until(&shop.app, "ended", |status| status["state"] == "stopped");
        bed.ok(&["stop", "shop"]);
    }
    head("ms to the death of all four processes");
    row("from the kernel's event", &from_event, "50");
    row("from the last piece of memory that the app got", &from_last, "50");
    report_peaks(&bed, &shop);
    bed.end();
}

/// The most memory there was, as the journal has it from the kernel's own counter.
fn report_peaks(bed: &Bed, shop: &Stamped) {
    let events = bed.events(&shop.app);
    let ends: Vec<_> = events.iter().filter(|event| event["event"] == "ended").collect();
    let breaches = ends.iter().filter(|event| event["cause"] == "memory-ceiling").count();
    let peaks: Vec<u64> = ends.iter().filter_map(|event| event["peak"].as_u64()).collect();
    let most = peaks.iter().max().copied().unwrap_or(0);
    println!(
        "\nof {} ends {breaches} are called memory-ceiling; the highest of {} peaks is {most} bytes, \
         the ceiling {CEILING}",
        ends.len(),
        peaks.len(),
    );
}

/// The app waits at a lock on its stamps until the watch on its group stands.
struct Gate(File);

impl Gate {
    fn close(shop: &Stamped) -> Self {
        let file = File::open(&shop.stamps.path).expect("our own file");
        file.lock().expect("nobody else has it");
        Self(file)
    }

    fn open(self) {
        self.0.unlock().expect("it is ours");
    }
}

/// The group of the instance that runs, in the tree that decides membership.
fn instance(bed: &Bed) -> PathBuf {
    let has_id =
        |group: &Path| group.join("cgroup.events").exists() && group.join("shop/app").exists();
    let base = bed.groups().into_iter().find(|group| has_id(group)).expect("the environment runs");
    let groups = fs::read_dir(base.join("shop/app")).expect("there");
    // The place of the next instance may be there too, and is empty.
    let lives = |group: &PathBuf| {
        fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|p| !p.is_empty())
    };
    let mut groups = groups.filter_map(|entry| Some(entry.ok()?.path()).filter(lives));
    groups.next().expect("one instance runs")
}

struct Seen {
    /// The kernel told of the breach.
    event: u64,
    /// No process was left.
    dead: u64,
}

/// Watches the group as the monitor does, beside it, and the end of its last process.
fn watch(group: &Path, begin: impl FnOnce()) -> Seen {
    let (breach, flags) = breach_event(group);
    let events = File::open(group.join("cgroup.events")).expect("there");
    let mut text = [0; 256];
    events.read_at(&mut text, 0).expect("readable");
    begin();
    let mut event = None;
    loop {
        let mut polled = [
            PollFd::new(&events, PollFlags::PRI),
            PollFd::new(&breach, if event.is_none() { flags } else { PollFlags::empty() }),
        ];
        poll(&mut polled, None).expect("poll");
        let at = now();
        if polled[1].revents().intersects(flags) {
            event.get_or_insert(at);
        }
        if polled[0].revents().intersects(PollFlags::PRI | PollFlags::ERR) {
            let length = events.read_at(&mut text, 0);
            // A group that is gone already has no process either.
            if length.is_err() || String::from_utf8_lossy(&text).contains("populated 0") {
                return Seen { event: event.unwrap_or(at), dead: at };
            }
        }
    }
}

/// `memory.events` on a unified host, the oom eventfd on a hybrid one
/// (Linux, Documentation/admin-guide/cgroup-v1/memory.rst, section 10).
fn breach_event(group: &Path) -> (OwnedFd, PollFlags) {
    if is_unified() {
        let events = File::open(group.join("memory.events")).expect("there");
        events.read_at(&mut [0; 4096], 0).expect("readable");
        return (events.into(), PollFlags::PRI);
    }
    let below = group.strip_prefix("/sys/fs/cgroup/unified").expect("where hybrid hosts have it");
    let memory = Path::new("/sys/fs/cgroup/memory").join(below);
    let control = File::open(memory.join("memory.oom_control")).expect("there");
    let event = eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd");
    let order = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    let mut asked = File::options().write(true).open(memory.join("cgroup.event_control"));
    asked.as_mut().expect("there").write_all(order.as_bytes()).expect("the kernel agrees");
    (event, PollFlags::IN)
}

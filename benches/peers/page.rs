//! The page of the benchmarks, from what was measured and from nothing else.

use std::fmt::Write as _;

use crate::result::{Row, Run};

/// Works in the order of the page: file, title, and what it says about how it was done.
const WORKS: &[(&str, &str, &str)] = &[
    (
        "crash",
        "Crash to serving again",
        "The app is killed with SIGKILL; the time is from before that signal to the first whole answer of another \
      instance, asked for all the time over new connections. Nobody is told to pause before a restart (swrun's `first-delay`, 100 ms \
      unless set, and systemd's `RestartSec` are 0). The small program is static and serves within 2 ms of its start.",
    ),
    (
        "commands",
        "Commands",
        "From exec to exit of the command that an operator types: `start` and `restart` of swrun wait until the app listens, those of PM2, runit, \
      s6 and systemd do not. Until it serves: from that exec to the first whole answer of the new instance.",
    ),
    (
        "idle",
        "Idle",
        "Programs that wait for a connection. Memory is all of the manager's own processes: the proportional set size, and of it what \
      no other process shares (`smaps_rollup`). CPU is their time on a CPU in half a minute in which nobody asks for anything, three seconds after the last start.",
    ),
    (
        "ceiling",
        "Memory ceiling",
        "A ceiling of 100 MiB; the app takes 20 MiB a second. Bytes are the most that all of its processes had over the \
      ceiling, looked at every 5 ms; seconds are from the first look over 100 MiB to the end of the process that leaks. 45 s are waited.",
    ),
    (
        "load",
        "Failed requests under load",
        "Express, 20 ms a request, 400 new connections a second by sixteen clients that count each failure, and beside them wrk with eight \
      connections that it keeps; six seconds, and the thing is done in their midst. Every failure counts, also of what the killed process had in hand; \
      where nobody listens wrk tries, and counts, as often as it can. A redeploy puts other files in place, and is a reload then, or a restart.",
    ),
    (
        "lines",
        "1,000,000 log lines",
        "100 bytes each, written in blocks of 6,400. Seconds are from the first to the last line in the log file.",
    ),
    (
        "manager",
        "kill -9 of the manager",
        "Three small programs run. After a second: how many still serve. Then the manager is started again as \
      the host would: after five seconds, how many serve, and how many processes there are too many.",
    ),
    (
        "cuts",
        "What it remembers, cut short",
        "Three small programs run. The manager is ended, the file in which it keeps what runs is cut, and it is started as at a boot; \
      within three seconds each program is asked. swrun's file is cut at every byte, PM2's at sixty places.",
    ),
    (
        "daemonised",
        "A grandchild that put itself aside",
        "Double fork and setsid(2); processes that are left two seconds after `stop`.",
    ),
    (
        "throughput",
        "Requests a second",
        "Express that answers at once, wrk with 64 connections for three seconds, in turn; the ratio is the round's.",
    ),
    (
        "caged",
        "The caged start",
        "From before the exec of the command, or the request, to `main()` of a static program; in turn.",
    ),
    (
        "systemd",
        "Beside systemd",
        "systemd is the init of namespaces of its own, with Debian's files, on the same kernel: `benches/peers/init`. Its services have the same \
      limits and about the same walls.",
    ),
    (
        "emulated",
        "With unified cgroups",
        "The same in an emulated machine of Debian 12 (no KVM), with crun, which refuses a host whose cgroups are hybrid: `benches/peers/vm`. All is tens of times \
      slower there, most of all the first instructions of a program: orders of magnitude count, not milliseconds.",
    ),
    ("growth", "Growth", "Environments of a small program on one machine."),
    (
        "profile",
        "Where it goes",
        "`swrun restart --trace` and, after a `stop`, `swrun start --trace`: each process does one step after the other, and what several do they do beside \
      one another. Then the system calls of a second in which nobody asks for anything (strace), and the instructions of a whole \
      `swrun status` (callgrind).",
    ),
];

fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value.abs() >= 100.0 => thousands(value),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value if value.abs() >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 && digit != '-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cell(row: Option<&Row>, base: Option<&Row>) -> String {
    let Some(row) = row else { return "–".to_owned() };
    let Some((median, least, most)) = row.spread() else { return row.note.clone() };
    let mut text = number(median);
    if row.samples.len() > 1 && least < most {
        let _ = write!(text, " ({} to {})", number(least), number(most));
    }
    let base = base.filter(|base| base.peer != row.peer).and_then(Row::spread);
    if let Some((base, ..)) = base.filter(|(base, ..)| *base > 0.0 && median > 0.0) {
        let _ = write!(text, ", ×{}", number(median / base));
    }
    if !row.note.is_empty() {
        let _ = write!(text, "; {}", row.note);
    }
    text
}

/// A table of a run: a row for each figure, a column for each peer that has one of them.
fn table(run: &Run, out: &mut String) {
    let peers: Vec<&str> = run
        .peers
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| run.rows.iter().any(|row| row.peer == *name))
        .collect();
    let _ = writeln!(out, "| | {} |", peers.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(peers.len()));
    for figure in run.figures() {
        let base = run.row(figure, "swrun");
        let cells: Vec<String> =
            peers.iter().map(|peer| cell(run.row(figure, peer), base)).collect();
        let _ = writeln!(out, "| {figure} | {} |", cells.join(" | "));
    }
}

/// `docs/benchmarks.md`: `words` is what a person wrote about the results.
pub fn markdown(runs: &[Run], words: &str) -> String {
    let mut out = String::from(
        "# Measured beside others\n\n<!-- Made by `cargo bench --bench peers -- page` from docs/benchmarks; a test holds it to that. -->\n\n",
    );
    out.push_str(words.trim());
    out.push_str("\n\nMedian, in brackets the least and the most of all samples, and the ratio to swrun's of the same run.\n");
    for (work, title, how) in WORKS {
        let Some(run) = runs.iter().find(|run| run.work == *work) else { continue };
        let how = how.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(out, "\n## {title}\n\n{how}\n\n");
        if run.rows.iter().any(|row| row.figure.contains(PER)) {
            let _ = write!(out, "![{title}](benchmarks/{work}.svg)\n\n");
        }
        table(run, &mut out);
        let _ = write!(out, "\n{}, {}, commit {}.", run.host, run.date, run.commit);
        for (name, why) in &run.missing {
            let _ = write!(out, " Without {name}: {why}.");
        }
        out.push('\n');
    }
    let mut versions: Vec<&(String, String)> = Vec::new();
    for peer in runs.iter().flat_map(|run| &run.peers) {
        if !versions.contains(&peer) {
            versions.push(peer);
        }
    }
    out.push_str("\n## Versions\n\n| | |\n|---|---|\n");
    for (name, version) in versions {
        let _ = writeln!(out, "| {name} | {version} |");
    }
    out
}

/// What divides the figure from the number on which it depends: such figures are drawn too.
const PER: &str = ", with ";

/// A picture of every figure of a run that was taken with several numbers of programs: a panel each, both axes
/// logarithmic.
pub fn picture(run: &Run) -> Option<String> {
    let mut panels: Vec<(&str, Vec<(f64, &Row)>)> = Vec::new();
    for row in &run.rows {
        let Some((what, count)) = row.figure.split_once(PER) else { continue };
        let Ok(count) = count.split(' ').next()?.replace(',', "").parse() else { continue };
        match panels.iter_mut().find(|(title, _)| *title == what) {
            Some((_, points)) => points.push((count, row)),
            None => panels.push((what, vec![(count, row)])),
        }
    }
    panels.retain(|(_, points)| points.iter().any(|(_, row)| row.spread().is_some()));
    if panels.is_empty() {
        return None;
    }
    let (width, height) = (360.0, 240.0);
    let columns = 2;
    let rows = panels.len().div_ceil(columns);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        width * columns as f64,
        height * rows as f64 + 24.0
    );
    let peers: Vec<&str> = run.peers.iter().map(|(name, _)| name.as_str()).collect();
    for (index, (title, points)) in panels.iter().enumerate() {
        let (left, top) = ((index % columns) as f64 * width, (index / columns) as f64 * height);
        panel(&mut svg, title, points, &peers, (left, top, width, height));
    }
    let mut x = 20.0;
    for (index, peer) in peers.iter().enumerate() {
        if panels.iter().any(|(_, points)| points.iter().any(|(_, row)| row.peer == *peer)) {
            let y = height * rows as f64 + 12.0;
            let colour = COLOURS[index % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{peer}</text>",
                x + 8.0,
                y + 4.0
            );
            x += 24.0 + 7.0 * peer.len() as f64;
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Told apart by who cannot tell red from green, too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#000000", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#999999"];

fn panel(
    svg: &mut String,
    title: &str,
    points: &[(f64, &Row)],
    peers: &[&str],
    (left, top, width, height): (f64, f64, f64, f64),
) {
    let (x0, x1, y0, y1) = (left + 52.0, left + width - 14.0, top + height - 30.0, top + 28.0);
    let known: Vec<(f64, f64, &str)> = points
        .iter()
        .filter_map(|(count, row)| Some((*count, row.spread()?.0, row.peer.as_str())))
        .filter(|(_, value, _)| *value > 0.0)
        .collect();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (few, many) = range(&mut known.iter().map(|(count, ..)| *count));
    let (low, high) = range(&mut known.iter().map(|(_, value, _)| *value));
    let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
    let x = |count: f64| x0 + (x1 - x0) * (count / few).ln() / (many / few).ln().max(1e-9);
    let y = |value: f64| y0 + (y1 - y0) * (value / low).ln() / (high / low).ln().max(1e-9);
    let _ =
        writeln!(svg, "<text x=\"{x0}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + 16.0);
    let mut line = low;
    while line <= high * 1.001 {
        let at = y(line);
        let _ = writeln!(
            svg,
            "<path d=\"M{x0} {at:.1}H{x1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x0 - 5.0,
            at + 4.0,
            plain(line)
        );
        line *= 10.0;
    }
    let mut counts: Vec<f64> = known.iter().map(|(count, ..)| *count).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    for count in counts {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(count),
            y0 + 16.0,
            plain(count)
        );
    }
    for (index, peer) in peers.iter().enumerate() {
        let own: Vec<String> = known
            .iter()
            .filter(|(_, _, owner)| owner == peer)
            .map(|(count, value, _)| format!("{:.1} {:.1}", x(*count), y(*value)))
            .collect();
        let colour = COLOURS[index % COLOURS.len()];
        if !own.is_empty() {
            let _ = writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                own.join("L")
            );
        }
        for point in own {
            let (px, py) = point.split_once(' ').expect("two numbers");
            let _ = writeln!(svg, "<circle cx=\"{px}\" cy=\"{py}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}

fn plain(value: f64) -> String {
    if value >= 1.0 { thousands(value) } else { format!("{value}") }
}

/// Every run that is kept in `folder`.
pub fn kept(folder: &std::path::Path) -> Vec<Run> {
    let files = std::fs::read_dir(folder).expect("the folder of raw results").flatten();
    let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).expect("readable");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().map(read).collect()
}

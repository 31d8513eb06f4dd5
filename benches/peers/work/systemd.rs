use super::{How, caged, ceiling, commands, crash, daemonised, idle, lines, load, throughput};
use crate::lab::Lab;
use crate::result::{Row, Run};

type Part = (&'static str, How);

const SHORT: [Part; 6] = [
    ("crash to serving", crash::measure),
    ("command", commands::measure),
    ("ceiling", ceiling::measure),
    ("lines", lines::measure),
    ("grandchild", daemonised::measure),
    ("caged start", caged::measure),
];

/// What an emulated machine is too slow for.
const LONG: [Part; 3] =
    [("idle", idle::measure), ("load", load::measure), ("Express", throughput::measure)];

/// What can be compared where systemd is the init, in one table: `benches/peers/init` runs it there.
pub fn measure(lab: &Lab, run: &mut Run) {
    parts(lab, run, SHORT.into_iter().chain(LONG));
}

/// The same of `benches/peers/vm`.
pub fn emulated(lab: &Lab, run: &mut Run) {
    parts(lab, run, SHORT);
}

fn parts(lab: &Lab, run: &mut Run, parts: impl IntoIterator<Item = Part>) {
    for (title, how) in parts {
        let mut part = lab.run(title);
        how(lab, &mut part);
        for peer in part.peers {
            if !run.peers.contains(&peer) {
                run.peers.push(peer);
            }
        }
        let named = |row: Row| Row { figure: format!("{title}: {}", row.figure), ..row };
        run.rows.extend(part.rows.into_iter().map(named));
    }
}

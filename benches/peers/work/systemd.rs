use super::{caged, ceiling, commands, crash, daemonised, lines};
use crate::lab::Lab;
use crate::result::{Row, Run};

/// What can be compared where systemd is the init, in one table: `benches/peers/init` and `vm` run it there.
pub fn measure(lab: &Lab, run: &mut Run) {
    let parts: [(&str, super::How); 6] = [
        ("crash to serving", crash::measure),
        ("command", commands::measure),
        ("ceiling", ceiling::measure),
        ("lines", lines::measure),
        ("grandchild", daemonised::measure),
        ("caged start", caged::measure),
    ];
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

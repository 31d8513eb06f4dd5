//! From the end of a crashed app to `main()` of the next instance, without a pause.

mod common;

use common::bed::Bed;
use common::{ROUNDS, Series, Stamped, build, head, row, until};

/// Nobody looks at the first crashes: caches are cold.
const WARM_UP: usize = 5;

fn main() {
    let bed = Bed::running();
    let program = build(&bed);
    head("ms from exit(1) to main() of the next");
    // A crash right after another finds the kernel warm; an app that ran for a while does not.
    for (name, life, what) in
        [("again", "0", "crash after crash"), ("late", "300", "crash after 0.3 s")]
    {
        // No pause ever.
        let always = "[restart]\nfirst-delay = \"0s\"\nmax-delay = \"0s\"";
        let shop = Stamped::new(&bed, &program, name, &["exit", "1", life], always);
        // It may have crashed before the order could see it online: no failure here.
        bed.swrun(&["start", name]);
        until("enough crashes", || shop.stamps.runs() > WARM_UP + ROUNDS);
        bed.swrun(&["stop", name]);
        let mut series = Series::default();
        for crash in WARM_UP..WARM_UP + ROUNDS {
            series.span(shop.stamps.last(crash), shop.stamps.born(crash + 1));
        }
        row(&format!("{what}: to main() of the next instance, first-delay 0"), &series, "5");
    }
    bed.end();
}

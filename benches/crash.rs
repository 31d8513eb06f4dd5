//! From the end of a crashed app to `main()` of the next instance, without a pause.

mod common;

use common::bed::Bed;
use common::{ROUNDS, Series, Stamped, build, head, row};

/// Nobody looks at the first crashes: caches are cold.
const WARM_UP: usize = 5;

fn main() {
    let bed = Bed::running();
    let program = build(&bed);
    // No pause ever: the crashes follow one another.
    let always = "[restart]\nfirst-delay = \"0s\"\nmax-delay = \"0s\"";
    let shop = Stamped::new(&bed, &program, "shop", &["exit", "1"], always);
    bed.swrun(&["start", "shop"]);
    shop.stamps.born(WARM_UP + ROUNDS);
    bed.swrun(&["stop", "shop"]);
    let mut series = Series::default();
    for crash in WARM_UP..WARM_UP + ROUNDS {
        series.span(shop.stamps.last(crash), shop.stamps.born(crash + 1));
    }
    head("ms from exit(1) to main() of the next");
    row("crash to main() of the next instance, first-delay 0", &series, "5");
    bed.end();
}

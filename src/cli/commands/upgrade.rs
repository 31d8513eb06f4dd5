//! `swrun upgrade`: the runner, then the monitors, go over to the program that is installed.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use crate::cli::args::Upgrade;
use crate::cli::client::{self, PATIENCE};
use crate::cli::commands::order;
use crate::cli::exit::{Ended, Failure};
use crate::cli::output::{Output, say};
use crate::model::Places;
use crate::wire::ask::{Answer, Ask, Order};

/// Between two looks for the new runner.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Upgrades all, one by one; no app is touched.
pub fn run(places: &Places, upgrade: &Upgrade, output: &mut Output) -> Ended {
    let answer = client::ask(places, &Ask::Renew {}, PATIENCE, |_, _| ())?;
    let Answer::Renew { is_other, mut program } = answer else { return Err(client::unexpected()) };
    if is_other {
        program = await_new(places)?;
        say("the runner is upgraded");
    }
    let own = std::fs::metadata("/proc/self/exe").map(|found| (found.dev(), found.ino())).ok();
    if program != own {
        say(
            "note: the runner was started from another file than this program, and the monitors go over to that one",
        );
    }
    let order = Order { targets: upgrade.selection.named(), wait: true };
    order::carry_out(places, &Ask::Upgrade(order), output)
}

/// Waits until the new runner answers; it says of itself that it is no other than what is installed.
fn await_new(places: &Places) -> Result<Option<(u64, u64)>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::ask(places, &Ask::Renew {}, PATIENCE, |_, _| ()) {
            Ok(Answer::Renew { is_other: false, program }) => return Ok(program),
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Ok(_) if Instant::now() > deadline => {
                return Err(Failure::failed("the runner did not go over to the new program"));
            }
            Ok(_) | Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

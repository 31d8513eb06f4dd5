//! `swrun upgrade`: the runner, then the monitors, go over to the program that is installed.

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
    let Answer::Renew { is_other } = client::ask(places, &Ask::Renew {}, PATIENCE, |_, _| ())?
    else {
        return Err(client::unexpected());
    };
    if is_other {
        await_new(places)?;
        say("the runner is upgraded");
    }
    let order = Order { targets: upgrade.selection.named(), wait: true };
    order::carry_out(places, &Ask::Upgrade(order), output)
}

/// Waits until the new runner answers; it says of itself that it is no other than what is installed.
fn await_new(places: &Places) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::ask(places, &Ask::Renew {}, PATIENCE, |_, _| ()) {
            Ok(Answer::Renew { is_other: false }) => return Ok(()),
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Ok(_) if Instant::now() > deadline => {
                return Err(Failure::failed("the runner did not go over to the new program"));
            }
            Ok(_) | Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

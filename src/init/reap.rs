//! Reaping, as every PID 1 must.

use std::io;

use rustix::process::{WaitOptions, wait};

use crate::wire::launch::Report;

/// Takes the status of every process that ends, until it is the app's.
///
/// # Errors
/// wait(2).
pub fn until(app: i32) -> io::Result<Report> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == app => {
                return Ok(Report::Ended {
                    code: status.exit_status(),
                    signal: status.terminating_signal(),
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

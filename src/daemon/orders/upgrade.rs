//! `upgrade`: this runner's program takes the place of a monitor's; its app goes on.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};

use super::PATIENCE;
use crate::daemon::entry::Entry;
use crate::wire::keep::{Reply, Request};

pub async fn upgrade(entry: &Rc<Entry>) -> Result<String, String> {
    let Some(link) = entry.connection() else {
        return Ok("does not run: there is nothing to upgrade".to_owned());
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let program: OwnedFd = rustix::fs::open("/proc/self/exe", flags, Mode::empty())
        .map_err(|e| format!("was not upgraded: could not open the runner's program: {e}"))?;
    match tokio::time::timeout(PATIENCE, link.ask_with(Request::Upgrade, program)).await {
        Ok(Some(Reply::Done)) => Ok("is upgraded; the app went on".to_owned()),
        Ok(Some(Reply::Failed(why))) => {
            Err(format!("was not upgraded, the old monitor goes on: {why}"))
        }
        Ok(Some(_)) => Err("was not upgraded: its monitor is too old for that".to_owned()),
        Ok(None) => Err("its monitor ended over the upgrade; see \"swrun status\"".to_owned()),
        Err(_) => Err(format!(
            "was not upgraded yet: something is under way since {} s (a start, a reload)",
            PATIENCE.as_secs()
        )),
    }
}

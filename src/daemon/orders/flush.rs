//! `flush`: by the monitor, which writes the logs; by the runner where there is none.

use std::path::Path;
use std::rc::Rc;

use super::ANSWERS_WITHIN;
use crate::daemon::entry::Entry;
use crate::daemon::registry::Runner;
use crate::formats::log_store;
use crate::sys::files;
use crate::wire::keep::{Reply, Request};

pub async fn flush(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Result<String, String> {
    if let Some(link) = entry.connection() {
        return match tokio::time::timeout(ANSWERS_WITHIN, link.ask(Request::Flush)).await {
            Ok(Some(Reply::Done)) => Ok("has empty logs".to_owned()),
            Ok(Some(Reply::Failed(why))) => Err(format!("has its logs still: {why}")),
            Ok(_) | Err(_) => Err("has its logs still: its monitor does not answer".to_owned()),
        };
    }
    let folder = runner.places.logs(&entry.name);
    for name in ["out.log", "err.log"] {
        let path = folder.join(name);
        empty(&path).map_err(|e| format!("has its logs still: \"{}\": {e}", path.display()))?;
    }
    Ok("has empty logs".to_owned())
}

fn empty(log: &Path) -> std::io::Result<()> {
    for older in log_store::older(log)? {
        log_store::remove(&older)?;
    }
    files::remove_if_there(log)
}

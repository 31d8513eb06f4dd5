//! `swrun web`: a page with environments, what they used, what happened, and their logs. A process of its own and of a
//! user of its own, which asks the runner at the socket where nothing can be changed.
//!
//! The page itself tells nothing and anybody may have it; what it asks for needs the token. It is made of files that are
//! part of the program.

mod look;
mod serve;
mod token;

use nix::unistd::User;

use super::args::Web;
use super::exit::{Ended, Failure};
use super::http::loopback;
use crate::model::Places;
use crate::sys::command;
use crate::sys::groups::WATCHERS;
use serve::Door;
use token::Token;

/// Serves the page until it is ended.
pub fn run(places: &Places, web: &Web) -> Ended {
    if rustix::process::geteuid().is_root() {
        return Err(become_watcher(places));
    }
    if let Some(path) = &web.socket {
        return serve::on_socket(places, path);
    }
    let address = loopback(&web.listen, 9478)?;
    let token = match &web.token_file {
        Some(path) => Token::read(path)?,
        None => {
            Token::fresh().map_err(|e| Failure::failed(format!("could not make a token: {e}")))?
        }
    };
    let says = if web.token_file.is_none() { Some(token.fragment()) } else { None };
    serve::on_port(places, address, Door::Token(token), says)
}

/// Root hands over to the page's own user before anything is opened; comes back only where that failed.
fn become_watcher(places: &Places) -> Failure {
    let user = match User::from_name(WATCHERS) {
        Ok(Some(user)) => user,
        Ok(None) => {
            return Failure::failed(format!(
                "the page is not served by root, and there is no user \"{WATCHERS}\": \"swrun setup --web\" makes it"
            ));
        }
        Err(errno) => {
            return Failure::failed(format!("could not look up the user \"{WATCHERS}\": {errno}"));
        }
    };
    let root = ("SWRUN_ROOT", places.root().as_os_str());
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let error = command::execute_restricted("/proc/self/exe", &arguments, root, uid, gid);
    Failure::failed(format!("could not go on as \"{WATCHERS}\": {error}"))
}

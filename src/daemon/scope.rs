//! A hand-started runner on a host whose PID 1 is systemd: cgroups are systemd's there, so it asks
//! for a transient scope with `Delegate=yes` and goes on inside it (systemd's single-writer rule).

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::cgroup::Driver;
use crate::host::is_systemds;

/// Says that this process was started inside a scope of its own.
const MARK: &str = "SWRUN_SCOPE";

/// The runner's own leaf in its scope; no environment can have such a name.
const LEAF: &str = "_runner";

/// Starts this program again inside a scope, where systemd is PID 1; returns where it is not, or
/// where this is already done.
///
/// # Errors
/// systemd-run could not be executed.
pub fn enter_if_needed() -> Result<(), String> {
    if !is_systemds() || std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let mut arguments: Vec<CString> = [
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        "--property=Delegate=yes",
        "--setenv=SWRUN_SCOPE=1",
        "--",
    ]
    .iter()
    .filter_map(|text| CString::new(*text).ok())
    .collect();
    let program =
        std::env::current_exe().map_err(|e| format!("could not find this program: {e}"))?;
    let own = std::iter::once(program.into_os_string()).chain(std::env::args_os().skip(1));
    arguments.extend(own.filter_map(|argument| CString::new(argument.as_bytes()).ok()));
    match nix::unistd::execvp(c"systemd-run", &arguments) {
        Ok(never) => match never {},
        Err(error) => Err(format!("could not ask systemd for a scope by \"systemd-run\": {error}")),
    }
}

/// The scope that this process was started in, itself moved into a leaf of it.
///
/// # Errors
/// The own group could not be found or joined.
pub fn own(driver: &dyn Driver) -> Result<Option<PathBuf>, String> {
    if std::env::var_os(MARK).is_none() {
        return Ok(None);
    }
    let group = driver.own_group().map_err(|e| e.to_string())?;
    let scope = match group.parent() {
        Some(scope) if group.ends_with(LEAF) => scope.to_owned(),
        _ => group,
    };
    driver.join(&scope.join(LEAF), std::process::id()).map_err(|e| e.to_string())?;
    Ok(Some(scope))
}

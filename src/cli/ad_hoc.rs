//! `swrun start PATH --name N …` turned into what the runner is asked: nothing here touches the host
//! but a look at whether PATH is there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::args::Start;
use super::exit::Failure;
use crate::model::EnvName;
use crate::wire::ask::AdHoc;

/// The variables of the caller's environment that are taken.
pub const TAKEN: [&str; 2] = ["NODE_ENV", "PORT"];

/// What of the caller counts.
pub struct Caller<'a> {
    /// Its working directory.
    pub cwd: &'a Path,
    /// Its variables, by name.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether there is a file at a path; `None`: that cannot be seen.
    pub is_there: &'a dyn Fn(&Path) -> Option<bool>,
}

/// What the runner is asked, and what was taken from the caller's environment (`NODE_ENV=test`).
///
/// # Errors
/// Wrong usage, or no such file.
pub fn ad_hoc(
    start: &Start,
    name: &EnvName,
    caller: &Caller<'_>,
) -> Result<(AdHoc, Vec<String>), Failure> {
    let [path] = start.operands.as_slice() else {
        return Err(Failure::usage(
            "with --name exactly one PATH is started: swrun start PATH --name NAME",
        ));
    };
    if start.targets.len() > 1 {
        return Err(Failure::usage(
            "with --name there is one --target at most: that of the new environment",
        ));
    }
    if path.is_empty() {
        return Err(Failure::usage("the PATH to start is empty"));
    }
    let named_cwd = start.cwd.as_ref().map(|cwd| caller.cwd.join(cwd));
    let path = locate(Path::new(path), named_cwd.as_deref(), caller)?;
    let cwd = match named_cwd {
        Some(cwd) => cwd,
        None => path.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let mut command: Vec<String> = interpreter(&path).map(str::to_owned).into_iter().collect();
    command.push(text(path.as_os_str(), "PATH")?);
    for argument in &start.arguments {
        command.push(text(argument, "an argument")?);
    }
    let mut env = Vec::new();
    for pair in &start.env {
        env.push(variable(pair)?);
    }
    let mut taken = Vec::new();
    for key in TAKEN {
        let is_named = env.iter().any(|(named, _): &(String, String)| named == key);
        // An empty variable is as good as none, and a PORT of nothing would hide that of the .env file.
        if let Some(value) = (caller.variable)(key).filter(|value| !is_named && !value.is_empty()) {
            let value = text(&value, key)?;
            taken.push(format!("{key}={value}"));
            env.push((key.to_owned(), value));
        }
    }
    let ad_hoc = AdHoc {
        name: name.to_string(),
        target: start.targets.first().cloned(),
        command,
        cwd,
        user: start.user.clone(),
        ports: start.ports.clone(),
        env,
        wait: !start.no_wait,
    };
    Ok((ad_hoc, taken))
}

/// PATH as an absolute one: from the caller's folder; where nothing is there, from `--cwd` (PM2 looks
/// there).
fn locate(path: &Path, cwd: Option<&Path>, caller: &Caller<'_>) -> Result<PathBuf, Failure> {
    let tidy = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let first = tidy(caller.cwd.join(path));
    if (caller.is_there)(&first) != Some(false) {
        return Ok(first);
    }
    let second = cwd.map(|cwd| tidy(cwd.join(path)));
    match second.filter(|second| (caller.is_there)(second) == Some(true)) {
        Some(second) => Ok(second),
        None => Err(Failure::failed(format!(
            "cannot start \"{}\": there is no such file",
            first.display()
        ))),
    }
}

fn interpreter(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" | "mjs" | "cjs" => Some("node"),
        "py" => Some("python3"),
        _ => None,
    }
}

fn text(value: &OsStr, what: &str) -> Result<String, Failure> {
    let text = value.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{what} is not UTF-8 text: swrun cannot pass it on")))
}

/// `K=V`. The value is never repeated in an error: it may be a secret.
fn variable(pair: &str) -> Result<(String, String), Failure> {
    let is_key = |key: &str| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && key.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
    };
    match pair.split_once('=') {
        Some((key, value)) if is_key(key) => Ok((key.to_owned(), value.to_owned())),
        _ => {
            Err(Failure::usage("--env is written KEY=VALUE, the key of letters, digits and \"_\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command};
    use super::super::exit::Exit;
    use super::*;

    fn ask(
        line: &[&str],
        there: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(AdHoc, Vec<String>), Failure> {
        let args = Args::try_parse_from(["swrun", "start"].iter().chain(line)).expect("it parses");
        let Command::Start(start) = args.command else { panic!("not start") };
        let name = start.name.clone().expect("a name");
        let caller = Caller {
            cwd: Path::new("/home/me"),
            variable: &|key| variables.iter().find(|(k, _)| *k == key).map(|(_, v)| v.into()),
            is_there: &|path| Some(there.iter().any(|there| Path::new(there) == path)),
        };
        ad_hoc(&start, &name, &caller)
    }

    #[test]
    fn the_line_of_today_works_as_it_stands() {
        let path = "/opt/seawolf-marketplace/test/backend/index.js";
        let cwd = "/opt/seawolf-marketplace/test/backend";
        let line = [path, "--name", "backend-test", "--cwd", cwd];
        let variables = [("NODE_ENV", "test"), ("PORT", ""), ("AWS_SECRET", "no")];
        let (ask, taken) = ask(&line, &[path], &variables).expect("it is fine");
        assert_eq!(ask.command, ["node", path]);
        assert_eq!(ask.cwd, Path::new(cwd));
        assert_eq!(ask.env, [("NODE_ENV".to_owned(), "test".to_owned())]);
        assert_eq!(taken, ["NODE_ENV=test"]);
        assert_eq!((ask.name.as_str(), ask.target, ask.user), ("backend-test", None, None));
        assert!(ask.wait);
    }

    #[test]
    fn paths_are_made_absolute_and_the_interpreter_is_found() {
        let (js, _) = ask(&["./a.cjs", "--name", "n"], &["/home/me/a.cjs"], &[]).expect("fine");
        assert_eq!(js.command, ["node", "/home/me/a.cjs"]);
        assert_eq!(js.cwd, Path::new("/home/me"));
        let (py, _) = ask(&["x/a.py", "--name", "n", "--", "-v", "b c"], &["/home/me/x/a.py"], &[])
            .expect("fine");
        assert_eq!(py.command, ["python3", "/home/me/x/a.py", "-v", "b c"]);
        assert_eq!(py.cwd, Path::new("/home/me/x"));
        let (own, _) =
            ask(&["server", "--name", "n", "--cwd", "d"], &["/home/me/server"], &[]).expect("fine");
        assert_eq!(own.command, ["/home/me/server"]);
        assert_eq!(own.cwd, Path::new("/home/me/d"));
        // As PM2 finds it: beneath --cwd.
        let (pm2, _) =
            ask(&["index.mjs", "--name", "n", "--cwd", "/srv"], &["/srv/index.mjs"], &[])
                .expect("fine");
        assert_eq!(pm2.command, ["node", "/srv/index.mjs"]);
    }

    #[test]
    fn a_variable_named_wins_over_the_callers() {
        let line =
            ["a", "--name", "n", "--env", "PORT=1", "--port", "2", "-t", "test", "--no-wait"];
        let (ask, taken) = ask(&line, &["/home/me/a"], &[("PORT", "9")]).expect("fine");
        assert_eq!(ask.env, [("PORT".to_owned(), "1".to_owned())]);
        assert!(taken.is_empty());
        assert_eq!(
            (ask.ports, ask.target, ask.wait),
            (vec!["2".to_owned()], Some("test".to_owned()), false)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, exit, text) in [
            (vec!["a", "b", "--name", "n"], Exit::Usage, "exactly one PATH"),
            (vec!["--name", "n"], Exit::Usage, "exactly one PATH"),
            (vec!["a", "--name", "n", "-t", "x", "-t", "y"], Exit::Usage, "one --target"),
            (
                vec!["gone.js", "--name", "n"],
                Exit::Failed,
                "\"/home/me/gone.js\": there is no such file",
            ),
            (vec!["a", "--name", "n", "--env", "MY-KEY=hunter2"], Exit::Usage, "KEY=VALUE"),
            (vec!["a", "--name", "n", "--env", "hunter2"], Exit::Usage, "KEY=VALUE"),
        ] {
            let Err(Failure::Because(code, said)) = ask(&line, &["/home/me/a"], &[]) else {
                panic!("{line:?} was taken")
            };
            assert!(code == exit && said.contains(text), "{line:?}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

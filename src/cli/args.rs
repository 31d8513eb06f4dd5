//! The command line: every flag in one place, from which help, man pages and completions come.
//!
//! It is a list, and longer than other files for that: what a command takes is looked for here alone.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};

use crate::model::{EnvName, Places, ReleaseName};

/// Runs the backends of one server, each in its own cage, and keeps them up.
#[derive(Debug, Parser)]
#[command(name = "swrun", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 done; 1 failed; 2 wrong usage; 3 status: a wanted environment \
                        is not online; 4 the runner cannot be reached."
)]
pub struct Args {
    /// Prefix of all of swrun's places (/etc/swrun, /var/lib/swrun, /var/log/swrun, /run/swrun);
    /// SWRUN_ROOT does the same
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// The places of the runner that is meant: `--root`, else SWRUN_ROOT, else the host's own.
    pub fn places(&self, variable: Option<OsString>) -> Places {
        let named = self.root.clone().or(variable.map(PathBuf::from));
        let root = named.filter(|root| !root.as_os_str().is_empty()).unwrap_or_else(|| "/".into());
        // An absolute path stays what it is when the caller's folder is gone.
        Places::below(std::path::absolute(&root).unwrap_or(root))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it all with three built-in sample environments; nothing is left behind
    Demo(Demo),
    /// Run the runner in the foreground (what systemd starts)
    Daemon(Daemon),
    /// Check profiles; all problems with file, line and column
    Check(Check),
    /// Make the users, groups and folders that the profiles name; safe to repeat
    Setup(Setup),
    /// Tell what this host offers and what is degraded
    Doctor(Doctor),
    /// Start environments, or with --name a program without a profile
    Start(Start),
    /// Stop environments gracefully
    Stop(Order),
    /// Stop and start environments, with their profiles and .env files as they are now
    Restart(Restart),
    /// Replace running instances by new ones, the old ones last: no connection is refused
    Reload(Order),
    /// Run so many instances of an environment, on the same ports
    Scale(Scale),
    /// Let a release take the place of the one that runs; it is watched, and goes back by itself
    Deploy(Deploy),
    /// Go back to the release that ran before
    Rollback(Rollback),
    /// Empty the logs of environments, those put aside too
    Flush(Flush),
    /// Show who owns, holds and wants which port
    Ports(Ports),
    /// Stop environments and forget them; gone for the next boot too
    #[command(alias = "del")]
    Delete(Order),
    /// Show the table of environments
    #[command(visible_aliases = ["list", "ls"], aliases = ["ps", "l"])]
    Status(Status),
    /// Show all that is known of one environment
    #[command(aliases = ["describe", "desc", "info"])]
    Show(Show),
    /// Show what an environment used, over hours or months
    History(History),
    /// Show whose memory gets worse, how sure that is, and when it meets its ceiling
    Leaks(Leaks),
    /// Show what happened to environments, and why
    Events(Events),
    /// Watch environments, their use over time and their logs; keys for orders
    #[command(visible_alias = "monitor")]
    Monit,
    /// Show all numbers as OpenMetrics, or serve them to Prometheus
    Metrics(Metrics),
    /// Serve a page with all of it to browsers; nothing can be changed there
    Web(Web),
    /// Run a command in the cage of an environment, running or not
    Exec(Exec),
    /// Show the last log lines, then follow
    #[command(alias = "log")]
    Logs(Logs),
    /// Show the last lines that were written to stderr
    Errors(Errors),
    /// Write the list of environments into a file (what is wanted is saved after every change anyway)
    Save(Save),
    /// Start what a list says was wanted; without one what is wanted and does not run
    Resurrect(Resurrect),
    /// Let systemd start the runner at boot
    Startup,
    /// Let systemd start it at boot no more
    Unstartup,
    /// Let runner and monitors go over to the program that is installed; no app is touched
    Upgrade(Upgrade),
    /// Stop every environment, then the runner
    Kill,
    /// Print what a shell reads to complete commands, options and the names of environments
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write an environment for another engine, and tell what does not carry over
    Export(Export),
    /// Make profiles of what another process manager keeps
    #[command(subcommand)]
    Import(Import),
}

/// `swrun completions SHELL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// `eval "$(swrun completions bash)"`, or the package's file
    Bash,
    /// `eval "$(swrun completions zsh)"`, after compinit
    Zsh,
    /// `swrun completions fish | source`
    Fish,
}

/// `swrun export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// For whom
    pub format: ExportFormat,
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// The container image: for kubernetes, and for quadlet in place of the host's own root
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub image: Option<String>,
    /// For nomad: who starts the program; exec2 puts walls round it [default: exec2]
    #[arg(long)]
    pub driver: Option<NomadDriver>,
    /// Write the files into this folder, the values of variables among them; what is there already is not touched
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// `swrun export nomad --driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NomadDriver {
    /// The plugin nomad-driver-exec2
    Exec2,
    /// Nomad itself, without any wall
    #[value(name = "raw_exec")]
    RawExec,
}

/// `swrun export FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// A hardened service
    Systemd,
    /// A container of Podman's, kept by systemd
    Quadlet,
    /// A job of Nomad's
    Nomad,
    /// A Deployment, a Service and a Secret
    Kubernetes,
}

/// `swrun import`.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Of PM2's: an ecosystem file, or its saved list ~/.pm2/dump.pm2
    Pm2(ImportPm2),
}

/// `swrun import pm2`.
#[derive(Debug, clap::Args)]
pub struct ImportPm2 {
    /// ecosystem.config.js, .cjs, .mjs, .json or .yml, or dump.pm2
    pub file: PathBuf,
    /// Write the profiles, not only show them; what is there already is not touched
    #[arg(long)]
    pub write: bool,
    /// Take the variables of env_NAME too
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub env: Option<String>,
    /// The user of the apps, and who a file of JavaScript is run as; without it the one that PM2's
    /// file names or the folder belongs to, and for JavaScript a number that owns nothing
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
}

/// Which environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Selection {
    /// Environments, by name or target; none named = all
    // An empty name is an unset variable in a script: it must not become "all".
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environments: Vec<String>,
    /// The same, by target (test, dev, prod)
    #[arg(short = 't', long = "target", value_name = "TARGET", value_parser = NonEmptyStringValueParser::new())]
    pub targets: Vec<String>,
}

impl Selection {
    /// All that was named, in the form of the runner's orders.
    pub fn named(&self) -> Vec<String> {
        self.environments.iter().chain(&self.targets).cloned().collect()
    }
}

/// `swrun demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Leave it running
    #[arg(long)]
    pub keep: bool,
    /// The first of three ports in a row
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u16).range(1024..=65533))]
    pub base_port: u16,
}

/// `swrun daemon`.
#[derive(Debug, clap::Args)]
pub struct Daemon {
    /// Each environment is a unit of its own: swrun-env@NAME.service
    #[arg(long)]
    pub systemd: bool,
    /// From whom the ports of environments are kept [default: host; below another --root: own]
    #[arg(long, value_name = "WHOM")]
    pub reserve_ports: Option<Whom>,
}

/// `swrun daemon --reserve-ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Whom {
    /// From every process of the host
    Host,
    /// From the other environments of this runner
    Own,
    /// From nobody: apps bind as everybody does, and restarts refuse connections
    None,
}

/// `swrun check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Profiles; none named = all of /etc/swrun/profiles
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun setup`.
#[derive(Debug, clap::Args)]
pub struct Setup {
    /// Also write the units of systemd, for a program that came without a package
    #[arg(long)]
    pub system: bool,
    /// Also write swrun.errors.view, swrun.logs.flush and swrun.restart into this folder
    #[arg(long, value_name = "DIR")]
    pub utils: Option<PathBuf>,
    /// Also make the user of the page (swrun web)
    #[arg(long)]
    pub web: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// `swrun doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun stop`, `restart`, `delete`.
#[derive(Debug, clap::Args)]
pub struct Order {
    #[command(flatten)]
    pub selection: Selection,
    /// All environments, said aloud
    #[arg(long, conflicts_with_all = ["environments", "targets"])]
    pub all: bool,
    /// Do not wait for the outcome
    #[arg(long)]
    pub no_wait: bool,
}

/// `swrun restart`.
#[derive(Debug, clap::Args)]
pub struct Restart {
    #[command(flatten)]
    pub order: Order,
    /// Show where the time went, step by step
    #[arg(long, conflicts_with = "no_wait")]
    pub trace: bool,
}

/// `swrun scale`.
#[derive(Debug, clap::Args)]
pub struct Scale {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// How many instances
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub instances: u32,
    /// Do not wait for the outcome
    #[arg(long)]
    pub no_wait: bool,
}

/// `swrun deploy`.
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// A folder in that of the releases ([deploy] in the profile)
    #[arg(value_name = "RELEASE", value_parser = ReleaseName::parse)]
    pub release: ReleaseName,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// `swrun rollback`.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// `swrun upgrade`.
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub selection: Selection,
}

/// `swrun save`.
#[derive(Debug, clap::Args)]
pub struct Save {
    /// The file; written whole or not at all, for root alone
    pub file: Option<PathBuf>,
}

/// `swrun resurrect`.
#[derive(Debug, clap::Args)]
pub struct Resurrect {
    /// A file of `swrun save`
    pub file: Option<PathBuf>,
}

/// `swrun flush`.
#[derive(Debug, clap::Args)]
pub struct Flush {
    #[command(flatten)]
    pub selection: Selection,
}

/// `swrun ports`.
#[derive(Debug, clap::Args)]
pub struct Ports {
    #[command(flatten)]
    pub selection: Selection,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun start`: environments, or with `--name` a program.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Environments by name or target (none named = all); with --name the PATH of a program
    #[arg(value_name = "ENV|PATH", value_parser = clap::value_parser!(OsString))]
    pub operands: Vec<OsString>,
    /// The target of the environments; with --name that of the new one
    #[arg(short = 't', long = "target", value_name = "TARGET", value_parser = NonEmptyStringValueParser::new())]
    pub targets: Vec<String>,
    /// All environments, said aloud
    #[arg(long, conflicts_with_all = ["operands", "targets", "name"])]
    pub all: bool,
    /// Do not wait for the outcome
    #[arg(long)]
    pub no_wait: bool,
    /// End the process that has a port of the environment, after asking
    #[arg(long, conflicts_with_all = ["name", "no_wait"])]
    pub evict: bool,
    /// With --evict: do not ask
    #[arg(long, requires = "evict")]
    pub yes: bool,
    /// Show where the time went, step by step; of what runs already that of its last start
    #[arg(long, conflicts_with = "no_wait")]
    pub trace: bool,
    /// Start PATH as a new environment of this name, without a profile file
    #[arg(long, value_name = "N", value_parser = EnvName::parse)]
    pub name: Option<EnvName>,
    /// With --name: its working directory (default: the folder of PATH)
    #[arg(long, value_name = "D", requires = "name")]
    pub cwd: Option<PathBuf>,
    /// With --name: its user (default: you; for root the owner of the working directory)
    #[arg(long, value_name = "U", requires = "name", value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
    /// With --name: a port of it, as 3000 or 3000/udp (default: PORT of its .env file)
    #[arg(long = "port", value_name = "P", requires = "name", value_parser = NonEmptyStringValueParser::new())]
    pub ports: Vec<String>,
    /// With --name: a variable of it
    #[arg(long = "env", value_name = "K=V", requires = "name")]
    // Taken apart later: clap would repeat a value, which may be a secret, in its error.
    pub env: Vec<String>,
    /// With --name: arguments of the program
    #[arg(last = true, value_name = "ARGS", requires = "name", value_parser = clap::value_parser!(OsString))]
    pub arguments: Vec<OsString>,
}

/// `swrun status`.
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    pub selection: Selection,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Draw it anew every second until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

/// `swrun show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// The walls round it, as they are found, and what is open
    #[arg(long)]
    pub security: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun history`.
#[derive(Debug, clap::Args)]
pub struct History {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// Since then: 10m, 24h, 30d (ago), 2026-11-23, 2026-11-23T01:02:03Z; the finest steps that go
    /// so far back: 10 s for six hours, a minute for a week, an hour for a year
    #[arg(long, value_name = "T", default_value = "24h", value_parser = NonEmptyStringValueParser::new())]
    pub since: String,
    /// Until then
    #[arg(long, value_name = "T", value_parser = NonEmptyStringValueParser::new())]
    pub until: Option<String>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// `swrun leaks`.
#[derive(Debug, clap::Args)]
pub struct Leaks {
    #[command(flatten)]
    pub selection: Selection,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun events`.
#[derive(Debug, clap::Args)]
pub struct Events {
    #[command(flatten)]
    pub selection: Selection,
    /// How many of the last ones
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 30)]
    pub count: usize,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `swrun metrics`.
#[derive(Debug, clap::Args)]
pub struct Metrics {
    /// Serve GET /metrics on a port of the loopback interface, as 127.0.0.1:9477
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["socket", "textfile"])]
    pub listen: Option<String>,
    /// Serve it on a unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "textfile")]
    pub socket: Option<PathBuf>,
    /// Write a file for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,
    /// Write it again and again: 15s, 1m
    #[arg(long, value_name = "TIME", requires = "textfile")]
    pub every: Option<String>,
}

/// `swrun web`.
#[derive(Debug, clap::Args)]
pub struct Web {
    /// The port of the loopback interface; whoever looks needs the token
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9478",
        conflicts_with = "socket"
    )]
    pub listen: String,
    /// Serve it on a unix socket, to a reverse proxy that lets people in; there is no token then
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The token is in this file [default: a new one at each start]
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub token_file: Option<PathBuf>,
}

/// `swrun exec`.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// The environment, by name or target
    #[arg(value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    pub environment: String,
    /// The program and its arguments, after "--"
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<String>,
}

/// `swrun logs`.
#[derive(Debug, Default, clap::Args)]
pub struct Logs {
    #[command(flatten)]
    pub selection: Selection,
    /// How many of the last lines of each environment (default: 15; with --since all)
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Only what was written to stderr
    #[arg(long)]
    pub err: bool,
    /// Only what was written to stdout
    #[arg(long)]
    pub out: bool,
    /// End after the last lines, do not follow
    #[arg(long)]
    pub nostream: bool,
    /// Only lines since then: 10m, 2h (ago), 2026-11-23, 2026-11-23T01:02:03Z
    #[arg(long, value_name = "T", value_parser = NonEmptyStringValueParser::new())]
    pub since: Option<String>,
    /// Only lines until then, and no following
    #[arg(long, value_name = "T", value_parser = NonEmptyStringValueParser::new())]
    pub until: Option<String>,
    /// Only lines in which this regular expression is found
    #[arg(long, value_name = "RE")]
    pub grep: Option<String>,
    /// One JSON object for each line
    #[arg(long)]
    pub json: bool,
    /// What the app wrote, byte for byte, without time and name; not to a terminal
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// "app" lets the app's own colours through, and nothing else of its control characters
    #[arg(long, value_name = "WHOSE", value_parser = ["app"])]
    pub color: Option<String>,
}

/// `swrun errors`.
#[derive(Debug, clap::Args)]
pub struct Errors {
    #[command(flatten)]
    pub selection: Selection,
    /// How many of the last lines of each environment (default: 15)
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    fn parsed(line: &str) -> Command {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    /// Every line of the operator's page of today that this version has, `pm2` read as `swrun`.
    #[test]
    fn the_lines_of_today_work() {
        for line in [
            "swrun start /opt/seawolf-marketplace/test/backend/index.js --name backend-test",
            "swrun start /opt/seawolf-marketplace/dev/backend/index.js --name backend-dev",
            "swrun start /opt/seawolf-marketplace/prod/backend/index.js --name backend-prod",
            "swrun start /opt/seawolf-marketplace/test/backend/index.js --name backend-test \
             --cwd /opt/seawolf-marketplace/test/backend",
            "swrun stop backend-test",
            "swrun delete backend-test",
            "swrun restart backend-test",
            "swrun logs backend-prod",
            "swrun logs backend-prod --lines 50",
            "swrun logs backend-prod --lines 50 --nostream",
            "swrun logs backend-prod --err --lines 50 --nostream",
            "swrun logs backend-prod --err --lines 100",
            "swrun logs backend-prod --err",
            "swrun logs backend-prod --lines 100",
            "swrun errors",
            "swrun errors --target prod",
            "swrun errors -n 100",
            "swrun errors -t dev -n 50",
            "swrun restart",
            "swrun restart --target dev",
            "swrun list",
            "swrun logs",
            "swrun start app.js",
            "swrun show backend-prod",
            "swrun kill",
        ] {
            parsed(line);
        }
    }

    #[test]
    fn words_land_where_they_belong() {
        let Command::Logs(logs) =
            parsed("swrun logs backend-prod -t dev --err -n 50 --nostream --since 10m --grep a.b")
        else {
            panic!("not logs")
        };
        assert_eq!(logs.selection.named(), ["backend-prod", "dev"]);
        assert_eq!((logs.lines, logs.err, logs.out, logs.nostream), (Some(50), true, false, true));
        assert_eq!((logs.since.as_deref(), logs.grep.as_deref()), (Some("10m"), Some("a.b")));
        let Command::Start(start) = parsed(
            "swrun start x.js --name n --cwd /d --user u --port 1 --port 2/udp --env A=b=c --env D= -t prod --no-wait -- --flag -x",
        ) else {
            panic!("not start")
        };
        assert_eq!(start.operands, ["x.js"]);
        assert_eq!(start.ports, ["1", "2/udp"]);
        assert_eq!(start.env, ["A=b=c", "D="]);
        assert_eq!(start.arguments, ["--flag", "-x"]);
        assert_eq!(
            (start.targets.as_slice(), start.no_wait),
            (["prod".to_owned()].as_slice(), true)
        );
        for line in [
            "swrun status prod --json",
            "swrun ls prod --json",
            "swrun list prod --json",
            "swrun ps prod --json",
        ] {
            assert!(matches!(parsed(line), Command::Status(status) if status.json), "{line}");
        }
        let Command::Demo(demo) = parsed("swrun demo --keep --base-port 4000") else {
            panic!("not demo")
        };
        assert_eq!((demo.keep, demo.base_port), (true, 4000));
        assert!(
            matches!(parsed("swrun check a.toml b.toml --json"), Command::Check(c) if c.files.len() == 2 && c.json)
        );
        assert!(matches!(parsed("swrun setup --dry-run"), Command::Setup(s) if s.dry_run));
        assert!(matches!(parsed("swrun doctor --json"), Command::Doctor(d) if d.json));
        assert!(matches!(parsed("swrun daemon --systemd"), Command::Daemon(d) if d.systemd));
    }

    #[test]
    fn wrong_usage_is_refused_with_2() {
        for line in [
            "swrun",
            "swrun nonsense",
            "swrun stop --all backend-test",
            "swrun stop --all -t test",
            "swrun start --cwd /x backend",
            "swrun start --port 1 backend",
            "swrun start backend -- x",
            "swrun start x.js --name Wrong_Name",
            "swrun show",
            "swrun show a b",
            "swrun status --json --watch",
            "swrun logs -n many",
            "swrun logs -n -1",
            "swrun demo --base-port 65534",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        // An unset variable in a script must not stop everything.
        for verb in ["stop", "restart", "delete", "status", "logs"] {
            for rest in [&[""] as &[&str], &["-t", ""]] {
                let line = ["swrun", verb].into_iter().chain(rest.iter().copied());
                assert_eq!(
                    Args::try_parse_from(line).expect_err(verb).exit_code(),
                    2,
                    "{verb} {rest:?}"
                );
            }
        }
    }

    #[test]
    fn the_root_is_absolute_and_has_an_order() {
        let places = |line: &str, variable: Option<&str>| {
            parse(line).expect(line).places(variable.map(OsString::from)).root().to_owned()
        };
        assert_eq!(places("swrun kill", None), PathBuf::from("/"));
        assert_eq!(places("swrun kill", Some("")), PathBuf::from("/"));
        assert_eq!(places("swrun kill", Some("/a")), PathBuf::from("/a"));
        assert_eq!(places("swrun --root /b kill", Some("/a")), PathBuf::from("/b"));
        assert_eq!(places("swrun kill --root /b", None), PathBuf::from("/b"));
        assert!(places("swrun --root b kill", None).is_absolute());
    }
}

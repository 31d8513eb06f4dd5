//! What behaves is not broken by the cage: databases that fork, share memory and write files do their ordinary
//! work in it, with nothing allowed beyond the defaults.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use bed::{App, Bed};

/// An environment with a folder for its data.
fn with_data(bed: &Bed, name: &str) -> (App, PathBuf) {
    let app = bed.app(name);
    let data = app.home.join("data");
    fs::create_dir(&data).expect("ours");
    chown(&data, Some(app.uid), Some(app.uid)).expect("root may");
    (app, data)
}

/// Runs a client on the host; gives what it prints.
#[track_caller]
fn asks(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}: tests/run installs it"));
    let (out, err) = bed::texts(&output);
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    out.trim().to_owned()
}

/// Nothing that it needed was refused.
#[track_caller]
fn nothing_was_refused(bed: &Bed, app: &App) {
    for kind in ["refused-call", "refused", "refused-connection"] {
        let events = kernel::events(bed, app, kind);
        assert!(events.is_empty(), "{events:#?}");
    }
}

#[test]
fn redis_serves_and_saves() {
    let bed = Bed::running();
    let (app, data) = with_data(&bed, "cache");
    let (port, folder) = (app.port.to_string(), data.display().to_string());
    let command = ["/usr/bin/redis-server", "--port", &port, "--dir", &folder, "--daemonize", "no"];
    let head = format!("ports = [{port}]\nwritable = [\"{folder}\"]");
    bed.profile(&app, &command, &head);
    bed.start(&app);
    let redis = |words: &[&str]| asks("redis-cli", &[&["-p", &port], words].concat());
    assert_eq!(redis(&["set", "key", "value"]), "OK");
    redis(&["eval", "for i = 1, 20000 do redis.call('set', 'key' .. i, i) end", "0"]);
    // Forks, and writes beside.
    redis(&["bgsave"]);
    kernel::until("the copy is on disk", || {
        redis(&["info", "persistence"]).contains("rdb_last_bgsave_status:ok")
            && data.join("dump.rdb").exists()
    });
    bed.ok(&["restart", "cache"]);
    assert_eq!(redis(&["get", "key"]), "value");
    assert_eq!(redis(&["dbsize"]), "20001");
    nothing_was_refused(&bed, &app);
    bed.end();
}

/// The folder of the newest PostgreSQL's programs.
fn postgres() -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("tests/run installs it");
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
        .max();
    format!("/usr/lib/postgresql/{}/bin", newest.expect("tests/run installs it"))
}

#[test]
fn postgresql_does_its_ordinary_work() {
    let bed = Bed::running();
    let (app, data) = with_data(&bed, "database");
    let (bin, port, folder) = (postgres(), app.port.to_string(), data.display().to_string());
    let script = format!(
        "[ -e {folder}/PG_VERSION ] || {bin}/initdb --no-sync --auth=trust --username=shop -D {folder}; \
         exec {bin}/postgres -D {folder} -p {port} -k /tmp -c min_parallel_table_scan_size=0 \
         -c parallel_setup_cost=0 -c parallel_tuple_cost=0"
    );
    let head = format!("ports = [{port}]\nwritable = [\"{folder}\"]\n[limits]\npids = 100");
    bed.profile(&app, &["/bin/sh", "-c", &script], &head);
    bed.start(&app);
    let sql = |text: &str| {
        let psql = format!("{bin}/psql");
        asks(&psql, &["-h", "127.0.0.1", "-p", &port, "-U", "shop", "-Atqc", text, "postgres"])
    };
    let is_ready = || {
        let mut ready = Command::new(format!("{bin}/pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &port]).status().is_ok_and(|s| s.success())
    };
    kernel::until("it answers", is_ready);
    sql("create table goods as select i, md5(i::text) as name from generate_series(1, 50000) i");
    sql("create index on goods(name)");
    assert_eq!(
        sql("select count(*), max(i) from goods where name like '%a%' or true"),
        "50000|50000"
    );
    // Another database is a copy of files; workers share memory.
    sql("create database other");
    let plan = sql("explain (analyze, costs off) select sum(i) from goods");
    assert!(plan.contains("Workers Launched: "), "{plan}");
    sql("vacuum analyze goods");
    bed.ok(&["restart", "database"]);
    kernel::until("it answers", is_ready);
    assert_eq!(sql("select count(*) from goods"), "50000");
    nothing_was_refused(&bed, &app);
    bed.end();
}

/// Code is made at run time. (The heap is bounded by hand: on a hybrid host Java does not look for the ceiling.)
#[test]
fn a_jvm_compiles_collects_and_serves() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/java/Shop.java");
    fs::copy(source, app.home.join("Shop.java")).expect("ours");
    let head = format!("ports = [{0}]\n[env]\nPORT = \"{0}\"", app.port);
    bed.profile(&app, &["java", "-Xmx200m", "Shop.java"], &head);
    let before = bed.start(&app);
    for _ in 0..20 {
        let answer = bed::get(app.port, "/");
        let answer = answer.unwrap_or_else(|e| panic!("{e}: {:#}", bed.status(&app)));
        assert!(answer.starts_with("3999997 kept "), "{answer}");
    }
    bed.ok(&["restart", "shop"]);
    let said = bed.log(&app, "out.log");
    assert_eq!(said, ["hook"], "it ended in its own time");
    assert_eq!(bed.status(&app)["restarts"].as_u64(), Some(1));
    assert_ne!(bed.status(&app)["pid"], before["pid"]);
    nothing_was_refused(&bed, &app);
    bed.end();
}

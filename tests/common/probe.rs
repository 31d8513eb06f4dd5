//! Where the test backend (`examples/probe`) is: `#[path = "common/probe.rs"] mod probe;`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The built probe. `SWRUN_PROBE` names one for where cargo is not at hand (a guest kernel);
/// otherwise it is built here, as `cargo test --test NAME` does not build examples.
pub fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(given) = std::env::var_os("SWRUN_PROBE") {
            return given.into();
        }
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--example", "probe", "--message-format=json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo could not be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "probe")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo named no executable for the probe")
    })
}

//! Writes what is made of the command line itself: a manual page for each command, that of the profile, completions for shells.
//!
//! ```text
//! cargo run --example docs -- FOLDER     FOLDER/man/*.1, swrun-profile.5, FOLDER/completions/{swrun.bash,_swrun,swrun.fish}
//! ```

use std::path::PathBuf;

use swrun::cli::Shell;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("where to? give a folder"))?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder)?;
    }
    let command = swrun::cli::command();
    clap_mangen::generate_to(command, &man)?;
    std::fs::write(man.join("swrun-profile.5"), swrun::profile::manual())?;
    for (shell, name) in
        [(Shell::Bash, "swrun.bash"), (Shell::Zsh, "_swrun"), (Shell::Fish, "swrun.fish")]
    {
        std::fs::write(completions.join(name), swrun::cli::completions(shell)?)?;
    }
    Ok(())
}

//! The one binary: its roles are taken in the library.

fn main() -> std::process::ExitCode {
    swrun::main()
}

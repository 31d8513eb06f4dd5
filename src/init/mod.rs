//! init
/// The hidden role's word.
pub const ROLE: &str = "__init";
/// Runs it.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}

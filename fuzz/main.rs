//! Runs targets on stable, as its arguments ask.

use std::process::ExitCode;

fn main() -> ExitCode {
    chronik_fuzz::cli::main()
}

//! The same program as a test, so that `make fuzz-short` shares what `make unit` has built.

use std::process::ExitCode;

fn main() -> ExitCode {
    chronik_fuzz::cli::main()
}

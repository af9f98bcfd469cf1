//! Entry point of `kubectl chronik`: reads the command line and hands over.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use chronik_cli::args::Cli;
use chronik_cli::{complete, run};
use clap::Parser;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(answer) = complete::answer(&arguments) {
        let _ = std::io::stdout().write_all(answer.as_bytes());
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            let _ = told.print();
            // Clap would end with 2, which here means that something is blocked.
            return if told.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

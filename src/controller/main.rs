//! Entry point of the operator: reads the command line and hands over.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use chronik_controller::cli::{Cli, Command};
use chronik_controller::{crds, finalizers, logging, run};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format);
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    let work = async {
        match command {
            Command::Run(options) => run::run(*options).await,
            Command::ReleaseFinalizers(options) => finalizers::release(options).await,
            Command::Crds(options) => Ok(crds::write(&options)?),
        }
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

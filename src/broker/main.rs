//! Entry point of the broker: reads the command line, sets up logging, runs what was asked.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use chronik_broker::check;
use chronik_broker::log::{self, DataFolder};
use chronik_broker::settings::{self, Command, FormatArgs, LogFormat, Settings};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let done = match settings::parse_or_exit() {
        Command::Format(args) => format(args),
        Command::Run(settings) => run(*settings),
        Command::Check(dir) => check(&dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn format(args: FormatArgs) -> anyhow::Result<()> {
    let disk = log::open_disk(&args.data_dir);
    if args.if_empty && DataFolder::is_formatted(&*disk, &args.data_dir)? {
        eprintln!("{} is formatted already", args.data_dir.display());
        return Ok(());
    }
    let identity = DataFolder::format(&*disk, &args.data_dir, args.cluster, args.broker, args.birth.into())?;
    eprintln!(
        "formatted {} for broker {} of cluster {} as disk {}",
        args.data_dir.display(),
        identity.broker,
        identity.cluster,
        identity.disk
    );
    Ok(())
}

fn check(dir: &Path) -> anyhow::Result<()> {
    let report = check::check(dir)?;
    write!(std::io::stdout(), "{report}")?;
    anyhow::ensure!(report.sound, "{} is damaged", dir.display());
    Ok(())
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::new(&settings.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(chronik_broker::run::run(settings))
}

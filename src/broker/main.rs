//! Entry point of the broker: reads the command line, sets up logging, runs what was asked.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use chronik_broker::log::{self, DataFolder};
use chronik_broker::settings::{self, Command, FormatArgs, LogFormat, Recover, Settings, WaitFor};
use chronik_broker::{check, recover};
use tracing_subscriber::EnvFilter;

/// What `check` ends with if it found damage.
const DAMAGED: u8 = 1;
/// What `check` ends with if it could not check.
const NOT_CHECKED: u8 = 2;

fn main() -> ExitCode {
    let done = match settings::parse_or_exit() {
        Command::Format(args) => format(args),
        Command::Run(settings) => run(*settings),
        Command::Check(dir) => return check(&dir),
        Command::Recover(what) => recover(what),
        Command::WaitFor(what) => {
            wait_for(&what);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

fn format(args: FormatArgs) -> anyhow::Result<()> {
    let disk = log::open_disk(&args.data_dir);
    if args.if_empty && DataFolder::is_formatted_for(&*disk, &args.data_dir, &args.cluster, args.broker)? {
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

fn check(dir: &Path) -> ExitCode {
    match check::check(dir) {
        Ok(report) => {
            // Whoever closes the pipe has seen enough; the exit code still says what was found.
            let _ = write!(std::io::stdout(), "{report}");
            if report.sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
        }
        Err(error) => failed(&error.into(), NOT_CHECKED),
    }
}

fn recover(what: Recover) -> anyhow::Result<()> {
    let by = |given: Option<String>| given.unwrap_or_else(|| recover::who(&|name| std::env::var(name).ok()));
    let text = match what {
        Recover::Metadata(args) => recover::metadata(&args.data_dir, args.execute, &by(args.by))?,
        Recover::Partitions(args) => {
            recover::partitions(&args.admin, &args.which, args.execute, &by(args.by))?
        }
    };
    write!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn wait_for(what: &WaitFor) {
    let file = what.file.display();
    match chronik_broker::wait_for::wait_for(&what.file, what.patience) {
        Some(text) => eprintln!("{file}: {text}"),
        None => eprintln!("{file} holds nothing after {} s; go on without", what.patience.as_secs()),
    }
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

//! The command line: `format`, `run`, `check`, `recover` and `wait-for`, and their help. Builds the flags from the table; runs nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};

use super::Settings;
use super::format::{FormatArgs, FormatTexts};
use super::recover::{self, Recover};
use super::sources::{Env, Sources};
use super::spec::{SPECS, Spec};
use super::values::SettingsError;
use super::wait_for::{self, WaitFor};

/// What the process was started for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Make a data folder.
    Format(FormatArgs),
    /// Be a broker.
    Run(Box<Settings>),
    /// Read all of this data folder and tell what is damaged.
    Check(PathBuf),
    /// Go on from what is left.
    Recover(Recover),
    /// Wait until a file holds text.
    WaitFor(WaitFor),
}

/// Why there is no command: wrong flags (or a call for help, which is no failure), or wrong values.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Flags(clap::Error),
    #[error("{0}")]
    Settings(#[from] SettingsError),
}

/// Reads the process's own arguments and environment; prints help and errors, and ends the process with them.
pub fn parse_or_exit() -> Command {
    match parse(std::env::args_os(), &|name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(CliError::Flags(error)) => error.exit(),
        Err(CliError::Settings(error)) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    }
}

/// Reads arguments (the program's name first) and environment.
pub fn parse(args: impl IntoIterator<Item = OsString>, env: Env<'_>) -> Result<Command, CliError> {
    let matches = program().try_get_matches_from(args).map_err(CliError::Flags)?;
    match matches.subcommand() {
        Some(("format", flags)) => Ok(Command::Format(FormatArgs::build(format_texts(flags, env)?)?)),
        Some(("run", flags)) => {
            let file = text(flags, "config").or_else(|| env("CHRONIK_CONFIG")).map(PathBuf::from);
            let sources = Sources::collect(&run_flags(flags), env, file.as_deref())?;
            Ok(Command::Run(Box::new(Settings::build(&sources)?)))
        }
        Some(("check", flags)) => Ok(Command::Check(checked_dir(flags, env)?)),
        Some(("recover", flags)) => Ok(Command::Recover(recover::build(flags, env)?)),
        Some(("wait-for", flags)) => Ok(Command::WaitFor(wait_for::build(flags)?)),
        // `subcommand_required` leaves nothing else.
        _ => Err(CliError::Flags(
            program()
                .error(clap::error::ErrorKind::MissingSubcommand, "format, run, check, recover or wait-for"),
        )),
    }
}

fn program() -> clap::Command {
    clap::Command::new("chronik-broker")
        .version(crate::version::NAME)
        .about("A broker that speaks the Kafka protocol and replicates each partition with Raft.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .subcommand(format_command())
        .subcommand(run_command())
        .subcommand(check_command())
        .subcommand(recover::command())
        .subcommand(wait_for::command())
        .after_help(
            "Try it: a cluster of one broker\n  \
             chronik-broker format --data-dir ./data --cluster-id demo --broker-id 1 --initial-voters 1@127.0.0.1:9093\n  \
             chronik-broker run --data-dir ./data --default-replication-factor 1\n\
             Kafka clients then connect to 127.0.0.1:9092; its state is at http://127.0.0.1:9095/v1/cluster.",
        )
}

fn format_command() -> clap::Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        let env = env_name(name);
        Arg::new(name).long(name).value_name(value).help(format!("{help} [env: {env}]"))
    };
    clap::Command::new("format")
        .about("Make an empty data folder a broker's own: once, before its first start.")
        .arg(flag("data-dir", "DIR", "Folder to format: missing or empty"))
        .arg(flag("cluster-id", "ID", "The cluster's identity, the same for all its brokers"))
        .arg(flag("broker-id", "N", "This broker's number, from 1, used by no other"))
        .arg(
            flag(
                "initial-voters",
                "ID@HOST:PORT,...",
                "The 1, 3 or 5 brokers that found the cluster with this one, by their peer addresses; the same list on \
                 each of them",
            ),
        )
        .arg(
            flag("join", "", "Join the cluster that the initial voters founded, instead of founding it with them")
                .action(ArgAction::SetTrue),
        )
        .arg(
            flag("if-empty", "", "Do nothing, and succeed, if the folder is formatted already as this broker's")
                .action(ArgAction::SetTrue),
        )
}

fn check_command() -> clap::Command {
    clap::Command::new("check")
        .about("Read all of a stopped broker's data folder, change nothing, and name every fault with file and offset.")
        .long_about(
            "Read all of a stopped broker's data folder, change nothing, and name every fault with file and offset.\n\n\
             Ends with 0 if every byte is as it was written, with 1 if something is damaged, and with 2 if the folder could \
             not be checked: it is no data folder, in use, or cannot be read.",
        )
        .arg(Arg::new("dir").value_name("DIR").help("Data folder to check [env: CHRONIK_DATA_DIR]"))
}

fn checked_dir(flags: &ArgMatches, env: Env<'_>) -> Result<PathBuf, SettingsError> {
    let dir = text(flags, "dir").or_else(|| env("CHRONIK_DATA_DIR")).filter(|dir| !dir.is_empty());
    dir.map(PathBuf::from).ok_or_else(|| SettingsError::Missing {
        field: "DIR".into(),
        hint: "give it as the argument, or as CHRONIK_DATA_DIR".into(),
    })
}

fn run_command() -> clap::Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help_heading("Data")
        .help("Settings in TOML, with '_' for '-' and lists for what repeats [env: CHRONIK_CONFIG]");
    SPECS.iter().map(flag).fold(
        clap::Command::new("run")
            .about("Run the broker whose data folder was formatted before.")
            .long_about(
                "Run the broker whose data folder was formatted before.\n\n\
                 A flag wins over its environment variable, that over the file, that over the default.\n\
                 SIGTERM and SIGINT stop it: leaderships move to other brokers first.",
            )
            .arg(config),
        clap::Command::arg,
    )
}

fn flag(spec: &'static Spec) -> Arg {
    let mut help = format!("{} [env: {}]", spec.help, spec.env());
    if let Some(default) = spec.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    if let Some((min, max)) = spec.range {
        help.push_str(&format!(" [{min} to {max}]"));
    }
    Arg::new(spec.name)
        .long(spec.name)
        .value_name(spec.value)
        .help_heading(spec.group)
        .help(help)
        .action(ArgAction::Append)
        .allow_negative_numbers(true)
}

fn env_name(flag: &str) -> String {
    format!("CHRONIK_{}", flag.replace('-', "_").to_ascii_uppercase())
}

fn text(flags: &ArgMatches, name: &str) -> Option<String> {
    flags.get_one::<String>(name).cloned()
}

fn run_flags(flags: &ArgMatches) -> BTreeMap<&'static str, Vec<String>> {
    let given = |spec: &Spec| Some((spec.name, flags.get_many::<String>(spec.name)?.cloned().collect()));
    SPECS.iter().filter_map(given).collect()
}

fn format_texts(flags: &ArgMatches, env: Env<'_>) -> Result<FormatTexts, SettingsError> {
    let needed = |name: &str| {
        text(flags, name).or_else(|| env(&env_name(name))).ok_or_else(|| SettingsError::Missing {
            field: name.into(),
            hint: format!("give --{name} or {}", env_name(name)),
        })
    };
    Ok(FormatTexts {
        data_dir: needed("data-dir")?,
        cluster_id: needed("cluster-id")?,
        broker_id: needed("broker-id")?,
        initial_voters: needed("initial-voters")?,
        join: match flags.get_flag("join") {
            true => "true".to_owned(),
            false => env("CHRONIK_JOIN").unwrap_or_else(|| "false".to_owned()),
        },
        if_empty: flags.get_flag("if-empty"),
    })
}

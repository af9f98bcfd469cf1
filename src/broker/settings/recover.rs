//! What `chronik-broker recover` is told: from where, of what, and whether to do it. Its flags and their judgement.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches};

use super::sources::Env;
use super::values::{HostPort, SettingsError};

/// Where the admin API of a broker is by default.
const ADMIN: &str = "127.0.0.1:9095";

/// What is to be recovered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recover {
    /// The metadata, from a stopped broker's disk.
    Metadata(OnDisk),
    /// Partitions, from the replicas of a running broker.
    Partitions(Online),
}

/// A stopped broker's disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnDisk {
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Do it, instead of saying what it would be.
    pub execute: bool,
    /// Who decides, if not who is logged in.
    pub by: Option<String>,
}

/// A running broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Online {
    /// Its admin API.
    pub admin: HostPort,
    /// Which partitions.
    pub which: Which,
    /// Do it, instead of saying what it would be.
    pub execute: bool,
    /// Who decides, if not who is logged in.
    pub by: Option<String>,
}

/// Partitions that are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// All that need it.
    All,
    /// Those of a topic that need it.
    Topic(String),
    /// This one.
    Partition(String, i32),
}

pub(super) fn command() -> clap::Command {
    clap::Command::new("recover")
        .about("The last resort, when a majority of the disks of a group is gone for good: go on from one that is left.")
        .long_about(
            "The last resort, when a majority of the disks of a group is gone for good: go on from one that is left.\n\n\
             Says what it would do and what may be lost, and does it only with --execute. What is left of the other disks \
             never counts again. Read docs/recovery.md first.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(metadata())
        .subcommand(partitions())
}

fn metadata() -> clap::Command {
    clap::Command::new("metadata")
        .about("Rebuild the cluster's metadata on the disk of a stopped broker, which then leads it alone.")
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIR")
                .help("Data folder of the broker that is left; it must not run [env: CHRONIK_DATA_DIR]"),
        )
        .args(common())
}

fn partitions() -> clap::Command {
    clap::Command::new("partitions")
        .about("Have partitions that lost their majority go on from the replicas of a running broker.")
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("HOST:PORT")
                .help(format!("Admin API of the broker whose replicas are left [default: {ADMIN}]")),
        )
        .arg(Arg::new("topic").long("topic").value_name("NAME").help("Partitions of this topic that need it"))
        .arg(
            Arg::new("partition")
                .long("partition")
                .value_name("N")
                .requires("topic")
                .conflicts_with("all")
                .help("This partition of the topic alone"),
        )
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("Every partition that needs it"))
        .group(ArgGroup::new("which").args(["topic", "all"]).required(true))
        .args(common())
}

fn common() -> [Arg; 2] {
    [
        Arg::new("execute")
            .long("execute")
            .action(ArgAction::SetTrue)
            .help("Do it. Without this nothing is changed"),
        Arg::new("by")
            .long("by")
            .value_name("NAME")
            .help("Who decides it: kept in the metadata for good [default: user@host]"),
    ]
}

pub(super) fn build(flags: &ArgMatches, env: Env<'_>) -> Result<Recover, SettingsError> {
    match flags.subcommand() {
        Some(("partitions", flags)) => Ok(Recover::Partitions(Online {
            admin: admin(text(flags, "admin").as_deref().unwrap_or(ADMIN))?,
            which: which(flags)?,
            execute: flags.get_flag("execute"),
            by: by(flags)?,
        })),
        // `subcommand_required` leaves nothing else.
        other => {
            let flags = other.map_or(flags, |(_, flags)| flags);
            let dir = text(flags, "data-dir").or_else(|| env("CHRONIK_DATA_DIR"));
            let data_dir = dir.filter(|dir| !dir.is_empty()).ok_or_else(|| SettingsError::Missing {
                field: "data-dir".into(),
                hint: "give --data-dir or CHRONIK_DATA_DIR".into(),
            })?;
            let (execute, by) = (flags.get_flag("execute"), by(flags)?);
            Ok(Recover::Metadata(OnDisk { data_dir: data_dir.into(), execute, by }))
        }
    }
}

fn admin(text: &str) -> Result<HostPort, SettingsError> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    HostPort::parse(bare).ok_or_else(|| SettingsError::of_flag("admin", text, HostPort::ALLOWED))
}

fn which(flags: &ArgMatches) -> Result<Which, SettingsError> {
    let Some(topic) = text(flags, "topic") else { return Ok(Which::All) };
    match text(flags, "partition") {
        None => Ok(Which::Topic(topic)),
        Some(number) => match number.parse() {
            Ok(partition @ 0..) => Ok(Which::Partition(topic, partition)),
            _ => Err(SettingsError::of_flag("partition", &number, "a whole number from 0")),
        },
    }
}

fn by(flags: &ArgMatches) -> Result<Option<String>, SettingsError> {
    match text(flags, "by") {
        Some(by) if by.is_empty() || by.len() > 255 => {
            Err(SettingsError::of_flag("by", &by, "1 to 255 bytes"))
        }
        by => Ok(by),
    }
}

fn text(flags: &ArgMatches, name: &str) -> Option<String> {
    flags.get_one::<String>(name).cloned()
}

//! What `wait-for` is told. Parses only.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches};

use super::values::SettingsError;

/// What to wait for, and how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitFor {
    pub file: PathBuf,
    pub patience: Duration,
}

/// Longest wait, in seconds.
const LONGEST: u64 = 3600;

pub(super) fn command() -> clap::Command {
    clap::Command::new("wait-for")
        .about("Wait until a file holds text, such as a pod's annotation that Kubernetes shows in it.")
        .long_about(
            "Wait until a file holds text, such as a pod's annotation that Kubernetes shows in it. Ends well also when the \
             time is over: a broker that does not know its rack is better than none.",
        )
        .arg(Arg::new("file").value_name("FILE").required(true).help("File to look at"))
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .default_value("60")
                .help("Longest wait [0 to 3600]"),
        )
}

pub(super) fn build(flags: &ArgMatches) -> Result<WaitFor, SettingsError> {
    let text = |name: &str| flags.get_one::<String>(name).cloned().unwrap_or_default();
    let seconds = text("seconds");
    match seconds.parse() {
        Ok(count) if count <= LONGEST => {
            Ok(WaitFor { file: text("file").into(), patience: Duration::from_secs(count) })
        }
        _ => Err(SettingsError::of_flag("seconds", &seconds, "a number from 0 to 3600")),
    }
}

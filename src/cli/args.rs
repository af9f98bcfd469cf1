//! The command line. Parsing only.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// See what Chronik's brokers know and plan their restarts.
///
/// CLUSTER is the name of a BrokerCluster; it may be left out where the namespace has only one. All answers come from the
/// brokers themselves, through the API server: no port-forward is needed.
#[derive(Parser, Debug)]
#[command(name = "kubectl-chronik", bin_name = "kubectl chronik", version, propagate_version = true)]
pub struct Cli {
    /// Which cluster of which Kubernetes.
    #[command(flatten)]
    pub access: Access,

    /// What is wanted.
    #[command(subcommand)]
    pub command: Command,
}

/// Which Kubernetes, and which namespace of it: as with kubectl.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes")]
pub struct Access {
    /// Kubeconfig file; else that of KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; else its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of the cluster; else that of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// What is wanted.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show the whole cluster on one screen: brokers, partitions, rollout, moves, and what is not well.
    Status(Looked),
    /// Show which broker restarts when, and which partition stands against it.
    ///
    /// The order is the operator's own; whether a broker may stop now is what the brokers answer when they are asked. Nothing
    /// is changed. What may change it is a broker that fails or falls behind meanwhile.
    Plan(Plan),
    /// List the topics, the worst off first.
    Topics(Looked),
    /// List partitions with their in-sync replicas and how far the others are behind.
    Isr(Isr),
    /// List the brokers, and whether each may stop now.
    Brokers(Looked),
    /// Show all about one broker: what stands against its stop, where it is not in sync, whom its absence would hold.
    Explain(Explain),
    /// Restart one broker when the brokers let it go, and follow it until it is back in every ISR.
    ///
    /// It sets the annotation chronik.dev/restart on the broker's pod; the operator does the rest. Ends with 0 when the broker
    /// is back, with 1 after an error, with 2 when --timeout is over before.
    Restart(Restart),
    /// Evict one broker's pod, as kubectl drain does, and try again until the brokers let it go.
    ///
    /// The brokers are asked first, so that nothing is evicted against their word, also while no operator answers.
    /// The node stays open for pods: the broker may come back to it. Use kubectl drain to empty a node. Ends with 0 when the pod
    /// is gone, with 1 after an error, with 2 when --timeout is over before.
    Drain(Drain),
    /// Print a script with which a shell completes `kubectl-chronik`.
    ///
    /// A shell that completes kubectl completes `kubectl chronik` without it, once this program is on the PATH under a second
    /// name, too: ln -s kubectl-chronik kubectl_complete-chronik
    Completion {
        /// Of which shell.
        shell: Shell,
    },
}

/// A command that shows something of a cluster.
#[derive(Args, Clone, Debug)]
pub struct Looked {
    /// The BrokerCluster.
    pub cluster: Option<String>,

    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `plan`.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// What is looked at.
    #[command(flatten)]
    pub looked: Looked,

    /// Plan a restart of every broker, outdated or not.
    #[arg(long)]
    pub all: bool,
}

/// `isr`.
#[derive(Args, Clone, Debug)]
pub struct Isr {
    /// What is looked at.
    #[command(flatten)]
    pub looked: Looked,

    /// Only partitions of this topic.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,

    /// Only partitions that lack a replica, have no leader, or of which nothing is known.
    #[arg(long)]
    pub not_well: bool,

    /// Go on and show what changes; on a terminal as one picture, else line by line.
    #[arg(short, long)]
    pub watch: bool,
}

/// `explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The broker's number or its pod's name.
    pub broker: String,

    /// What is looked at.
    #[command(flatten)]
    pub looked: Looked,
}

/// `restart`.
#[derive(Args, Clone, Debug)]
pub struct Restart {
    /// The broker's number or its pod's name.
    pub broker: String,

    /// The BrokerCluster.
    pub cluster: Option<String>,

    /// Only ask for the restart; do not wait for it.
    #[arg(long)]
    pub no_wait: bool,

    /// Longest wait, such as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub timeout: Duration,
}

/// `drain`.
#[derive(Args, Clone, Debug)]
pub struct Drain {
    /// The broker's number or its pod's name.
    pub broker: String,

    /// The BrokerCluster.
    pub cluster: Option<String>,

    /// Only ask whether the pod may be evicted now.
    #[arg(long)]
    pub dry_run: bool,

    /// Longest wait, such as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub timeout: Duration,
}

/// How something is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs, and people with time.
    Yaml,
}

/// A time span: a whole number with s, m or h; seconds without.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        _ => 1,
    };
    let number: Option<u64> = number.parse().ok();
    let span = number.and_then(|number| number.checked_mul(seconds)).filter(|span| *span > 0);
    span.map(Duration::from_secs)
        .ok_or_else(|| "allowed is a whole number above 0 with s, m or h, such as 90s, 10m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_and_no_others() {
        for (text, seconds) in [("90s", 90), ("90", 90), ("10m", 600), ("2h", 7_200)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "0", "-1s", "1.5m", "5 m", "1d", "99999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}

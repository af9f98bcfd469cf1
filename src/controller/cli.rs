//! The operator's command line. Parsing only.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs Chronik clusters on Kubernetes.
#[derive(Parser, Debug)]
#[command(name = "chronik-operator", version, propagate_version = true)]
pub struct Cli {
    /// How log lines look.
    #[arg(long, env = "CHRONIK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Watch BrokerCluster and Topic resources and make them true.
    Run(Box<Run>),
    /// Print the CustomResourceDefinitions as YAML, or write them to files.
    Crds(Crds),
    /// Stop the operator's Deployment and take its finalizers off every Topic, so that nothing waits for it.
    ReleaseFinalizers(ReleaseFinalizers),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Watch only these namespaces; all of them when absent.
    #[arg(long, env = "CHRONIK_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Namespace of the leader election's Lease.
    #[arg(long, env = "CHRONIK_LEASE_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,

    /// Name of the leader election's Lease.
    #[arg(long, env = "CHRONIK_LEASE_NAME", default_value = "chronik-operator")]
    pub lease_name: String,

    /// This process's name in the election and in events: the pod's name.
    #[arg(long, env = "CHRONIK_IDENTITY")]
    pub identity: Option<String>,

    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "CHRONIK_HTTP_LISTENER", default_value = "0.0.0.0:8080")]
    pub http_listener: SocketAddr,

    /// Image of brokers whose BrokerCluster names none.
    #[arg(long, env = "CHRONIK_BROKER_IMAGE", default_value = "docker.io/chronik/chronik:dev")]
    pub broker_image: String,

    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CHRONIK_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Most status writes per second, over all resources; a quarter is for BrokerClusters.
    #[arg(long, env = "CHRONIK_STATUS_WRITES_PER_SECOND", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub status_writes_per_second: u32,

    #[command(flatten)]
    pub webhook: Webhook,
}

/// The webhook that Kubernetes asks before a pod is evicted. Its Secret is in the Lease's namespace.
#[derive(Args, Clone, Debug)]
pub struct Webhook {
    /// Where it is served, with TLS; evictions are not asked about when absent.
    #[arg(long = "webhook-listener", env = "CHRONIK_WEBHOOK_LISTENER", requires = "host")]
    pub listener: Option<SocketAddr>,

    /// Host name by which Kubernetes calls it: `<service>.<namespace>.svc`.
    #[arg(long = "webhook-host", env = "CHRONIK_WEBHOOK_HOST")]
    pub host: Option<String>,

    /// Secret, made by the chart, where its certificate is kept.
    #[arg(
        long = "webhook-secret",
        env = "CHRONIK_WEBHOOK_SECRET",
        default_value = "chronik-operator-webhook"
    )]
    pub secret: String,

    /// ValidatingWebhookConfiguration, made by the chart, that is told which certificates to trust.
    #[arg(
        long = "webhook-configuration",
        env = "CHRONIK_WEBHOOK_CONFIGURATION",
        default_value = "chronik-operator"
    )]
    pub configuration: String,
}

#[derive(Args, Clone, Debug)]
pub struct Crds {
    /// Write one file per kind into this folder instead of printing; may be given more than once.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct ReleaseFinalizers {
    /// Look at Topics of these namespaces only; of all when absent.
    #[arg(long, env = "CHRONIK_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Namespace of the operator's Deployment.
    #[arg(long, env = "CHRONIK_DEPLOYMENT_NAMESPACE", requires = "deployment")]
    pub deployment_namespace: Option<String>,

    /// The operator's Deployment, scaled to zero first: a running operator would put finalizers back.
    #[arg(long, env = "CHRONIK_DEPLOYMENT", requires = "deployment_namespace")]
    pub deployment: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

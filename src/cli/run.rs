//! Carries out what the command line asks for. Wires the parts; decides nothing itself.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::CommandFactory;

use crate::access::Kubernetes;
use crate::args::{self, Access, Cli, Command, Looked, Output};
use crate::proxy::Proxy;
use crate::seen::Seen;
use crate::show::{or_say, print, say};
use crate::{brokers, drain, explain, isr, plan, restart, status, topics, verdict, watch};

/// Does it; the exit code says more than success where a command promises so.
///
/// # Errors
/// What stood in the way, in one line.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { access, command } = cli;
    if let Command::Completion { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "kubectl-chronik", &mut script);
        say(&String::from_utf8_lossy(&script))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start")?.block_on(carry_out(&access, command))
}

async fn carry_out(access: &Access, command: Command) -> anyhow::Result<ExitCode> {
    let kubernetes = Kubernetes::connect(access).await?;
    match command {
        Command::Status(looked) => {
            let seen = look(&kubernetes, &looked).await?;
            print(&status::status(&seen), looked.output)?;
        }
        Command::Plan(wanted) => {
            let seen = look(&kubernetes, &wanted.looked).await?;
            print(&plan::plan(&kubernetes, &seen, wanted.all).await?, wanted.looked.output)?;
        }
        Command::Topics(looked) => {
            let seen = look(&kubernetes, &looked).await?;
            print(&topics::topics(&seen, seen.told()?), looked.output)?;
        }
        Command::Isr(wanted) => isrs(&kubernetes, &wanted).await?,
        Command::Brokers(looked) => {
            let seen = look(&kubernetes, &looked).await?;
            let told = seen.told()?;
            let proxy = Proxy::new(&kubernetes, &seen.name);
            let verdicts = or_say(verdict::verdicts(&proxy, &seen, told).await).unwrap_or_default();
            print(&brokers::brokers(&seen, told, &verdicts), looked.output)?;
        }
        Command::Explain(wanted) => {
            let named = wanted.looked.cluster.as_deref();
            let (id, cluster) = kubernetes.broker(&wanted.broker, named).await?;
            let seen = Seen::look(&kubernetes, cluster).await?;
            print(&explain::explain(&kubernetes, &seen, id).await?, wanted.looked.output)?;
        }
        Command::Restart(wanted) => return restart::restart(&kubernetes, &wanted).await,
        Command::Drain(wanted) => return drain::drain(&kubernetes, &wanted).await,
        Command::Completion { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(kubernetes: &Kubernetes, looked: &Looked) -> anyhow::Result<Seen> {
    let cluster = kubernetes.cluster(looked.cluster.as_deref()).await?;
    Seen::look(kubernetes, cluster).await
}

async fn isrs(kubernetes: &Kubernetes, wanted: &args::Isr) -> anyhow::Result<()> {
    if wanted.watch && wanted.looked.output != Output::Table {
        bail!("--watch shows text: leave --output away, or ask again and again without --watch");
    }
    let seen = look(kubernetes, &wanted.looked).await?;
    if wanted.watch {
        return watch::watch(kubernetes, seen, wanted).await;
    }
    print(&isr::isrs(&seen, seen.told()?, wanted)?, wanted.looked.output)
}

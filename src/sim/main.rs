//! `chronik-sim`: runs many seeds and prints a summary, or replays one and prints what happened.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use chronik_sim::runner::{self, Outcome, Summary};
use clap::Parser;

/// Simulates clusters of brokers that fail in every way, from seeds.
#[derive(Parser)]
#[command(name = "chronik-sim")]
struct Args {
    /// Replays this seed and prints everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Threads; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Goes on after a violation.
    #[arg(long)]
    go_on: bool,
    /// Lines of the trace that are printed for a seed that fails.
    #[arg(long, default_value_t = 40)]
    lines: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic is a finding, told with its seed; the same text on its way there only clutters.
    std::panic::set_hook(Box::new(|_| {}));
    match args.seed {
        Some(seed) => replay(seed),
        None => many(&args),
    }
}

fn replay(seed: u64) -> ExitCode {
    let outcome = runner::run(seed, true);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} events, {} operations, {:.1} virtual seconds, trace hash {:016x}",
        outcome.events,
        outcome.operations,
        outcome.lasted.as_secs_f64(),
        outcome.hash
    );
    verdict(&outcome)
}

fn verdict(outcome: &Outcome) -> ExitCode {
    let Some(violation) = &outcome.violation else { return ExitCode::SUCCESS };
    println!("seed {} VIOLATES: {}\n  {}", outcome.seed, violation.property, violation.what);
    ExitCode::FAILURE
}

fn many(args: &Args) -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(processors);
    let summary = runner::run_many(args.first, args.seeds, threads, args.go_on);
    for outcome in &summary.failed {
        let skipped = outcome.lines.len().saturating_sub(args.lines);
        outcome.lines[skipped..].iter().for_each(|line| println!("{line}"));
        verdict(outcome);
        println!("replay: make sim SEED={}\n", outcome.seed);
    }
    print(&summary);
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(summary: &Summary) {
    println!("{:<44} {:>7} {:>9}", "happened", "seeds", "times");
    for (name, (seeds, times)) in &summary.coverage {
        let percent = 100.0 * *seeds as f64 / summary.seeds.max(1) as f64;
        println!("{name:<44} {percent:>5.1} % {times:>9}");
    }
    let seconds = summary.took.as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s, {:.1} seeds/s; {} events, {} operations, {:.0} virtual hours; {} seeds run twice",
        summary.seeds,
        summary.seeds as f64 / seconds,
        summary.events,
        summary.operations,
        summary.lasted.as_secs_f64() / 3_600.0,
        summary.repeated
    );
    println!(
        "least in a seed: {} operations, {:.0} virtual seconds; failed: {}",
        summary.fewest_operations.unwrap_or(0),
        summary.shortest.unwrap_or_default().as_secs_f64(),
        summary.failed.len()
    );
}

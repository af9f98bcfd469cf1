//! Measures layouts of the log on this disk: `journal FOLDER [ROUNDS]`. Every batch is synced before it counts.
//!
//! Layouts take turns, so that a slow minute of the machine hits all of them. May write into FOLDER only.

mod layout;
mod load;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use layout::LAYOUTS;
use load::{LOADS, Load};
use run::Outcome;

const PARTITIONS: [usize; 3] = [1, 100, 1_000];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from);
    let rounds = arguments.next().map_or(Ok(3), |text| text.parse::<usize>());
    let (Some(folder), Ok(rounds @ 1..=20)) = (folder, rounds) else {
        eprintln!("usage: journal FOLDER [ROUNDS, 1 to 20]");
        return ExitCode::from(2);
    };
    match measure(&folder, rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("journal: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn measure(folder: &Path, rounds: usize) -> std::io::Result<()> {
    let mut runs = Vec::new();
    for load in &LOADS {
        println!("\n{}\n", load.title);
        println!("| partitions | layout | MB/s | batches per sync | ms p50 | ms p99 | CPU s per GB |");
        println!("|---|---|---|---|---|---|---|");
        for partitions in PARTITIONS {
            for (layout, outcomes) in LAYOUTS.iter().zip(alternate(folder, load, partitions, rounds)?) {
                let cells = Outcome::FIGURES.map(|(_, figure)| spread(outcomes.iter().map(figure).collect()));
                println!("| {partitions} | {} | {} |", layout.name, cells.join(" | "));
                runs.push(to_json(load, partitions, layout.name, &outcomes));
            }
        }
    }
    let file = folder.join("journal.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&runs)?)?;
    println!(
        "\nMedian (least to most) of {rounds} runs of {} s; each run in {}.",
        run::SECONDS,
        file.display()
    );
    Ok(())
}

/// Every layout once, and all over again: the outcomes of each, in the order of [`LAYOUTS`].
fn alternate(
    folder: &Path,
    load: &Load,
    partitions: usize,
    rounds: usize,
) -> std::io::Result<Vec<Vec<Outcome>>> {
    let mut outcomes: Vec<Vec<Outcome>> = LAYOUTS.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (layout, outcomes) in LAYOUTS.iter().zip(&mut outcomes) {
            outcomes.push(run::run(folder, layout, load, partitions)?);
        }
    }
    Ok(outcomes)
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let show = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let [least, middle, most] = [0, values.len() / 2, values.len() - 1].map(|place| show(values[place]));
    format!("{middle} ({least} to {most})")
}

fn to_json(load: &Load, partitions: usize, layout: &str, outcomes: &[Outcome]) -> serde_json::Value {
    let figures = |outcome: &Outcome| -> serde_json::Map<String, serde_json::Value> {
        Outcome::FIGURES.iter().map(|(name, figure)| ((*name).to_owned(), figure(outcome).into())).collect()
    };
    let runs: Vec<_> = outcomes.iter().map(figures).collect();
    serde_json::json!({ "load": load.title, "partitions": partitions, "layout": layout, "runs": runs })
}

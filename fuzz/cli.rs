//! Runs targets on stable: over their seeds, over the corpus, and over mutations of both that follow from a seed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Parser;

use crate::mutate::{Random, mutate};
use crate::{Target, corpus, find, targets};

/// Feeds every decoder of the broker; ends with 1 if an input breaks one.
#[derive(Parser)]
struct Args {
    /// Targets to run; all of them if none is named.
    targets: Vec<String>,
    /// Name the targets and end.
    #[arg(long)]
    list: bool,
    /// Mutations for each target, besides its corpus.
    #[arg(long, default_value_t = 1_000)]
    mutations: usize,
    /// What the mutations follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run on this file only.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Write the corpus into this folder, each input a file.
    #[arg(long, conflicts_with = "pack")]
    unpack: Option<PathBuf>,
    /// Make the files of this folder the corpus.
    #[arg(long)]
    pack: Option<PathBuf>,
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let named = args.targets.iter().map(|name| {
        find(name).ok_or_else(|| anyhow!("target {name:?} is unknown: --list names those there are"))
    });
    let mut chosen: Vec<&Target> = named.collect::<Result<_>>()?;
    if chosen.is_empty() {
        chosen = targets::ALL.iter().collect();
    }
    let mut sound = true;
    for target in chosen {
        match args {
            Args { list: true, .. } => say(target.name),
            Args { unpack: Some(folder), .. } => corpus::unpack(target, folder)?,
            Args { pack: Some(folder), .. } => {
                say(&format!("{}: {} bytes", target.name, corpus::pack(target, folder)?));
            }
            Args { file: Some(file), .. } => {
                let input = fs::read(file).with_context(|| format!("read {}", file.display()))?;
                sound &= holds(target, &input)?;
            }
            _ => sound &= all(target, args)?,
        }
    }
    Ok(sound)
}

fn say(line: &str) {
    use std::io::Write;
    // Nobody listens: nothing is to be said.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs a target over everything, up to the first input that breaks it.
fn all(target: &Target, args: &Args) -> Result<bool> {
    let began = Instant::now();
    let inputs: Vec<Vec<u8>> = corpus::inputs(target)?.into_iter().collect();
    for input in &inputs {
        if !holds(target, input)? {
            return Ok(false);
        }
    }
    let mut random = Random::new(args.seed);
    for _ in 0..args.mutations {
        let mut input = inputs[random.below(inputs.len())].clone();
        let other = &inputs[random.below(inputs.len())];
        mutate(&mut input, other, &mut random);
        if !holds(target, &input)? {
            return Ok(false);
        }
    }
    let (name, corpus, mutations) = (target.name, inputs.len(), args.mutations);
    say(&format!("{name}: corpus {corpus}, mutations {mutations}, {:.1} s", began.elapsed().as_secs_f64()));
    Ok(true)
}

/// Whether the target takes an input; one that it does not is kept in a file.
fn holds(target: &Target, input: &[u8]) -> Result<bool> {
    if catch_unwind(AssertUnwindSafe(|| target.run(input))).is_ok() {
        return Ok(true);
    }
    let folder = Path::new("target/fuzz/broken");
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}-{:08x}", target.name, crc32c::crc32c(input)));
    fs::write(&path, input)?;
    eprintln!("broken: chronik-fuzz {} --file {}", target.name, path.display());
    Ok(false)
}

//! Runs the scripted transcripts in ../../testdata: each line is a command, the lines after it that begin with `  > ` are
//! what it prints. `UPDATE_TESTDATA=1` writes what is printed now; read the difference before committing it.

mod args;
mod partition;
mod producers;

use std::path::{Path, PathBuf};

use args::Args;

/// What a transcript speaks to. It prints one or more lines for each command.
#[derive(Default)]
struct World {
    partition: partition::World,
    producers: producers::World,
}

impl World {
    fn run(&mut self, line: &str) -> String {
        let mut args = Args::parse(line);
        let known = self.partition.run(&mut args).or_else(|| self.producers.run(&mut args));
        let output = known.unwrap_or_else(|| panic!("unknown command: {line}"));
        args.assert_all_used();
        output
    }
}

const PRINTED: &str = "  > ";

/// The transcript with what each command printed replaced by what it prints now.
fn replay(text: &str) -> String {
    let mut world = World::default();
    let mut fresh = String::new();
    for line in text.lines().filter(|line| !line.starts_with(PRINTED)) {
        fresh += line;
        fresh += "\n";
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for printed in world.run(line).lines() {
            fresh += &format!("{PRINTED}{printed}\n");
        }
    }
    fresh
}

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("replication/testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn transcripts_hold() {
    let files = transcripts();
    assert!(files.len() >= 6, "transcripts are missing: {files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let fresh = replay(&text);
        if std::env::var_os("UPDATE_TESTDATA").is_some() {
            std::fs::write(&file, fresh).unwrap();
        } else {
            assert!(fresh == text, "{} now prints:\n{fresh}", file.display());
        }
    }
}

//! The `crds` subcommand: prints or writes the CustomResourceDefinitions. `crds/` and the chart hold its output.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::Crds;

/// Prints every CRD, or writes each to `<dir>/<plural>.yaml`.
pub fn write(options: &Crds) -> io::Result<()> {
    let files = files();
    if options.dir.is_empty() {
        let mut out = io::stdout().lock();
        for (_, text) in &files {
            write!(out, "---\n{text}")?;
        }
        return Ok(());
    }
    for dir in &options.dir {
        std::fs::create_dir_all(dir)?;
        for (name, text) in &files {
            write_if_changed(&dir.join(name), text)?;
        }
    }
    Ok(())
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::write(path, text)
}

/// File name and YAML of every CRD.
fn files() -> Vec<(String, String)> {
    let file = |crd: &_| serde_saphyr::to_string(crd).expect("a CRD is YAML");
    chronik_api::crds().iter().map(|crd| (format!("{}.yaml", crd.spec.names.plural), file(crd))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_what_the_types_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for dir in ["crds", "charts/chronik/files/crds"] {
            for (name, text) in files() {
                let path = root.join(dir).join(name);
                let present = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(present == text, "{} is stale: run `make crds`", path.display());
            }
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_definition() {
        for ((_, text), crd) in files().into_iter().zip(chronik_api::crds()) {
            let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read, serde_json::to_value(crd).unwrap());
        }
    }
}

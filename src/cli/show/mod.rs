//! How something is shown: for people as text, for programs as JSON or YAML. Prints; what the text says is each command's own.

mod bar;
mod paint;
mod table;
mod words;

use std::io::{IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

use crate::args::Output;

pub(crate) use bar::bar;
pub(crate) use paint::{Paint, Tone};
pub(crate) use table::{Cell, Table};
pub(crate) use words::{blocks_text, ids, permit_text, place, seconds, yes};

/// What a command found, as a document and as text.
pub(crate) trait Shown: Serialize {
    /// For people; ends with a line's end.
    fn text(&self, paint: Paint) -> String;
}

/// Prints it to stdout.
pub(crate) fn print(shown: &impl Shown, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => shown.text(Paint::of_stdout()),
        Output::Json => serde_json::to_string_pretty(shown).context("write JSON")? + "\n",
        Output::Yaml => serde_saphyr::to_string(shown).context("write YAML")?,
    };
    say(&text)
}

/// Prints text to stdout at once. Whoever closes the pipe has seen enough.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        done => done.context("write to stdout"),
    }
}

/// What was found out; else says on stderr why it was not, for a view that is worth showing without it.
pub(crate) fn or_say<T>(found: anyhow::Result<T>) -> Option<T> {
    found.inspect_err(|error| eprintln!("not known: {error:#}")).ok()
}

/// Whether a person looks at stdout.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

//! Completion of `kubectl chronik …` in a shell that completes kubectl: kubectl asks a program called
//! `kubectl_complete-chronik`, which is this one under another name. Pure but for that name.

use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

/// The name under which kubectl asks.
const NAME: &str = "kubectl_complete-chronik";
/// Cobra's `ShellCompDirectiveNoFileComp`: no file is meant.
const NO_FILES: &str = ":4";

/// What kubectl is to be answered, if it is kubectl that asks; `arguments` begin with the program's own name.
pub fn answer(arguments: &[String]) -> Option<String> {
    let (program, words) = arguments.split_first()?;
    let name = program.rsplit('/').next()?;
    (name == NAME).then(|| {
        let lines = candidates(words).into_iter().map(|(word, about)| format!("{word}\t{about}\n"));
        lines.collect::<String>() + NO_FILES + "\n"
    })
}

/// Words that may stand where the last one is begun, and what each means.
fn candidates(words: &[String]) -> Vec<(String, String)> {
    let mut root = Cli::command();
    root.build();
    let Some((begun, before)) = words.split_last() else { return Vec::new() };
    let command = before.iter().fold(&root, |command, word| command.find_subcommand(word).unwrap_or(command));
    let all = match before.last().and_then(|word| option(command, word)) {
        Some(option) => values(option),
        None if begun.starts_with('-') => options(command),
        None => {
            let places = command.get_positionals().flat_map(values);
            subcommands(command).into_iter().chain(places).collect()
        }
    };
    all.into_iter().filter(|(word, _)| word.starts_with(begun.as_str())).collect()
}

/// The option of that name that takes a value.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let named = |arg: &&Arg| {
        let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string()))
    };
    command.get_opts().find(named)
}

fn options(command: &Command) -> Vec<(String, String)> {
    let long = |arg: &Arg| Some((format!("--{}", arg.get_long()?), about(arg.get_help())));
    command.get_arguments().filter_map(long).collect()
}

fn subcommands(command: &Command) -> Vec<(String, String)> {
    command.get_subcommands().map(|sub| (sub.get_name().to_owned(), about(sub.get_about()))).collect()
}

fn values(arg: &Arg) -> Vec<(String, String)> {
    let values = arg.get_possible_values();
    values.iter().map(|value| (value.get_name().to_owned(), about(value.get_help()))).collect()
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        candidates(&words).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_options_and_values_are_offered_where_they_may_stand() {
        assert_eq!(offered(&["pl"]), ["plan"]);
        assert_eq!(offered(&["isr", "--not"]), ["--not-well"]);
        assert_eq!(offered(&["isr", "--name"]), ["--namespace"]);
        assert_eq!(offered(&["-n", "shop", "topics", "-o", ""]), ["table", "json", "yaml"]);
        assert_eq!(offered(&["completion", "z"]), ["zsh"]);
        assert!(offered(&["restart", "2", "de"]).is_empty(), "names of clusters are not known");
        assert!(offered(&[""]).contains(&"explain".to_owned()));
    }

    #[test]
    fn only_kubectl_is_answered() {
        let of = |name: &str| answer(&[name.to_owned(), "pla".to_owned()]);
        assert_eq!(of("/usr/local/bin/kubectl-chronik"), None);
        let answered = of("/usr/local/bin/kubectl_complete-chronik").unwrap();
        assert!(answered.starts_with("plan\t") && answered.ends_with("\n:4\n"), "{answered}");
    }
}

//! One command line of a transcript: `name operand key=value flag`. Numbers may have underscores.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

use crate::ids::ReplicaId;

pub(super) struct Args {
    line: String,
    pub(super) name: String,
    rest: BTreeMap<String, String>,
}

impl Args {
    pub(super) fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a command").to_owned();
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if word.starts_with(char::is_numeric) => ("".to_owned(), word.to_owned()),
            None => (word.to_owned(), "".to_owned()),
        };
        Self { line: line.to_owned(), name, rest: words.map(pair).collect() }
    }

    pub(super) fn optional<T: FromStr<Err: Debug>>(&mut self, key: &str) -> Option<T> {
        let value = self.rest.remove(key)?.replace('_', "");
        Some(value.parse().unwrap_or_else(|error| panic!("{}: {key}: {error:?}", self.line)))
    }

    pub(super) fn get<T: FromStr<Err: Debug>>(&mut self, key: &str) -> T {
        self.optional(key).unwrap_or_else(|| panic!("{}: {key} is missing", self.line))
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.rest.remove(key).is_some()
    }

    /// The operand: the word that is neither a pair nor a flag.
    pub(super) fn replica(&mut self) -> ReplicaId {
        ReplicaId(self.get(""))
    }

    pub(super) fn replicas(&mut self, key: &str) -> Vec<ReplicaId> {
        let list: String = self.get(key);
        list.split(',').filter(|id| !id.is_empty()).map(|id| ReplicaId(id.parse().unwrap())).collect()
    }

    pub(super) fn assert_all_used(&self) {
        assert!(self.rest.is_empty(), "{}: not understood: {:?}", self.line, self.rest.keys());
    }
}

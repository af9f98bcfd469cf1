//! Where values come from: flags before environment before file before defaults. Judges only the form of the file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::spec::{SPECS, Spec, spec};
use super::values::SettingsError;

/// The environment, handed in so that tests need not change the process's own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const FILE_LIMIT: u64 = 1 << 20;

/// A setting's texts (several only where it may be repeated) and who said so.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) values: Vec<String>,
    pub(super) origin: String,
    pub(super) set: bool,
}

/// All settings as texts.
pub(super) struct Sources(BTreeMap<&'static str, Given>);

impl Sources {
    /// Merges what the flags say with the environment, the file and the defaults.
    pub(super) fn collect(
        flags: &BTreeMap<&'static str, Vec<String>>,
        env: Env<'_>,
        file: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let file = file.map(read_file).transpose()?;
        Ok(Self::merge(flags, env, file))
    }

    /// What a file of this text says, and the defaults.
    #[cfg(feature = "fuzzing")]
    pub(super) fn of_text(text: &str) -> Result<Self, SettingsError> {
        let file = PathBuf::from("chronik.toml");
        let values = parse(&file, text)?;
        Ok(Self::merge(&BTreeMap::new(), &|_| None, Some((file, values))))
    }

    fn merge(
        flags: &BTreeMap<&'static str, Vec<String>>,
        env: Env<'_>,
        file: Option<(PathBuf, FileValues)>,
    ) -> Self {
        let given = |spec: &Spec| -> Option<Given> {
            if let Some(values) = flags.get(spec.name) {
                return Some(Given {
                    values: values.clone(),
                    origin: format!("flag --{}", spec.name),
                    set: true,
                });
            }
            // A pod's variable that is taken from an annotation is empty while that is not there.
            if let Some(value) = env(&spec.env()).filter(|value| !value.is_empty()) {
                return Some(Given {
                    values: vec![value],
                    origin: format!("environment {}", spec.env()),
                    set: true,
                });
            }
            if let Some((path, values)) = &file
                && let Some(values) = values.get(spec.name)
            {
                return Some(Given {
                    values: values.clone(),
                    origin: format!("file {}", path.display()),
                    set: true,
                });
            }
            let default = spec.default?;
            Some(Given { values: vec![default.into()], origin: "default".into(), set: false })
        };
        Self(SPECS.iter().filter_map(|spec| Some((spec.name, given(spec)?))).collect())
    }

    /// The setting's texts, if it has any.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(spec(name).name)
    }

    /// Names of what somebody set.
    pub(super) fn set(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|(_, given)| given.set).map(|(name, _)| *name)
    }
}

type FileValues = BTreeMap<&'static str, Vec<String>>;

fn read_file(path: &Path) -> Result<(PathBuf, FileValues), SettingsError> {
    let file = path.to_path_buf();
    let read = |source| SettingsError::Read { file: file.clone(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(path).map_err(read)?;
    opened.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(SettingsError::TooLarge { file, limit: FILE_LIMIT });
    }
    let values = parse(&file, &text)?;
    Ok((file, values))
}

fn parse(path: &Path, text: &str) -> Result<FileValues, SettingsError> {
    let file = path.to_path_buf();
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(source) => return Err(SettingsError::Toml { file, source: Box::new(source) }),
    };
    let mut values = BTreeMap::new();
    for (key, value) in &table {
        let Some(known) = SPECS.iter().find(|spec| spec.file_key() == *key) else {
            return Err(SettingsError::UnknownKey { file, key: key.clone(), hint: hint(key) });
        };
        values.insert(known.name, texts(path, known, value)?);
    }
    Ok(values)
}

fn hint(key: &str) -> String {
    let meant = key.replace(['-', '.'], "_").to_ascii_lowercase();
    match SPECS.iter().find(|spec| spec.file_key() == meant) {
        Some(spec) => format!("{:?} is", spec.file_key()),
        None => "settings are the flags of `chronik-broker run --help`, written with '_'".into(),
    }
}

fn texts(path: &Path, spec: &Spec, value: &toml::Value) -> Result<Vec<String>, SettingsError> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    };
    let texts = match value {
        toml::Value::Array(list) => list.iter().map(one).collect(),
        single => one(single).map(|text| vec![text]),
    };
    texts.ok_or_else(|| SettingsError::Invalid {
        field: spec.file_key(),
        value: value.to_string(),
        origin: format!("file {}", path.display()),
        allowed: "a text, a whole number, true or false, or a list of texts".into(),
    })
}

//! What `chronik-broker format` is told: whose disk this will be, and how it comes to its cluster. Writes nothing.

use std::path::PathBuf;

use chronik_core::ids::{BrokerId, ClusterId};
use chronik_core::metadata::limits::{BROKER_ID_MAX, BROKER_ID_MIN};

use super::values::{HostPort, SettingsError};
use crate::log::{self, InitialVoter};

/// All that `format` is told, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatArgs {
    pub data_dir: PathBuf,
    pub cluster: ClusterId,
    pub broker: BrokerId,
    pub birth: Birth,
    /// A folder that is formatted already, as this broker's, is left as it is, without an error.
    pub if_empty: bool,
}

/// How the disk comes to its cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Birth {
    /// It founds the cluster together with these, itself among them.
    InitialVoters(Vec<Voter>),
    /// It joins the cluster that these founded.
    Join(Vec<Voter>),
}

/// A founding voter of the metadata group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    pub broker: BrokerId,
    /// Its advertised peer address.
    pub address: HostPort,
}

/// The texts of the flags.
pub(super) struct FormatTexts {
    pub(super) data_dir: String,
    pub(super) cluster_id: String,
    pub(super) broker_id: String,
    pub(super) initial_voters: String,
    /// `true` or `false`.
    pub(super) join: String,
    pub(super) if_empty: bool,
}

impl FormatArgs {
    pub(super) fn build(texts: FormatTexts) -> Result<Self, SettingsError> {
        if texts.data_dir.is_empty() {
            return Err(SettingsError::of_flag("data-dir", "", "the path of an empty or missing folder"));
        }
        let cluster = texts.cluster_id.parse().map_err(|_| {
            SettingsError::of_flag("cluster-id", &texts.cluster_id, "1 to 64 of A-Z, a-z, 0-9, '-' and '_'")
        })?;
        let broker = broker_id(&texts.broker_id).ok_or_else(|| {
            SettingsError::of_flag("broker-id", &texts.broker_id, "a whole number from 1 to 99999")
        })?;
        let founders = voters(&texts.initial_voters)?;
        let join =
            texts.join.parse().map_err(|_| SettingsError::of_flag("join", &texts.join, "true or false"))?;
        let birth = if join {
            Birth::Join(founders)
        } else {
            refuse_stranger(&founders, broker, &texts.initial_voters)?;
            Birth::InitialVoters(founders)
        };
        Ok(Self { data_dir: texts.data_dir.into(), cluster, broker, birth, if_empty: texts.if_empty })
    }
}

fn broker_id(text: &str) -> Option<BrokerId> {
    let id = text.trim().parse().ok()?;
    (BROKER_ID_MIN..=BROKER_ID_MAX).contains(&id).then_some(BrokerId(id))
}

fn voters(list: &str) -> Result<Vec<Voter>, SettingsError> {
    let mut voters: Vec<Voter> = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let parsed = entry.split_once('@').and_then(|(id, address)| {
            Some(Voter {
                broker: broker_id(id)?,
                address: HostPort::parse(address).filter(|at| !at.is_wildcard())?,
            })
        });
        let Some(voter) = parsed else {
            return Err(SettingsError::of_flag(
                "initial-voters",
                entry,
                "ID@HOST:PORT with commas between, as 1@a:9093,2@b:9093",
            ));
        };
        if voters.iter().any(|other| other.broker == voter.broker || other.address == voter.address) {
            return Err(SettingsError::of_flag(
                "initial-voters",
                entry,
                "each broker id and each address once",
            ));
        }
        voters.push(voter);
    }
    if !matches!(voters.len(), 1 | 3 | 5) {
        return Err(SettingsError::of_flag(
            "initial-voters",
            list,
            "1, 3 or 5 voters; brokers beyond them are formatted with --join",
        ));
    }
    Ok(voters)
}

fn refuse_stranger(founders: &[Voter], own: BrokerId, list: &str) -> Result<(), SettingsError> {
    if founders.iter().any(|voter| voter.broker == own) {
        return Ok(());
    }
    let allowed = format!("a list with broker {own}, whose disk this is; or --join besides");
    Err(SettingsError::of_flag("initial-voters", list, &allowed))
}

impl From<Birth> for log::Birth {
    fn from(birth: Birth) -> Self {
        let founders = |voters: Vec<Voter>| {
            let founder =
                |voter: Voter| InitialVoter { broker: voter.broker, address: voter.address.to_string() };
            voters.into_iter().map(founder).collect()
        };
        match birth {
            Birth::InitialVoters(voters) => Self::InitialVoters(founders(voters)),
            Birth::Join(voters) => Self::Join(founders(voters)),
        }
    }
}

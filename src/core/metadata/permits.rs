//! Permits to stop, as commands change them.

use std::collections::BTreeMap;

use super::apply::Applied;
use super::command::{ChangePermit, Command};
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{ClusterState, Topic};
use crate::ids::Incarnation;
use crate::restart::{Leave, PermitError, Permits, Stage};

const MIN_ISR: &str = "min.insync.replicas";

impl ClusterState {
    /// The permits that are open.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Whether the permit could be changed so.
    pub fn validate_change_permit(&self, wanted: &ChangePermit) -> Result<(), Refusal> {
        self.judge_permit(wanted)?;
        changed(&mut self.permits.clone(), wanted).map(drop)
    }

    pub(super) fn change_permit(&mut self, wanted: &ChangePermit) -> Result<Applied, Refusal> {
        self.judge_permit(wanted)?;
        changed(&mut self.permits, wanted)
    }

    /// A broker that is not registered, or is registered in another life, has no leave to stop; in yet another life since it
    /// got leave, it has none to begin: that life would end the permit at once.
    fn judge_permit(&self, wanted: &ChangePermit) -> Result<(), Refusal> {
        let (broker, incarnation, pod_uid) = match wanted {
            ChangePermit::Grant { leave: Leave { broker, incarnation, pod_uid, .. }, .. } => {
                (broker, incarnation, pod_uid)
            }
            ChangePermit::Begin { permit, .. } => match self.permits.get(*permit) {
                Some(known) if known.stage == Stage::Granted => {
                    (&known.broker, &known.incarnation, &known.pod_uid)
                }
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let refuse = |code, field: &str, value: String, allowed: String| {
            Err(Refusal::new(code, field, value, allowed))
        };
        let Some(registered) = self.broker(*broker) else {
            let allowed = "a registered broker".to_owned();
            return refuse(RefusalCode::UnknownBroker, "broker", broker.to_string(), allowed);
        };
        if registered.incarnation() != *incarnation {
            let allowed = format!("{}, as it is registered", registered.incarnation());
            return refuse(RefusalCode::StaleIncarnation, "incarnation", incarnation.to_string(), allowed);
        }
        if pod_uid.is_empty() || pod_uid.len() > limits::POD_UID_BYTES {
            let allowed = format!("1 to {} bytes", limits::POD_UID_BYTES);
            return refuse(RefusalCode::InvalidRequest, "pod_uid", pod_uid.clone(), allowed);
        }
        Ok(())
    }
}

impl ClusterState {
    /// The life that the broker of a registration has so far.
    pub(super) fn life_named_by(&self, command: &Command) -> Option<Incarnation> {
        let Command::RegisterBroker(broker) = command else { return None };
        self.broker(broker.id).map(|known| known.incarnation())
    }

    /// Whether a command changed what permits are judged by. Permits count their own changes.
    pub(super) fn moves_permits(
        &self,
        command: &Command,
        applied: &Applied,
        life_before: Option<Incarnation>,
    ) -> bool {
        if let Applied::Refused(_)
        | Applied::AlreadyApplied
        | Applied::ConfigsAltered { changed: false, .. } = applied
        {
            return false;
        }
        match command {
            Command::RegisterBroker(_) => self.life_named_by(command) != life_before,
            Command::UnregisterBroker(_)
            | Command::CreateTopic(_)
            | Command::DeleteTopic(_)
            | Command::CreatePartitions(_)
            | Command::AlterTopicConfigs(_)
            | Command::AlterReassignment(_)
            | Command::CompleteReassignment(_)
            | Command::ReplaceReplica(_)
            | Command::RecoverMetadata(_)
            | Command::RecoverPartition(_) => true,
            Command::SetStanding(_)
            | Command::SetTopicReplicas(_)
            | Command::AllocateProducerIds(_)
            | Command::SetFeatureLevel(_)
            | Command::ChangePermit(_) => false,
        }
    }

    /// What takes away a margin that an open permit counts on waits until it is closed.
    pub(super) fn refuse_while_permitted(
        &self,
        field: &str,
        value: impl ToString,
        otherwise: &str,
    ) -> Result<(), Refusal> {
        let Some(permit) = self.permits.open().next() else { return Ok(()) };
        let allowed = format!(
            "{otherwise} while broker {} holds permit {} to stop: try again when that is closed",
            permit.broker, permit.id.0
        );
        Err(Refusal::new(RefusalCode::PermitOpen, field, value, allowed))
    }

    /// What the default is only the brokers' settings say: to begin or to cease to set a value may be a raise.
    pub(super) fn validate_min_isr_while_permitted(
        &self,
        topic: &Topic,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let number = |configs: &BTreeMap<String, String>| {
            configs.get(MIN_ISR).and_then(|value| value.trim().parse::<i64>().ok())
        };
        let (before, after) = (number(&topic.configs), number(configs));
        let is_no_raise = before == after || after == Some(1) || (after.is_some() && after < before);
        if is_no_raise {
            return Ok(());
        }
        let value = after.map_or_else(|| "default".to_owned(), |after| after.to_string());
        let otherwise = format!("{} or less", before.unwrap_or(1));
        self.refuse_while_permitted(&format!("config {MIN_ISR}"), value, &otherwise)
    }
}

fn changed(permits: &mut Permits, wanted: &ChangePermit) -> Result<Applied, Refusal> {
    let done = match wanted {
        ChangePermit::Grant { judged, leave } => permits.grant(*judged, leave),
        ChangePermit::Begin { permit, pod_uid } => permits.begin(*permit, pod_uid),
        ChangePermit::TakeBack { permit } => permits.take_back(*permit),
        ChangePermit::Close { permit, back } => permits.close(*permit, *back),
        ChangePermit::Abort { permit, pod_uid } => permits.abort(*permit, pod_uid),
    };
    let permit = done.map_err(refusal)?;
    Ok(Applied::PermitChanged { permit, version: permits.version() })
}

fn refusal(error: PermitError) -> Refusal {
    let value = match &error {
        PermitError::Moved { judged, .. } => judged.to_string(),
        PermitError::Open(broker)
        | PermitError::Begun { broker, .. }
        | PermitError::SameLife { broker, .. } => broker.to_string(),
        PermitError::Unknown(id) => id.0.to_string(),
        PermitError::OtherPod { given, .. } => given.clone(),
    };
    Refusal::new(RefusalCode::PermitRefused, "permit", value, error.to_string())
}

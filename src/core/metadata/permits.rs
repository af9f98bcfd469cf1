//! Permits to stop, as commands change them.

use super::apply::Applied;
use super::command::ChangePermit;
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::ClusterState;
use crate::restart::{PermitError, Permits};

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

    /// A broker that is not registered, or is registered in another life, has no leave to stop.
    fn judge_permit(&self, wanted: &ChangePermit) -> Result<(), Refusal> {
        let ChangePermit::Grant { broker, incarnation, pod_uid, .. } = wanted else { return Ok(()) };
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

fn changed(permits: &mut Permits, wanted: &ChangePermit) -> Result<Applied, Refusal> {
    let done = match wanted {
        ChangePermit::Grant { judged, broker, incarnation, pod_uid, reason } => {
            permits.grant(*judged, *broker, *incarnation, pod_uid, *reason)
        }
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

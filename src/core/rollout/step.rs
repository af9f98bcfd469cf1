//! What the rollout's planner answers: the next thing to do, or what is waited for. Plain data.

use serde::{Deserialize, Serialize};

use crate::ids::BrokerId;
use crate::restart::{PermitId, Reason};

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// Every pod is what it should be.
    Done,
    /// Nothing, until something changes.
    Wait(Wait),
    /// Ask the brokers for a permit.
    Ask {
        /// Who is to stop.
        broker: BrokerId,
        /// The pod it runs in.
        pod_uid: String,
        /// Why.
        reason: Reason,
        /// A person bears what its partitions pay.
        allow_unavailable: bool,
    },
    /// Begin a permit, or make sure that it is still begun. A pod's deletion follows at once, or is under way already.
    Begin {
        /// Which.
        permit: PermitId,
        /// Whose.
        broker: BrokerId,
        /// The pod it was granted for.
        pod_uid: String,
    },
    /// Delete this very pod.
    Delete {
        /// The permit it goes under.
        permit: PermitId,
        /// The broker that runs in it.
        broker: BrokerId,
        /// Its name.
        pod: String,
        /// Its UID.
        pod_uid: String,
    },
}

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wait {
    /// A person, who paused it.
    Paused,
    /// A person, who has to approve this broker's restart or another's.
    Approval(BrokerId),
    /// A person, who has it go on to lower brokers than it may restart.
    HeldBack,
    /// A broker's word about the others.
    Report,
    /// The brokers' word about permits.
    Permits,
    /// Kubernetes, which has not taken the spec's template yet.
    Template,
    /// This broker's pod, which is being deleted.
    Stopping(BrokerId),
    /// This broker, which restarts: it is back when it is in every ISR, and its permit ends then.
    Returning(BrokerId, PermitId),
    /// This broker, which restarts and has not returned within the time that it has for it.
    Overdue(BrokerId, PermitId),
    /// This broker, whose pod has not been ready for long enough.
    Settling(BrokerId),
    /// A permit nobody needs any more: it was not begun and lapses.
    Lapsing(BrokerId, PermitId),
    /// The end of a stop that is not ours.
    OtherStop(BrokerId, PermitId, Reason),
    /// This broker, which runs the spec's settings and is not up, or not ready yet.
    NotUp(BrokerId),
    /// The brokers, which refuse every pod that could be next.
    Refused,
}

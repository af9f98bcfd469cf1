//! What the metadata leader does when it is asked: judges, commits, and says why not.

use std::time::Duration;

use chronik_core::ids::GroupId;
use chronik_core::metadata::{Applied, ChangePermit, Command};
use chronik_core::restart::{Block, Leave, Permit, PermitId, Reason, Stage};
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused, PodBody};
use tokio::time::timeout;

use super::refusal::{self, blocked, listed, not_committed, refused, sentence};
use super::words::Order;
use super::{Restarts, keeper};
use crate::metrics::PermitOutcome;

/// How long a change of a permit may take to be committed.
pub(super) const COMMIT: Duration = Duration::from_secs(5);
/// How long a request waits for those before it.
const TURN: Duration = Duration::from_secs(5);

impl Restarts {
    /// Carries an order out as the metadata leader, one at a time.
    pub(super) async fn carry_out(&self, order: Order) -> Result<PermitAnswer, PermitRefused> {
        let Ok(_turn) = timeout(TURN, self.turn.lock()).await else {
            return Err(refusal::unavailable("other requests to stop a broker are being judged"));
        };
        // Else what is looked up here may be older than what was answered elsewhere.
        if self.parts.engine.confirm(vec![GroupId::METADATA]).await.is_empty() {
            return Err(refusal::unavailable(
                "no majority confirmed that this broker leads the metadata group",
            ));
        }
        match order {
            Order::Grant(body) => self.grant(body).await,
            Order::Begin(id, body) => self.begin_here(id, body).await,
            Order::Abort(id, body) => self.abort_here(id, body).await,
        }
    }

    /// Whoever asks once more for the same pod is told of the same permit, if it would be granted now, too: an eviction follows
    /// its answer without another question.
    async fn grant(&self, body: PermitBody) -> Result<PermitAnswer, PermitRefused> {
        let PermitBody { broker, pod_uid, reason, allow_unavailable, dry_run } = body;
        let state = self.cluster();
        let Some(registered) = state.broker(broker) else { return Err(refusal::unknown_broker(broker)) };
        let incarnation = registered.incarnation();
        let held = state.permits().held_by(broker, &pod_uid).filter(|held| held.incarnation == incarnation);
        if let Some(begun) = held.filter(|held| held.stage == Stage::Begun) {
            return Ok(answer(Some(begun), &[]));
        }
        let (judged, blocks) = self.judge(broker).await?;
        let bears = held.map_or(allow_unavailable, |held| held.allow_unavailable);
        let (borne, against): (Vec<Block>, Vec<Block>) =
            blocks.into_iter().partition(|block| bears && block.may_be_borne());
        let leave = Leave { broker, incarnation, pod_uid, reason, allow_unavailable };
        if !against.is_empty() {
            let refused = blocked(broker, &against);
            if !dry_run {
                self.turn_down(held, &leave, &refused).await?;
            }
            return Err(refused);
        }
        if dry_run {
            return Ok(answer(None, &borne));
        }
        if let Some(held) = held {
            return Ok(answer(Some(held), &borne));
        }
        let permit = self.commit(ChangePermit::Grant { judged, leave }).await?;
        self.refused.lock().remove(&broker);
        tracing::info!(
            permit = permit.id.0, %broker, ?reason, pod_uid = permit.pod_uid, allow_unavailable, "grant permit to stop"
        );
        if !borne.is_empty() {
            tracing::warn!(
                permit = permit.id.0, %broker, breaks = borne.len(), first = sentence(&borne),
                "a person bears what this stop breaks"
            );
        }
        self.parts.metrics.broker.permit(PermitOutcome::Granted);
        Ok(answer(Some(&permit), &borne))
    }

    /// Takes back what is held, and notes who is told to stop and may not.
    async fn turn_down(
        &self,
        held: Option<&Permit>,
        leave: &Leave,
        refused: &PermitRefused,
    ) -> Result<(), PermitRefused> {
        match held {
            Some(held) => self.revoke(held, refused).await?,
            None => {
                self.parts.metrics.broker.permit(PermitOutcome::Blocked);
                self.tell_refusal(leave, &refused.error.message);
            }
        }
        if leave.reason == Reason::Deleted {
            self.note_wish(leave.broker).await;
        }
        Ok(())
    }

    /// Whoever waits asks twice a second: the log says it again when the reason is another.
    fn tell_refusal(&self, leave: &Leave, why: &str) {
        let Leave { broker, reason, pod_uid, .. } = leave;
        let before = self.refused.lock().insert(*broker, why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::info!(%broker, ?reason, pod_uid, why, "refuse permit to stop");
        }
    }

    /// A state that has worsened since takes the permit back.
    async fn begin_here(
        &self,
        id: PermitId,
        PodBody { pod_uid }: PodBody,
    ) -> Result<PermitAnswer, PermitRefused> {
        let permit = self.look_up(id, &pod_uid)?;
        if permit.stage == Stage::Begun {
            return Ok(answer(Some(&permit), &[]));
        }
        let (_, mut blocks) = self.judge(permit.broker).await?;
        blocks.retain(|block| !(permit.allow_unavailable && block.may_be_borne()));
        if !blocks.is_empty() {
            let refused = blocked(permit.broker, &blocks);
            self.revoke(&permit, &refused).await?;
            return Err(refused);
        }
        let permit = self.commit(ChangePermit::Begin { permit: id, pod_uid }).await?;
        tracing::info!(permit = id.0, broker = %permit.broker, reason = ?permit.reason, "begin to stop");
        self.parts.metrics.broker.permit(PermitOutcome::Begun);
        Ok(answer(Some(&permit), &[]))
    }

    /// What was granted would not be now.
    async fn revoke(&self, permit: &Permit, refused: &PermitRefused) -> Result<(), PermitRefused> {
        self.commit(ChangePermit::TakeBack { permit: permit.id }).await?;
        keeper::ended(&self.parts.metrics, permit, PermitOutcome::TakenBack, &refused.error.message);
        Ok(())
    }

    async fn abort_here(
        &self,
        id: PermitId,
        PodBody { pod_uid }: PodBody,
    ) -> Result<PermitAnswer, PermitRefused> {
        self.look_up(id, &pod_uid)?;
        let permit = self.commit(ChangePermit::Abort { permit: id, pod_uid }).await?;
        keeper::ended(&self.parts.metrics, &permit, PermitOutcome::Aborted, "its pod was not deleted");
        Ok(answer(Some(&permit), &[]))
    }

    fn look_up(&self, id: PermitId, pod_uid: &str) -> Result<Permit, PermitRefused> {
        let state = self.cluster();
        match state.permits().get(id) {
            None => Err(refusal::unknown_permit(id)),
            Some(permit) if permit.pod_uid != pod_uid => {
                let message = format!("permit {} is for pod {}, not for {pod_uid:?}", id.0, permit.pod_uid);
                Err(refused("other_pod", message))
            }
            Some(permit) => Ok(permit.clone()),
        }
    }

    pub(super) async fn commit(&self, change: ChangePermit) -> Result<Permit, PermitRefused> {
        match self.parts.proposer.propose(Command::ChangePermit(change), COMMIT).await {
            Ok(Applied::PermitChanged { permit, .. }) => Ok(permit),
            Ok(other) => Err(refusal::unavailable(format!("the metadata group answered {other:?}"))),
            Err(error) => Err(not_committed(error)),
        }
    }
}

fn answer(permit: Option<&Permit>, borne: &[Block]) -> PermitAnswer {
    PermitAnswer { permit: permit.map(Into::into), blocks: listed(borne) }
}

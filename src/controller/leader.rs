//! Leader election over a Lease: one operator acts at a time, and one that cannot renew in time stops acting.
//!
//! An expired lease is judged by how long *this* process has seen it unchanged, never by comparing clocks of two
//! machines. A holder that cannot reach the API within the renew deadline counts itself out before anyone else may
//! take over.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, timeout};

/// How long a lease that nobody renews stays its holder's.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder tries to renew before it gives up: well below `DURATION`.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// Longest single call.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// One candidate.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    observed: Option<Observed>,
}

/// The lease as last read, and since when it has looked like that.
struct Observed {
    version: Option<String>,
    since: Instant,
}

/// What to do about the lease as it is.
#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Take,
    Renew,
    Wait,
}

impl Election {
    /// A candidate called `identity` for the lease `name`.
    pub fn new(api: Api<Lease>, name: String, identity: String) -> Self {
        Self { api, name, identity, observed: None }
    }

    /// Waits until this process leads. `answered` is called after each answer of the API.
    pub async fn win(&mut self, mut answered: impl FnMut()) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => answered(),
                Err(error) => tracing::warn!(error, lease = self.name, "read the lease"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews until that fails for too long or another holds the lease; then this process no longer leads.
    pub async fn hold(&mut self) -> String {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return "another process holds the lease".to_owned(),
                Ok(Err(error)) if renewed.elapsed() < RENEW_DEADLINE => {
                    tracing::warn!(error, lease = self.name, "renew the lease");
                }
                Ok(Err(error)) => return error,
                Err(_) => return "the API did not answer within the renew deadline".to_owned(),
            }
        }
    }

    /// Gives the lease up, so that the next process need not wait until it expires.
    pub async fn release(&self) {
        let released = timeout(CALL_TIMEOUT, async {
            let mut lease = self.api.get(&self.name).await?;
            if holder(&lease) == Some(self.identity.as_str()) {
                let spec = lease.spec.get_or_insert_default();
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        });
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "release the lease"),
            Err(_) => tracing::warn!("release the lease: the API did not answer"),
        }
    }

    async fn attempt(&mut self) -> Result<bool, String> {
        match timeout(CALL_TIMEOUT, self.try_once()).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the API did not answer".to_owned()),
        }
    }

    async fn try_once(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let now = Instant::now();
        let step = self.decide(lease.as_ref(), now);
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(false),
            (Step::Create, _) | (_, None) => self.api.create(&PostParams::default(), &self.lease(None)).await,
            (Step::Take | Step::Renew, Some(lease)) => {
                let next = self.lease(Some(lease));
                self.api.replace(&self.name, &PostParams::default(), &next).await
            }
        };
        match written {
            Ok(lease) => {
                self.observed = Some(Observed { version: lease.metadata.resource_version, since: now });
                Ok(true)
            }
            // Someone else was faster: the next look tells who.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn decide(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let Some(lease) = lease else { return Step::Create };
        let version = lease.metadata.resource_version.clone();
        let since = match &self.observed {
            Some(seen) if seen.version == version => seen.since,
            _ => now,
        };
        self.observed = Some(Observed { version, since });
        match holder(lease) {
            None => Step::Take,
            Some(holder) if holder == self.identity => Step::Renew,
            Some(_) if now.duration_since(since) > duration(lease) => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    /// The lease held by this process from now on.
    fn lease(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let mine = holder(&lease) == Some(self.identity.as_str());
        let old = lease.spec.take().unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: if mine { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if mine { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).max(DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election() -> Election {
        let service = tower_never();
        Election::new(Api::namespaced(service, "ns"), "lease".to_owned(), "me".to_owned())
    }

    /// A client that no test here calls.
    fn tower_never() -> kube::Client {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    fn held(by: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(by.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_lease_is_taken_only_after_it_stood_still_for_its_whole_duration() {
        let mut election = election();
        let start = Instant::now();
        assert_eq!(election.decide(None, start), Step::Create);
        assert_eq!(election.decide(Some(&held("other", "1")), start), Step::Wait);
        assert_eq!(election.decide(Some(&held("other", "1")), start + DURATION), Step::Wait);
        let renewed = start + DURATION;
        assert_eq!(election.decide(Some(&held("other", "2")), renewed), Step::Wait);
        assert_eq!(election.decide(Some(&held("other", "2")), renewed + DURATION), Step::Wait);
        let late = renewed + DURATION + Duration::from_millis(1);
        assert_eq!(election.decide(Some(&held("other", "2")), late), Step::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_is_taken_and_the_own_one_renewed() {
        let mut election = election();
        let now = Instant::now();
        assert_eq!(election.decide(Some(&held("", "1")), now), Step::Take);
        assert_eq!(election.decide(Some(&held("me", "2")), now), Step::Renew);
        let renewed = election.lease(Some(held("me", "2"))).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(0));
        let taken = election.lease(Some(held("other", "2"))).spec.unwrap();
        assert_eq!((taken.lease_transitions, taken.holder_identity.as_deref()), (Some(1), Some("me")));
    }
}

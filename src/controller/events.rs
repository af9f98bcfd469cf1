//! Kubernetes events, capped in number: under a storm they are dropped and counted, never queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limiter::Limiter;
use crate::metrics::Metrics;

/// Events per second over all resources.
const PER_SECOND: u32 = 10;
/// Kubernetes' limit on a note.
const NOTE_BYTES_MAX: usize = 1024;
/// How long the same words count as a repetition: as long as a recorder does.
const REPEATED_WITHIN: Duration = Duration::from_secs(360);

/// What happened, before it is published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    pub warning: bool,
    pub reason: String,
    pub note: String,
}

impl Happening {
    /// Something went as it should.
    pub fn normal(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), note: note.into() }
    }

    /// Something a person should look at.
    pub fn warning(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), note: note.into() }
    }
}

/// Publishes happenings.
pub struct Events {
    client: Client,
    reporter: Reporter,
    recorders: Mutex<HashMap<(String, String), Told>>,
    limiter: Limiter,
    metrics: Arc<Metrics>,
}

/// What was told last of an object for a reason. A recorder counts repetitions by object and reason alone, and keeps the
/// first text: other words need a recorder of their own.
struct Told {
    note: String,
    at: Instant,
    recorder: Recorder,
}

impl Events {
    /// Events in the name of `identity`.
    pub fn new(client: Client, identity: String, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "chronik-operator".to_owned(), instance: Some(identity) };
        Self { client, reporter, recorders: Mutex::default(), limiter: Limiter::new(PER_SECOND), metrics }
    }

    /// Publishes; a failure is logged, since no work may depend on an event.
    pub async fn publish(&self, about: &ObjectReference, happenings: impl IntoIterator<Item = Happening>) {
        for happening in happenings {
            if !self.limiter.try_turn() {
                self.metrics.event_dropped();
                continue;
            }
            let event = Event {
                type_: if happening.warning { EventType::Warning } else { EventType::Normal },
                action: happening.reason.clone(),
                reason: happening.reason,
                note: Some(cut(happening.note)),
                secondary: None,
            };
            let recorder = self.recorder(about, &event);
            if let Err(error) = recorder.publish(&event, about).await {
                tracing::debug!(%error, object = ?about.name, reason = event.reason, "publish an event");
            }
        }
    }

    /// The one that told the same before, or a new one.
    fn recorder(&self, about: &ObjectReference, event: &Event) -> Recorder {
        let note = event.note.clone().unwrap_or_default();
        let key = (about.uid.clone().unwrap_or_default(), event.reason.clone());
        let at = Instant::now();
        let mut recorders = self.recorders.lock();
        recorders.retain(|_, told| told.at.elapsed() < REPEATED_WITHIN);
        let same = recorders.get(&key).filter(|told| told.note == note);
        let recorder = same.map_or_else(
            || Recorder::new(self.client.clone(), self.reporter.clone()),
            |told| told.recorder.clone(),
        );
        recorders.insert(key, Told { note, at, recorder: recorder.clone() });
        recorder
    }
}

fn cut(mut note: String) -> String {
    let mut end = note.len().min(NOTE_BYTES_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    note
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(super::cut("é".repeat(600)).len(), 1024);
        assert_eq!(super::cut("x".repeat(1023) + "é").len(), 1023);
        assert_eq!(super::cut("short".to_owned()), "short");
    }
}

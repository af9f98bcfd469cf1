//! Handles what peers say: how the cluster begins, who is out of it, and what they ask.

use std::collections::BTreeSet;

use anyhow::anyhow;
use chronik_core::ids::BrokerId;

use super::Parts;
use crate::birth::{self, Birth, Hello};
use crate::log;
use crate::peer::RefusalKind;
use crate::peers::{self, Word};
use crate::replica::Event;
use crate::restart;

impl Parts {
    /// Handles what peers say; returns only when this broker may not go on.
    pub(super) async fn attend(&mut self) -> anyhow::Error {
        let own = self.folder.identity.broker;
        let founders = match &self.folder.birth {
            log::Birth::InitialVoters(voters) => {
                Some(voters.iter().map(|voter| voter.broker).collect::<BTreeSet<_>>())
            }
            log::Birth::Join(_) => None,
        };
        let disk = self.folder.identity.disk;
        let mut birth = Birth::new(own, disk, founders);
        self.take(birth.alone());
        while let Some(word) = self.words.recv().await {
            match word {
                Word::Hello(from, hello) => self.hear(&mut birth, from, &hello),
                Word::Outcast(kind, reason) => {
                    if self.is_out(kind) {
                        return anyhow!(reason);
                    }
                    tracing::info!(reason, "wait to be let in");
                }
                Word::Request(from, payload, reply) if payload.starts_with(peers::ASK_HELLO) => {
                    if let Ok(hello) = Hello::decode(&payload[peers::ASK_HELLO.len()..]) {
                        self.hear(&mut birth, from, &hello);
                    }
                    let _ = reply.send(Hello::to(from, disk, &self.shared).encode());
                }
                Word::Request(_, payload, reply) if payload.starts_with(restart::RESTART) => {
                    let restarts = self.restarts.clone();
                    tokio::spawn(async move {
                        reply.send(restarts.serve(&payload[restart::RESTART.len()..]).await)
                    });
                }
                Word::Request(_, payload, reply) => {
                    let proposer = self.proposer.clone();
                    tokio::spawn(async move { reply.send(proposer.serve(&payload).await) });
                }
            }
        }
        anyhow!("the peer transport ended")
    }

    fn hear(&self, birth: &mut Birth, from: BrokerId, hello: &Hello) {
        if self.shared.formed.borrow().is_none() {
            self.take(birth.hear(from, hello));
        }
    }

    fn take(&self, step: Option<birth::Step>) {
        match step {
            Some(birth::Step::Begin(beginning)) => self.engine.submit(Event::StartMetadata(beginning)),
            Some(birth::Step::Register) => drop(self.joining.send_replace(true)),
            None => {}
        }
    }

    /// Whether a refusal is for good. A disk that takes no part yet waits until the one before it is known to be gone.
    fn is_out(&self, kind: RefusalKind) -> bool {
        kind != RefusalKind::WrongDisk || self.shared.formed.borrow().is_some()
    }
}

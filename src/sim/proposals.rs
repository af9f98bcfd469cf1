//! Metadata commands on their way: from the broker that was asked to the metadata leader and back, as
//! `chronik_broker::replica::Proposer` does it, which itself runs on tokio's clock and so cannot run here.

use bytes::Bytes;
use chronik_broker::replica::{CommandError, Event as EngineEvent};
use chronik_core::ids::LogIndex;
use chronik_core::metadata::{Applied, Command};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::peers::{CONTROL, Wire};
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World, index_of};

/// Pause before the leader is looked for again.
const RETRY: Micros = 50 * MS;
/// How long a proposer waits altogether.
const PATIENCE: Micros = 10 * SECOND;

/// What a leader replies.
#[derive(Clone)]
pub enum Outcome {
    Applied(LogIndex, Applied),
    NotLeader,
    Unknown,
}

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// The broker registers itself.
    Registration,
    /// A client's request.
    Request(u64),
    /// A person, who looks what came of it.
    Person,
}

type Answer = oneshot::Receiver<Result<(LogIndex, Applied), CommandError>>;

enum Stage {
    Looking,
    Here(Answer),
    /// Forwarded to that machine.
    There(M),
    /// Applied by the leader at that index; this broker has to catch up.
    Applied(LogIndex, Applied),
}

/// A command that a broker brings to the leader.
pub struct Proposal {
    number: u64,
    command: Command,
    asker: Asker,
    deadline: Micros,
    attempt: usize,
    stage: Stage,
}

/// A command that was forwarded to this broker.
pub struct Served {
    from: M,
    number: u64,
    answer: Answer,
}

impl World {
    /// Proposes a command at a broker.
    pub fn propose(&mut self, at: M, command: Command, asker: Asker) {
        let (number, deadline) = (self.next_id(), self.now + PATIENCE);
        let Some(process) = &mut self.machines[at].process else { return };
        let stage = Stage::Looking;
        process.proposals.push(Proposal { number, command, asker, deadline, attempt: 0, stage });
        self.look_for_leader(at, number);
    }

    /// Sends a proposal to whoever seems to lead.
    pub fn look_for_leader(&mut self, at: M, number: u64) {
        let now = self.now;
        let Some(process) = &mut self.machines[at].process else { return };
        let known = *process.shared.metadata_leader.borrow();
        let Some(proposal) = process.proposals.iter_mut().find(|proposal| proposal.number == number) else {
            return;
        };
        if !matches!(proposal.stage, Stage::Looking) {
            return;
        }
        if now >= proposal.deadline {
            let asker = proposal.asker;
            process.proposals.retain(|proposal| proposal.number != number);
            return self.proposed(at, asker, None);
        }
        let leader = known.or_else(|| process.shared.liveness.any_up(proposal.attempt)).map(index_of);
        proposal.attempt += 1;
        let command = proposal.command.clone();
        match leader {
            Some(leader) if leader == at => {
                let (reply, answer) = oneshot::channel();
                proposal.stage = Stage::Here(answer);
                self.engine(at, EngineEvent::Propose { command, reply });
            }
            Some(leader) => match process.peers[leader].out(CONTROL) {
                Some(link) => {
                    proposal.stage = Stage::There(leader);
                    self.send(link, Wire::Request(number, command.encode()));
                }
                None => self.look_later(at, number),
            },
            None => self.look_later(at, number),
        }
    }

    fn look_later(&mut self, at: M, number: u64) {
        let life = self.life(at);
        self.after(RETRY, Event::Propose(at, life, number));
    }

    /// A forwarded command arrived.
    pub fn serve(&mut self, at: M, from: M, number: u64, payload: &Bytes) {
        let command = Command::decode(payload).expect("brokers of one build understand each other");
        let (reply, answer) = oneshot::channel();
        if let Some(process) = &mut self.machines[at].process {
            process.served.push(Served { from, number, answer });
        }
        self.engine(at, EngineEvent::Propose { command, reply });
    }

    /// A leader's reply arrived.
    pub fn replied(&mut self, at: M, number: u64, outcome: Outcome) {
        let Some(process) = &mut self.machines[at].process else { return };
        let proposal = process.proposals.iter_mut().find(|proposal| proposal.number == number);
        if proposal.is_some_and(|proposal| matches!(proposal.stage, Stage::There(_))) {
            self.decide(at, number, outcome);
        }
    }

    /// A peer went down: what was asked of it has no answer any more.
    pub fn fail_requests(&mut self, at: M, other: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        let waiting = |proposal: &&mut Proposal| matches!(proposal.stage, Stage::There(to) if to == other);
        let numbers: Vec<u64> = process.proposals.iter_mut().filter(waiting).map(|p| p.number).collect();
        numbers.into_iter().for_each(|number| self.decide(at, number, Outcome::NotLeader));
    }

    fn decide(&mut self, at: M, number: u64, outcome: Outcome) {
        let Some(process) = &mut self.machines[at].process else { return };
        let Some(place) = process.proposals.iter().position(|proposal| proposal.number == number) else {
            return;
        };
        match outcome {
            Outcome::Applied(index, applied) => {
                process.proposals[place].stage = Stage::Applied(index, applied);
            }
            Outcome::NotLeader => {
                process.proposals[place].stage = Stage::Looking;
                self.look_later(at, number);
            }
            Outcome::Unknown => {
                let proposal = process.proposals.remove(place);
                self.proposed(at, proposal.asker, None);
            }
        }
    }

    /// After a round: who has an answer now?
    pub fn poll_proposals(&mut self, at: M) {
        let now = self.now;
        let Some(process) = &mut self.machines[at].process else { return };
        let applied = process.shared.cluster.borrow().applied();
        let (mut decided, mut done) = (Vec::new(), Vec::new());
        for proposal in &mut process.proposals {
            match &mut proposal.stage {
                Stage::Here(answer) => {
                    if let Some(outcome) = outcome(answer) {
                        decided.push((proposal.number, outcome));
                    } else if now >= proposal.deadline {
                        decided.push((proposal.number, Outcome::Unknown));
                    }
                }
                Stage::There(_) if now >= proposal.deadline => {
                    decided.push((proposal.number, Outcome::Unknown));
                }
                Stage::Applied(index, result) if *index <= applied || now >= proposal.deadline => {
                    let result = (*index <= applied).then(|| result.clone());
                    done.push((proposal.number, proposal.asker, result));
                }
                _ => {}
            }
        }
        process.proposals.retain(|proposal| !done.iter().any(|(number, ..)| *number == proposal.number));
        let mut replies = Vec::new();
        process.served.retain_mut(|served| match outcome(&mut served.answer) {
            Some(outcome) => {
                replies.push((served.from, served.number, outcome));
                false
            }
            None => true,
        });
        for (to, number, outcome) in replies {
            let link = self.machines[at].process.as_ref().and_then(|process| process.peers[to].out(CONTROL));
            if let Some(link) = link {
                self.send(link, Wire::Reply(number, outcome));
            }
        }
        decided.into_iter().for_each(|(number, outcome)| self.decide(at, number, outcome));
        done.into_iter().for_each(|(_, asker, result)| self.proposed(at, asker, result));
    }
}

fn outcome(answer: &mut Answer) -> Option<Outcome> {
    match answer.try_recv() {
        Ok(Ok((index, applied))) => Some(Outcome::Applied(index, applied)),
        Ok(Err(CommandError::NotLeader)) => Some(Outcome::NotLeader),
        Ok(Err(CommandError::Unknown)) | Err(TryRecvError::Closed) => Some(Outcome::Unknown),
        Err(TryRecvError::Empty) => None,
    }
}

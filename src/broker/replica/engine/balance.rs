//! Brokers that leave or join, and topics whose number of replicas changes: the metadata leader begins the moves that core
//! plans, and settles who has its share.

use std::collections::BTreeSet;

use chronik_core::balance;
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::metadata::{Command, SetStanding, Standing};

use super::Engine;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;

impl<T: Transport> Engine<T> {
    /// Begins what is to be moved now, if the metadata group is led here.
    pub(super) fn balance(&mut self) {
        if self.draining.is_some() {
            return;
        }
        self.guard(GroupId::METADATA, |hosted, around| {
            let Hosted { group, serves: Serves::Metadata(metadata), .. } = hosted else { return Ok(()) };
            // Of what those before it decided, a new leader knows all once it has applied an entry of its own.
            if !group.role().leads || metadata.applied_term() != group.role().term {
                return Ok(());
            }
            let state = metadata.state();
            let heard = state.brokers().map(|broker| broker.id).filter(|id| around.liveness.is_up(*id));
            let view = |group| around.views.get(group, around.now.ms).leader();
            let plan = balance::plan(state, &heard.collect::<BTreeSet<BrokerId>>(), view);
            let settle = |broker| Command::SetStanding(SetStanding { broker, standing: Standing::Settled });
            let moves = plan.moves.into_iter().map(Command::AlterReassignment);
            for command in moves.chain(plan.settled.into_iter().map(settle)) {
                metadata.propose_called_for(group, command.encode());
            }
            Ok(())
        });
        self.touched.insert(GroupId::METADATA);
    }
}

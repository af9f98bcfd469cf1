//! Who changes metadata: creates the run's topics, then alters their configs and moves their replicas when the plan says
//! so. One change at a time, tried until it is made; a move that is refused is let go.

use std::collections::VecDeque;

use chronik_core::metadata::{Applied, Command, RefusalCode};

use super::{Ask, Role, Told};
use crate::time::MS;
use crate::world::{Event, World};

/// The administrator.
#[derive(Default)]
pub struct Admin {
    wanted: VecDeque<Command>,
    asked: bool,
}

/// Whether a refusal ends the matter: what was to be taken back is over, or another broker has gone.
fn may_be_refused(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(Command::AlterReassignment(_) | Command::UnregisterBroker(_) | Command::SetStanding(_))
    )
}

impl Admin {
    /// Wants a change after those before.
    pub fn want(&mut self, command: Command) {
        self.wanted.push_back(command);
    }

    /// The first change waits until a permit to stop is closed, which may need one of those behind it. One that alters the
    /// same topic takes its place.
    fn put_off(&mut self) {
        let Some(first) = self.wanted.pop_front() else { return };
        let topic = |command: &Command| match command {
            Command::AlterTopicConfigs(body) => Some(body.topic.clone()),
            _ => None,
        };
        let altered_again = self.wanted.iter().any(|later| topic(later) == topic(&first));
        if topic(&first).is_some() && !altered_again {
            self.wanted.push_back(first);
        }
    }

    /// Whether every change was made.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl World {
    /// Wants a metadata change.
    pub fn want(&mut self, command: Command) {
        let admin = self.clients.iter_mut().find_map(|client| match &mut client.role {
            Role::Admin(admin) => Some(admin),
            _ => None,
        });
        admin.expect("there is one").want(command);
    }

    /// Time for the administrator to ask again.
    pub fn admin_wakes(&mut self, client: usize) {
        let to = self.chance.clients.index(self.machines.len());
        let Role::Admin(admin) = &mut self.clients[client].role else { return };
        if !admin.asked
            && let Some(command) = admin.wanted.front().cloned()
        {
            admin.asked = true;
            self.request(client, to, Ask::Change(command));
        }
        self.after(200 * MS, Event::Wake(client));
    }

    /// An answer, or that there is none: then it is asked again, which changes nothing if it was made.
    pub fn admin_told(&mut self, client: usize, told: Told) {
        let Role::Admin(admin) = &mut self.clients[client].role else { return };
        admin.asked = false;
        match told {
            Told::Changed(Applied::Refused(refusal)) => {
                let text = format!("{:?}: {refusal}", admin.wanted.front());
                if refusal.code == RefusalCode::PermitOpen {
                    admin.put_off();
                    return self.note([31, 1, 0], || format!("put off: {text}"));
                }
                if may_be_refused(admin.wanted.front()) {
                    let let_go = admin.wanted.pop_front();
                    let kept = matches!(let_go, Some(Command::UnregisterBroker(_)));
                    self.coverage.add("scale: taking a broker out refused", u64::from(kept));
                }
                self.note([31, 0, 0], || format!("refused: {text}"));
            }
            Told::Changed(_) => {
                let done = admin.wanted.pop_front();
                self.note([32, 0, 0], || format!("changed: {done:?}"));
            }
            _ => {}
        }
    }
}

//! Replication rules of one partition: ISR, high watermark, gate, caretaker, moves, producer state. Pure: events and times in,
//! decisions out; it never reads a clock, never waits and never touches a log or a socket.

pub mod caretaker;
pub mod configuration;
pub mod gate;
pub mod high_watermark;
mod history;
pub mod isr;
mod isr_set;
mod membership;
pub mod preferred;
pub mod producer_state;
mod progress;
pub mod reassignment;
pub mod recovery;

pub use history::Position;
pub use isr_set::IsrSet;
pub use progress::FollowerStats;

#[cfg(test)]
mod tests;

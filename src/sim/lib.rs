//! The deterministic simulation: several brokers with the real engine, Raft groups, log and recovery, in one thread and in
//! virtual time, on disks and a network that fail in every way a seed says, with clients that remember what they were told.
//!
//! Read `world.rs` for what happens when, `brokers.rs` for how a broker is driven, `checks` for what must hold.
//! `docs/simulation.md` says how to use it. Touches no file, socket or clock of this machine.

pub mod batch;
mod brokers;
pub mod checks;
mod clients;
pub mod coverage;
pub mod disk;
mod disks;
mod faults;
mod last_resort;
mod moves;
mod peers;
mod permits;
mod plan;
mod pods;
mod process;
mod proposals;
mod random;
pub mod runner;
mod scaling;
mod tasks;
mod time;
mod trace;
mod votes;
mod world;

//! Three real brokers, a real librdkafka client, real kills. Needs CHRONIK_BROKER_BIN, built with `faulty-disk`.

#![allow(clippy::print_stdout)] // Figures are part of what these tests are for.

mod asking;
mod bad_input;
mod check;
mod clients;
mod disks;
mod faults;
mod full_disk;
mod hostile;
mod lag;
mod leave;
mod links;
mod lost_replicas;
mod many_moves;
mod membership;
mod permits;
mod quiet;
mod racks;
mod recovery;
mod replaced_disks;
mod resizing;
mod rounds;
mod scaling;
mod scenarios;
mod snapshots;
mod steady;
mod trouble;
mod voters;

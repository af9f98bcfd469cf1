//! The whole path on a real Kubernetes of three nodes: Helm, the operator, brokers in pods, Kafka's own tools.
//!
//! `make scenarios` runs it: inside the box's network, one test at a time, against images it made. It needs
//! CHRONIK_BOX_OUTSIDE, the id of a process outside that network, from where nodes are killed and cut off.

#![allow(clippy::print_stdout)] // Figures are part of what these tests are for.

mod bad_input;
mod bad_pods;
mod box_nodes;
mod cut;
mod deleted_pod;
mod drain;
mod grow;
mod install;
mod lost_node;
mod many_topics;
mod mid_roll;
mod mixes;
mod nodes_die;
mod operator;
mod plan;
mod racks;
mod reading;
mod release;
mod resize;
mod rolling;
mod rollout;
mod scale;
mod stalls;
mod topics;
mod uninstall;
mod upgrade;
mod watchman;
mod world;

/// Prints a measured figure; `make scenarios` lists them all again at its end.
fn figure(text: &str) {
    println!("figure: {text}");
}

/// A number from the environment, to make a scenario larger by hand than every test run has it.
fn number(name: &str, default: usize) -> usize {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not allowed: a whole number is"))
}

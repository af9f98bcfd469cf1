//! The cluster's state machine: commands in, the same state on every broker out.

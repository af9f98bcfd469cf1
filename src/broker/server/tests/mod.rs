//! The server through real TCP, over a backend in memory.

pub(crate) mod client;
mod hostile;
mod memory;
mod order;
mod versions;

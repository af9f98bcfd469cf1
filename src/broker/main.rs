//! Entry point of the broker.
fn main() {}

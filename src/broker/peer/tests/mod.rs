//! The transport over real TCP on 127.0.0.1.

mod proxy;
mod support;

mod garbage;
mod handshakes;
mod liveness;
mod processes;
mod traffic;

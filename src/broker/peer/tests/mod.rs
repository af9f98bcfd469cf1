//! The transport over real TCP on 127.0.0.1.

mod proxy;
mod support;

mod liveness;

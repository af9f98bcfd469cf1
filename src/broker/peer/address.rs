//! From `host:port` to a TCP connection, and the pause between tries. Resolves anew each time; never retries itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Nothing listens at any of its addresses.
    #[error("connection refused")]
    Refused,
    #[error("resolve: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("no answer in time")]
    TimedOut,
}

/// Connects to the first address that answers; `timeout` bounds all of it.
///
/// The connection leaves from the address this broker listens on for peers, if that is a particular one: then both
/// ends of a link have known addresses, for a firewall's rules and on a host with several networks.
pub(super) async fn connect(listen: &str, address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    tokio::time::timeout(timeout, connect_any(listen, address)).await.unwrap_or(Err(DialError::TimedOut))
}

async fn connect_any(listen: &str, address: &str) -> Result<TcpStream, DialError> {
    let mut other = None;
    let mut refused = false;
    for target in lookup_host(address).await.map_err(DialError::Resolve)?.take(8) {
        match connect_to(source(listen, target.ip()), target).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(DialError::Connect)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused = true,
            Err(error) => other = Some(error),
        }
    }
    match other {
        Some(error) => Err(DialError::Connect(error)),
        None if refused => Err(DialError::Refused),
        None => Err(DialError::NoAddress),
    }
}

async fn connect_to(source: Option<IpAddr>, target: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(target).await };
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}

/// Where a connection to `target` leaves from; `None` leaves it to the system: for a listener on all addresses or at a
/// name, and where the listener's address could not reach the target.
fn source(listen: &str, target: IpAddr) -> Option<IpAddr> {
    let own = listen.parse::<SocketAddr>().ok()?.ip();
    let fits = own.is_ipv4() == target.is_ipv4() && own.is_loopback() == target.is_loopback();
    (fits && !own.is_unspecified()).then_some(own)
}

/// Doubling pauses with jitter.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Between half the pause and all of it, so that brokers that lost each other together do not meet in step.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_particular_address_that_can_reach_the_target_is_a_source() {
        let from = |listen, target: &str| source(listen, target.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!(from("10.0.0.1:9093", "10.0.0.2"), Some("10.0.0.1".to_owned()));
        assert_eq!(from("[fd00::1]:9093", "fd00::2"), Some("fd00::1".to_owned()));
        assert_eq!(from("127.0.0.1:9093", "127.0.0.2"), Some("127.0.0.1".to_owned()));
        for (listen, target) in [
            ("0.0.0.0:9093", "10.0.0.2"),
            ("[::]:9093", "10.0.0.2"),
            ("broker-1:9093", "10.0.0.2"),
            ("10.0.0.1:9093", "fd00::2"),
            ("10.0.0.1:9093", "127.0.0.1"),
            ("127.0.0.1:9093", "10.0.0.2"),
        ] {
            assert_eq!(from(listen, target), None, "{listen} to {target}");
        }
    }

    #[tokio::test]
    async fn a_connection_leaves_from_the_listeners_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        for (listen, expected) in [("127.0.9.9:9093", "127.0.9.9"), ("0.0.0.0:9093", "127.0.0.1")] {
            let _stream = connect(listen, &target, Duration::from_secs(5)).await.unwrap();
            let (_, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip().to_string(), expected);
        }
    }
}

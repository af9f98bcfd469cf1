//! What a connection runs over. A listener wraps accepted TCP streams; TLS will be another wrapper.

use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection's bytes, whatever carries them.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Makes the stream of a listener from an accepted TCP connection.
pub trait Wrap: Send + Sync + 'static {
    /// Runs the handshake, if there is one.
    fn wrap(&self, tcp: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// No wrapping: what is written is sent.
#[derive(Debug, Clone, Copy)]
pub struct Plaintext;

impl Wrap for Plaintext {
    fn wrap(&self, tcp: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(tcp) as Box<dyn Stream>) })
    }
}

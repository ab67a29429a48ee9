//! A host that is gone.

use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

/// A port of TCP on loopback where the kernel drops what would connect, as a host does that is gone.
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _first: TcpStream,
}

impl BlackHole {
    /// The queue takes one connection and is full then.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        rustix::net::listen(&listener, 0)?;
        let address = listener.local_addr()?;
        Ok(Self { address, _first: TcpStream::connect(address)?, _listener: listener })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

//! The few bytes of HTTP that asking the agent takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const DEADLINE: Duration = Duration::from_secs(5);

/// The status and the body that `GET path` gives.
///
/// # Errors
/// When nothing listens, or it does not answer within five seconds.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).with_context(|| format!("{address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    // To version 1.0 no server may answer in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).with_context(|| format!("{address}{path}"))?;
    let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

//! TCP connections that nobody waits for without an end: to the engine, and to where sinks send.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// Shortest time that the kernel takes for keepalive.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
/// Probes of an idle connection that may go unanswered.
const KEEPALIVE_PROBES: u32 = 3;

/// Connects to the first address of `host` that answers. After `deadline` without an acknowledgement the kernel gives
/// the connection up; the time for connecting is the caller's to bound.
///
/// # Errors
///
/// What the last of the addresses said.
pub async fn connect(resolver: &Resolver, host: &str, port: u16, deadline: Duration) -> io::Result<TcpStream> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolver.resolve(host, port).await?,
    };
    // One address that swallows packets must not use up the time of the others.
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, format!("the host {host} has no address")));
    for address in addresses {
        outcome = match tokio::time::timeout(share, connect_address(address, deadline)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}"))),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn connect_address(address: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let keepalive = deadline.max(SHORTEST_KEEPALIVE);
    sockopt::set_tcp_nodelay(&socket, true)?;
    // A connection may be idle for long: without these a peer that vanished is noticed by nobody.
    sockopt::set_tcp_user_timeout(&socket, u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, keepalive)?;
    sockopt::set_tcp_keepintvl(&socket, keepalive)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    socket.connect(address).await
}

/// Looks one host's name up, one look-up at a time: the system's resolver cannot be stopped, and each takes a thread.
#[derive(Debug, Default)]
pub struct Resolver {
    /// A look-up that its caller did not wait for is the next caller's: there is only one name.
    running: tokio::sync::Mutex<Option<oneshot::Receiver<io::Result<Vec<SocketAddr>>>>>,
}

impl Resolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut running = self.running.lock().await;
        let answer = match &mut *running {
            Some(answer) => answer,
            None => running.insert(look_up(host.to_owned(), port)?),
        };
        let found = answer.await;
        *running = None;
        found.map_err(io::Error::other)?
    }
}

/// On a thread of its own: those of the runtime have other work, and its end would wait for them.
fn look_up(host: String, port: u16) -> io::Result<oneshot::Receiver<io::Result<Vec<SocketAddr>>>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        // Nobody waits for the answer once the agent ends.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    })?;
    Ok(receiver)
}

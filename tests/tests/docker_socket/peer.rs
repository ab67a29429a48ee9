//! Peers that listen on a socket and then behave badly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// What a peer does with a connection that it has accepted. Ends by the error of a client that hung up.
pub type Manner = fn(&mut UnixStream) -> io::Result<()>;

/// A Unix socket and who listens there, until the test process ends.
pub struct Peer {
    directory: TempDir,
    /// Where nobody accepts: the socket, and what fills its queue.
    _full: Option<(UnixListener, UnixStream)>,
}

impl Peer {
    /// Accepts each connection and treats it in this manner.
    pub fn with(manner: Manner) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory for a socket")?;
        let listener = UnixListener::bind(directory.path().join("docker.sock"))?;
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                thread::spawn(move || manner(&mut client));
            }
        });
        Ok(Self { directory, _full: None })
    }

    /// Accepts nothing, and its queue is full.
    pub fn with_full_queue() -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory for a socket")?;
        let path = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&path)?;
        rustix::net::listen(&listener, 0)?;
        let first = UnixStream::connect(&path)?;
        Ok(Self { directory, _full: Some((listener, first)) })
    }

    /// The address of its socket, as `--docker-host` takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }
}

/// A port of TCP that accepts and says nothing.
pub fn mute_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut client, &mut io::sink()));
        }
    });
    Ok(address)
}

/// Reads and never says anything.
pub fn mute(client: &mut UnixStream) -> io::Result<()> {
    io::copy(client, &mut io::sink()).map(drop)
}

/// Says one byte of a good answer now and then.
pub fn trickle(client: &mut UnixStream) -> io::Result<()> {
    request(client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
    loop {
        client.write_all(b" ")?;
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends an answer that does not end, as fast as it is taken.
pub fn endless(client: &mut UnixStream) -> io::Result<()> {
    request(client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\"")?;
    flood(client)
}

/// Answers like an engine, but for its first event, which does not end.
pub fn endless_event(client: &mut UnixStream) -> io::Result<()> {
    if answer_calls(client)? { flood(client) } else { Ok(()) }
}

/// Answers like an engine, and sends creations of containers that do not exist, each another, without an end.
pub fn endless_events(client: &mut UnixStream) -> io::Result<()> {
    if !answer_calls(client)? {
        return Ok(());
    }
    let label = "x".repeat(200);
    for number in 1.. {
        let actor =
            format!(r#"{{"ID":"{number:064x}","Attributes":{{"name":"n{number}","image":"i","label":"{label}"}}}}"#);
        let event = |action| {
            format!("{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{actor},\"timeNano\":{number}}}\n")
        };
        client.write_all(format!("{}{}", event("create"), event("destroy")).as_bytes())?;
    }
    Ok(())
}

/// Answers one call; `true` where the client subscribes to events and got the head of an answer.
fn answer_calls(client: &mut UnixStream) -> io::Result<bool> {
    let request = request(client)?;
    let (status, body) = match request.as_str() {
        events if events.contains("/events?") => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
            return Ok(true);
        }
        version if version.contains("/version") => ("200 OK", r#"{"ApiVersion":"1.41"}"#),
        list if list.contains("/containers/json") => ("200 OK", "[]"),
        _ => ("404 Not Found", r#"{"message":"No such container"}"#),
    };
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(false)
}

/// What a client asks; the agent's requests come in one piece.
fn request(client: &mut UnixStream) -> io::Result<String> {
    let mut request = [0; 4096];
    let length = client.read(&mut request)?;
    Ok(String::from_utf8_lossy(&request[..length]).into_owned())
}

fn flood(client: &mut UnixStream) -> io::Result<()> {
    let piece = vec![b'x'; 64 << 10];
    loop {
        client.write_all(&piece)?;
    }
}

//! Servers that listen on loopback and then behave badly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt;

/// What a server does with a connection. Ends by the error of a client that hung up.
pub type Manner = dyn Fn(TcpStream) -> io::Result<()> + Send + Sync;

/// One that knows nothing of a test.
pub type Plain = fn(TcpStream) -> io::Result<()>;

/// A server on loopback, until the test process ends.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Accepts each connection and treats it in this manner.
    pub fn with(manner: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Result<Self> {
        Self::at(([127, 0, 0, 1], 0).into(), manner)
    }

    /// The same at an address of one's own.
    pub fn at(
        address: SocketAddr,
        manner: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, manner): (_, Arc<Manner>) = (Arc::clone(&connections), Arc::new(manner));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let manner = Arc::clone(&manner);
                thread::spawn(move || manner(client));
            }
        });
        Ok(Self { address, connections })
    }

    /// Answers each request with the next of `answers`, and with the last from then on.
    pub fn that_says(answers: &[&str]) -> Result<Self> {
        let left = Mutex::new(answers.iter().rev().map(|answer| (*answer).to_owned()).collect::<Vec<_>>());
        Self::with(move |mut client| {
            loop {
                request(&mut client)?;
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = if left.len() > 1 { left.pop() } else { left.last().cloned() };
                drop(left);
                client.write_all(answer.unwrap_or_default().as_bytes())?;
            }
        })
    }

    /// `http://` and its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An HTTP answer with a body.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads one HTTP request to its end.
pub fn request(client: &mut TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1, client);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink()).map(drop)
}

/// Reads and never says anything.
pub fn mute(mut client: TcpStream) -> io::Result<()> {
    io::copy(&mut client, &mut io::sink()).map(drop)
}

/// Begins a good answer and never ends it.
pub fn half(mut client: TcpStream) -> io::Result<()> {
    request(&mut client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
    mute(client)
}

/// Says one byte of a good answer now and then.
pub fn trickle(mut client: TcpStream) -> io::Result<()> {
    request(&mut client)?;
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".iter().chain([b' '; 1000].iter()) {
        client.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(50));
    }
    mute(client)
}

/// A good answer that does not end, as fast as it is taken.
pub fn endless(mut client: TcpStream) -> io::Result<()> {
    request(&mut client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    flood(&mut client)
}

/// A head that does not end.
pub fn endless_head(mut client: TcpStream) -> io::Result<()> {
    request(&mut client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nX-Header: ")?;
    flood(&mut client)
}

/// Resets the connection in the middle of its answer.
pub fn reset(mut client: TcpStream) -> io::Result<()> {
    request(&mut client)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
    // Closing without lingering is a reset.
    sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    Ok(())
}

/// Speaks another protocol.
pub fn babble(mut client: TcpStream) -> io::Result<()> {
    client.write_all(b"220 mail.example ESMTP ready\r\n")?;
    mute(client)
}

fn flood(client: &mut TcpStream) -> io::Result<()> {
    let piece = vec![b'x'; 64 << 10];
    loop {
        client.write_all(&piece)?;
    }
}

/// Takes what comes and hangs up.
pub fn hang_up(mut client: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    client.read(&mut bytes).map(drop)
}

/// Greets as an HTTP/2 server does, and says nothing more.
pub fn settings_only(mut client: TcpStream) -> io::Result<()> {
    // An empty SETTINGS frame: RFC 9113, section 6.5.
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])?;
    mute(client)
}

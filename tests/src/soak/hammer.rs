//! What the internet does to an open port, all at once: an admin port must serve its scrapes all the same, and forget it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 200;
/// How long a connection that does nothing good is held.
const HELD: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(5);

/// Keeps at it for `length`; gives how many connections were made.
pub(super) fn run(address: SocketAddr, length: Duration) -> u64 {
    let end = Instant::now() + length;
    let one = |number: usize| {
        let mut made = 0;
        while Instant::now() < end {
            // A port that refuses or resets such a client is within its rights.
            match CLIENTS[number % CLIENTS.len()](address) {
                Ok(()) => made += 1,
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        made
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || one(number))).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).sum()
    })
}

type Client = fn(SocketAddr) -> std::io::Result<()>;

const CLIENTS: [Client; 5] = [honest, half_open, slow_reader, garbage, in_and_out];

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// A scrape, with a breath after it: two cores are shared with what is measured.
fn honest(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    thread::sleep(Duration::from_millis(200));
    Ok(())
}

/// Half a request, and silence.
fn half_open(address: SocketAddr) -> std::io::Result<()> {
    connect(address)?.write_all(b"GET /metrics HTTP/1.1\r\nHost:")?;
    let held = connect(address)?;
    thread::sleep(HELD);
    drop(held);
    Ok(())
}

/// Asks for much and takes it byte by byte.
fn slow_reader(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let begun = Instant::now();
    while begun.elapsed() < HELD {
        stream.read_exact(&mut [0])?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What is no HTTP.
fn garbage(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    let noise: Vec<u8> = (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    stream.write_all(&noise)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    thread::sleep(Duration::from_millis(200));
    Ok(())
}

/// Connects and leaves.
fn in_and_out(address: SocketAddr) -> std::io::Result<()> {
    drop(connect(address)?);
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

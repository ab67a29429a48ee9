//! What stands before a destination: it passes everything on, or refuses connections, or takes them and says nothing.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::free_address;

/// Between two looks for connections, and at what the front is to do.
const PERIOD: Duration = Duration::from_millis(10);

/// How the destination looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// As if there was no front.
    Open,
    /// Nobody listens.
    Refusing,
    /// Somebody listens, and neither reads nor answers.
    Hanging,
}

/// A front; what is connected through it is cut when the value is dropped.
#[derive(Debug)]
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` once it is to end.
    door: Mutex<Option<Door>>,
    /// Both ends of everything that is connected.
    connected: Mutex<Vec<TcpStream>>,
    /// What clients sent and the destination was given.
    passed: AtomicU64,
}

impl Front {
    /// Stands before `destination`, open.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn before(destination: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let listener = listen(address).context("the front cannot listen")?;
        let shared = Arc::new(Shared {
            door: Mutex::new(Some(Door::Open)),
            connected: Mutex::default(),
            passed: AtomicU64::new(0),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(listener, address, destination)
        });
        Ok(Self { address, shared })
    }

    /// Cuts what is connected, and from now on looks like this.
    pub fn set(&self, door: Door) {
        *lock(&self.shared.door) = Some(door);
        self.shared.cut();
    }

    /// Bytes that the destination was given.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        *lock(&self.shared.door) = None;
        self.shared.cut();
    }
}

impl Shared {
    fn run(self: &Arc<Self>, listener: TcpListener, address: SocketAddr, destination: SocketAddr) {
        let mut listener = Some(listener);
        loop {
            let Some(door) = *lock(&self.door) else { return };
            match (door, &listener) {
                (Door::Refusing, _) => listener = None,
                // The port may be another's for a moment, as the source of a connection.
                (_, None) => listener = listen(address).ok(),
                (_, Some(open)) => {
                    if let Ok((client, _)) = open.accept() {
                        // One that came as the door was changed is cut at the next look, as it has no peer.
                        let _ = self.take(client, door, destination);
                        continue;
                    }
                }
            }
            thread::sleep(PERIOD);
        }
    }

    fn take(self: &Arc<Self>, client: TcpStream, door: Door, destination: SocketAddr) -> io::Result<()> {
        client.set_nonblocking(false)?;
        // Under the lock, so that a change of the door either sees the connection or is seen here.
        let current = lock(&self.door);
        if *current != Some(door) {
            return Ok(());
        }
        lock(&self.connected).push(client.try_clone()?);
        if door == Door::Open {
            let server = TcpStream::connect(destination)?;
            lock(&self.connected).push(server.try_clone()?);
            let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
            let shared = Arc::clone(self);
            thread::spawn(move || pass(from_client, server, Some(&shared.passed)));
            thread::spawn(move || pass(from_server, client, None));
        }
        Ok(())
    }

    fn cut(&self) {
        for stream in lock(&self.connected).drain(..) {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on until one end is gone, and then takes the other with it.
fn pass(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match io::Read::read(&mut from, &mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if io::Write::write_all(&mut to, &buffer[..read]).is_err() {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
    }
    for stream in [&from, &to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::poll::{DEADLINE, eventually};

    /// Answers every byte with the next one.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut byte = [0];
                while matches!(stream.read(&mut byte), Ok(1)) {
                    let _ = stream.write(&[byte[0] + 1]);
                }
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream) -> io::Result<u8> {
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        stream.write_all(b"a")?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    #[test]
    fn a_door_opens_and_closes_and_what_went_through_is_cut() {
        let front = Front::before(server()).unwrap();
        let mut first = TcpStream::connect(front.address).unwrap();
        assert_eq!(ask(&mut first).unwrap(), b'b');
        front.set(Door::Refusing);
        assert_eq!(ask(&mut first).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let refused = || TcpStream::connect(front.address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
        eventually("connections are refused", DEADLINE, || refused().then_some(())).unwrap();
        front.set(Door::Hanging);
        let mut hung = eventually("it listens", DEADLINE, || TcpStream::connect(front.address).ok()).unwrap();
        assert_eq!(ask(&mut hung).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(front.passed(), 1);
        front.set(Door::Open);
        let answers = || TcpStream::connect(front.address).ok().and_then(|mut stream| ask(&mut stream).ok());
        assert_eq!(eventually("it answers", DEADLINE, answers).unwrap(), b'b');
    }
}

//! A socket before an engine's own, which writes down what is asked and passes everything on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use capture_tests::Engine;
use tempfile::TempDir;

/// Listens until the test process ends.
pub struct Spy {
    directory: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Spy {
    /// A spy before `engine`.
    pub fn before(engine: &Engine) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory for a socket")?;
        let listener = UnixListener::bind(directory.path().join("docker.sock"))?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (engine, seen) = (engine.socket().to_owned(), Arc::clone(&requests));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, seen) = (engine.clone(), Arc::clone(&seen));
                // What goes wrong on the way is a connection that ends, which is what the agent must be able to take.
                thread::spawn(move || pass_on(client, engine, &seen));
            }
        });
        Ok(Self { directory, requests })
    }

    /// The address of its socket, as `--docker-host` takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    /// The first lines of all requests so far that contain `text`.
    pub fn requests(&self, text: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.contains(text)).cloned().collect()
    }
}

fn pass_on(mut client: UnixStream, engine: PathBuf, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine)?;
    let (mut answers, mut asker) = (engine.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut asker);
        let _ = asker.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        // A request of the agent fits into one segment, and has no body.
        let text = String::from_utf8_lossy(&buffer[..length]);
        let line = text.lines().next().unwrap_or_default().to_owned();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        engine.write_all(&buffer[..length])?;
    }
    engine.shutdown(Shutdown::Both)?;
    let _ = back.join();
    Ok(())
}

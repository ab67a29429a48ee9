//! Peers that sinks send to, in Python: real brokers and collectors, and servers with decoders of their own.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::poll::DEADLINE;
use crate::workspace;

/// The virtual environment that `cargo xtask setup` makes.
#[must_use]
pub fn environment() -> PathBuf {
    workspace::target_dir().join("peers")
}

/// What is installed in it.
#[must_use]
pub fn requirements() -> PathBuf {
    directory().join("requirements.txt")
}

/// Where the scripts are.
#[must_use]
pub fn directory() -> PathBuf {
    workspace::root().join("tests/peers")
}

/// A file that a package in the environment brings, by its path below `site-packages`.
///
/// # Errors
/// When it is not there.
pub fn packaged(path: &str) -> Result<PathBuf> {
    let packages = environment().join("lib").read_dir().context(SETUP)?.flatten();
    let found = packages.map(|python| python.path().join("site-packages").join(path)).find(|file| file.is_file());
    found.with_context(|| format!("{path} is not in the environment of the peers; {SETUP}"))
}

const SETUP: &str = "`cargo xtask setup` installs what tests need";

/// A script of [`directory`].
#[must_use]
pub fn script(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(environment().join("bin/python3"));
    command.arg(directory().join(name)).args(arguments).env("PYTHONUNBUFFERED", "1");
    command
}

/// A program that listens on loopback; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// Where it listens, in the order in which it said so.
    pub addresses: Vec<SocketAddr>,
}

impl Peer {
    /// Starts a script, which prints `listening on PORT` for each of `ports` ports.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not listen in time.
    pub fn start(script_name: &str, arguments: &[&str], ports: usize) -> Result<Self> {
        let mut child = script(script_name, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{script_name} cannot be started; {SETUP}"))?;
        let output = child.stdout.take().context("no output")?;
        let mut peer = Self { child, addresses: Vec::new() };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What comes later interests nobody, and has to be read all the same.
                let _ = sender.send(line);
            }
        });
        while peer.addresses.len() < ports {
            let Ok(line) = receiver.recv_timeout(DEADLINE) else { bail!("{script_name} does not listen") };
            if let Some(port) = line.strip_prefix("listening on ") {
                peer.addresses.push((Ipv4Addr::LOCALHOST, port.parse().context("no port")?).into());
            }
        }
        Ok(peer)
    }

    /// A program that listens at `addresses` once it is there; waits until it does.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen in time.
    pub fn of(command: &mut Command, addresses: Vec<SocketAddr>) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let child =
            command.stdin(Stdio::null()).spawn().with_context(|| format!("{name} cannot be started; {SETUP}"))?;
        let mut peer = Self { child, addresses };
        for address in peer.addresses.clone() {
            crate::poll::eventually(&format!("{name} listens on {address}"), DEADLINE, || {
                if let Ok(Some(status)) = peer.child.try_wait() {
                    return Some(Err(anyhow::anyhow!("{name} ended: {status}")));
                }
                std::net::TcpStream::connect(address).is_ok().then_some(Ok(()))
            })??;
        }
        Ok(peer)
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have died by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

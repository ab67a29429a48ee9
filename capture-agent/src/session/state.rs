//! What outlives the agent: a file for each container with the position and the counters of its last sealed session.
//!
//! A file is written beside and renamed into place, so that it is whole at any moment the agent may be killed at. It is
//! not synced: what a power failure takes is the numbers of one session, and each sync would cost a disk's write.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ledger::Ledger;

/// Of the files' layout.
const VERSION: u32 = 1;
const EXTENSION: &str = "json";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made, read or written.
    #[error("cannot use the state directory {}: {source}; make it writable, or give another one with --state-dir", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent uses it.
    #[error("the state directory {} is in use by another capture-agent; stop that one, or give another directory with --state-dir", .0.display())]
    Locked(PathBuf),
}

/// Position and counters of one container, over all its sessions and all agents that have captured it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Layout of the file; set when it is written.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub container_id: Arc<str>,
    /// Empty until the engine told it.
    pub container_name: String,
    /// Sessions that were sealed.
    pub sessions: u64,
    /// When the last one was, in ns since the Unix epoch.
    pub sealed_at: u64,
    /// Whether the container had ended.
    pub ended: bool,
    /// Standard output.
    pub stdout: SavedStream,
    /// Standard error.
    pub stderr: SavedStream,
}

/// Counters of one stream, in bytes if not said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream {
    /// Position of the last seal: what the container had written while agents captured it.
    pub position: u64,
    /// What was captured of it.
    pub captured: u64,
    /// What was lost, for whatever reason.
    pub lost: u64,
    /// What the sinks had taken by the seal.
    pub delivered: u64,
    /// What they had refused.
    pub dropped: u64,
    /// Lines that they had taken.
    pub lines: u64,
}

/// A directory that belongs to this agent.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // The lock goes with the file, also when the agent is killed.
    _lock: File,
}

impl StateDir {
    /// Makes the directory where there is none, locks it and reads what an earlier agent left.
    ///
    /// # Errors
    ///
    /// The directory cannot be used. A file of it that cannot be read is no error: it is logged and counted.
    pub fn open(path: &Path, ledger: &Ledger) -> Result<(Self, Vec<Saved>), StateError> {
        let unusable = |source| StateError::Unusable { directory: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Locked(path.to_owned())),
            Err(error) => return Err(unusable(error.into())),
        }
        let mut saved = Vec::new();
        for entry in fs::read_dir(path).map_err(unusable)? {
            let file = entry.map_err(unusable)?.path();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some(EXTENSION) => match read(&file) {
                    Ok(state) => saved.push(state),
                    Err(error) => {
                        ledger.state_errors.fetch_add(1, Relaxed);
                        tracing::warn!(file = %file.display(), %error, "a state file is no good: that container starts anew");
                        let _ = fs::remove_file(&file);
                    }
                },
                // Begun by an agent that did not live to rename it.
                Some("new") => {
                    let _ = fs::remove_file(&file);
                }
                _ => {}
            }
        }
        Ok((Self { path: path.to_owned(), _lock: lock }, saved))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(id).with_extension(EXTENSION)
    }

    fn write(&self, state: &Saved) -> io::Result<()> {
        let file = self.file(&state.container_id);
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(state)?)?;
        fs::rename(new, file)
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn read(file: &Path) -> io::Result<Saved> {
    let state: Saved = serde_json::from_slice(&fs::read(file)?)?;
    if state.version != VERSION || file.file_stem().and_then(|stem| stem.to_str()) != Some(&*state.container_id) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another version, or another container's"));
    }
    Ok(state)
}

/// Writes states on a thread of its own, so that a slow disk costs the reader nothing. Of a container that is sealed
/// again before its turn only the newest state is written.
#[derive(Debug)]
pub struct StateWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    /// `None` for a container that is forgotten.
    changes: HashMap<Arc<str>, Option<Saved>>,
    closed: bool,
}

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(directory: StateDir, ledger: Arc<Ledger>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let thread = thread::Builder::new().name("state".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, &directory, &ledger)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has a state written.
    pub fn save(&self, state: Saved) {
        self.change(Arc::clone(&state.container_id), Some(Saved { version: VERSION, ..state }));
    }

    /// Has a state removed.
    pub fn forget(&self, id: &Arc<str>) {
        self.change(Arc::clone(id), None);
    }

    fn change(&self, id: Arc<str>, state: Option<Saved>) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).changes.insert(id, state);
        self.shared.changed.notify_one();
    }
}

impl Drop for StateWriter {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported by then.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, directory: &StateDir, ledger: &Ledger) {
    let mut failing = false;
    loop {
        let changes = {
            let pending = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_idle = |pending: &mut Pending| pending.changes.is_empty() && !pending.closed;
            let mut pending = shared.changed.wait_while(pending, is_idle).unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut pending.changes)
        };
        if changes.is_empty() {
            return;
        }
        for (id, state) in changes {
            let outcome = match &state {
                Some(state) => directory.write(state),
                None => directory.remove(&id),
            };
            if let Err(error) = &outcome {
                ledger.state_errors.fetch_add(1, Relaxed);
                if !failing {
                    tracing::error!(directory = %directory.path.display(), %error, "positions cannot be saved; capture goes on");
                }
            }
            failing = outcome.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new(Duration::from_mins(5)))
    }

    fn saved(id: &str, position: u64) -> Saved {
        let stdout = SavedStream { position, ..SavedStream::default() };
        Saved { version: VERSION, container_id: id.into(), sessions: 3, stdout, ..Saved::default() }
    }

    #[test]
    fn the_newest_state_is_there_after_a_restart_and_a_forgotten_one_is_not() {
        let (directory, ledger) = (tempfile::tempdir().unwrap(), ledger());
        let (state, found) = StateDir::open(directory.path(), &ledger).unwrap();
        assert!(found.is_empty());
        let writer = StateWriter::start(state, Arc::clone(&ledger)).unwrap();
        writer.save(saved("a", 1));
        writer.save(saved("b", 5));
        writer.save(saved("a", 2));
        writer.forget(&"b".into());
        drop(writer);
        let (_state, found) = StateDir::open(directory.path(), &ledger).unwrap();
        assert_eq!(found, [saved("a", 2)]);
        assert_eq!(ledger.state_errors.load(Relaxed), 0);
    }

    #[test]
    fn two_agents_do_not_share_a_directory() {
        let (directory, ledger) = (tempfile::tempdir().unwrap(), ledger());
        let _state = StateDir::open(directory.path(), &ledger).unwrap();
        let refusal = StateDir::open(directory.path(), &ledger).unwrap_err().to_string();
        assert!(refusal.contains("in use by another capture-agent"), "{refusal}");
    }

    #[test]
    fn a_torn_file_costs_one_container_its_numbers_and_is_counted() {
        let (directory, ledger) = (tempfile::tempdir().unwrap(), ledger());
        let (state, _) = StateDir::open(directory.path(), &ledger).unwrap();
        state.write(&saved("a", 1)).unwrap();
        fs::write(state.file("b"), "{\"version\":1,").unwrap();
        fs::write(state.file("c"), serde_json::to_vec(&saved("a", 9)).unwrap()).unwrap();
        fs::write(state.path.join("d.new"), "{").unwrap();
        drop(state);
        let (state, found) = StateDir::open(directory.path(), &ledger).unwrap();
        assert_eq!(found, [saved("a", 1)]);
        assert_eq!(ledger.state_errors.load(Relaxed), 2);
        assert!(!state.path.join("d.new").exists());
    }
}

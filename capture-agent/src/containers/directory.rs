//! What is known of containers: id → name, image, labels.
//!
//! The one place where metadata joins. The Docker client fills it, sessions read it; neither waits for the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

/// Requests that may wait for the Docker client; more are asked again by the session's next look-up.
const WANTED_CAPACITY: usize = 1024;

/// Name, image and labels of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the leading slash of the Docker API.
    pub name: String,
    /// As the user named it; empty for a command run by `exec`.
    pub image: String,
    /// As set on the container, in order of their keys.
    pub labels: BTreeMap<String, String>,
}

/// Answer of [`Directory::lookup`].
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The engine knows it.
    Known(Arc<Metadata>),
    /// The engine was asked and does not know it.
    Unknown,
    /// Not asked yet, or no answer yet; the question is on its way.
    Pending,
}

#[derive(Debug)]
enum Entry {
    Known(Arc<Metadata>),
    Unknown,
    Asked,
}

/// Shared by the Docker client, which writes it, and the sessions, which read it.
#[derive(Debug)]
pub struct Directory {
    entries: Mutex<HashMap<String, Entry>>,
    version: AtomicU64,
    wanted: mpsc::Sender<String>,
}

impl Directory {
    /// An empty directory, and the ids that sessions ask it for and it does not have.
    #[must_use]
    pub fn new() -> (Arc<Self>, mpsc::Receiver<String>) {
        let (wanted, requests) = mpsc::channel(WANTED_CAPACITY);
        (Arc::new(Self { entries: Mutex::default(), version: AtomicU64::new(0), wanted }), requests)
    }

    /// What is known of `id` (64 hexadecimal digits). Never waits; asks the engine where nothing is known.
    pub fn lookup(&self, id: &str) -> Lookup {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get(id) {
            Some(Entry::Known(metadata)) => Lookup::Known(Arc::clone(metadata)),
            Some(Entry::Unknown) => Lookup::Unknown,
            Some(Entry::Asked) => Lookup::Pending,
            None => {
                if self.wanted.try_send(id.to_owned()).is_ok() {
                    entries.insert(id.to_owned(), Entry::Asked);
                }
                Lookup::Pending
            }
        }
    }

    /// Moves whenever an answer arrives or changes, so that a session need not look up in vain.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is known of `id`, if anything; nobody is asked.
    pub fn known(&self, id: &str) -> Option<Arc<Metadata>> {
        match self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            Some(Entry::Known(metadata)) => Some(Arc::clone(metadata)),
            _ => None,
        }
    }

    /// Whether `id` was asked for and no answer came yet.
    pub fn is_awaited(&self, id: &str) -> bool {
        matches!(self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(id), Some(Entry::Asked))
    }

    /// Stores what the engine said of a container. What is known already is no news.
    pub fn insert(&self, metadata: Metadata) {
        if self.known(&metadata.id).is_none_or(|known| *known != metadata) {
            self.set(metadata.id.clone(), Entry::Known(Arc::new(metadata)));
        }
    }

    /// Stores that the engine does not know `id`. What was known before stays known: a removed container keeps its name.
    pub fn insert_unknown(&self, id: &str) {
        let known = matches!(
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(id),
            Some(Entry::Known(_) | Entry::Unknown)
        );
        if !known {
            self.set(id.to_owned(), Entry::Unknown);
        }
    }

    /// Takes back that `id` was asked for, after a call that failed, so that the next look-up asks again.
    pub fn retract(&self, id: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(entries.get(id), Some(Entry::Asked)) {
            entries.remove(id);
        }
    }

    /// Forgets a container. For one whose session is closed.
    pub fn forget(&self, id: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn set(&self, id: String, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        self.version.fetch_add(1, Ordering::Release);
    }
}

//! Containers in segments: what the engine said of one stands in a segment once, and is referred to by number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::wire::{Input, Malformed, put_bytes, put_number};
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Account, Origin};

/// Numbers of what was said of containers, in the segment that is being written. Number 0 is for nothing said.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// By address; the value keeps what is there in its place.
    numbers: HashMap<usize, (Arc<Metadata>, u32)>,
}

impl Definitions {
    /// The number of what was said of a container, and whether it is a new one.
    pub(super) fn number(&mut self, metadata: Option<&Arc<Metadata>>) -> (u32, bool) {
        let Some(metadata) = metadata else { return (0, false) };
        let next = self.numbers.len() as u32 + 1;
        let address = Arc::as_ptr(metadata).addr();
        let (_, number) = self.numbers.entry(address).or_insert_with(|| (Arc::clone(metadata), next));
        (*number, *number == next)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Takes back those that came after the first so many, because what defines them was not written.
    pub(super) fn take_back(&mut self, len: usize) {
        self.numbers.retain(|_, (_, number)| *number as usize <= len);
    }

    pub(super) fn clear(&mut self) {
        self.numbers.clear();
    }
}

/// Writes what was said of a container.
pub(super) fn put_definition(out: &mut Vec<u8>, number: u32, metadata: &Metadata) {
    // Without `..`, so that a new field is not forgotten.
    let Metadata { id, name, image, labels } = metadata;
    put_number(out, u64::from(number));
    for text in [id, name, image] {
        put_bytes(out, text.as_bytes());
    }
    put_number(out, labels.len() as u64);
    for (key, value) in labels {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

pub(super) fn get_definition(input: &mut Input) -> Result<(u32, Metadata), Malformed> {
    let number = input.small()?;
    let (id, name, image) = (input.text()?, input.text()?, input.text()?);
    let labels = (0..input.number()?).map(|_| Ok((input.text()?, input.text()?))).collect::<Result<_, _>>()?;
    Ok((number, Metadata { id, name, image, labels }))
}

/// The accounts of containers whose records are on disk, so that what is read back is counted for them while they are known.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<Arc<str>, Weak<Account>>>);

impl Accounts {
    pub(super) fn remember(&self, origin: &Origin) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            accounts.get(&origin.container_id).is_some_and(|known| known.as_ptr() == Arc::as_ptr(&origin.account));
        if !known {
            accounts.insert(Arc::clone(&origin.container_id), Arc::downgrade(&origin.account));
        }
    }

    /// Forgets those that nobody counts any more.
    pub(super) fn tidy(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, account| account.strong_count() > 0);
    }

    fn get(&self, id: &str) -> Arc<Account> {
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(id).and_then(Weak::upgrade).unwrap_or_default()
    }
}

/// What a reader knows of the containers of one segment.
#[derive(Debug, Default)]
pub(super) struct Origins {
    definitions: HashMap<u32, Arc<Metadata>>,
    known: HashMap<(Arc<str>, u32), Arc<Origin>>,
}

impl Origins {
    pub(super) fn define(&mut self, number: u32, metadata: Metadata) {
        self.definitions.insert(number, Arc::new(metadata));
    }

    /// The origin of records. Where what was said is lost, they go by the container's id alone.
    pub(super) fn get(&mut self, id: &Arc<str>, number: u32, accounts: &Accounts) -> Arc<Origin> {
        let definitions = &self.definitions;
        let new = || {
            let metadata = definitions.get(&number).map(Arc::clone);
            Arc::new(Origin::new(Arc::clone(id), metadata, accounts.get(id)))
        };
        Arc::clone(self.known.entry((Arc::clone(id), number)).or_insert_with(new))
    }

    pub(super) fn clear(&mut self) {
        self.definitions.clear();
        self.known.clear();
    }
}

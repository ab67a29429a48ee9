//! What is different between two configurations.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ReloadError;
use super::watch::{Stamp, Stamps};
use crate::config::yaml::{Node, Value};
use crate::config::{Config, Loaded, SinkName, Sinks};

/// Keys that name a file end like this. What the file holds is part of the configuration: a new token, a renewed
/// certificate.
const FILE_SUFFIX: &str = "_file";

/// A new configuration, and what is different in it.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to hold.
    pub config: Config,
    /// Sinks that are new.
    pub added: Vec<SinkName>,
    /// Sinks that are gone.
    pub removed: Vec<SinkName>,
    /// Sinks of which something is different: what the file says of them, or what a file holds that they name.
    pub changed: Vec<SinkName>,
    /// Whether `select` or `pipeline` is different.
    pub shaping: bool,
}

impl Change {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && !self.shaping
    }

    pub(super) fn between(
        (old, old_files): (&Loaded, &Fingerprint),
        (new, new_files): (&Loaded, &Fingerprint),
    ) -> Result<Self, ReloadError> {
        let settled = [
            different("capture", &old.config.capture, &new.config.capture),
            different("docker", &old.config.docker, &new.config.docker),
            different("admin", &old.config.admin, &new.config.admin),
        ];
        let settled = settled.concat();
        if !settled.is_empty() {
            return Err(ReloadError::Restart(settled));
        }
        let sinks = |loaded: &Loaded| -> Sinks { loaded.config.sinks.clone().or_default() };
        let (before, after) = (sinks(old), sinks(new));
        let is_changed = |name: &SinkName| match (old.sink(name), new.sink(name)) {
            (None, None) => false,
            (Some(before), Some(after)) => {
                let holds_the_same = |file: &PathBuf| old_files.hash(file) == new_files.hash(file);
                !before.says_the_same(after) || !files_of(after).iter().all(holds_the_same)
            }
            _ => true,
        };
        Ok(Self {
            shaping: old.config.select != new.config.select || old.config.pipeline != new.config.pipeline,
            config: new.config.clone(),
            added: after.0.keys().filter(|name| !before.0.contains_key(*name)).cloned().collect(),
            removed: before.0.keys().filter(|name| !after.0.contains_key(*name)).cloned().collect(),
            changed: after.0.keys().filter(|name| before.0.contains_key(*name) && is_changed(name)).cloned().collect(),
        })
    }
}

/// Which fields of a section are different.
fn different<T: Serialize>(section: &str, old: &T, new: &T) -> Vec<String> {
    // Sections have fields, all of which have a place in JSON.
    let fields = |section: &T| match serde_json::to_value(section) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| format!("{section}.{key}")).collect()
}

/// What files hold that a configuration names. Hashes, since some of it is secret.
#[derive(Default)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, Held>);

/// What a file held when it was read, and its state before that; `None` where there was nothing to read.
struct Held {
    stamp: Option<Stamp>,
    hash: Option<u64>,
}

impl Fingerprint {
    pub(super) fn of(document: &Node) -> Self {
        let hash = |content: Vec<u8>| {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            hasher.finish()
        };
        let held = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            let held = Held { stamp, hash: fs::read(&path).ok().map(hash) };
            (path, held)
        };
        Self(files_of(document).into_iter().map(held).collect())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The states that the files had before they were read.
    pub(super) fn stamps(&self) -> Stamps {
        self.0.iter().map(|(path, held)| (path.clone(), held.stamp)).collect()
    }

    /// The hash of what a file holds.
    fn hash(&self, path: &Path) -> Option<u64> {
        self.0.get(path)?.hash
    }
}

/// The files that a node names.
fn files_of(node: &Node) -> Vec<PathBuf> {
    match &node.value {
        Value::Scalar { .. } => Vec::new(),
        Value::Sequence(nodes) => nodes.iter().flat_map(files_of).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .flat_map(|entry| match &entry.value.value {
                Value::Scalar { text, .. } if entry.key.ends_with(FILE_SUFFIX) => vec![text.into()],
                _ => files_of(&entry.value),
            })
            .collect(),
    }
}

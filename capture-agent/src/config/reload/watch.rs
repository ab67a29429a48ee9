//! Whether files have changed, as their metadata has it: a look costs one `stat` a file, and no descriptor stays open.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another. A path that leads somewhere else now (Kubernetes swaps a symbolic link)
/// has another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The states of files; `None` for one that is not there.
pub(super) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// Files as they are now.
pub(super) fn look<'a>(files: impl IntoIterator<Item = &'a Path>) -> Stamps {
    files.into_iter().map(|path| (path.to_owned(), Stamp::of(path))).collect()
}

impl Stamp {
    /// Of a file as it is now; `None` if it is not there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Files that are looked at now and then.
pub(super) struct Watch {
    /// The states that were read.
    known: Stamps,
    /// Those at the last look.
    last: Stamps,
}

impl Watch {
    /// `known` are the states that were read.
    pub(super) fn new(known: Stamps) -> Self {
        Self { last: known.clone(), known }
    }

    /// Whether the files, which are `now` like this, are other than those that were read, and have not changed since the
    /// last look: whoever writes them may not be done before that.
    pub(super) fn has_changed(&mut self, now: Stamps) -> bool {
        let is_quiet = now == self.last;
        self.last = now;
        is_quiet && self.last != self.known
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_told_when_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let now = || look([path.as_path()]);
        let mut watch = Watch::new(now());
        assert!(!watch.has_changed(now()));
        fs::write(&path, "a").unwrap();
        assert!(!watch.has_changed(now()));
        fs::write(&path, "ab").unwrap();
        assert!(!watch.has_changed(now()));
        assert!(watch.has_changed(now()));
        watch = Watch::new(now());
        assert!(!watch.has_changed(now()));
        fs::remove_file(&path).unwrap();
        assert!(!watch.has_changed(now()));
        assert!(watch.has_changed(now()));
    }

    #[test]
    fn a_link_that_leads_somewhere_else_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["1", "2"] {
            fs::write(at(version), "the same").unwrap();
        }
        symlink(at("1"), at("config.yaml")).unwrap();
        let path = at("config.yaml");
        let now = || look([path.as_path()]);
        let mut watch = Watch::new(now());
        symlink(at("2"), at("next")).unwrap();
        fs::rename(at("next"), &path).unwrap();
        assert!(!watch.has_changed(now()));
        assert!(watch.has_changed(now()));
    }
}

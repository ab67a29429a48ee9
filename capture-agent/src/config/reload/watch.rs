//! Whether files have changed, as their metadata has it: a look costs one `stat` a file, and no descriptor stays open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells one state of a file from another. A path that leads somewhere else now (Kubernetes swaps a symbolic link)
/// has another inode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files that are looked at now and then.
#[derive(Default)]
pub(super) struct Watch {
    settled: Vec<Option<Stamp>>,
    /// The state at the last look.
    last: Vec<Option<Stamp>>,
}

impl Watch {
    /// Takes the files as they are for known.
    pub(super) fn settle<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        self.settled = stamps(files);
        self.last.clone_from(&self.settled);
    }

    /// Whether the files are other than when they were settled, and have not changed since the last look: whoever
    /// writes them may not be done before that.
    pub(super) fn has_changed<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> bool {
        let now = stamps(files);
        let is_quiet = now == self.last;
        self.last = now;
        is_quiet && self.last != self.settled
    }
}

fn stamps<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<Option<Stamp>> {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_told_when_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let files = || std::iter::once(path.as_path());
        let mut watch = Watch::default();
        watch.settle(files());
        assert!(!watch.has_changed(files()));
        fs::write(&path, "a").unwrap();
        assert!(!watch.has_changed(files()));
        fs::write(&path, "ab").unwrap();
        assert!(!watch.has_changed(files()));
        assert!(watch.has_changed(files()));
        watch.settle(files());
        assert!(!watch.has_changed(files()));
        fs::remove_file(&path).unwrap();
        assert!(!watch.has_changed(files()));
        assert!(watch.has_changed(files()));
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
        let files = || std::iter::once(path.as_path());
        let mut watch = Watch::default();
        watch.settle(files());
        symlink(at("2"), at("next")).unwrap();
        fs::rename(at("next"), &path).unwrap();
        assert!(!watch.has_changed(files()));
        assert!(watch.has_changed(files()));
    }
}

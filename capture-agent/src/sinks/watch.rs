//! Files that are replaced while the agent runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another without reading it; `None` where it cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// The state of a file now. Links are followed: a mounted secret is replaced by turning one.
    pub(super) fn of(path: &Path) -> Self {
        let of = |file: fs::Metadata| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        Self(fs::metadata(path).ok().map(of))
    }
}

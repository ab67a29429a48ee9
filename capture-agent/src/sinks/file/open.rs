//! The files that are written.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::room::Room;
use super::rotation::Rotation;

/// Files that are kept open. Those over it are closed, the longest unused first, and opened again when needed.
pub(super) const MAX_OPEN: usize = 256;
/// How long a file keeps disk space ahead that nothing is written to.
const QUIET: Duration = Duration::from_secs(5);

/// Files by their path, some of them open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    open: HashMap<PathBuf, OpenFile>,
    clock: u64,
}

impl OpenFiles {
    /// The file of a path, opened if it is not.
    pub(super) fn get(&mut self, path: &Path) -> io::Result<&mut OpenFile> {
        if !self.open.contains_key(path) {
            if self.open.len() >= MAX_OPEN {
                let unused = self.open.iter().min_by_key(|(_, file)| file.used).map(|(path, _)| path.clone());
                unused.and_then(|path| self.open.remove(&path));
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|error| named(parent, &error))?;
            }
            let file = OpenFile::open(path).map_err(|error| named(path, &error))?;
            self.open.insert(path.to_owned(), file);
        }
        self.clock += 1;
        let file = self.open.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.used = self.clock;
        Ok(file)
    }

    /// Appends to the file of a path records that end at `ends`: as [`OpenFile::write`].
    pub(super) fn write(
        &mut self,
        path: &Path,
        bytes: &mut [IoSlice<'_>],
        ends: &[usize],
    ) -> (usize, Option<io::Error>) {
        let (written, failure) = match self.get(path) {
            Ok(file) => file.write(bytes, ends),
            Err(error) => return (0, Some(error)),
        };
        if failure.is_some() {
            // Opened anew for the next try: it may be another one by then.
            self.open.remove(path);
        }
        (written, failure.map(|error| named(path, &error)))
    }

    /// Bytes in the file of a path as far as is known; 0 for one that is not open.
    pub(super) fn length(&self, path: &Path) -> u64 {
        self.open.get(path).map_or(0, |file| file.length)
    }

    pub(super) fn close(&mut self, path: &Path) {
        self.open.remove(path);
    }

    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// Closes those that nothing was written to for so long, and gives back what others have too much.
    pub(super) fn close_unused(&mut self, idle: Duration) {
        self.open.retain(|_, file| file.used_at.elapsed() < idle);
        self.open.values_mut().filter(|file| file.used_at.elapsed() >= QUIET).for_each(OpenFile::give_back);
    }

    /// Those that are to be moved away for their age.
    pub(super) fn too_old(&self, rotation: &Rotation) -> Vec<PathBuf> {
        let old = self.open.iter().filter(|(_, file)| file.is_too_old(rotation));
        old.map(|(path, _)| path.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// An error that says which file.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// One of them.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    /// Bytes in it; somebody else may change that.
    length: u64,
    began: SystemTime,
    /// By a count of uses.
    used: u64,
    used_at: Instant,
    /// Not a pipe or a device: what was written in part can be taken back.
    is_regular: bool,
    room: Room,
}

impl OpenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        // Where the file system does not know when a file was made, its last change is not earlier.
        let began = if length == 0 { Ok(SystemTime::now()) } else { metadata.created().or(metadata.modified()) };
        let began = began.unwrap_or_else(|_| SystemTime::now());
        let is_regular = metadata.is_file();
        let room = Room::found(length, metadata.blocks());
        Ok(Self { file, length, began, used: 0, used_at: Instant::now(), is_regular, room })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn is_too_old(&self, rotation: &Rotation) -> bool {
        let age = SystemTime::now().duration_since(self.began).unwrap_or_default();
        self.is_regular && self.length > 0 && rotation.max_age.is_some_and(|most| age >= most)
    }

    /// How many records it may take before it is moved away, given where they end.
    pub(super) fn fit(&mut self, rotation: &Rotation, ends: &[usize]) -> io::Result<usize> {
        if self.is_regular {
            // Others may have cut it short, or written to it as well: then nobody knows what it will need. Its length alone: who
            // asks for its times as well makes the next write note the time in the file system's journal (Linux 6.13).
            let length = self.file.seek(SeekFrom::End(0))?;
            if length != self.length {
                (self.length, self.room) = (length, Room::new(length));
            }
        }
        if self.is_too_old(rotation) {
            return Ok(0);
        }
        Ok(match rotation.max_bytes {
            Some(most) if self.is_regular => {
                let room = most.saturating_sub(self.length);
                ends.partition_point(|end| *end as u64 <= room)
            }
            _ => ends.len(),
        })
    }

    /// Appends records that end at `ends`; how many are in the file, and what kept the others from it. What was written of
    /// the first one that is not is taken back.
    fn write(&mut self, mut bytes: &mut [IoSlice<'_>], ends: &[usize]) -> (usize, Option<io::Error>) {
        self.used_at = Instant::now();
        if self.is_regular {
            self.room.prepare(&self.file, self.length + ends.last().map_or(0, |end| *end as u64));
        }
        let mut written = 0;
        let failure = loop {
            if bytes.is_empty() {
                break None;
            }
            match self.file.write_vectored(bytes) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    written += more;
                    IoSlice::advance_slices(&mut bytes, more);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let whole = ends.partition_point(|end| *end <= written);
        let end = whole.checked_sub(1).map_or(0, |last| ends[last]);
        if end < written && self.is_regular {
            self.take_back(self.length + written as u64, self.length + end as u64);
        }
        self.length += end as u64;
        (whole, failure)
    }

    /// Cuts a file off, if nobody else has written to it since it was looked at.
    fn take_back(&self, from: u64, to: u64) {
        let cut = self.file.metadata().and_then(|metadata| {
            if metadata.len() == from {
                self.file.set_len(to)
            } else {
                Err(io::Error::other("somebody else writes to it"))
            }
        });
        if let Err(error) = cut {
            tracing::warn!(%error, bytes = from - to, "a line that could be written in part only stays in the file as it is");
        }
    }

    /// Gives back the disk space that it has too much.
    fn give_back(&mut self) {
        if let Err(error) = self.room.give_back(&self.file, self.length) {
            tracing::debug!(%error, "a file keeps disk space that it does not use");
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.give_back();
    }
}

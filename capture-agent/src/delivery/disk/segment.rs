//! Segments: files of frames, named by the number of their first record and their salt.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, Found, Point, Salt};

/// The format of what is in a segment; another one has another name.
const EXTENSION: &str = "frames1";

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) salt: Salt,
    /// The place of its first frame.
    pub(super) start: Point,
    /// Bytes of whole frames.
    pub(super) length: u64,
}

impl Segment {
    /// Makes a new file, which nobody else may read: output may hold secrets.
    pub(super) fn create(directory: &Path, start: Point) -> io::Result<(Self, File)> {
        let mut salt = [0; 8];
        rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
        let salt = Salt(u64::from_le_bytes(salt));
        let path = directory.join(format!("{:016x}-{:016x}.{EXTENSION}", start.records, salt.0));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Self { path, salt, start, length: 0 }, file))
    }

    /// The segments of a directory, in order. What else is there is left alone.
    pub(super) fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let Some((records, salt)) = parse(&path) else { continue };
            let length = fs::metadata(&path)?.len();
            let start = Point { records, ..Point::default() };
            segments.push(Self { path, salt: Salt(salt), start, length });
        }
        segments.sort_by(|a, b| (a.start.records, &a.path).cmp(&(b.start.records, &b.path)));
        Ok(segments)
    }

    /// The number of its first record, as its name says.
    pub(super) fn named(&self) -> u64 {
        parse(&self.path).map_or(self.start.records, |(records, _)| records)
    }

    /// Removes the file. Where that fails, it is spoken of, and the next agent finds it settled.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a segment that is done with cannot be removed");
        }
    }

    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Where its first whole frame begins, counted in all that was ever written; `None` without one.
    pub(super) fn first_point(&self) -> io::Result<Option<Point>> {
        let (file, mut at) = (self.open()?, 0);
        loop {
            match frame::read(&file, at, self.length, self.salt)? {
                Found::Frame(header, _) => return Ok(Some(header.begin)),
                Found::Corrupt(next) => at = next,
                Found::End => return Ok(None),
            }
        }
    }

    /// Where its last whole frame ends: in the file, and counted in all that was ever written.
    pub(super) fn last_point(&self) -> io::Result<(u64, Option<Point>)> {
        let (file, mut at) = (self.open()?, 0);
        let mut last = (0, None);
        loop {
            match frame::read(&file, at, self.length, self.salt)? {
                Found::Frame(header, _) => {
                    at += header.size();
                    last = (at, Some(header.end()));
                }
                Found::Corrupt(next) => at = next,
                Found::End => return Ok(last),
            }
        }
    }

    /// Cuts off what follows the whole frames.
    pub(super) fn truncate(&mut self, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(&self.path)?.set_len(length)?;
        self.length = length;
        Ok(())
    }
}

/// The number of the first record and the salt, from a path.
fn parse(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let (records, salt) = name.split_once('-')?;
    let hex = |digits: &str| (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    Some((hex(records)?, hex(salt)?))
}

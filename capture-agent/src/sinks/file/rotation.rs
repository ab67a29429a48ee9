//! When a file is moved away, and what it is called then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// When a file is moved away and the next one begun, and what becomes of those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file; a single record that is longer has a file for itself. `None` for any number.
    pub max_bytes: Option<u64>,
    /// Age of a file since it was made. One that was closed is looked at when it is written again. `None` for any age.
    pub max_age: Option<Duration>,
    /// How many of the files that were moved away are kept, for each path; `None` for all.
    pub keep: Option<usize>,
    /// How they are kept.
    pub compression: Compression,
}

/// How files are kept that were moved away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they were written.
    #[default]
    None,
    /// As `.gz`.
    Gzip,
    /// As `.zst`.
    Zstd,
}

impl Compression {
    /// What follows the name of a file.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Gives a file the time as a second name: `web.log.20231114T221320.000Z`. In the order of their names such files are in
/// that of their times.
pub(super) fn move_away(path: &Path) -> io::Result<PathBuf> {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
    for number in 0..1000 {
        let suffix = if number == 0 { format!(".{now}") } else { format!(".{now}-{number:03}") };
        let target = with_suffix(path, &suffix);
        let is_taken = ["", ".gz", ".zst"].iter().any(|extension| with_suffix(&target, extension).exists());
        if !is_taken {
            fs::rename(path, &target)?;
            return Ok(target);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The files that were moved away from a path, the oldest first, and what is left of compressing them.
pub(super) fn moved_away(path: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Default::default());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let (mut moved, mut unfinished) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let rest = path.file_name().and_then(|other| other.to_str()).and_then(|other| other.strip_prefix(name));
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) else { continue };
        if let Some(rest) = rest.strip_suffix(PART) {
            if is_time(rest) {
                unfinished.push(path);
            }
        } else if is_time(rest) {
            moved.push(path);
        }
    }
    moved.sort_unstable_by(|a, b| uncompressed(a).cmp(uncompressed(b)));
    Ok((moved, unfinished))
}

/// The name that a file had before it was compressed: what comes first of one millisecond has no number, and sorts so.
fn uncompressed(path: &Path) -> &str {
    without_extension(path.file_name().and_then(|name| name.to_str()).unwrap_or_default())
}

fn without_extension(name: &str) -> &str {
    name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name)
}

/// What follows the name of a file that is being compressed.
pub(super) const PART: &str = ".part";

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Whether it is what [`move_away`] adds to a name, with or without the extension of a compressed file.
fn is_time(text: &str) -> bool {
    let text = without_extension(text);
    let (time, number) = text.split_once('-').map_or((text, None), |(time, number)| (time, Some(number)));
    let is_number = number.is_none_or(|number| number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()));
    let shape = b"00000000T000000.000Z";
    let is_like = |(byte, like): (u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like };
    is_number && time.len() == shape.len() && time.bytes().zip(shape).all(is_like)
}

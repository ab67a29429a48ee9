//! What is done with files that were moved away, on a thread of its own: compressing takes longer than records can wait.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use flate2::write::GzEncoder;

use super::rotation::{Compression, PART, Rotation, moved_away, with_suffix};

/// Paths that may wait; one that finds no room is seen to when it is next moved away.
const QUEUE: usize = 256;
/// zstd's own default: about as small as gzip, many times faster.
const ZSTD_LEVEL: i32 = 3;

/// The way to the thread, which is started when there is something to do and ends with the sink.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    keep: Option<usize>,
    compression: Compression,
    paths: Option<SyncSender<PathBuf>>,
}

impl Housekeeping {
    pub(super) fn new(rotation: &Rotation) -> Self {
        Self { keep: rotation.keep, compression: rotation.compression, paths: None }
    }

    /// Sees to the files that were moved away from a path: all that an agent before has left undone, too.
    pub(super) fn tidy(&mut self, path: &Path) {
        if self.keep.is_none() && self.compression == Compression::None {
            return;
        }
        let paths = match &self.paths {
            Some(paths) => paths,
            None => match start(self.keep, self.compression) {
                Ok(paths) => self.paths.insert(paths),
                Err(error) => {
                    tracing::error!(%error, "no thread to see to files that were moved away");
                    return;
                }
            },
        };
        let _ = paths.try_send(path.to_owned());
    }
}

fn start(keep: Option<usize>, compression: Compression) -> io::Result<SyncSender<PathBuf>> {
    let (sender, paths) = sync_channel::<PathBuf>(QUEUE);
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        for path in paths {
            if let Err(error) = tidy(&path, keep, compression) {
                tracing::warn!(file = %path.display(), %error, "files that were moved away cannot be seen to");
            }
        }
    })?;
    Ok(sender)
}

fn tidy(path: &Path, keep: Option<usize>, compression: Compression) -> io::Result<()> {
    let (mut moved, unfinished) = moved_away(path)?;
    // Begun by an agent that did not live to finish it.
    for part in unfinished {
        fs::remove_file(part)?;
    }
    let surplus = moved.len().saturating_sub(keep.unwrap_or(usize::MAX));
    for old in moved.drain(..surplus) {
        fs::remove_file(old)?;
    }
    for file in moved.iter().filter(|file| !is_compressed(file)) {
        compress(file, compression)?;
    }
    Ok(())
}

fn is_compressed(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "gz" || extension == "zst")
}

/// Puts a compressed file in the place of another, which is removed when the new one is whole.
fn compress(file: &Path, compression: Compression) -> io::Result<()> {
    if compression == Compression::None {
        return Ok(());
    }
    let target = with_suffix(file, compression.extension());
    let part = with_suffix(&target, PART);
    let mut from = File::open(file)?;
    let into = File::create(&part)?;
    let written = match compression {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(into, flate2::Compression::default());
            io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish())
        }
        _ => zstd::Encoder::new(into, ZSTD_LEVEL).and_then(|mut encoder| {
            io::copy(&mut from, &mut encoder)?;
            encoder.finish()
        }),
    };
    let finished = written.and_then(|into| {
        into.set_permissions(from.metadata()?.permissions())?;
        fs::rename(&part, &target)?;
        fs::remove_file(file)
    });
    if finished.is_err() {
        let _ = fs::remove_file(&part);
    }
    finished
}

//! What an earlier agent left.

use std::collections::VecDeque;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::super::counters::Counters;
use super::super::settings::DiskSettings;
use super::DiskError;
use super::frame::Point;
use super::position::PositionFile;
use super::reader::DiskReader;
use super::segment::Segment;
use super::store::Store;

/// How long a directory may still be another's: a sink that was just removed, or a process that has been forked and has not
/// closed what it was born with.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens a directory for one sink, with what is in it.
pub(in crate::delivery) fn open(
    settings: &DiskSettings,
    counters: &Arc<Counters>,
) -> Result<(Arc<Store>, DiskReader), DiskError> {
    let directory = &settings.directory;
    let unusable = |source| DiskError::Unusable { directory: directory.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join("lock"));
    let lock = lock.map_err(unusable)?;
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < patience => thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DiskError::Locked(directory.clone())),
            Err(error) => return Err(unusable(error.into())),
        }
    }
    let (position_file, position) = PositionFile::open(directory).map_err(unusable)?;
    let (segments, end) = segments(settings, counters).map_err(unusable)?;

    let settled = settled(position, segments.front());
    // A power failure may have taken what was delivered already.
    let tail = end.filter(|end| end.records > settled.records).unwrap_or(settled);
    let waiting = tail.since(settled);
    counters.recovered.add(waiting);
    if tail.records > settled.records {
        let (sink, records, bytes) = (&*counters.name, waiting.lines, waiting.bytes);
        let segments = segments.len();
        tracing::info!(sink, records, bytes, segments, "the disk buffer holds what an earlier agent did not deliver");
    }
    let segments = if tail.records > settled.records { segments } else { remove_all(&segments) };
    let store = Arc::new(Store::new(settings.clone(), segments, tail, settled, Arc::clone(counters), lock));
    let reader = DiskReader::new(Arc::clone(&store), position_file, settled);
    Ok((store, reader))
}

/// Where the sink goes on.
fn settled(position: Option<Point>, first: Option<&Segment>) -> Point {
    let Some(first) = first else { return position.unwrap_or_default() };
    match (position, first.named()) {
        // What lies before the first segment was removed for want of room, and counted then.
        (Some(position), named) if position.records >= named => position,
        (_, 0) => Point::default(),
        _ => first.start,
    }
}

/// Removes segments whose records are all settled.
fn remove_all(segments: &VecDeque<Segment>) -> VecDeque<Segment> {
    segments.iter().for_each(Segment::remove);
    VecDeque::new()
}

/// The segments that have something in them, and where the last one ends.
fn segments(settings: &DiskSettings, counters: &Counters) -> io::Result<(VecDeque<Segment>, Option<Point>)> {
    let mut found = Segment::list(&settings.directory)?;
    let mut end = None;
    if let Some(last) = found.last_mut() {
        let (whole, point) = last.last_point()?;
        end = point;
        let torn = last.length - whole;
        if torn > 0 {
            last.truncate(whole)?;
            counters.torn_bytes.fetch_add(torn, Relaxed);
            let sink = &*counters.name;
            tracing::warn!(
                sink,
                bytes = torn,
                "the end of the disk buffer was cut off: the agent was killed as it wrote"
            );
        }
    }
    let mut segments = VecDeque::new();
    for mut segment in found {
        if let Some(start) = segment.first_point()? {
            segment.start = start;
            segments.push_back(segment);
        } else {
            if segment.length > 0 {
                counters.corrupt_frames.fetch_add(1, Relaxed);
            }
            segment.remove();
        }
    }
    // The last one may have held nothing that is whole.
    if end.is_none()
        && let Some(last) = segments.back()
    {
        end = last.last_point()?.1;
    }
    Ok((segments, end))
}

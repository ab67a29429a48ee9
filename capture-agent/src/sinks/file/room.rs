//! Disk space ahead of a file that grows fast.
//!
//! With the space of the next seconds taken in one go, the file system does not look for a place for every 4 KiB: a third
//! of what the kernel takes to append is spared (docs/decisions/0019).

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes that are taken at a time, for a file that took as much within [`SOON`].
const AHEAD: u64 = 8 << 20;
const SOON: Duration = Duration::from_secs(1);
/// Unit of `st_blocks` (`inode(7)`).
const BLOCK: u64 = 512;

/// How far the space of a file reaches, and how fast it is used up. The file is as long as what was written, all the same.
#[derive(Debug)]
pub(super) struct Room {
    /// End of what is taken, if that is beyond the end of the file.
    end: u64,
    /// Length at which is looked how fast the file grows, and since when it grows up to there.
    next: u64,
    since: Instant,
}

impl Room {
    /// That of a file of this length, of which nobody knows how fast it grows.
    pub(super) fn new(length: u64) -> Self {
        Self { end: 0, next: length + AHEAD, since: Instant::now() }
    }

    /// That of a file which an agent may have left with room ahead, because it was killed.
    pub(super) fn found(length: u64, blocks: u64) -> Self {
        let end = blocks * BLOCK;
        Self { end: if end > length + AHEAD / 2 { end } else { 0 }, ..Self::new(length) }
    }

    /// Takes more before the file grows up to `length`, if it grows fast. A disk that has not so much more, or a file system
    /// that takes nothing ahead, is no fault: what is written finds its place as ever.
    pub(super) fn prepare(&mut self, file: &File, length: u64) {
        if length <= self.next {
            return;
        }
        let is_fast = self.since.elapsed() < SOON;
        if is_fast && fallocate(file, FallocateFlags::KEEP_SIZE, length, AHEAD).is_ok() {
            self.end = length + AHEAD;
        }
        *self = Self { end: self.end, ..Self::new(length) };
    }

    /// Gives back what a file of `length` does not use; cutting it off is the way to say so. Where others write to it as well,
    /// nothing is cut.
    ///
    /// # Errors
    /// When the file cannot be looked at or cut.
    pub(super) fn give_back(&mut self, file: &File, length: u64) -> io::Result<()> {
        if std::mem::take(&mut self.end) > length && file.metadata()?.len() == length {
            file.set_len(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    /// A file that grows by `steps` of 1 MiB, the holes left out, and took `age` for what came before each; its room after each.
    fn grown(file: &File, room: &mut Room, steps: u64, age: Duration) -> Vec<u64> {
        let step = |number| {
            let length = number << 20;
            room.since = Instant::now().checked_sub(age).unwrap();
            room.prepare(file, length);
            file.write_all_at(b"x", length - 1).unwrap();
            room.end
        };
        (1..=steps).map(step).collect()
    }

    fn taken(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * BLOCK
    }

    #[test]
    fn a_file_that_grows_fast_has_room_ahead_until_it_is_given_back() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room::new(0);
        let ends = grown(&file, &mut room, 20, Duration::ZERO);
        // Seen to be fast after 8 MiB, used up after 8 more.
        assert_eq!(ends[7..9], [0, 17 << 20]);
        assert_eq!(ends[16..18], [17 << 20, 26 << 20]);
        let with_room = taken(&file);
        room.give_back(&file, 20 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 20 << 20);
        assert!(taken(&file) + (5 << 20) < with_room, "{with_room}, then {}", taken(&file));
    }

    #[test]
    fn a_file_that_grows_slowly_takes_nothing() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room::new(0);
        assert_eq!(grown(&file, &mut room, 9, SOON)[8], 0);
        assert!(taken(&file) < 1 << 20);
    }

    #[test]
    fn what_a_killed_agent_took_is_given_back() {
        let file = tempfile::tempfile().unwrap();
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, AHEAD).unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        Room::found(10, file.metadata().unwrap().blocks()).give_back(&file, 10).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
        assert!(taken(&file) < 1 << 20, "{}", taken(&file));
    }

    #[test]
    fn what_others_have_written_is_not_cut_off() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        Room { end: AHEAD, ..Room::new(5) }.give_back(&file, 5).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
    }
}

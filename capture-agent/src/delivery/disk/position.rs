//! How far a sink has got, in a file of two slots that are written by turns: one of them is always whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::super::fate::Sum;
use super::frame::Point;

/// Far enough from each other that no disk writes both at once.
const SLOT: u64 = 4096;
const BYTES: usize = 36;

/// The file `position` of a buffer.
#[derive(Debug)]
pub(super) struct PositionFile {
    file: File,
    turn: u64,
    written: Option<Point>,
}

impl PositionFile {
    /// Opens the file, and reads what it says; `None` where it says nothing.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<Point>)> {
        let path = directory.join("position");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let slots = [0, SLOT].map(|at| {
            let mut bytes = [0; BYTES];
            file.read_exact_at(&mut bytes, at).ok().and_then(|()| parse(&bytes))
        });
        let newest = slots.into_iter().flatten().max_by_key(|(turn, _)| *turn);
        let (turn, point) = newest.map_or((0, None), |(turn, point)| (turn, Some(point)));
        Ok((Self { file, turn, written: point }, point))
    }

    /// Writes a new position over the older one of the two. Safe from the agent's end at once; from a power failure when
    /// the system writes it out, and until then records are delivered again.
    pub(super) fn write(&mut self, point: Point) -> io::Result<()> {
        if self.written == Some(point) {
            return Ok(());
        }
        let turn = self.turn + 1;
        let mut bytes = [0; BYTES];
        let numbers = [turn, point.records, point.sum.lines, point.sum.bytes];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, turn % 2 * SLOT)?;
        (self.turn, self.written) = (turn, Some(point));
        Ok(())
    }
}

fn parse(bytes: &[u8; BYTES]) -> Option<(u64, Point)> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let crc = u32::from_le_bytes(bytes[32..].try_into().ok()?);
    let point = Point { records: number(8)?, sum: Sum { lines: number(16)?, bytes: number(24)? } };
    (crc == crc32fast::hash(&bytes[..32])).then_some((number(0)?, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(records: u64) -> Point {
        Point { records, sum: Sum { lines: records / 2, bytes: records * 100 } }
    }

    #[test]
    fn the_newest_whole_position_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, none) = PositionFile::open(directory.path()).unwrap();
        assert_eq!(none, None);
        for records in 1..=7 {
            file.write(point(records)).unwrap();
        }
        drop(file);
        let path = directory.path().join("position");
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(point(7)));
        // Whatever byte of the newer slot is damaged or missing, the one before counts.
        for place in 0..BYTES {
            let mut damaged = whole.clone();
            damaged[SLOT as usize + place] ^= 0x10;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(point(6)), "byte {place}");
            std::fs::write(&path, &whole[..SLOT as usize + place]).unwrap();
            assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(point(6)), "cut at {place}");
        }
        let (mut file, _) = PositionFile::open(directory.path()).unwrap();
        file.write(point(8)).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(point(8)));
    }
}

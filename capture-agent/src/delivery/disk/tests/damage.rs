//! Files that are not as they were written.

use std::path::PathBuf;

use super::*;

/// A directory with six frames of one segment, from an agent that was killed: nothing is settled.
fn left_behind() -> (TempDir, PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(&settings(directory.path()));
    let (quiet, noisy) = (origin("quiet"), origin("noisy"));
    for frame in 0..6 {
        let mut records = lines(&noisy, frame * 4..frame * 4 + 3);
        records.push(line(&quiet, frame * 4 + 3, 5));
        buffer.write(records);
    }
    drop(buffer);
    let [segment] = &segments(directory.path())[..] else { panic!("one segment") };
    let bytes = fs::read(segment).unwrap();
    (directory, segment.clone(), bytes)
}

/// Where the frames of a file end.
fn ends(segment: &Path, directory: &Path) -> Vec<u64> {
    let listed = segment::Segment::list(directory).unwrap();
    let segment = listed.iter().find(|listed| listed.path == segment).unwrap();
    let (file, mut at) = (segment.open().unwrap(), 0);
    let mut ends = Vec::new();
    while let frame::Found::Frame(header, _) = frame::read(&file, at, segment.length, segment.salt).unwrap() {
        at += header.size();
        ends.push(at);
    }
    ends
}

/// Puts a segment back as an agent may have left it, with nothing settled.
fn put_back(directory: &Path, segment: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(directory.join("position"));
    for other in segments(directory) {
        fs::remove_file(other).unwrap();
    }
    fs::write(segment, bytes).unwrap();
}

#[test]
fn a_tail_that_was_torn_anywhere_is_cut_off_and_counted() {
    let (directory, segment, whole) = left_behind();
    let (origin, ends) = (origin("a"), ends(&segment, directory.path()));
    assert_eq!(ends.len(), 6);
    for length in 0..=whole.len() {
        put_back(directory.path(), &segment, &whole[..length]);
        let mut buffer = Buffer::open(&settings(directory.path()));
        let totals = buffer.counters.read();
        let frames = ends.iter().filter(|end| **end <= length as u64).count();
        let end = frames.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!((totals.recovered.records, totals.torn_bytes), (frames as u64 * 4, length as u64 - end), "{length}");
        buffer.write(lines(&origin, 100..103));
        let found = numbers(&buffer.drain(&LIMITS));
        assert_eq!(found, (0..frames as u64 * 4).chain(100..103).collect::<Vec<_>>(), "{length}");
        assert_eq!(buffer.counters.read().corrupt_frames, 0);
        buffer.assert_balanced();
    }
}

#[test]
fn damage_at_any_byte_costs_one_frame_and_is_counted_to_the_byte() {
    let (directory, segment, whole) = left_behind();
    let (origin, ends) = (origin("a"), ends(&segment, directory.path()));
    for place in 0..whole.len() {
        for value in [whole[place] ^ 1, whole[place] ^ 0x80, 0, 0xff] {
            if value == whole[place] {
                continue;
            }
            let mut damaged = whole.clone();
            damaged[place] = value;
            put_back(directory.path(), &segment, &damaged);
            let mut buffer = Buffer::open(&settings(directory.path()));
            buffer.write(lines(&origin, 24..28));
            let found = numbers(&buffer.drain(&LIMITS));
            let totals = buffer.counters.read();
            buffer.assert_balanced();
            let frame = ends.iter().filter(|end| **end <= place as u64).count() as u64;
            let is_lost = |number: &u64| (frame * 4..frame * 4 + 4).contains(number);
            assert_eq!(found, (0..28).filter(|number| !is_lost(number)).collect::<Vec<_>>(), "byte {place}");
            let lost = totals.dropped[reason::CORRUPT];
            if frame == 5 {
                // The last one looks as if it had not been written to its end.
                assert_eq!((totals.torn_bytes, lost.records), (ends[5] - ends[4], 0));
            } else {
                assert_eq!((lost.records, lost.bytes, totals.corrupt_frames), (4, 3 * 21 + 6, 1), "byte {place}");
            }
        }
    }
}

#[test]
fn damage_that_appears_while_the_agent_runs_is_noticed_at_any_place() {
    let (directory, segment, whole) = left_behind();
    let origin = origin("a");
    for place in 0..whole.len() {
        put_back(directory.path(), &segment, &whole);
        let mut buffer = Buffer::open(&settings(directory.path()));
        buffer.write(lines(&origin, 24..28));
        let mut damaged = whole.clone();
        damaged[place] ^= 0x20;
        fs::write(&segment, damaged).unwrap();
        let found = numbers(&buffer.drain(&LIMITS));
        assert_eq!(found.len(), 24, "byte {place}");
        let totals = buffer.counters.read();
        assert_eq!((totals.dropped[reason::CORRUPT].records, totals.corrupt_frames), (4, 1), "byte {place}");
        buffer.assert_balanced();
    }
}

#[test]
fn damage_to_what_was_said_of_a_container_costs_its_name_and_no_line() {
    use crate::containers::directory::Metadata;
    let directory = tempfile::tempdir().unwrap();
    let id: Arc<str> = "ab".repeat(32).into();
    let metadata = Metadata { id: id.to_string(), name: "web".to_owned(), ..Metadata::default() };
    let named = Arc::new(Origin::new(Arc::clone(&id), Some(Arc::new(metadata)), Arc::default()));
    let mut buffer = Buffer::open(&settings(directory.path()));
    buffer.write(lines(&named, 0..3));
    buffer.write(lines(&named, 3..6));
    drop(buffer);
    let [segment] = &segments(directory.path())[..] else { panic!("one segment") };
    let whole = fs::read(segment).unwrap();
    // The definition comes before the first lines.
    let definition = ends(segment, directory.path())[0] as usize;
    for place in 0..definition {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        put_back(directory.path(), segment, &damaged);
        let mut buffer = Buffer::open(&settings(directory.path()));
        let found = buffer.drain(&LIMITS);
        assert_eq!(numbers(&found), (0..6).collect::<Vec<_>>(), "byte {place}");
        assert!(found.iter().all(|record| record.origin.name() == &*id), "the id is in every frame");
        assert_eq!(buffer.counters.read().corrupt_frames, 1);
        buffer.assert_balanced();
    }
}

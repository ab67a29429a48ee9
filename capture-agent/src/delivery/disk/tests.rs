mod damage;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tempfile::TempDir;

use super::super::counters::{Counters, reason};
use super::super::fate::Sum;
use super::super::load::{Fate, Load};
use super::super::queue::{Queue, Taken};
use super::super::settings::{BatchLimits, DiskSettings, OnFull};
use super::super::tests::{line, number, origin};
use super::*;
use crate::pipeline::record::{Content, Origin, Record};

const LIMITS: BatchLimits = BatchLimits { max_bytes: 1 << 20, max_records: 1 << 20, timeout: Duration::ZERO };
const SOON: Duration = Duration::from_millis(1);

/// Both ends of a buffer, without threads.
struct Buffer {
    counters: Arc<Counters>,
    store: Arc<Store>,
    reader: DiskReader,
    writer: DiskWriter,
}

impl Buffer {
    fn open(settings: &DiskSettings) -> Self {
        let counters = Arc::new(Counters::new("s".into()));
        let (store, reader) = open(settings, &counters).unwrap();
        let queue = Arc::new(Queue::new(1 << 20, OnFull::DropNewest, Arc::clone(&counters)));
        let writer = DiskWriter::new(Arc::clone(&store), queue, Arc::default());
        Self { counters, store, reader, writer }
    }

    /// One frame.
    fn write(&mut self, records: Vec<Record>) {
        self.counters.submitted.add(Sum::of(&records));
        let end = records.len();
        self.writer.keep(&Load::new(Arc::new(records), 0, end, Vec::new()));
    }

    /// Everything that is there, in loads; settled.
    fn drain(&mut self, limits: &BatchLimits) -> Vec<Record> {
        let mut all = Vec::new();
        while let Taken::Load(load) = self.reader.take(limits, SOON) {
            all.extend_from_slice(load.records());
            load.settle(&self.counters, 0..load.records().len(), Fate::Delivered);
            self.reader.done(&load);
        }
        all
    }

    #[track_caller]
    fn assert_balanced(&self) {
        let totals = self.counters.read();
        let dropped = totals.dropped.values().fold((0, 0), |sum, one| (sum.0 + one.records, sum.1 + one.bytes));
        assert_eq!(
            (totals.submitted.records + totals.recovered.records, totals.submitted.bytes + totals.recovered.bytes),
            (totals.delivered.records + dropped.0, totals.delivered.bytes + dropped.1),
            "{totals:?}"
        );
    }
}

fn settings(directory: &Path) -> DiskSettings {
    DiskSettings { fsync_interval: Duration::from_hours(1), ..DiskSettings::new(directory.to_owned()) }
}

fn lines(origin: &Arc<Origin>, numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(|number| line(origin, number, 20)).collect()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().filter(|record| matches!(record.content, Content::Line { .. })).map(number).collect()
}

#[test]
fn the_sink_is_behind_for_as_long_as_something_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(&settings(directory.path()));
    let origin = origin("a");
    buffer.write(lines(&origin, 0..2));
    buffer.write(lines(&origin, 2..4));
    let one_by_one = BatchLimits { max_records: 1, ..LIMITS };
    for left in (0..4).rev() {
        let Taken::Load(load) = buffer.reader.take(&one_by_one, SOON) else { panic!("nothing to take") };
        assert!(buffer.store.level().oldest.is_some());
        load.settle(&buffer.counters, 0..1, Fate::Delivered);
        buffer.reader.done(&load);
        // Between two loads as well.
        let level = buffer.store.level();
        assert_eq!((level.records, level.oldest.is_some()), (left, left > 0));
    }
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths
}

#[test]
fn what_is_written_is_read_in_order_and_its_files_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let small = DiskSettings { segment_bytes: 2_000, ..settings(directory.path()) };
    let mut buffer = Buffer::open(&small);
    let origin = origin("a");
    let mut all = Vec::new();
    for round in 0..50 {
        buffer.write(lines(&origin, round * 20..round * 20 + 20));
        if round % 3 == 0 {
            all.extend(buffer.drain(&BatchLimits { max_records: 7, ..LIMITS }));
        }
        assert!(segments(directory.path()).len() <= 4);
    }
    all.extend(buffer.drain(&LIMITS));
    assert_eq!(numbers(&all), (0..1000).collect::<Vec<_>>());
    assert_eq!(all[999].uid(), line(&origin, 999, 20).uid());
    buffer.assert_balanced();
    assert_eq!(origin.account.by_sink(), [("s".into(), 1000)], "counted for the container it came from");
    assert_eq!(segments(directory.path()).len(), 1, "the one that is being written");
    let level = buffer.store.level();
    assert_eq!((level.bytes, level.records), (0, 0));
}

#[test]
fn the_next_agent_goes_on_in_the_middle_of_a_frame() {
    let directory = tempfile::tempdir().unwrap();
    let origin = origin("a");
    let mut buffer = Buffer::open(&settings(directory.path()));
    buffer.write(lines(&origin, 0..10));
    buffer.write(lines(&origin, 10..20));
    let Taken::Load(load) = buffer.reader.take(&BatchLimits { max_records: 14, ..LIMITS }, SOON) else { panic!() };
    // The sink took eleven and three that do not follow, and then it was stopped.
    load.settle(&buffer.counters, (0..11).chain(13..14), Fate::Delivered);
    buffer.reader.done(&load);
    buffer.reader.save();
    assert_eq!(buffer.store.kept(), Sum { lines: 9, bytes: 9 * 21 });
    drop(buffer);
    let mut next = Buffer::open(&settings(directory.path()));
    assert_eq!(next.counters.read().recovered.records, 9);
    next.write(lines(&origin, 20..25));
    assert_eq!(numbers(&next.drain(&LIMITS)), (11..25).collect::<Vec<_>>());
    next.assert_balanced();
}

#[test]
fn a_segment_that_is_gone_or_empty_is_counted_and_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let small = DiskSettings { segment_bytes: 1_000, ..settings(directory.path()) };
    let origin = origin("a");
    for gone in 0..4 {
        let mut buffer = Buffer::open(&small);
        for frame in 0..4 {
            buffer.write(lines(&origin, frame * 40..frame * 40 + 40));
        }
        let files = segments(directory.path());
        assert_eq!(files.len(), 4);
        fs::remove_file(&files[gone]).unwrap();
        let found = numbers(&buffer.drain(&LIMITS));
        assert_eq!(found.len(), 120);
        let totals = buffer.counters.read();
        assert_eq!((totals.dropped[reason::CORRUPT].records, totals.corrupt_frames), (40, 1), "segment {gone}");
        buffer.assert_balanced();
    }
}

#[test]
fn a_full_buffer_drops_what_comes_and_marks_where_it_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let small = settings(directory.path()).capacity(8_000);
    let mut buffer = Buffer::open(&small);
    let origin = origin("a");
    for frame in 0..50 {
        buffer.write(lines(&origin, frame * 10..frame * 10 + 10));
    }
    let totals = buffer.counters.read();
    let lost = totals.dropped[reason::BUFFER_FULL];
    assert!(lost.records >= 100 && lost.records < 450, "{lost:?}");
    let on_disk: u64 = segments(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk <= 8_000, "{on_disk}");
    let first = buffer.drain(&LIMITS);
    assert_eq!(numbers(&first), (0..500 - lost.records).collect::<Vec<_>>());
    // There is room again.
    buffer.write(lines(&origin, 500..510));
    let then = buffer.drain(&LIMITS);
    assert_eq!(then[0].content, Content::Gap { bytes: lost.bytes, reason: Some(reason::BUFFER_FULL) });
    assert_eq!(numbers(&then), (500..510).collect::<Vec<_>>());
    buffer.assert_balanced();
}

#[test]
fn or_the_oldest_segment_gives_way_whole() {
    let directory = tempfile::tempdir().unwrap();
    let small = DiskSettings { on_full: OnFull::DropOldest, ..settings(directory.path()) }.capacity(8_000);
    let mut buffer = Buffer::open(&small);
    let origin = origin("a");
    buffer.write(lines(&origin, 0..10));
    // In the sink's hands while its segment is removed.
    let Taken::Load(load) = buffer.reader.take(&BatchLimits { max_records: 4, ..LIMITS }, SOON) else { panic!() };
    for frame in 1..50 {
        buffer.write(lines(&origin, frame * 10..frame * 10 + 10));
    }
    load.settle(&buffer.counters, 0..4, Fate::Delivered);
    buffer.reader.done(&load);
    let totals = buffer.counters.read();
    let lost = totals.dropped[reason::BUFFER_FULL];
    assert!(lost.records >= 100 && lost.records < 450, "{lost:?}");
    let rest = buffer.drain(&LIMITS);
    // What had been read of the first frame, then a mark, then the newest without a hole.
    let (read, newest) = numbers(&rest).into_iter().partition::<Vec<_>, _>(|number| *number < 10);
    assert_eq!(read, (4..10).collect::<Vec<_>>());
    assert_eq!(newest, (10 + lost.records..500).collect::<Vec<_>>());
    let marks: Vec<_> = rest.iter().filter(|record| matches!(record.content, Content::Gap { .. })).collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].content, Content::Gap { bytes: lost.bytes, reason: Some(reason::BUFFER_FULL) });
    assert_eq!(marks[0].position, 10);
    buffer.assert_balanced();
    // The next agent does not count it again.
    drop(buffer);
    let mut next = Buffer::open(&small);
    assert_eq!(next.drain(&LIMITS).len(), 0);
    assert_eq!(next.counters.read().dropped[reason::CORRUPT].records, 0);
}

#[test]
fn names_of_containers_outlive_the_agent_and_a_rename() {
    use crate::containers::directory::Metadata;
    let directory = tempfile::tempdir().unwrap();
    let small = DiskSettings { segment_bytes: 3_000, ..settings(directory.path()) };
    let id: Arc<str> = "ab".repeat(32).into();
    let named = |name: &str| {
        let metadata = Metadata { id: id.to_string(), name: name.to_owned(), ..Metadata::default() };
        Arc::new(Origin::new(Arc::clone(&id), Some(Arc::new(metadata)), Arc::default()))
    };
    let (unknown, before, after) =
        (Arc::new(Origin::new(Arc::clone(&id), None, Arc::default())), named("a"), named("b"));
    let mut buffer = Buffer::open(&small);
    for frame in 0..30 {
        let (first, second) = if frame < 15 { (&unknown, &before) } else { (&before, &after) };
        let mut records = lines(first, frame * 10..frame * 10 + 5);
        records.extend(lines(second, frame * 10 + 5..frame * 10 + 10));
        buffer.write(records);
    }
    drop(buffer);
    let mut next = Buffer::open(&small);
    let found = next.drain(&BatchLimits { max_records: 13, ..LIMITS });
    assert_eq!(found.len(), 300);
    for record in &found {
        let (frame, is_second) = (number(record) / 10, number(record) % 10 >= 5);
        let expected = match (frame < 15, is_second) {
            (true, false) => &*id,
            (true, true) | (false, false) => "a",
            (false, true) => "b",
        };
        assert_eq!(record.origin.name(), expected, "{}", number(record));
    }
}

#[test]
fn a_directory_belongs_to_one_sink() {
    let directory = tempfile::tempdir().unwrap();
    let buffer = Buffer::open(&settings(directory.path()));
    let refused = open(&settings(directory.path()), &buffer.counters).err().unwrap().to_string();
    assert!(refused.contains("in use by another sink or another agent"), "{refused}");
    drop(buffer);
    Buffer::open(&settings(directory.path()));
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let counters = Arc::new(Counters::new("s".into()));
    let unusable = open(&settings(&file), &counters).err().unwrap().to_string();
    assert!(unusable.contains("choose another directory"), "{unusable}");
}

#[test]
fn nobody_else_may_read_what_is_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("buffer");
    let mut buffer = Buffer::open(&settings(&directory));
    buffer.write(lines(&origin("a"), 0..1));
    buffer.reader.save();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert_eq!(buffer.counters.write_errors.load(Relaxed), 0);
}

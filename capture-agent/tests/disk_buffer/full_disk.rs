//! A file system of one mebibyte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capture_agent::delivery::{Buffer, DiskSettings, Fanout, OnFull, RetryPolicy, SinkSpec, SinkTotals, reason};
use capture_agent::pipeline::record::{Content, Record};
use capture_agent::sinks::delivery::{Receipt, Sink, SinkError};
use capture_agent::sinks::encode::{Encoder, Encoding};
use capture_agent::sinks::file::Files;
use tempfile::TempDir;

use super::{assert_balanced, container, line, totals};

const SECONDS: Duration = Duration::from_secs(20);

/// A mounted tmpfs, gone when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(disk.path()).status();
        assert!(mounted.unwrap().success(), "a tmpfs cannot be mounted; run the test as root");
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Takes nothing until it is told that it may.
#[derive(Clone, Default)]
struct Gate {
    is_open: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Record>>>,
}

impl Sink for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        if !self.is_open.load(Relaxed) {
            return Err(SinkError::Retry { cause: "down".to_owned(), after: None });
        }
        self.taken.lock().unwrap().extend_from_slice(records);
        Ok(Receipt::default())
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Gate {
    fn numbers(&self) -> Vec<u64> {
        let taken = self.taken.lock().unwrap();
        let lines = taken.iter().filter(|record| matches!(record.content, Content::Line { .. }));
        lines.map(|record| record.position).collect()
    }

    fn marked(&self) -> u64 {
        let taken = self.taken.lock().unwrap();
        let marks = taken.iter().map(|record| match record.content {
            Content::Gap { bytes, .. } => bytes,
            Content::Line { .. } | Content::Lines { .. } => 0,
        });
        marks.sum()
    }
}

fn fanout(disk: &SmallDisk, gate: &Gate, on_full: OnFull) -> Fanout {
    let fanout = Fanout::new(SECONDS);
    let settings = DiskSettings {
        on_full,
        // The disk is smaller than it is said to be.
        segment_bytes: 128 << 10,
        fsync_interval: Duration::ZERO,
        ..DiskSettings::new(disk.path().join("buffer"))
    };
    let retry = RetryPolicy { max: Duration::from_millis(50), ..RetryPolicy::default() };
    let sink = Box::new(gate.clone());
    fanout.control().add(SinkSpec { buffer: Buffer::Disk(settings), retry, ..SinkSpec::new("s", sink) }).unwrap();
    fanout
}

/// Hands over 1,000 bytes a line; how long the slowest batch took.
fn write(fanout: &Fanout, numbers: std::ops::Range<u64>) -> Duration {
    let origin = container(1);
    let batches = numbers.clone().step_by(100).map(|first| {
        let batch = (first..(first + 100).min(numbers.end)).map(|number| line(&origin, number, 999)).collect();
        let begun = Instant::now();
        fanout.deliver(batch, || true);
        fanout.pause(false);
        begun.elapsed()
    });
    batches.max().unwrap_or_default()
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SECONDS;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} within {SECONDS:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn dropped(totals: &SinkTotals) -> BTreeMap<&'static str, u64> {
    let dropped = totals.dropped.iter().filter(|(_, dropped)| dropped.records > 0);
    dropped.map(|(reason, dropped)| (*reason, dropped.records)).collect()
}

#[test]
fn what_finds_no_room_waits_in_memory_and_nothing_is_lost_if_there_is_room_in_time() {
    let (disk, gate) = (SmallDisk::mount(), Gate::default());
    let fanout = fanout(&disk, &gate, OnFull::DropNewest);
    // Somebody else has filled the disk but for a little.
    fs::write(disk.path().join("hog"), vec![0; 900 << 10]).unwrap();
    let slowest = write(&fanout, 0..3_000);
    assert!(slowest < Duration::from_millis(500), "the reader was held up for {slowest:?}");
    eventually("a write fails", || totals(&fanout).write_errors > 2);
    assert_eq!(dropped(&totals(&fanout)), BTreeMap::new());
    gate.is_open.store(true, Relaxed);
    fs::remove_file(disk.path().join("hog")).unwrap();
    eventually("everything arrives", || gate.numbers().len() == 3_000);
    fanout.finish();
    let totals = totals(&fanout);
    assert_balanced(&totals, 0);
    assert_eq!((gate.numbers(), gate.marked()), ((0..3_000).collect(), 0));
    assert_eq!((totals.corrupt_frames, totals.delivered.records), (0, 3_000));
}

#[test]
fn a_disk_that_stays_full_costs_what_is_counted_and_marked_and_no_more() {
    let (disk, gate) = (SmallDisk::mount(), Gate::default());
    let fanout = fanout(&disk, &gate, OnFull::DropNewest);
    // The disk, the memory before it, and three times as much again.
    let slowest = write(&fanout, 0..40_000);
    assert!(slowest < Duration::from_millis(500), "the reader was held up for {slowest:?}");
    eventually("a write fails", || totals(&fanout).write_errors > 0);
    gate.is_open.store(true, Relaxed);
    eventually("what had found room arrives", || fanout.control().status()[0].queue.records == 0);
    write(&fanout, 40_000..40_500);
    fanout.finish();
    let totals = totals(&fanout);
    assert_balanced(&totals, 0);
    let lost = totals.dropped[reason::QUEUE_FULL];
    assert_eq!(dropped(&totals), BTreeMap::from([(reason::QUEUE_FULL, lost.records)]));
    assert!(lost.records > 10_000, "{lost:?}");
    let numbers = gate.numbers();
    assert!(numbers.is_sorted() && numbers.len() as u64 == 40_500 - lost.records);
    assert!(numbers.ends_with(&(40_000..40_500).collect::<Vec<_>>()));
    assert_eq!(gate.marked(), lost.bytes);
    assert_eq!(totals.corrupt_frames, 0);
}

#[test]
fn on_a_full_disk_the_oldest_give_way_if_they_are_to() {
    let (disk, gate) = (SmallDisk::mount(), Gate::default());
    let fanout = fanout(&disk, &gate, OnFull::DropOldest);
    for first in (0..10_000).step_by(500) {
        write(&fanout, first..first + 500);
        // As fast as the disk takes them, so that nothing is dropped before it.
        eventually("it is on disk", || {
            let queue = fanout.control().status()[0].queue;
            queue.bytes < 2 << 20 && totals(&fanout).dropped[reason::QUEUE_FULL].records == 0
        });
    }
    eventually("the oldest are dropped", || totals(&fanout).dropped[reason::BUFFER_FULL].records > 0);
    gate.is_open.store(true, Relaxed);
    eventually("the newest arrive", || gate.numbers().last() == Some(&9_999));
    fanout.finish();
    let totals = totals(&fanout);
    assert_balanced(&totals, 0);
    let lost = totals.dropped[reason::BUFFER_FULL];
    assert_eq!(dropped(&totals), BTreeMap::from([(reason::BUFFER_FULL, lost.records)]));
    let numbers = gate.numbers();
    assert_eq!((numbers.len() as u64, numbers.last()), (10_000 - lost.records, Some(&9_999)));
    assert!(numbers.is_sorted() && lost.records > 8_000, "{lost:?}");
    assert_eq!(gate.marked(), lost.bytes);
}

#[test]
fn a_line_that_a_full_disk_takes_in_part_stands_in_its_file_once_when_there_is_room() {
    let disk = SmallDisk::mount();
    let fanout = Fanout::new(SECONDS);
    let encoder = Encoder::new(Encoding::Raw, String::new(), false);
    let template = format!("{}/{{container_id}}.log", disk.path().display());
    let files = Files::new("file".parse().unwrap(), template.parse().unwrap(), encoder);
    let retry = RetryPolicy { max: Duration::from_millis(20), ..RetryPolicy::default() };
    fanout.control().add(SinkSpec { retry, ..SinkSpec::new("s", Box::new(files)) }).unwrap();
    // Room for some lines, and a piece of one.
    fs::write(disk.path().join("hog"), vec![0; (1 << 20) - (96 << 10) - 300]).unwrap();
    let origins = [container(1), container(2)];
    for number in 0..500 {
        fanout.deliver(origins.iter().map(|origin| line(origin, number, 999)).collect(), || false);
        fanout.pause(false);
    }
    eventually("the disk is full", || totals(&fanout).retries > 3);
    let health = fanout.control().status()[0].health.clone();
    assert!(health.last_error.unwrap().contains("No space left on device"));
    fs::remove_file(disk.path().join("hog")).unwrap();
    fanout.finish();
    let totals = totals(&fanout);
    assert_balanced(&totals, 0);
    assert_eq!((totals.delivered.records, dropped(&totals)), (1_000, BTreeMap::new()));
    for origin in &origins {
        let text = fs::read_to_string(disk.path().join(format!("{}.log", origin.container_id))).unwrap();
        let numbers: Vec<u64> = text
            .lines()
            .map(|line| {
                assert_eq!(line.len(), 999, "{line}");
                line.split(' ').nth(1).unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    }
}

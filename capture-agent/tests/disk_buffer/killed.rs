//! An agent that is killed with SIGKILL again and again, in whatever it is doing: every line that was on disk arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capture_agent::delivery::{BatchLimits, Buffer, DiskSettings, Fanout, RetryPolicy, SinkSpec};
use capture_agent::pipeline::record::{Content, Record};
use capture_agent::sinks::delivery::{Receipt, Sink, SinkError};

use super::{assert_balanced, container, line, totals};

const DIRECTORY: &str = "CAPTURE_AGENT_TEST_DISK_BUFFER";
const RUN: &str = "CAPTURE_AGENT_TEST_DISK_BUFFER_RUN";
const CONTAINERS: usize = 5;
const ROUNDS: u64 = 40;
/// Lines of each run begin at a multiple of it.
const RUN_LINES: u64 = 1_000_000;

/// Appends the first two words of each line to a file, unless there is a file `down`.
struct Appends {
    file: File,
    down: PathBuf,
}

impl Appends {
    fn new(directory: &Path) -> Self {
        let path = directory.join("arrived");
        // What the agent before was killed over.
        if let Ok(text) = fs::read(&path) {
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            OpenOptions::new().write(true).open(&path).unwrap().set_len(whole as u64).unwrap();
        }
        let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        Self { file, down: directory.join("down") }
    }
}

impl Sink for Appends {
    fn name(&self) -> &'static str {
        "appends"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        if self.down.exists() {
            return Err(SinkError::Retry { cause: "down".to_owned(), after: None });
        }
        let mut text = String::new();
        for record in records {
            let Content::Line { message, .. } = &record.content else { panic!("a mark: {record:?}") };
            let message = std::str::from_utf8(message).unwrap();
            let mut words = message.split(' ');
            text.push_str(words.next().unwrap());
            text.push(' ');
            text.push_str(words.next().unwrap());
            text.push('\n');
        }
        self.file.write_all(text.as_bytes()).unwrap();
        Ok(Receipt::default())
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The agent that is killed: hands lines over, says how many of each container are on disk, and goes on until there is a
/// file `stop`.
#[test]
#[ignore = "runs as a process of its own, started by the test below"]
fn agent() {
    let directory = PathBuf::from(env::var_os(DIRECTORY).expect("this is started by another test"));
    let run: u64 = env::var(RUN).unwrap().parse().unwrap();
    let fanout = Fanout::new(Duration::from_mins(1));
    let settings = DiskSettings {
        segment_bytes: 64 << 10,
        fsync_interval: Duration::from_millis(run % 3 * 20),
        ..DiskSettings::new(directory.join("buffer"))
    };
    let retry =
        RetryPolicy { initial: Duration::from_millis(1), max: Duration::from_millis(5), ..RetryPolicy::default() };
    let batch = BatchLimits { max_records: 150, ..BatchLimits::LOCAL };
    let spec = SinkSpec {
        batch,
        retry,
        buffer: Buffer::Disk(settings),
        ..SinkSpec::new("s", Box::new(Appends::new(&directory)))
    };
    fanout.control().add(spec).unwrap();

    let containers: Vec<_> = (1..=CONTAINERS).map(container).collect();
    let mut accepted = OpenOptions::new().append(true).create(true).open(directory.join("accepted")).unwrap();
    let mut next = run * RUN_LINES;
    while !directory.join("stop").exists() {
        let batch = containers.iter().flat_map(|origin| (next..next + 20).map(|number| line(origin, number, 200)));
        fanout.deliver(batch.collect(), || false);
        fanout.pause(false);
        next += 20;
        let on_disk = containers.iter().map(|origin| {
            let account = &origin.account.streams[0];
            assert!(account.dropped.iter().all(|dropped| dropped.load(Relaxed) == 0));
            account.lines.load(Relaxed).to_string()
        });
        // One write, so that no line is torn.
        let text = format!("{run} {}\n", on_disk.collect::<Vec<_>>().join(" "));
        accepted.write_all(text.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
    fanout.finish();
    let totals = totals(&fanout);
    assert_balanced(&totals, 0);
    let lines = containers.iter().map(|origin| origin.account.streams[0].lines.load(Relaxed));
    assert_eq!(lines.sum::<u64>(), totals.submitted.records);
    let text = format!("{} {} {}", totals.recovered.records, totals.submitted.records, totals.delivered.records);
    fs::write(directory.join("totals"), text).unwrap();
}

fn start(directory: &Path, run: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed::agent", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(RUN, run.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Numbers of the lines that arrived, in their order, by container.
fn arrived(directory: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let file = File::open(directory.join("arrived")).unwrap();
    for line in BufReader::new(file).lines() {
        let line = line.unwrap();
        let (container, number) = line.split_once(' ').unwrap();
        arrived.entry(container.to_owned()).or_default().push(number.parse().unwrap());
    }
    arrived
}

#[test]
fn every_line_that_was_on_disk_arrives_at_least_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let down = path.join("down");
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut throw = |below: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % below
    };
    for run in 0..ROUNDS {
        // The destination is dead for some runs in a row, comes back within one, or is there throughout.
        match throw(4) {
            0 | 1 => fs::write(&down, "").unwrap(),
            2 => drop(fs::remove_file(&down)),
            _ => {}
        }
        let mut agent = start(path, run);
        std::thread::sleep(Duration::from_millis(30 + throw(150)));
        if throw(2) == 0 {
            let _ = fs::remove_file(&down);
            std::thread::sleep(Duration::from_millis(throw(60)));
        }
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    let _ = fs::remove_file(&down);
    let before: usize = arrived(path).values().map(Vec::len).sum();
    let mut last = start(path, ROUNDS);
    std::thread::sleep(Duration::from_millis(200));
    fs::write(path.join("stop"), "").unwrap();
    assert!(last.wait().unwrap().success(), "the last agent has counted wrongly");

    let arrived = arrived(path);
    let text = fs::read_to_string(path.join("accepted")).unwrap();
    let mut accepted = 0;
    let sets: BTreeMap<_, BTreeSet<u64>> =
        arrived.iter().map(|(container, numbers)| (container, numbers.iter().copied().collect())).collect();
    // The last word of each run is what was on disk when it was killed, or a little less.
    let words: BTreeMap<u64, Vec<u64>> = text
        .lines()
        .map(|line| {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
            (numbers.next().unwrap(), numbers.collect())
        })
        .collect();
    assert_eq!(words.len() as u64, ROUNDS + 1, "every agent got to write");
    for (run, counts) in &words {
        for (container, count) in (1..=CONTAINERS).zip(counts) {
            let set = &sets[&format!("{container:x}")];
            let missing = (run * RUN_LINES..run * RUN_LINES + count).find(|number| !set.contains(number));
            assert_eq!(missing, None, "run {run}, container {container}: a line that was on disk is missing");
            accepted += count;
        }
    }
    // Each for the first time in the order in which it was written; what comes again begins a row of its own.
    for (container, numbers) in &arrived {
        let mut highest = None;
        for pair in numbers.windows(2) {
            let is_next = pair[1] > pair[0];
            let is_again = pair[1] <= pair[0] && highest.max(Some(pair[0])) >= Some(pair[1]);
            assert!(is_next || is_again, "container {container}: {} after {}", pair[1], pair[0]);
            highest = highest.max(Some(pair[0]));
        }
        let mut first_times = numbers.clone();
        let mut seen = BTreeSet::new();
        first_times.retain(|number| seen.insert(*number));
        assert!(first_times.is_sorted(), "container {container}: a line overtook another");
    }
    let all: usize = arrived.values().map(Vec::len).sum();
    let once: usize = sets.values().map(BTreeSet::len).sum();
    let totals = fs::read_to_string(path.join("totals")).unwrap();
    let totals: Vec<usize> = totals.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(totals[2], all - before, "what the last agent says it delivered");
    assert_eq!(totals[0] + totals[1], totals[2]);
    println!(
        "{accepted} lines were known to be on disk at {ROUNDS} kills; {once} arrived, {} of them again",
        all - once
    );
    assert!(accepted > 10_000, "too few to say anything");
    let left: Vec<_> = fs::read_dir(path.join("buffer")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the lock and the position: {left:?}");
}

#[test]
fn what_a_dead_destination_leaves_is_told_and_the_next_agent_delivers_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let origin = container(1);
    fs::write(directory.path().join("down"), "").unwrap();
    let run = |lines: std::ops::Range<u64>| {
        let fanout = Fanout::new(Duration::from_secs(20));
        let buffer = Buffer::Disk(DiskSettings::new(directory.path().join("buffer")));
        let sink = Box::new(Appends::new(directory.path()));
        fanout.control().add(SinkSpec { buffer, ..SinkSpec::new("s", sink) }).unwrap();
        fanout.deliver(lines.map(|number| line(&origin, number, 100)).collect(), || false);
        let begun = Instant::now();
        fanout.finish();
        // It does not wait for a destination that fails: what is on disk is safe.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        (totals(&fanout), fanout.control().status()[0].queue.records)
    };
    let (first, waiting) = run(0..5_000);
    assert_balanced(&first, 5_000);
    assert_eq!(waiting, 5_000);
    fs::remove_file(directory.path().join("down")).unwrap();
    let (second, waiting) = run(5_000..5_100);
    assert_balanced(&second, 0);
    assert_eq!((second.recovered.records, second.delivered.records, waiting), (5_000, 5_100, 0));
    assert_eq!(second.recovered.bytes, first.submitted.bytes);
    assert_eq!(arrived(directory.path())["1"], (0..5_100).collect::<Vec<_>>());
    assert_eq!(Arc::strong_count(&origin), 1, "nothing is kept for what is delivered");
}

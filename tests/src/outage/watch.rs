//! Looks at the agent's sinks a few times a second, whichever agent runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use capture_writers::numbered;

use crate::agent::metrics_at;
use crate::soak::scrape::Scrape;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// Of the end of a file: more than its last lines.
const END_BYTES: u64 = 16 << 10;

/// The sinks at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Seconds since the watch began.
    pub at: f64,
    /// Age of what waits longest, by sink, as the agent tells it.
    pub oldest: BTreeMap<String, f64>,
    /// Records that wait, by sink.
    pub queued: BTreeMap<String, f64>,
    /// Whether the destination answers, by sink.
    pub up: BTreeMap<String, f64>,
    /// Age of the newest line in the file of the file sink, by the time that its writer put in it; `None` while no line is
    /// to be expected.
    pub file_age: Option<f64>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
struct Sight {
    address: SocketAddr,
    /// Since when lines are to be expected, in ns since the Unix epoch; `None` while writers hold still.
    lines_since: Option<u64>,
}

/// Takes samples until it is over.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    file: PathBuf,
    sight: Mutex<Option<Sight>>,
    samples: Mutex<Vec<Sample>>,
    over: AtomicBool,
}

impl Watch {
    /// Watches the end of `file` beside the metrics.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            begun: Instant::now(),
            file: file.to_owned(),
            sight: Mutex::default(),
            samples: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Seconds since it began.
    pub(super) fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Lines are to be expected through the agent at this address, from now on.
    pub(super) fn look_at(&self, address: SocketAddr) {
        *lock(&self.sight) = Some(Sight { address, lines_since: Some(now()) });
    }

    /// No lines are to be expected for a while.
    pub(super) fn expect_no_lines(&self) {
        if let Some(sight) = &mut *lock(&self.sight) {
            sight.lines_since = None;
        }
    }

    /// There is no agent.
    pub(super) fn look_away(&self) {
        *lock(&self.sight) = None;
    }

    /// The newest sample of the agent that runs now, taken after this call.
    pub(super) fn next(&self) -> Option<Sample> {
        let address = (*lock(&self.sight))?.address;
        self.sample(Sight { address, lines_since: None }).ok()
    }

    /// Takes samples until [`Watch::end`].
    pub(super) fn run(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let sight = *lock(&self.sight);
            if let Some(sight) = sight
                && let Ok(sample) = self.sample(sight)
                // One that was killed meanwhile may have said anything.
                && lock(&self.sight).is_some_and(|now| now.address == sight.address && now.lines_since == sight.lines_since)
            {
                lock(&self.samples).push(sample);
            }
            thread::sleep(PERIOD);
        }
    }

    /// No more samples.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// All samples.
    pub(super) fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    fn sample(&self, sight: Sight) -> Result<Sample> {
        let scrape = Scrape::new(metrics_at(sight.address)?);
        let by_sink = |name: &str| scrape.by_label(name, "sink", |_| true);
        let newest = sight.lines_since.map(|since| newest_line(&self.file).unwrap_or_default().max(since));
        Ok(Sample {
            at: self.now(),
            oldest: by_sink("log_capturer_sink_oldest_record_seconds"),
            queued: by_sink("log_capturer_sink_queue_records"),
            up: by_sink("log_capturer_sink_up"),
            file_age: newest.map(|newest| Duration::from_nanos(now().saturating_sub(newest)).as_secs_f64()),
        })
    }
}

/// When the last whole line of a file of JSON was written by its writer.
fn newest_line(file: &Path) -> Option<u64> {
    let file = File::open(file).ok()?;
    let length = file.metadata().ok()?.len();
    let begin = length.saturating_sub(END_BYTES);
    let mut end = vec![0; (length - begin) as usize];
    file.read_exact_at(&mut end, begin).ok()?;
    let whole = &end[..end.iter().rposition(|byte| *byte == b'\n')?];
    whole.rsplit(|byte| *byte == b'\n').find_map(|line| {
        let record: serde_json::Value = serde_json::from_slice(line).ok()?;
        numbered::read(record["message"].as_str()?.as_bytes()).map(|line| line.time)
    })
}

/// Nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

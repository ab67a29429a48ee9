//! `writer --numbered …`: numbered lines on a schedule, each with its time, and what became of the schedule.
//!
//! Where lines may go missing by design, it matters when each of them was written, and whether the writer was ever held up.
//! So a line tells its time, and the writer leaves a report of its pace: lines, and how far behind its schedule it ever was.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{content::Random, sys};

/// Begins each line, so that other programs' output in the same place is told apart.
pub const MARK: &str = "num-";

/// In the directory that the harness shares with the writers: while there is such a file, nobody writes.
pub const HOLD: &str = "hold";

/// Digits of a time in nanoseconds, until the year 2286.
const TIME_DIGITS: usize = 19;
/// Longest filler.
const LONGEST: u32 = 100;

static STOP: AtomicBool = AtomicBool::new(false);

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Who writes; part of each line.
    pub seed: u64,
    /// Lines a second, each with a `write` of its own.
    pub rate: u64,
    /// The directory that is shared with the harness.
    pub control: PathBuf,
}

/// What a line that was read back says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Who wrote it.
    pub seed: u64,
    /// Its number among the writer's lines, from 0 on.
    pub number: u32,
    /// Just before it was written, in ns since the Unix epoch.
    pub time: u64,
}

/// How a writer fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines written.
    pub lines: u64,
    /// From the first line to the last, without the time in which it was held.
    pub active: Duration,
    /// The longest that a single `write` took.
    pub longest_write: Duration,
    /// The furthest that it ever was behind its schedule.
    pub latest: Duration,
}

/// The bytes of a line, with its newline.
#[must_use]
pub fn line(stamped: Stamped) -> Vec<u8> {
    let Stamped { seed, number, time } = stamped;
    format!("{MARK}{seed} {number:08} {time:0width$} {}\n", filler(seed, number), width = TIME_DIGITS).into_bytes()
}

/// Reads a line back (without its newline); `None` where it is not exactly what [`line()`] makes.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Stamped> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut words = text.strip_prefix(MARK)?.splitn(4, ' ');
    let (seed, number, time) = (words.next()?, words.next()?, words.next()?);
    let stamped = Stamped { seed: seed.parse().ok()?, number: number.parse().ok()?, time: time.parse().ok()? };
    line(stamped).strip_suffix(b"\n").is_some_and(|whole| whole == bytes).then_some(stamped)
}

/// Bytes of a line with its newline, whenever it was written.
#[must_use]
pub fn length(seed: u64, number: u32) -> u64 {
    line(Stamped { seed, number, time: 0 }).len() as u64
}

fn filler(seed: u64, number: u32) -> String {
    let mut random = Random::new(seed as u32 ^ (seed >> 32) as u32 ^ number.wrapping_mul(0x9e37_79b9));
    let length = random.next() % (LONGEST + 1);
    random.letters(length as usize)
}

impl Numbered {
    /// The words of the command line that make `writer` write so.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Self { seed, rate, control } = self;
        vec!["--numbered".to_owned(), seed.to_string(), rate.to_string(), control.display().to_string()]
    }

    /// Reads those words back.
    ///
    /// # Errors
    /// When they are not two numbers and a directory.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let &[seed, rate, control] = words else {
            return Err("usage: writer --numbered SEED RATE DIRECTORY".to_owned());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is not such a number"));
        Ok(Self { seed: number(seed)?, rate: number(rate)?.max(1), control: control.into() })
    }

    /// Writes until SIGTERM, then leaves a [`Report`].
    ///
    /// # Errors
    /// The failed system call.
    pub fn run(&self) -> io::Result<()> {
        sys::on_terminate(stop)?;
        let hold = self.control.join(HOLD);
        let mut report = Report::default();
        let begun = Instant::now();
        // What the schedule leaves out.
        let mut still = Duration::ZERO;
        while !STOP.load(Ordering::Relaxed) {
            if hold.exists() {
                still += self.wait_while(&hold)?;
                continue;
            }
            let active = begun.elapsed().saturating_sub(still);
            let due = self.due(report.lines);
            if let Some(early) = due.checked_sub(active) {
                sys::sleep_ms((early.as_millis() as i32).clamp(1, 100));
                continue;
            }
            report.latest = report.latest.max(active.saturating_sub(due));
            let time = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_nanos() as u64;
            let number = u32::try_from(report.lines).map_err(io::Error::other)?;
            let line = line(Stamped { seed: self.seed, number, time });
            let before = Instant::now();
            sys::write_all(1, &line)?;
            report.longest_write = report.longest_write.max(before.elapsed());
            report.lines += 1;
            report.active = begun.elapsed().saturating_sub(still);
        }
        report.save(&self.control, self.seed)
    }

    /// When a line is due, from the beginning on.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }

    /// Says that it holds still, and does; for how long.
    fn wait_while(&self, hold: &Path) -> io::Result<Duration> {
        let since = Instant::now();
        let told = held(&self.control, self.seed);
        fs::write(&told, "")?;
        while hold.exists() && !STOP.load(Ordering::Relaxed) {
            sys::sleep_ms(5);
        }
        fs::remove_file(told)?;
        Ok(since.elapsed())
    }
}

/// The file that is there while a writer holds still.
#[must_use]
pub fn held(control: &Path, seed: u64) -> PathBuf {
    control.join(format!("{seed}.held"))
}

impl Report {
    fn path(control: &Path, seed: u64) -> PathBuf {
        control.join(format!("{seed}.report"))
    }

    fn save(self, control: &Path, seed: u64) -> io::Result<()> {
        let numbers = [self.lines, nanos(self.active), nanos(self.longest_write), nanos(self.latest)];
        fs::write(Self::path(control, seed), numbers.map(|number| number.to_string()).join(" "))
    }

    /// What a writer has left.
    ///
    /// # Errors
    /// When it has not ended yet, or could not write it.
    pub fn load(control: &Path, seed: u64) -> io::Result<Self> {
        let text = fs::read_to_string(Self::path(control, seed))?;
        let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let &[lines, active, longest_write, latest] = &*numbers else {
            return Err(io::Error::other(format!("no report: {text}")));
        };
        let [active, longest_write, latest] = [active, longest_write, latest].map(Duration::from_nanos);
        Ok(Self { lines, active, longest_write, latest })
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

extern "C" fn stop(_signal: i32) {
    STOP.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_wrote_it_and_when_and_whether_it_is_whole() {
        for number in 0..200 {
            let stamped = Stamped { seed: 7 << 32 | 3, number, time: 1_790_000_000_123_456_789 };
            let bytes = line(stamped);
            assert_eq!(bytes.len() as u64, length(stamped.seed, number));
            let text = bytes.strip_suffix(b"\n").unwrap_or_default();
            assert_eq!(read(text), Some(stamped));
            assert_eq!(read(&[text, b"x"].concat()), None);
            assert_eq!(read(&text[..text.len() - 1]), None);
        }
    }

    #[test]
    fn a_schedule_passes_the_command_line() {
        let numbered = Numbered { seed: 1, rate: 200, control: "/control".into() };
        let words = numbered.arguments();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(Numbered::parse(&words[1..]), Ok(numbered.clone()));
        assert!(Numbered::parse(&words).is_err());
        assert_eq!((numbered.due(0), numbered.due(300)), (Duration::ZERO, Duration::from_millis(1500)));
    }

    #[test]
    fn a_report_is_read_back() {
        let control = std::env::temp_dir().join(format!("report-{}", std::process::id()));
        fs::create_dir_all(&control).expect("a directory");
        let report = Report { lines: 5, active: Duration::from_millis(7), ..Report::default() };
        report.save(&control, 9).expect("saved");
        assert_eq!(Report::load(&control, 9).expect("loaded"), report);
        assert!(Report::load(&control, 10).is_err());
        fs::remove_dir_all(control).expect("removed");
    }
}

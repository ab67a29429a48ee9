//! The engine's side: a container's `json-file` log, followed on disk through its rotations.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capture_common::Stream;
use serde::Deserialize;

use super::line::{Assembly, Line};

/// Bytes read at a time.
const READ: usize = 256 << 10;
/// Rotated files that are looked for: more than anyone keeps.
const FILES_MAX: u32 = 1000;

/// Why a log cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is not there, or not readable.
    #[error(
        "{path}: cannot be read: {source}; run as root, and give --log-dir where the engine's directory is mounted"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Some line is no entry of the driver's.
    #[error("{path}: at byte {place} is no entry of a json-file log: {cause}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        place: u64,
        /// What the parser said.
        cause: String,
    },
    /// Entries are gone that nobody has read.
    #[error(
        "{path}: was rotated away before it was read; raise max-size and max-file, at least for the time of the audit"
    )]
    Rotated {
        /// The file.
        path: PathBuf,
    },
}

/// An entry, as the engine writes it (`jsonlog.JSONLog` of moby).
#[derive(Deserialize)]
struct Entry {
    /// Left out where it is empty.
    #[serde(default)]
    log: String,
    stream: String,
    /// RFC 3339 with nanoseconds.
    time: String,
}

/// A log that is being followed from where it ended at first.
#[derive(Debug)]
pub struct EngineLog {
    path: PathBuf,
    file: File,
    inode: u64,
    /// Place of the next byte to be read.
    offset: u64,
    /// An entry of which the end is not there yet.
    rest: Vec<u8>,
    streams: [Assembly; 2],
    /// Time of the newest entry, in nanoseconds since the Unix epoch.
    newest: i64,
    /// Entries after it are not read.
    end: i64,
    /// Whether its lines end in `\r\n`, which the terminal made of `\n`.
    terminal: bool,
}

impl EngineLog {
    /// Opens a log at its end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(path: &Path, terminal: bool) -> Result<Self, LogError> {
        let fault = |source| LogError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fault)?;
        let inode = file.metadata().map_err(fault)?.ino();
        let offset = file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            inode,
            offset,
            rest: Vec::new(),
            streams: Default::default(),
            newest: i64::MIN,
            end: i64::MAX,
            terminal,
        })
    }

    /// The file that entries are added to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has come since. To be called often enough that no file is rotated out of existence meanwhile.
    ///
    /// # Errors
    ///
    /// See [`LogError`].
    pub fn read(&mut self) -> Result<(), LogError> {
        if self.is_past_end() {
            return Ok(());
        }
        self.read_file()?;
        let now = match fs::metadata(&self.path) {
            Ok(now) => now,
            // Between two names, or gone with its container. What was written to the open file can still be read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.fault(error)),
        };
        if now.ino() == self.inode {
            // With max-file=1 the engine empties the file.
            return if now.size() < self.offset { Err(self.rotated()) } else { Ok(()) };
        }
        // Nothing is added to it any more.
        self.read_file()?;
        if self.is_past_end() {
            return Ok(());
        }
        for (file, inode) in self.newer()? {
            (self.file, self.inode, self.offset) = (file, inode, 0);
            self.read_file()?;
        }
        Ok(())
    }

    /// The files after the one that was read so far, oldest first.
    fn newer(&self) -> Result<Vec<(File, u64)>, LogError> {
        let mut newer = Vec::new();
        for number in 0..FILES_MAX {
            let path = match number {
                0 => self.path.clone(),
                _ => PathBuf::from(format!("{}.{number}", self.path.display())),
            };
            let Ok(file) = File::open(&path) else { break };
            let inode = file.metadata().map_err(|error| self.fault(error))?.ino();
            if inode == self.inode {
                newer.reverse();
                return Ok(newer);
            }
            newer.push((file, inode));
        }
        // The one that was read is compressed, removed, or further back: what came after it cannot be told.
        Err(self.rotated())
    }

    /// What is needed of it is read: entries from `end` on (nanoseconds since the Unix epoch) are left alone.
    pub fn end_at(&mut self, end: i64) {
        self.end = end;
    }

    fn is_past_end(&self) -> bool {
        self.newest > self.end
    }

    /// Reads as far as the file goes now: whoever fills it may be faster than this is.
    fn read_file(&mut self) -> Result<(), LogError> {
        let mut piece = vec![0; READ];
        let size = self.file.metadata().map_err(|error| self.fault(error))?.size();
        while self.offset < size && !self.is_past_end() {
            let length = self.file.read(&mut piece).map_err(|error| self.fault(error))?;
            if length == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&piece[..length]);
            let begin = self.offset + length as u64 - self.rest.len() as u64;
            self.offset += length as u64;
            let end = memchr::memrchr(b'\n', &self.rest).map_or(0, |newline| newline + 1);
            let rest = self.rest.split_off(end);
            let entries = std::mem::replace(&mut self.rest, rest);
            let mut place = begin;
            for line in entries.split_inclusive(|byte| *byte == b'\n') {
                self.entry(line, place)?;
                place += line.len() as u64;
            }
        }
        Ok(())
    }

    fn entry(&mut self, line: &[u8], place: u64) -> Result<(), LogError> {
        let wrong = |cause: String| LogError::Entry { path: self.path.clone(), place, cause };
        let Entry { log, stream, time } = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let time: jiff::Timestamp = time.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
        let stream = if stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        let time = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        self.newest = time;
        let assembly = &mut self.streams[stream as usize];
        let text = log.strip_suffix('\n').unwrap_or(&log);
        assembly.push(text.as_bytes(), time, place);
        if log.ends_with('\n') {
            let terminal = self.terminal;
            assembly.end(time, place, |line| {
                line.time = time;
                if terminal && line.text.last() == Some(&b'\r') {
                    line.text.pop();
                }
            });
        }
        Ok(())
    }

    /// A stream's lines so far.
    #[must_use]
    pub fn lines(&self, stream: Stream) -> &[Line] {
        &self.streams[stream as usize].lines
    }

    /// Makes a line of what has no newline: the stream has ended.
    pub fn end(&mut self) {
        self.streams.iter_mut().for_each(|assembly| assembly.end_open(|_| ()));
    }

    fn fault(&self, source: io::Error) -> LogError {
        LogError::Read { path: self.path.clone(), source }
    }

    fn rotated(&self) -> LogError {
        LogError::Rotated { path: self.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Driver {
        directory: tempfile::TempDir,
        second: u32,
    }

    impl Driver {
        fn new() -> Self {
            let driver = Self { directory: tempfile::tempdir().unwrap(), second: 0 };
            driver.append("");
            driver
        }

        fn path(&self, suffix: &str) -> PathBuf {
            self.directory.path().join(format!("x-json.log{suffix}"))
        }

        fn append(&self, text: &str) {
            let mut file = File::options().append(true).create(true).open(self.path("")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn log(&mut self, text: &str) {
            self.second += 1;
            let log = serde_json::to_string(text).unwrap();
            let time = format!("2026-11-21T12:00:{:02}.000000001Z", self.second);
            self.append(&format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"{time}\"}}\n"));
        }

        /// As moby's `rotate` of `daemon/logger/loggerutils/logfile.go`.
        fn rotate(&self, max_file: u32) {
            for number in (1..max_file - 1).rev() {
                let _ = fs::rename(self.path(&format!(".{number}")), self.path(&format!(".{}", number + 1)));
            }
            fs::rename(self.path(""), self.path(".1")).unwrap();
            self.append("");
        }
    }

    fn texts(log: &EngineLog) -> Vec<String> {
        let lines = log.lines(Stream::Stdout).iter();
        lines.map(|line| String::from_utf8(line.text.clone()).unwrap()).collect()
    }

    #[test]
    fn entries_of_one_line_are_one_and_what_was_there_before_is_none() {
        let mut driver = Driver::new();
        driver.log("before\n");
        let mut log = EngineLog::open(&driver.path(""), false).unwrap();
        driver.log("a");
        driver.log("b\n");
        driver.log("\n");
        driver.append("{\"log\":\"half");
        log.read().unwrap();
        assert_eq!(texts(&log), ["ab", ""]);
        let line = &log.lines(Stream::Stdout)[0];
        assert_eq!(line.time % 60_000_000_000, 3_000_000_001, "of its last entry");
        assert_eq!(line.place, fs::read_to_string(driver.path("")).unwrap().find("\"a\"").unwrap() as u64 - 7);
        driver.append("\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T12:00:09Z\"}\n");
        driver.log("rest");
        log.read().unwrap();
        assert_eq!(texts(&log), ["ab", "", "half"]);
        log.end();
        assert_eq!(texts(&log), ["ab", "", "half", "rest"]);
    }

    #[test]
    fn rotation_is_followed_through_several_files_at_once() {
        let mut driver = Driver::new();
        let mut log = EngineLog::open(&driver.path(""), false).unwrap();
        for number in 0..12 {
            driver.log(&format!("{number}\n"));
            if number % 2 == 1 {
                driver.rotate(5);
            }
            if number % 4 == 2 {
                log.read().unwrap();
            }
        }
        log.read().unwrap();
        assert_eq!(texts(&log), (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_rotated_away_unread_is_told() {
        let mut driver = Driver::new();
        let mut log = EngineLog::open(&driver.path(""), false).unwrap();
        for _ in 0..3 {
            driver.log("x\n");
            driver.rotate(2);
        }
        assert!(matches!(log.read(), Err(LogError::Rotated { .. })));

        let mut log = EngineLog::open(&driver.path(""), false).unwrap();
        driver.log("long enough\n");
        log.read().unwrap();
        File::create(driver.path("")).unwrap();
        assert!(matches!(log.read(), Err(LogError::Rotated { .. })), "emptied, as with max-file=1");
    }

    #[test]
    fn what_is_no_entry_is_told_with_its_place() {
        let driver = Driver::new();
        driver.append("{}\n");
        let mut log = EngineLog::open(&driver.path(""), false).unwrap();
        driver.append("no JSON\n");
        assert!(matches!(log.read(), Err(LogError::Entry { place: 3, .. })));
    }
}

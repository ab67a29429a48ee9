//! What came to a destination: which numbered lines, how often, in which order, under which identity.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use capture_writers::numbered;
use serde_json::Value;

/// Lines of one writer.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often each number came.
    pub times: Vec<u32>,
    /// First arrivals that came after that of a higher number.
    pub out_of_order: u64,
    highest: Option<u32>,
}

/// Lines of all writers.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// By writer.
    pub seen: BTreeMap<u64, Seen>,
    /// Identities that stand for more than one line, and lines with more than one identity.
    pub confused: u64,
    /// Bytes that marks of gaps say are missing, by container id.
    pub marked: BTreeMap<String, u64>,
    identities: HashMap<u128, (u64, u32)>,
    identity_of: HashMap<(u64, u32), u128>,
}

impl Seen {
    /// Numbers below `written` that never came.
    pub fn missing(&self, written: u64) -> impl Iterator<Item = u32> {
        (0..written as u32).filter(|number| self.times.get(*number as usize).is_none_or(|times| *times == 0))
    }

    /// How often numbers came again.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        self.times.iter().map(|times| u64::from(times.saturating_sub(1))).sum()
    }

    fn add(&mut self, number: u32) {
        let place = number as usize;
        if self.times.len() <= place {
            self.times.resize(place + 1, 0);
        }
        if self.times[place] == 0 {
            self.out_of_order += u64::from(self.highest.is_some_and(|highest| highest > number));
            self.highest = self.highest.max(Some(number));
        }
        self.times[place] += 1;
    }
}

impl Arrivals {
    /// What a Loki wrote into its spool: `[ns, line, metadata]` in each line.
    ///
    /// # Errors
    /// When it cannot be read, or is nothing of the kind.
    pub fn of_spool(path: &Path) -> Result<Self> {
        let mut arrivals = Self::default();
        for line in lines(path)? {
            let entry: Value = serde_json::from_str(&line?).with_context(|| format!("{}", path.display()))?;
            let metadata = &entry[2];
            if let Some(bytes) = metadata["lost_bytes"].as_str() {
                let id = metadata["container_id"].as_str().unwrap_or_default().to_owned();
                *arrivals.marked.entry(id).or_default() += bytes.parse::<u64>().context("lost_bytes")?;
            } else {
                let uid = metadata["log_record_uid"].as_str().and_then(|uid| u128::from_str_radix(uid, 16).ok());
                arrivals.add(entry[1].as_str().unwrap_or_default(), uid);
            }
        }
        Ok(arrivals)
    }

    /// Adds a file of a file sink, of JSON or of raw bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        for line in lines(path)? {
            let line = line?;
            if line.starts_with('{') {
                let record: Value = serde_json::from_str(&line).with_context(|| format!("{}", path.display()))?;
                self.add(record["message"].as_str().unwrap_or_default(), None);
            } else {
                self.add(&line, None);
            }
        }
        Ok(())
    }

    /// Adds a line, if one of our writers has written it.
    fn add(&mut self, message: &str, uid: Option<u128>) {
        let Some(line) = numbered::read(message.as_bytes()) else { return };
        self.seen.entry(line.seed).or_default().add(line.number);
        if let Some(uid) = uid {
            let line = (line.seed, line.number);
            let is_known = self.identities.insert(uid, line).is_none_or(|before| before == line);
            let is_its_own = self.identity_of.insert(line, uid).is_none_or(|before| before == uid);
            self.confused += u64::from(!is_known || !is_its_own);
        }
    }

    /// Numbers of a writer below `written` that never came.
    #[must_use]
    pub fn missing(&self, seed: u64, written: u64) -> Vec<u32> {
        self.seen.get(&seed).unwrap_or(&Seen::default()).missing(written).collect()
    }

    /// Lines that came, each once.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        let came = |seen: &Seen| seen.times.iter().filter(|times| **times > 0).count() as u64;
        self.seen.values().map(came).sum()
    }

    /// How often lines came again.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        self.seen.values().map(Seen::doubled).sum()
    }

    /// First arrivals that came after that of a line that the same container wrote later.
    #[must_use]
    pub fn out_of_order(&self) -> u64 {
        self.seen.values().map(|seen| seen.out_of_order).sum()
    }
}

fn lines(path: &Path) -> Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file).lines())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use capture_writers::numbered::{Stamped, line};

    use super::*;

    fn text(number: u32) -> String {
        let bytes = line(Stamped { seed: 5, number, time: 1_790_000_000_000_000_000 });
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }

    #[test]
    fn what_is_missing_doubled_out_of_order_or_confused_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        let entry = |number: u32, uid: u32| {
            serde_json::json!([1, text(number), {"log_record_uid": format!("{uid:032x}")}]).to_string()
        };
        let mark = serde_json::json!([1, "gap", {"lost_bytes": "70", "container_id": "c"}]).to_string();
        let entries = [entry(0, 10), entry(2, 12), entry(1, 11), entry(2, 12), entry(4, 12), entry(1, 15), mark];
        fs::write(&spool, entries.join("\n")).unwrap();
        let arrivals = Arrivals::of_spool(&spool).unwrap();
        assert_eq!(arrivals.missing(5, 6), [3, 5]);
        assert_eq!(arrivals.missing(6, 2), [0, 1], "a writer of which nothing came");
        assert_eq!((arrivals.distinct(), arrivals.doubled(), arrivals.out_of_order()), (4, 2, 1));
        assert_eq!(arrivals.confused, 2, "an identity of two lines, and a line of two identities");
        assert_eq!(arrivals.marked["c"], 70);
    }

    #[test]
    fn files_are_read_in_either_encoding() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let json = serde_json::json!({"message": text(1)}).to_string();
        fs::write(&file, format!("{}\n{json}\nsomebody else's\n", text(0))).unwrap();
        let mut arrivals = Arrivals::default();
        arrivals.add_file(&file).unwrap();
        assert_eq!((arrivals.distinct(), arrivals.missing(5, 2).len()), (2, 0));
    }
}

//! Does every byte of the kernel's and the agent's books add up?

use std::collections::HashMap;

/// The books of one stream of one container, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) written: u64,
    pub(super) captured: u64,
    pub(super) lost: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
}

impl Books {
    /// The sums over all series of a container and stream, and so over all reasons.
    pub(super) fn of(metrics: &HashMap<String, f64>, id: &str, stream: &str) -> Self {
        Self::with(metrics, &[format!("container_id=\"{id}\""), format!("stream=\"{stream}\"")])
    }

    /// The same of all containers together.
    pub(super) fn of_all(metrics: &HashMap<String, f64>, stream: &str) -> Self {
        Self::with(metrics, &[format!("stream=\"{stream}\"")])
    }

    fn with(metrics: &HashMap<String, f64>, labels: &[String]) -> Self {
        let sum = |what: &str| {
            let name = format!("log_capturer_{what}_bytes_total{{");
            let is_meant = |key: &str| key.starts_with(&name) && labels.iter().all(|label| key.contains(label));
            let series = metrics.iter().filter(|(key, _)| is_meant(key));
            whole(series.map(|(_, value)| value).sum())
        };
        Self {
            written: sum("written"),
            captured: sum("captured"),
            lost: sum("lost"),
            delivered: sum("delivered"),
            dropped: sum("dropped"),
        }
    }

    /// What does not add up, with the bytes that are in the agent's file.
    pub(super) fn fault(&self, in_file: usize) -> Option<String> {
        if self.written != self.captured + self.lost {
            Some(format!("written {} != captured {} + lost {}", self.written, self.captured, self.lost))
        } else if self.captured != self.delivered + self.dropped {
            Some(format!("captured {} != delivered {} + dropped {}", self.captured, self.delivered, self.dropped))
        } else if self.delivered != in_file as u64 {
            Some(format!("delivered {} != {in_file} in the file", self.delivered))
        } else {
            None
        }
    }

    /// Both streams together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            captured: self.captured + other.captured,
            lost: self.lost + other.lost,
            delivered: self.delivered + other.delivered,
            dropped: self.dropped + other.dropped,
        }
    }
}

/// Where a container's bytes went that did not come out, by reason, if any did not.
pub(super) fn reasons(metrics: &HashMap<String, f64>, id: &str) -> Option<String> {
    let id = format!("container_id=\"{id}\"");
    let mut reasons: Vec<_> = metrics
        .iter()
        .filter(|(key, value)| {
            let counter = ["log_capturer_lost_bytes_total{", "log_capturer_dropped_bytes_total{"];
            **value > 0.0 && key.contains(&id) && counter.iter().any(|name| key.starts_with(name))
        })
        .filter_map(|(key, value)| Some(format!("{} {value}", key.split_once("reason=\"")?.1.split('"').next()?)))
        .collect();
    reasons.sort();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// A counter's value: a count of bytes, far below 2^53.
#[expect(clippy::cast_sign_loss, reason = "counters are not negative")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_stream_are_added_over_their_reasons() {
        let metrics = [
            (r#"log_capturer_written_bytes_total{container_id="ab",stream="stdout"}"#, 10.0),
            (r#"log_capturer_written_bytes_total{container_id="ab",stream="stderr"}"#, 99.0),
            (r#"log_capturer_lost_bytes_total{container_id="ab",reason="ring_full",stream="stdout"}"#, 3.0),
            (r#"log_capturer_lost_bytes_total{container_id="ab",reason="fault",stream="stdout"}"#, 4.0),
            (r#"log_capturer_captured_bytes_total{container_id="ab",stream="stdout"}"#, 3.0),
            (r#"log_capturer_delivered_bytes_total{container_id="ab",stream="stdout"}"#, 3.0),
        ];
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let books = Books::of(&metrics, "ab", "stdout");
        assert_eq!(books, Books { written: 10, captured: 3, lost: 7, delivered: 3, dropped: 0 });
        assert_eq!(books.fault(3), None);
        assert!(books.fault(2).is_some());
    }
}

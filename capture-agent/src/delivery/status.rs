//! What is told of a sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::counters::SinkTotals;
use super::health::HealthReport;
use crate::histogram::Distribution;
use crate::socket::{FailureKind, SocketHealth};

/// A sink as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStatus {
    /// As configured.
    pub name: Arc<str>,
    /// What was counted.
    pub totals: SinkTotals,
    /// What waits.
    pub queue: Level,
    /// Whether the destination answers.
    pub health: HealthReport,
    /// How long its requests took, failed ones included.
    #[serde(skip)]
    pub requests: Distribution,
    /// How its connections fare, where it has some.
    pub connections: Option<Connections>,
}

/// The connections of a sink to its destination, since the sink was configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Open now. Those of a Kafka client are its own and not counted.
    pub open: u64,
    /// Times that the destination answered again after its connection was lost.
    pub reconnects: u64,
    /// Requests that failed, by kind.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Connections {
    pub(super) fn of(health: &SocketHealth) -> Self {
        let errors = FailureKind::ALL.map(|kind| (kind.as_str(), health.errors(kind)));
        Self { open: health.open_connections(), reconnects: health.reconnects(), errors: errors.into() }
    }
}

/// What a sink's buffer holds, with what is on its way to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Bytes: in memory of output and 128 for each record, on disk of files.
    pub bytes: u64,
    /// What may wait.
    pub capacity: u64,
    /// Records, marks of gaps included.
    pub records: u64,
    /// Time of the oldest record, in nanoseconds since the Unix epoch.
    pub oldest: Option<i64>,
}

impl Level {
    /// A disk's, with what waits in memory to be written to it.
    pub(super) fn with_stage(self, stage: Self) -> Self {
        Self {
            bytes: self.bytes + stage.bytes,
            capacity: self.capacity,
            records: self.records + stage.records,
            oldest: self.oldest.or(stage.oldest),
        }
    }

    /// How far the sink is behind: seconds since the time of the oldest record.
    #[must_use]
    pub fn lag(&self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = self.oldest.and_then(|oldest| u64::try_from(oldest).ok());
        oldest.map_or(0.0, |oldest| now.saturating_sub(std::time::Duration::from_nanos(oldest)).as_secs_f64())
    }
}

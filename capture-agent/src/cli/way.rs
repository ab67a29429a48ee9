//! From the configuration to what carries records: sinks with their buffers, and what happens before them.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::config::reload::Change;
use crate::config::{BufferConfig, BufferType, Config, OnFull, RetryConfig, SinkConfig, SinkContext, SinkName};
use crate::delivery::{self, Buffer, Control, DiskSettings, RetryPolicy, SinkSpec};
use crate::pipeline::shaping::{NextShaping, Shaping};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What sinks are told beside their configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where the agent keeps its state, and buffers on disk that are given no place of their own.
    pub state_dir: PathBuf,
    /// Cancelled when standard output is closed by whoever read it.
    pub output_closed: CancellationToken,
}

impl Surroundings {
    /// A sink, ready to be started.
    ///
    /// # Errors
    ///
    /// What the sink has against its configuration.
    pub fn spec(&self, name: &SinkName, config: &SinkConfig) -> Result<SinkSpec, AnyError> {
        let sink = config.build(SinkContext::new(name.clone()))?;
        let mut selection = config.filter().build().map_err(|error| format!("sinks.{name}.filter: {error}"))?;
        let is_choosy = config.filter() != &crate::pipeline::select::FilterConfig::default();
        let filter: Option<delivery::Filter> =
            if is_choosy { Some(Box::new(move |record| selection.takes(record))) } else { None };
        Ok(SinkSpec {
            filter,
            buffer: self.buffer(name, config.buffer()),
            batch: config.batch(),
            retry: config.retry().map(retry).unwrap_or_default(),
            closed: matches!(config, SinkConfig::Console(_)).then(|| self.output_closed.clone()),
            ..SinkSpec::new(name.as_str(), sink)
        })
    }

    fn buffer(&self, name: &SinkName, config: &BufferConfig) -> Buffer {
        let capacity = config.size().0;
        let on_full = match config.on_full {
            OnFull::DropNewest => delivery::OnFull::DropNewest,
            OnFull::DropOldest => delivery::OnFull::DropOldest,
        };
        match config.r#type {
            BufferType::Memory => Buffer::Memory { capacity, on_full },
            BufferType::Disk => {
                let own = || self.state_dir.join("buffer").join(name.as_str());
                let settings = DiskSettings::new(config.path.clone().unwrap_or_else(own)).capacity(capacity);
                Buffer::Disk(DiskSettings { on_full, fsync_interval: config.fsync_interval().0, ..settings })
            }
        }
    }

    /// Puts a reload to work, all of it or nothing.
    ///
    /// # Errors
    ///
    /// What cannot be, in one sentence.
    pub fn apply(&self, change: &Change, sinks: &Control, next: &NextShaping) -> Result<(), AnyError> {
        let Config { select, pipeline, .. } = &change.config;
        let shaping = if change.shaping { Some(Shaping::new(select, pipeline)?) } else { None };
        let configured = change.config.sinks.clone().or_default();
        let spec = |name: &SinkName| match configured.0.get(name) {
            Some(config) => self.spec(name, config),
            None => Err(format!("there is no sink {name}").into()),
        };
        let mut changes = Vec::new();
        for name in &change.removed {
            changes.push(delivery::Change::Remove(name.as_str().into()));
        }
        for name in &change.changed {
            changes.push(delivery::Change::Replace(spec(name)?));
        }
        for name in &change.added {
            changes.push(delivery::Change::Add(spec(name)?));
        }
        sinks.apply(changes)?;
        if let Some(shaping) = shaping {
            next.set(shaping);
        }
        Ok(())
    }
}

fn retry(config: &RetryConfig) -> RetryPolicy {
    RetryPolicy {
        initial: config.initial.0,
        max: config.max.0,
        give_up_after: config.give_up_after.map(|period| period.0),
        max_splits: config.max_splits,
        dead_letters: config.dead_letter_path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn spec(config: serde_json::Value) -> SinkSpec {
        let config: SinkConfig = serde_json::from_value(config).unwrap();
        let surroundings = Surroundings { state_dir: PathBuf::from("/state"), output_closed: CancellationToken::new() };
        surroundings.spec(&"files".parse().unwrap(), &config).unwrap()
    }

    #[test]
    fn all_that_is_said_of_delivery_is_handed_on() {
        let spec = spec(json!({"file": {
            "path": "/logs/{container_name}",
            "batch": {"max_bytes": "64KiB", "max_records": 7, "timeout": "20ms"},
            "buffer": {"type": "disk", "max_bytes": "1GiB", "fsync_interval": "0s", "on_full": "drop_oldest"},
            "retry": {
                "initial": "1s", "max": "2s", "give_up_after": "3s", "max_splits": 4, "dead_letter_path": "/refused",
            },
        }}));
        let timeout = Duration::from_millis(20);
        assert_eq!(spec.batch, delivery::BatchLimits { max_bytes: 64 << 10, max_records: 7, timeout });
        let Buffer::Disk(disk) = spec.buffer else { panic!("{:?}", spec.buffer) };
        assert_eq!((disk.directory, disk.capacity), (PathBuf::from("/state/buffer/files"), 1 << 30));
        assert_eq!((disk.on_full, disk.fsync_interval), (delivery::OnFull::DropOldest, Duration::ZERO));
        let retry = RetryPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(2),
            give_up_after: Some(Duration::from_secs(3)),
            max_splits: 4,
            dead_letters: Some(PathBuf::from("/refused")),
        };
        assert_eq!(spec.retry, retry);
    }

    #[test]
    fn what_is_not_said_is_as_for_a_destination_on_this_machine() {
        let spec = spec(json!({"console": {}}));
        assert_eq!((spec.batch, spec.retry), (delivery::BatchLimits::LOCAL, RetryPolicy::default()));
        assert_eq!(spec.buffer, Buffer::MEMORY);
        assert!(spec.filter.is_none() && spec.closed.is_some());
    }
}

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

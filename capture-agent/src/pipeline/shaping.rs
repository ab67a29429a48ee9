//! What the reader of the ring buffer does with records before it hands them on: which are wanted, and what is made of them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::record::Record;
use super::select::{PatternError, SelectConfig, Selection, own_container};
use super::{Pipeline, PipelineConfig, PipelineError};

/// Selection and pipeline together.
#[derive(Debug)]
pub struct Shaping {
    selection: Selection,
    pipeline: Pipeline,
    names_writers: bool,
}

/// Why there is no shaping.
#[derive(Debug, thiserror::Error)]
pub enum ShapingError {
    /// Of the section `select`.
    #[error("select: {0}")]
    Select(#[from] PatternError),
    /// Of the section `pipeline`.
    #[error("pipeline: {0}")]
    Pipeline(#[from] PipelineError),
}

impl Shaping {
    /// Makes it of two sections of the file. The container that the agent runs in is left out in any case.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn new(select: &SelectConfig, pipeline: &PipelineConfig) -> Result<Self, ShapingError> {
        let selection = select.build()?;
        let selection = match own_container() {
            Some(own) => selection.leave_out(&own),
            None => selection,
        };
        Ok(Self { selection, pipeline: pipeline.build()?, names_writers: pipeline.writer })
    }

    /// Whether records are to say who wrote them.
    #[must_use]
    pub fn names_writers(&self) -> bool {
        self.names_writers
    }

    /// Takes records in the kernel's order; what goes on. What is not wanted is counted as filtered.
    pub fn process(&mut self, mut records: Vec<Record>, now: Instant) -> Vec<Record> {
        records.retain(|record| {
            let is_wanted = self.selection.takes(record);
            if !is_wanted {
                let account = &record.origin.account.streams[record.stream as usize];
                account.filtered.fetch_add(record.stream_bytes(), Relaxed);
            }
            is_wanted
        });
        let mut out = Vec::new();
        self.pipeline.process(records, now, &mut out);
        if self.pipeline.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.pipeline.tick(now, &mut out);
        }
        out
    }

    /// When something is held for long enough; `None` while nothing is.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pipeline.next_deadline()
    }

    /// What is held of a container that is gone, after its last record.
    pub fn forget(&mut self, container_id: &str, now: Instant, out: &mut Vec<Record>) {
        self.pipeline.forget(container_id, now, out);
    }

    /// Everything that is held.
    pub fn finish(&mut self, now: Instant, out: &mut Vec<Record>) {
        self.pipeline.finish(now, out);
    }
}

/// Where a reload leaves another shaping, for the reader to go on with.
#[derive(Clone, Debug, Default)]
pub struct NextShaping(Arc<Mutex<Option<Shaping>>>);

impl NextShaping {
    /// Has the reader go on with it before its next batch.
    pub fn set(&self, shaping: Shaping) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shaping);
    }

    /// What was left there since the last look.
    pub fn take(&self) -> Option<Shaping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

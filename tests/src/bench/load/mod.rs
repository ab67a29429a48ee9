//! Real containers that write much, an engine of their own, and who collects their output.

pub(super) mod collector;
pub(super) mod plain;
pub(super) mod stage;
pub(super) mod tailer;

pub(super) use collector::{Collector, Lost, Running};
pub(super) use stage::{Stage, Writers};

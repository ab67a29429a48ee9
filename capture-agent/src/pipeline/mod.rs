//! What happens to a line between its session and the sinks.

pub mod record;
pub mod select;

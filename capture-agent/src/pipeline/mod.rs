//! What happens to a line between its session and the sinks.

mod containers;
pub mod multiline;
pub mod rate_limit;
pub mod record;
pub mod select;

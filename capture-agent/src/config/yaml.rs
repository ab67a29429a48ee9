//! YAML that knows where everything stands.
//!
//! A file's mistakes are told together, each with line and column, also within an enum that a key selects. serde ends at
//! the first and forgets positions where it buffers, so the file becomes a [`Node`] first, and a deserializer over
//! nodes gives positions to what is wrong and goes on without it.

mod de;
mod interpolate;
mod node;
mod problem;

pub use self::de::read;
pub use self::interpolate::{Interpolation, interpolate};
pub use self::node::{Entry, Node, Position, Value, parse};
pub use self::problem::Problem;

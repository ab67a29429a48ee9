//! What the connections to the engine and those to where sinks send have in common.

pub mod failure;
pub mod health;
pub mod tcp;
pub mod tls;

pub use self::failure::FailureKind;
pub use self::health::SocketHealth;

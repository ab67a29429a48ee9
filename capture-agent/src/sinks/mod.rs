//! Destinations, and how records are written for them.

pub mod console;
pub mod delivery;
pub mod encode;
pub mod file;
mod gathered;
pub mod http;
pub mod json;
pub mod kafka;
pub mod logfmt;
pub mod loki;
pub mod otlp;
mod pieces;
mod template;

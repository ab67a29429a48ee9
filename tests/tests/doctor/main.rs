//! `capture-agent doctor` where one thing after another is really taken away: it names that thing, and no other.

mod containers;
mod examined;
mod host;
mod process;

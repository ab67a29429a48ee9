//! capture-agent takes container output where it crosses into the kernel, and delivers it.
//!
//! Data flows one way: [`kernel`] → [`session`] → [`pipeline`] → [`delivery`] → [`sinks`]. Metadata from [`containers`] joins at the
//! session.

pub mod admin;
pub mod api;
pub mod audit;
pub mod cli;
pub mod client;
pub mod config;
pub mod containers;
pub mod delivery;
pub mod doctor;
pub mod histogram;
pub mod kernel;
pub mod live;
pub mod memory;
pub mod metrics;
pub mod pipeline;
pub mod priority;
pub mod resolver;
pub mod session;
pub mod sinks;
pub mod socket;

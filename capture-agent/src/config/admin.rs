//! The section `admin`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Period;

/// What the agent keeps and shows of its own operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// Address of the metrics endpoint.
    #[schemars(with = "String")]
    pub listen: SocketAddr,

    /// How long the series of a container that is gone stay: `1s` to `24h`.
    #[serde(deserialize_with = "Period::deserialize_between::<_, 1_000, 86_400_000>")]
    pub metrics_grace: Period,

    /// Count runs and time of the eBPF programs while they are scraped; that costs each run two readings of the clock.
    pub bpf_stats: bool,

    /// Where positions and counters of sessions are kept; belongs to one agent.
    pub state_dir: PathBuf,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8001).into(),
            metrics_grace: Period::seconds(300),
            bpf_stats: false,
            state_dir: "/var/lib/capture-agent".into(),
        }
    }
}

//! The section `admin`.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::Problem;
use super::units::{Period, Size};
use crate::admin::AdminConfig;
use crate::live::LiveConfig;

/// Streams of records that may be open at once.
pub const VIEWERS_MAX: RangeInclusive<u32> = 0..=1024;
/// Bytes of recent records that may be kept.
pub const RECENT_SIZE: RangeInclusive<u64> = 65_536..=1_073_741_824;

/// What the agent keeps and shows of its own operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// Address of the metrics, the API and its page. Where it is not a loopback address, the API takes a token and TLS.
    #[schemars(with = "String")]
    pub listen: SocketAddr,

    /// File with the token that the API then takes, as `Authorization: Bearer <token>`; read again when it changes.
    /// Without one everybody on this machine may look at containers and their logs.
    pub token_file: Option<PathBuf>,

    /// Certificate with its chain (PEM), for TLS on the whole address; read again when it changes.
    pub cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM).
    pub key_file: Option<PathBuf>,

    /// Live streams of records that may be open at once, from 0 (nobody looks at log contents) to 1024.
    #[serde(deserialize_with = "viewers_max")]
    #[schemars(range(min = 0, max = 1024))]
    pub viewers_max: u32,

    /// Memory for the last records of all containers, from `64KiB` to `1GiB`, which `capture-agent tail --since-start`
    /// begins with; each container has a fair share. Without it nothing is kept.
    #[serde(deserialize_with = "recent_size")]
    pub recent_size: Option<Size>,

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
            token_file: None,
            cert_file: None,
            key_file: None,
            viewers_max: 16,
            recent_size: None,
            metrics_grace: Period::seconds(300),
            bpf_stats: false,
            state_dir: "/var/lib/capture-agent".into(),
        }
    }
}

impl AdminSection {
    /// What makes no sense together.
    pub fn problems(&self, problems: &mut Vec<Problem>) {
        let pair = "a certificate and its key go together; give --cert-file and --key-file";
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => problems.push(Problem::of("admin.cert_file", pair)),
            (None, Some(_)) => problems.push(Problem::of("admin.key_file", pair)),
            _ => {}
        }
    }

    /// What the server is made of. The files are not read yet.
    #[must_use]
    pub fn server(&self) -> AdminConfig {
        AdminConfig {
            listen: self.listen,
            token_file: self.token_file.clone(),
            tls: self.cert_file.clone().zip(self.key_file.clone()),
        }
    }

    /// Who may look, and what is kept for them.
    #[must_use]
    pub fn live(&self) -> LiveConfig {
        LiveConfig { viewers_max: self.viewers_max, recent: self.recent_size.map_or(0, |size| size.0) }
    }
}

fn viewers_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if VIEWERS_MAX.contains(&count) {
        Ok(count)
    } else {
        Err(D::Error::invalid_value(Unexpected::Unsigned(count.into()), &"a whole number from 0 to 1024"))
    }
}

fn recent_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    Size::deserialize_between::<_, { *RECENT_SIZE.start() }, { *RECENT_SIZE.end() }>(deserializer).map(Some)
}

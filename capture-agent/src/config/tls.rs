//! TLS towards a sink's destination.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;

/// TLS towards a destination. There is no way to leave its certificate unchecked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates (PEM) of those who may sign the destination's; the system's, if not given.
    pub ca_file: Option<PathBuf>,

    /// The agent's own certificate with its chain (PEM), where the destination asks for one.
    pub cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM).
    pub key_file: Option<PathBuf>,

    /// Name that the destination's certificate has to be for, if it is not the host of its address.
    pub server_name: Option<String>,
}

impl TlsConfig {
    /// What makes no sense together, in the section at `path`.
    pub fn problems(&self, path: &str, problems: &mut Vec<Problem>) {
        let message = "a client certificate and its key go together; give both `cert_file` and `key_file`";
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => problems.push(Problem::of(format!("{path}.cert_file"), message)),
            (None, Some(_)) => problems.push(Problem::of(format!("{path}.key_file"), message)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_refused() {
        let told = |tls: TlsConfig| {
            let mut problems = Vec::new();
            tls.problems("sinks.x.tls", &mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let why = "a client certificate and its key go together; give both `cert_file` and `key_file`";
        let (cert_file, key_file) = (Some(PathBuf::from("/cert")), Some(PathBuf::from("/key")));
        let certificate = TlsConfig { cert_file, ..TlsConfig::default() };
        let key = TlsConfig { key_file: key_file.clone(), ..TlsConfig::default() };
        assert_eq!(told(certificate.clone()), [format!("sinks.x.tls.cert_file: {why}")]);
        assert_eq!(told(key), [format!("sinks.x.tls.key_file: {why}")]);
        assert!(told(TlsConfig { key_file, ..certificate }).is_empty());
    }
}

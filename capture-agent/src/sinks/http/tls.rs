//! TLS towards one destination, with files that are renewed while the agent runs.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};

use super::config::ClientError;
use crate::config::reload::Stamp;
use crate::socket::tls::{TlsError, TlsFiles};

/// Certificates, keys, and the name that the destination must have.
pub(in crate::sinks) struct Tls {
    files: TlsFiles,
    stamps: Vec<Option<Stamp>>,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    /// Protocol that is asked for during the handshake (ALPN).
    protocol: &'static [u8],
}

impl Tls {
    pub(super) fn new(files: TlsFiles, host: &str) -> Result<Self, ClientError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::ServerName(host.to_owned()))?;
        let stamps = stamps(&files);
        let protocol = b"http/1.1";
        let config = load(&files, protocol)?;
        Ok(Self { files, stamps, name, config, protocol })
    }

    /// Asks for another protocol than HTTP/1.1.
    pub(in crate::sinks) fn ask_for(&mut self, protocol: &'static [u8]) {
        self.protocol = protocol;
        Arc::make_mut(&mut self.config).alpn_protocols = vec![protocol.to_vec()];
    }

    /// Reads the files again if one of them changed; whether that changed anything. Files that do not fit leave what was
    /// read before: a certificate and its key are seldom written at one instant.
    pub(super) fn refresh(&mut self) -> bool {
        let stamps = stamps(&self.files);
        if stamps == self.stamps {
            return false;
        }
        self.stamps = stamps;
        match load(&self.files, self.protocol) {
            Ok(config) => {
                self.config = config;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the certificates that were read before are kept");
                false
            }
        }
    }

    pub(super) fn connector(&self) -> TlsConnector {
        Arc::clone(&self.config).into()
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

fn load(files: &TlsFiles, protocol: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = files.load()?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let client = files.client.iter().flat_map(|(certificate, key)| [certificate, key]);
    files.ca.iter().chain(client).map(PathBuf::as_path).map(Stamp::of).collect()
}

/// What a failure of TLS means to whoever configured the sink, as a sentence about the destination `who`.
pub(super) fn explain(error: &Error, who: &dyn std::fmt::Display) -> String {
    let certificate = match error {
        Error::InvalidCertificate(certificate) => certificate,
        Error::AlertReceived(alert) => {
            return format!("{who} refused the TLS connection ({alert:?}); check tls.cert_file and tls.key_file");
        }
        Error::InvalidMessage(_) => return format!("what answers at {who} does not speak TLS; check the port"),
        other => return format!("the TLS connection to {who} failed: {other}"),
    };
    let what = match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by a CA that is trusted; check tls.ca_file"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; check the clocks"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another host name; check the address and tls.server_name"
        }
        other => return format!("the certificate of {who} cannot be trusted: {other}"),
    };
    format!("the certificate of {who} {what}")
}

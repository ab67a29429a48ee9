//! TLS towards the engine: the files, and what can be wrong with them or with the other side.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};

use crate::socket::tls;

/// PEM files that TLS takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of those who may sign the engine's.
    pub ca: PathBuf,
    /// The client's certificate with its chain, and its key; `None` where the engine asks for none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why [`TlsFiles`] are no good.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files.
    #[error("{0}; check the --docker-tls-* files")]
    Files(#[from] tls::TlsError),
    /// Not a name that a certificate could be for.
    #[error("{0} is no host name that a certificate could be for")]
    Name(String),
}

impl TlsFiles {
    fn load(&self) -> Result<ClientConfig, TlsError> {
        Ok(tls::TlsFiles { ca: Some(self.ca.clone()), client: self.client.clone() }.load()?)
    }
}

/// The client side of TLS to one engine.
pub(super) struct Tls {
    files: TlsFiles,
    name: ServerName<'static>,
    connector: Mutex<TlsConnector>,
}

impl Tls {
    pub(super) fn new(files: TlsFiles, host: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        let connector = Mutex::new(Arc::new(files.load()?).into());
        Ok(Self { files, name, connector })
    }

    /// Reads the files again: certificates are renewed while the agent runs.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let connector = Arc::new(self.files.load()?).into();
        *self.connector.lock().unwrap_or_else(PoisonError::into_inner) = connector;
        Ok(())
    }

    pub(super) fn connector(&self) -> TlsConnector {
        self.connector.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

/// Without the configuration: it holds the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a failure of TLS means to whoever set it up.
pub(super) fn explain(error: &Error) -> String {
    let certificate = match error {
        Error::InvalidCertificate(certificate) => certificate,
        Error::AlertReceived(alert) => {
            return format!(
                "the engine refused the TLS connection ({alert:?}); check --docker-tls-cert and --docker-tls-key"
            );
        }
        Error::InvalidMessage(_) => return "what answers there does not speak TLS; check the port".to_owned(),
        other => return format!("the TLS connection failed: {other}"),
    };
    match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the engine's certificate is not signed by the CA of --docker-tls-ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the engine's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the engine's certificate is not valid yet; check the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the engine's certificate is for another host name than that of --docker-host".to_owned()
        }
        other => format!("the engine's certificate cannot be trusted: {other}"),
    }
}

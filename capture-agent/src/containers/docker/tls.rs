//! TLS towards the engine: the files, and what can be wrong with them or with the other side.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto};

/// PEM files that TLS takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of those who may sign the engine's.
    pub ca: PathBuf,
    /// The client's certificate with its chain, and its key; `None` where the engine asks for none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why [`TlsFiles`] are no good. Says nothing of what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not for the agent to read.
    #[error("{} cannot be read: {source}; check the --docker-tls-* files", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another file was given.
    #[error("{} holds no {what} in PEM form; check the --docker-tls-* files", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate that rustls does not take.
    #[error("the certificate in {} cannot be used: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: Error,
    },
    /// The certificate is of another key.
    #[error("the key {} does not belong to the certificate {}; give the two that were made together", key.display(), certificate.display())]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// No key that rustls takes, or a chain that it does not.
    #[error("the certificate {} and the key {} cannot be used: {source}", certificate.display(), key.display())]
    Client {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls said.
        source: Error,
    },
    /// Not a name that a certificate could be for.
    #[error("{0} is no host name that a certificate could be for")]
    Name(String),
}

impl TlsFiles {
    fn load(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            let unusable = |source| TlsError::Certificate { path: self.ca.clone(), source };
            roots.add(certificate).map_err(unusable)?;
        }
        // The protocol versions are those of the provider itself, so they cannot be missing.
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Certificate { path: self.ca.clone(), source })?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, "private key", error))?;
        let files = || (certificate.clone(), key.clone());
        builder.with_client_auth_cert(chain, secret).map_err(|error| match (error, files()) {
            (Error::InconsistentKeys(_), (certificate, key)) => TlsError::Pair { certificate, key },
            (source, (certificate, key)) => TlsError::Client { certificate, key, source },
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |error| refuse(path, "certificate", error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(refused)?.collect::<Result<_, _>>().map_err(refused)?;
    if found.is_empty() { Err(refused(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// The reader's own message may quote the file, which may be a key.
fn refuse(path: &Path, what: &'static str, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { path: path.to_owned(), source },
        _ => TlsError::Pem { path: path.to_owned(), what },
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

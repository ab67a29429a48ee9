//! TLS from PEM files: the client side to the engine and to where sinks send, the server side for the admin server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig, crypto};

/// PEM files that TLS takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of those who may sign the server's; `None` for those that the host trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate with its chain, and its key; `None` where the server asks for none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why [`TlsFiles`] are no good. Says nothing of what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not for the agent to read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another file was given.
    #[error("{} holds no {what} in PEM form", path.display())]
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
    /// The host trusts nobody.
    #[error("this host has no certificates of CAs; install its ca-certificates, or name a file with those to trust")]
    NoRoots,
    /// The provider of TLS cannot do what it is asked for.
    #[error("TLS cannot be set up: {0}")]
    Provider(Error),
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] where one of them is no good.
    pub fn load(&self) -> Result<ClientConfig, TlsError> {
        let roots = self.roots()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let (chain, secret) = pair(certificate, key)?;
        builder.with_client_auth_cert(chain, secret).map_err(|error| refuse_pair(certificate, key, error))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca {
            for certificate in certificates(path)? {
                let unusable = |source| TlsError::Certificate { path: path.clone(), source };
                roots.add(certificate).map_err(unusable)?;
            }
        } else {
            // A host may trust some that rustls does not understand; those that it does are enough.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
        Ok(roots)
    }
}

/// What a server shows: a certificate with its chain, and its key.
///
/// # Errors
///
/// [`TlsError`] where one of them is no good.
pub fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let (chain, secret) = pair(certificate, key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| refuse_pair(certificate, key, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn pair(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, "private key", error));
    Ok((certificates(certificate)?, secret?))
}

fn refuse_pair(certificate: &Path, key: &Path, error: Error) -> TlsError {
    let (certificate, key) = (certificate.to_owned(), key.to_owned());
    match error {
        Error::InconsistentKeys(_) => TlsError::Pair { certificate, key },
        source => TlsError::Client { certificate, key, source },
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

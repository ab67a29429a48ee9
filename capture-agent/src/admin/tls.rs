//! TLS of the admin server, with files that are renewed while the agent runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::config::reload::Stamp;
use crate::socket::tls::{TlsError, server_config};

/// Certificate and key.
#[derive(Debug)]
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: [Option<Stamp>; 2],
    config: Arc<ServerConfig>,
}

impl Tls {
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let stamps = [Stamp::of(&certificate), Stamp::of(&key)];
        let config = Arc::new(server_config(&certificate, &key)?);
        Ok(Self { certificate, key, loaded: Mutex::new(Loaded { stamps, config }) })
    }

    /// For the next connection. Files that changed are read again; those that do not fit leave what was read before.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = [Stamp::of(&self.certificate), Stamp::of(&self.key)];
        if stamps != loaded.stamps {
            loaded.stamps = stamps;
            match server_config(&self.certificate, &self.key) {
                Ok(config) => loaded.config = Arc::new(config),
                Err(error) => tracing::warn!(%error, "the admin server keeps the certificate that was read before"),
            }
        }
        Arc::clone(&loaded.config).into()
    }
}

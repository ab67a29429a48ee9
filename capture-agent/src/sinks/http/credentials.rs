//! The `Authorization` header, from files that may change.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

use super::config::AuthConfig;
use crate::config::reload::Stamp;
use crate::config::{Secret, SecretError};

/// Why the agent cannot say who it is. Says nothing of what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A token and a password.
    #[error("auth has both a token and a user name; give token_file, or username and password_file")]
    Both,
    /// Half of basic authentication.
    #[error("a user name and a password go together; give auth.username and auth.password_file")]
    Half,
    /// A user name that basic authentication cannot carry (RFC 7617).
    #[error("auth.username holds a colon, which a user name cannot")]
    Colon,
    /// The file.
    #[error(transparent)]
    File(#[from] SecretError),
    /// What no header can hold.
    #[error("{0}: holds what no header can; a token or a password is one line")]
    Content(PathBuf),
}

/// What is sent as `Authorization`, and where it comes from.
pub(in crate::sinks) struct Credentials(Option<Source>);

struct Source {
    path: PathBuf,
    /// Of basic authentication; `None` for a token.
    username: Option<String>,
    stamp: Option<Stamp>,
    header: HeaderValue,
}

impl Credentials {
    pub(super) fn new(config: AuthConfig) -> Result<Self, CredentialsError> {
        let (path, username) = match (config.token_file, config.username, config.password_file) {
            (None, None, None) => return Ok(Self(None)),
            (Some(path), None, None) => (path, None),
            (None, Some(username), Some(_)) if username.contains(':') => return Err(CredentialsError::Colon),
            (None, Some(username), Some(path)) => (path, Some(username)),
            (Some(_), ..) => return Err(CredentialsError::Both),
            (None, ..) => return Err(CredentialsError::Half),
        };
        let stamp = Stamp::of(&path);
        let header = read(&path, username.as_deref())?;
        Ok(Self(Some(Source { path, username, stamp, header })))
    }

    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The header for the next request. A file that changed is read again; one that is no good any more leaves what was
    /// read before.
    pub(in crate::sinks) fn header(&mut self) -> Option<HeaderValue> {
        let source = self.0.as_mut()?;
        let stamp = Stamp::of(&source.path);
        if stamp != source.stamp {
            source.stamp = stamp;
            match read(&source.path, source.username.as_deref()) {
                Ok(header) => source.header = header,
                Err(error) => tracing::warn!(%error, "the credentials that were read before are kept"),
            }
        }
        Some(source.header.clone())
    }
}

fn read(path: &Path, username: Option<&str>) -> Result<HeaderValue, CredentialsError> {
    let secret = Secret::from_file(path)?;
    let secret = secret.expose();
    let header = match username {
        Some(username) => format!("Basic {}", STANDARD.encode(format!("{username}:{secret}"))),
        None => format!("Bearer {secret}"),
    };
    let mut header = HeaderValue::from_str(&header).map_err(|_| CredentialsError::Content(path.to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes_and_kept_while_it_is_no_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let config = AuthConfig { token_file: Some(path.clone()), ..AuthConfig::default() };
        assert!(matches!(Credentials::new(config.clone()), Err(CredentialsError::File(_))));
        fs::write(&path, "one\n").unwrap();
        let mut credentials = Credentials::new(config).unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer one");
        fs::write(&path, "another\n").unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer another");
        fs::write(&path, "").unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer another");
        fs::remove_file(&path).unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer another");
        fs::write(&path, "third").unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer third");
    }

    #[test]
    fn basic_authentication_is_encoded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "open sesame\n").unwrap();
        let config = AuthConfig {
            username: Some("Aladdin".to_owned()),
            password_file: Some(file.path().to_owned()),
            token_file: None,
        };
        // The example of RFC 7617, section 2.
        assert_eq!(Credentials::new(config).unwrap().header().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn a_file_that_is_no_good_is_named_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "\n", "hunter2\nhunter2", "hunter2\u{1}"] {
            fs::write(file.path(), content).unwrap();
            let config = AuthConfig { token_file: Some(file.path().to_owned()), ..AuthConfig::default() };
            let error = Credentials::new(config).err().unwrap().to_string();
            assert!(error.contains(file.path().to_str().unwrap()) && !error.contains("hunter2"), "{error}");
        }
    }
}

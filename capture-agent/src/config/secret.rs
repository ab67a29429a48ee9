//! What must not be seen: tokens and passwords.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in place of a secret wherever one is shown.
const REDACTED: &str = "[redacted]";
/// More than any token has.
const MAX_BYTES: u64 = 64 << 10;

/// A token or a password. It is shown as `[redacted]`, and given out by [`Secret::expose`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there, or not readable.
    #[error("{0}: cannot be read: {1}; check the path and who may read it")]
    Read(PathBuf, io::Error),
    /// Nothing but white space.
    #[error("{0}: is empty; put the secret into it")]
    Empty(PathBuf),
    /// Some other file.
    #[error("{0}: is not a text of at most 64 KiB; is it the right file?")]
    NotText(PathBuf),
    /// Both ways at once.
    #[error("`{0}` and `{0}_file` exclude each other; take one away")]
    Both(&'static str),
}

impl Secret {
    /// The secret itself. It must not go into a log, a metric or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a file that holds a secret and nothing else; white space around it is left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, which is named and never quoted.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let read = |error| SecretError::Read(path.to_owned(), error);
        let mut bytes = Vec::new();
        File::open(path).map_err(read)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
        let is_short = bytes.len() as u64 <= MAX_BYTES;
        match String::from_utf8(bytes) {
            Ok(text) if is_short => match text.trim() {
                "" => Err(SecretError::Empty(path.to_owned())),
                secret => Ok(Self(secret.to_owned())),
            },
            _ => Err(SecretError::NotText(path.to_owned())),
        }
    }

    /// The secret of two fields, `name` and `name_file`.
    ///
    /// # Errors
    ///
    /// Both are given, or the file is no good.
    pub fn of(name: &'static str, given: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        match (given, file) {
            (Some(_), Some(_)) => Err(SecretError::Both(name)),
            (given, None) => Ok(given.cloned()),
            (None, Some(file)) => Self::from_file(file).map(Some),
        }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.trim().to_owned()))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret", "writeOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_shows_a_secret_tells_it() {
        let secret: Secret = serde_json::from_str("\" hunter2\\n\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        let shown = format!("{secret} {secret:?} {:#?} {}", Some(&secret), serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("[redacted]").count(), 4, "{shown}");
    }

    #[test]
    fn a_file_is_read_without_the_white_space_around() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "\n  hunter2 x\n\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().expose(), "hunter2 x");
        let both = Secret::of("token", Some(&Secret("a".to_owned())), Some(&path));
        assert_eq!(both.unwrap_err().to_string(), "`token` and `token_file` exclude each other; take one away");
        let given = Secret::of("token", Some(&Secret("a".to_owned())), None).unwrap();
        assert_eq!(given.unwrap().expose(), "a");
        assert_eq!(Secret::of("token", None, Some(&path)).unwrap().unwrap().expose(), "hunter2 x");
        assert_eq!(Secret::of("token", None, None).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_good_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let told = || Secret::from_file(&path).unwrap_err().to_string();
        let name = path.display();
        assert_eq!(
            told(),
            format!(
                "{name}: cannot be read: No such file or directory (os error 2); check the path and who may read it"
            )
        );
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(told(), format!("{name}: is empty; put the secret into it"));
        for content in [b"hunter2\xff".to_vec(), vec![b'x'; 65_537]] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(told(), format!("{name}: is not a text of at most 64 KiB; is it the right file?"));
        }
    }
}

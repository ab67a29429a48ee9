//! The file: found, read, laid under what the command line says, and checked.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::yaml::{self, Interpolation, Node};
use super::{Config, Problem, SinkName};

/// The file that is read when none is named, if it is there.
pub const DEFAULT_PATH: &str = "/etc/capture-agent/config.yaml";

/// What wins over the file: it changes what the file says, and tells what is wrong with itself.
pub type Overlay = dyn Fn(&mut Config) -> Vec<Problem> + Send + Sync;

/// Where a configuration is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    is_optional: bool,
    interpolate: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not readable.
    #[error("{0}: cannot be read: {1}; check the path and who may read it")]
    Read(PathBuf, io::Error),
    /// Some other file.
    #[error("{0}: is not UTF-8 text; is it the right file?")]
    NotText(PathBuf),
    /// What it says is no good.
    #[error("{0}")]
    Problems(Problems),
}

/// All that is wrong with a file, or with what is laid over it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file; `None` if there was none to read.
    pub file: Option<PathBuf>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// One mistake a line, as `FILE:LINE:COLUMN: field: what is wrong`.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_char('\n')?;
            }
            match (&self.file, problem.at) {
                (Some(file), Some(_)) => write!(formatter, "{}:{problem}", file.display())?,
                _ => write!(formatter, "{problem}")?,
            }
        }
        Ok(())
    }
}

/// A configuration, and the file that it is from.
pub struct Loaded {
    /// What holds: the file under what was laid over it.
    pub config: Config,
    /// The file; `None` if there was none to read.
    pub file: Option<PathBuf>,
    /// What the file says, for comparison with what it says later.
    pub(super) document: Node,
}

impl Loaded {
    /// What the file says of a sink.
    pub(super) fn sink(&self, name: &SinkName) -> Option<&Node> {
        Some(&self.document.get("sinks")?.value.get(name.as_str())?.value)
    }
}

impl ConfigFile {
    /// The named file, which has to be there, or the default one, which need not. With `interpolate`, `${VARIABLE}` in a
    /// value stands for a variable of the environment.
    #[must_use]
    pub fn new(named: Option<PathBuf>, interpolate: bool) -> Self {
        let is_optional = named.is_none();
        Self { path: named.unwrap_or_else(|| DEFAULT_PATH.into()), is_optional, interpolate }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks it, with `overlay` over it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or all that is wrong with it.
    pub fn load(&self, overlay: &Overlay) -> Result<Loaded, ConfigError> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => Some(String::from_utf8(bytes).map_err(|_| ConfigError::NotText(self.path.clone()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_optional => None,
            Err(error) => return Err(ConfigError::Read(self.path.clone(), error)),
        };
        let file = text.is_some().then(|| self.path.clone());
        let variable = |name: &str| std::env::var(name).ok();
        let interpolation = if self.interpolate { Interpolation::From(&variable) } else { Interpolation::Refused };
        match load(text.as_deref().unwrap_or_default(), &interpolation, overlay) {
            Ok((config, document)) => Ok(Loaded { config, file, document }),
            Err(problems) => Err(ConfigError::Problems(Problems { file, problems })),
        }
    }
}

/// Reads a file's text, with `overlay` over it.
pub(super) fn load(
    text: &str,
    interpolation: &Interpolation<'_>,
    overlay: &Overlay,
) -> Result<(Config, Node), Vec<Problem>> {
    let mut document = yaml::parse(text)?;
    let mut problems = yaml::interpolate(&mut document, interpolation).err().unwrap_or_default();
    let told: Vec<_> = problems.iter().map(|problem| problem.at).collect();
    match yaml::read::<Config>(&document) {
        Ok(mut config) if problems.is_empty() => {
            let sinks = json(&config.sinks);
            problems = overlay(&mut config);
            if json(&config.sinks) != sinks {
                // They are not the file's any more, even where a name is the same.
                document.remove("sinks");
            }
            problems.extend(config.problems());
            for problem in &mut problems {
                problem.at = problem.at.or_else(|| document.position_of(&problem.path));
            }
            if problems.is_empty() { Ok((config, document)) } else { Err(problems) }
        }
        Ok(_) => Err(problems),
        Err(others) => {
            // A value with a variable that is not there is wrong in one way only.
            problems.extend(others.into_iter().filter(|problem| !told.contains(&problem.at)));
            problems.sort_by_key(|problem| problem.at);
            Err(problems)
        }
    }
}

/// For a comparison: everything that a configuration has is JSON.
fn json<T: serde::Serialize>(value: &T) -> Option<serde_json::Value> {
    serde_json::to_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::Period;
    use crate::kernel::{AttachMode, CaptureSide};

    fn nothing(_: &mut Config) -> Vec<Problem> {
        Vec::new()
    }

    fn written(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, text).unwrap();
        (directory, ConfigFile::new(Some(path), false))
    }

    #[test]
    fn no_file_is_the_defaults_and_one_that_is_named_has_to_be_there() {
        let file = ConfigFile { path: "/nowhere/config.yaml".into(), is_optional: true, interpolate: false };
        let loaded = file.load(&nothing).ok().unwrap();
        assert_eq!(loaded.file, None);
        assert_eq!(loaded.config.capture, Config::default().capture);
        let error = ConfigFile::new(Some("/nowhere/config.yaml".into()), false).load(&nothing).err().unwrap();
        assert_eq!(
            error.to_string(),
            "/nowhere/config.yaml: cannot be read: No such file or directory (os error 2); check the path and who may \
             read it"
        );
        assert_eq!(ConfigFile::new(None, false).path(), Path::new("/etc/capture-agent/config.yaml"));
    }

    #[test]
    fn a_file_that_is_no_text_is_refused() {
        let (_directory, file) = written("");
        fs::write(file.path(), b"a: \xff").unwrap();
        let told = file.load(&nothing).err().unwrap().to_string();
        assert_eq!(told, format!("{}: is not UTF-8 text; is it the right file?", file.path().display()));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_file_line_and_column() {
        let (_directory, file) = written("capture:\n  ring_sise: 1MiB\n  attach: ${MODE}\ndokcer: {}\n");
        let told = file.load(&nothing).err().unwrap().to_string();
        let name = file.path().display();
        assert_eq!(
            told,
            format!(
                "{name}:2:3: capture: unknown key `ring_sise`; did you mean `ring_size`?\n\
                 {name}:3:11: capture.attach: `${{` is not allowed here: give --allow-env-interpolation if a variable \
                 of the environment is meant, or write `$${{` for the characters themselves\n\
                 {name}:4:1: unknown key `dokcer`; did you mean `docker`?"
            )
        );
    }

    #[test]
    fn what_is_laid_over_the_file_wins_and_is_checked_with_it() {
        let (_directory, file) = written("capture:\n  side: relay\n  rotation_interval: 5s\n");
        let loaded = file.load(&nothing).ok().unwrap();
        assert_eq!((loaded.config.capture.side, loaded.file.as_deref()), (CaptureSide::Relay, Some(file.path())));
        let over = |config: &mut Config| {
            config.capture.rotation_interval = Period::seconds(7);
            Vec::new()
        };
        assert_eq!(file.load(&over).ok().unwrap().config.capture.rotation_interval, Period::seconds(7));
        let conflict = |config: &mut Config| {
            config.capture.attach = AttachMode::Syscalls;
            vec![Problem::of("", "this is wrong as well")]
        };
        assert_eq!(
            file.load(&conflict).err().unwrap().to_string(),
            format!(
                "this is wrong as well\n{}:2:3: capture.side: --side relay needs to see reads, which --attach syscalls \
                 does not; use --attach raw or auto",
                file.path().display()
            )
        );
    }

    #[test]
    fn variables_of_the_environment_are_put_in_where_that_is_allowed() {
        let (_directory, file) =
            written("admin: {state_dir: '${CARGO_MANIFEST_DIR}/x', listen: '${NOT_SET_ANYWHERE}'}\n");
        let told = ConfigFile { interpolate: true, ..file.clone() }.load(&nothing).err().unwrap().to_string();
        assert_eq!(
            told,
            format!(
                "{}:1:55: admin.listen: the variable NOT_SET_ANYWHERE is not set; set it, or give a default with \
                 `${{NOT_SET_ANYWHERE:-default}}`",
                file.path().display()
            )
        );
        fs::write(file.path(), "admin: {state_dir: '${CARGO_MANIFEST_DIR}/x'}\n").unwrap();
        let config = ConfigFile { interpolate: true, ..file }.load(&nothing).ok().unwrap().config;
        assert_eq!(config.admin.state_dir, Path::new(env!("CARGO_MANIFEST_DIR")).join("x"));
    }

    #[test]
    fn a_file_that_is_broken_anyhow_is_refused_and_nothing_worse() {
        let example = include_str!("../../../docs/examples/files.yaml");
        let variable = |_: &str| Some("hunter2".to_owned());
        let (mut state, mut refused) = (1_u64, 0);
        let mut random = |below: usize| {
            // The generator of Knuth's MMIX.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..2_000 {
            let mut bytes = example.as_bytes().to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = b":-{}[]&*!|>'\"%@`#,?\n\t $~"[random(24)],
                    1 => drop(bytes.splice(at..at, b"${X:-&a {- *a".iter().copied())),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Err(problems) = load(&text, &Interpolation::From(&variable), &nothing) {
                refused += 1;
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(
                        !problem.message.is_empty() && !problem.to_string().contains("hunter2"),
                        "{problem}\n{text}"
                    );
                }
            }
        }
        assert!(refused > 500, "{refused}");
    }
}

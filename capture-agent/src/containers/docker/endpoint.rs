//! Where the engine listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use super::config::DockerError;

/// Ports of the Docker engine, as its own client has them.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// An absolute path.
    Unix(PathBuf),
    /// A name or an address, without the brackets of IPv6.
    Tcp { host: String, port: u16 },
}

impl Endpoint {
    /// Reads `unix:///path`, a path, or `tcp://host:port`; `http://` and `https://` mean `tcp://`.
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, DockerError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("unix", text));
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(DockerError::Path(text.to_owned())),
            // What stands before an @ may be a password, so it is not shown.
            "tcp" | "http" | "https" if rest.contains('@') => Err(DockerError::User),
            "https" if !tls => Err(DockerError::NoCa(text.to_owned())),
            "tcp" | "http" | "https" => Self::parse_tcp(text, rest, if tls { TLS_PORT } else { PLAIN_PORT }),
            _ => Err(DockerError::Scheme(text.to_owned())),
        }
    }

    fn parse_tcp(text: &str, rest: &str, default: u16) -> Result<Self, DockerError> {
        let bad = || DockerError::Address(text.to_owned());
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(bad());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(bad)?;
                host.parse::<Ipv6Addr>().map_err(|_| bad())?;
                (host, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse::<NonZeroU16>().map_err(|_| bad())?.get(),
            None if port.is_empty() => default,
            None => return Err(bad()),
        };
        // What a name may be made of is the resolver's to say; it must not break the header that it stands in.
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// What stands in the `Host` header.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "docker".to_owned(),
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { .. } => write!(f, "tcp://{}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_docker_client_reads_and_prints_it_back() {
        for (text, printed) in [
            ("/run/docker.sock", "unix:///run/docker.sock"),
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://build:2375", "tcp://build:2375"),
            ("tcp://10.0.0.1:99/", "tcp://10.0.0.1:99"),
            ("tcp://[fd00::1]:2375", "tcp://[fd00::1]:2375"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("http://build", "tcp://build:2375"),
        ] {
            assert_eq!(Endpoint::parse(text, false).unwrap().to_string(), printed, "{text}");
        }
        for text in ["tcp://build", "https://build"] {
            assert_eq!(Endpoint::parse(text, true).unwrap().to_string(), "tcp://build:2376", "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_by_name() {
        for text in ["docker.sock", "unix://", "unix://run/docker.sock", "", "ssh://build", "npipe:////./pipe/docker"] {
            let refusal = Endpoint::parse(text, false).unwrap_err().to_string();
            assert!(refusal.contains(text) && refusal.contains("give unix:///"), "{refusal}");
        }
        for text in [
            "tcp://",
            "tcp://:2375",
            "tcp://build:",
            "tcp://build:0",
            "tcp://build:70000",
            "tcp://a b:1",
            "tcp://::1:2375",
            "tcp://build:2375/prefix",
        ] {
            let refusal = Endpoint::parse(text, false).unwrap_err().to_string();
            assert!(refusal.contains(text) && refusal.contains("give tcp://host:port"), "{refusal}");
        }
        assert!(Endpoint::parse("https://build", false).unwrap_err().to_string().contains("--docker-tls-ca"));
    }

    #[test]
    fn a_password_in_an_endpoint_is_not_repeated() {
        let refusal = Endpoint::parse("tcp://root:hunter2@build:2375", false).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

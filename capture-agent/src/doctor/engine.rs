//! The Docker engine. The agent captures without it; what it gives are names and labels.

use super::Check;
use crate::containers::docker::{Survey, SurveyError};
use crate::socket::FailureKind;

pub(super) fn engine(survey: &Result<Survey, SurveyError>) -> Check {
    const ID: &str = "docker";
    let check = match survey {
        Ok(survey) => {
            let driver = survey.log_driver.as_deref().unwrap_or("unknown");
            let Survey { endpoint, version, api, latency, .. } = survey;
            let milliseconds = latency.as_secs_f64() * 1e3;
            Check::ok(
                ID,
                format!("{version} (API {api}) on {endpoint} answers in {milliseconds:.1} ms; log driver: {driver}"),
            )
        }
        // The agent refuses to start with it.
        Err(SurveyError::Config(error)) => {
            Check::failed(ID, error.to_string(), "correct --docker-host, --docker-tls-*")
        }
        Err(error @ SurveyError::Engine { kind, .. }) => {
            Check::warning(ID, format!("{error}; output is captured, and has ids in place of names"), advice(*kind))
        }
    };
    check.titled("Docker")
}

fn advice(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Missing => {
            "start Docker, name its socket with --docker-host, or mount the socket into the container"
        }
        FailureKind::Refused => "start Docker: the socket is there, and nobody listens",
        FailureKind::Denied => "run as root, or as a member of the group that owns the socket",
        FailureKind::Timeout => "look at Docker (its log, docker ps): it hangs, or is slower than --docker-deadline",
        FailureKind::Tls => "check --docker-tls-ca, --docker-tls-cert and --docker-tls-key",
        FailureKind::Closed | FailureKind::Protocol | FailureKind::Status | FailureKind::Io => {
            "check that --docker-host names a Docker engine, and look at its log"
        }
    }
}

//! OTLP over gRPC.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use prost::Message as _;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, CompressionEncoding, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;
use tonic_types::StatusExt as _;

use super::config::{Compression, OtlpError};
use crate::sinks::delivery::SinkError;
use crate::sinks::http::answer::{LONGEST_WAIT, TOO_LARGE, quoted};
use crate::sinks::http::connector::Connector;
use crate::sinks::http::event_loop::EventLoop;
use crate::sinks::http::failure::Failure;
use crate::sinks::http::link::Link;
use crate::sinks::http::{ClientConfig, ClientError, Credentials, LONGEST_ANSWER, USER_AGENT_TEXT, note};
use crate::socket::{FailureKind, SocketHealth};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Exports over gRPC: one connection, one request at a time.
pub(super) struct Grpc {
    event_loop: EventLoop,
    connector: Connector,
    credentials: Credentials,
    headers: HeaderMap,
    timeout: Duration,
    compression: Compression,
    origin: Uri,
    link: Option<Link<SendRequest<Body>>>,
}

/// Why an export has no answer that says success.
enum ExportError {
    /// There is none.
    Failure(Failure),
    /// The receiver says what is wrong.
    Status(Status),
}

impl Grpc {
    pub(super) fn new(config: ClientConfig, compression: Compression) -> Result<Self, OtlpError> {
        let (mut connector, mut headers, credentials, timeout) = config.parts()?;
        if let Some(tls) = &mut connector.tls {
            tls.ask_for(b"h2");
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_TEXT));
        let event_loop = EventLoop::new().map_err(ClientError::Runtime)?;
        let origin = connector.endpoint.to_string();
        let origin =
            origin.parse().map_err(|_| ClientError::Endpoint(super::super::http::EndpointError::Syntax(origin)))?;
        Ok(Self { event_loop, connector, credentials, headers, timeout, compression, origin, link: None })
    }

    pub(super) fn health(&self) -> Arc<SocketHealth> {
        Arc::clone(&self.connector.health)
    }

    pub(super) fn endpoint(&self) -> String {
        self.connector.endpoint.to_string()
    }

    pub(super) fn export(
        &mut self,
        request: &ExportLogsServiceRequest,
    ) -> Result<ExportLogsServiceResponse, SinkError> {
        let begun = Instant::now();
        let request = &Bytes::from(request.encode_to_vec());
        let mut authorization = self.credentials.header();
        let mut outcome = self.send(request, authorization.as_ref());
        if let Err(ExportError::Status(status)) = &outcome
            && matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
        {
            // A token may be renewed while a request with the old one is on its way.
            let renewed = self.credentials.header();
            if renewed != authorization {
                authorization = renewed;
                outcome = self.send(request, authorization.as_ref());
            }
        }
        let health = &self.connector.health;
        health.observe(begun.elapsed());
        let failure = match &outcome {
            Ok(_) => None,
            Err(ExportError::Status(_)) => Some(FailureKind::Status),
            Err(ExportError::Failure(failure)) => Some(failure.kind),
        };
        note(health, failure);
        outcome.map_err(|error| match error {
            ExportError::Failure(failure) => failure.into(),
            ExportError::Status(status) => error_of(&status, &self.endpoint()),
        })
    }

    fn send(
        &mut self,
        request: &Bytes,
        authorization: Option<&HeaderValue>,
    ) -> Result<ExportLogsServiceResponse, ExportError> {
        if self.connector.refresh() {
            self.link = None;
        }
        let message = || {
            let mut headers = self.headers.clone();
            headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization.clone())));
            let mut message = tonic::Request::new(request.clone());
            *message.metadata_mut() = MetadataMap::from_headers(headers);
            message.set_timeout(self.timeout);
            message
        };
        let (connector, timeout) = (&self.connector, self.timeout);
        let (link, origin, compression) = (&mut self.link, &self.origin, self.compression);
        self.event_loop.run(async {
            // A server may close a connection that is idle just when it is used again: that says nothing of the server.
            let was_used = link.as_ref().is_some_and(|link| link.is_used);
            match exchange(connector, link, message(), origin, compression, timeout).await {
                Err(ExportError::Failure(failure)) if was_used && failure.kind != FailureKind::Timeout => {
                    exchange(connector, link, message(), origin, compression, timeout).await
                }
                outcome => outcome,
            }
        })
    }
}

/// Sends one request over the connection that is there, or a new one. Any failure closes it.
async fn exchange(
    connector: &Connector,
    place: &mut Option<Link<SendRequest<Body>>>,
    message: tonic::Request<Bytes>,
    origin: &Uri,
    compression: Compression,
    timeout: Duration,
) -> Result<ExportLogsServiceResponse, ExportError> {
    let mut link = match place.take() {
        Some(link) if !link.sender.is_closed() => link,
        _ => connect(connector).await.map_err(ExportError::Failure)?,
    };
    let (sender, connection) = link.split();
    let mut client = tonic::client::Grpc::with_origin(Channel(sender.clone()), origin.clone())
        .max_decoding_message_size(LONGEST_ANSWER)
        .accept_compressed(CompressionEncoding::Gzip);
    if compression == Compression::Gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let call = async {
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.unary(message, PathAndQuery::from_static(EXPORT), Encoded).await
    };
    let outcome = tokio::time::timeout(timeout, connection.drive(call))
        .await
        .map_err(|_| ExportError::Failure(Failure::no_answer(timeout, &connector.endpoint)))?;
    // A status that has a source was made here, of a connection that broke.
    if let Err(status) = &outcome
        && let Some(source) = std::error::Error::source(status)
    {
        let is_closed = source.downcast_ref::<hyper::Error>().is_some_and(is_closed);
        let otherwise = if is_closed { FailureKind::Closed } else { FailureKind::Protocol };
        return Err(ExportError::Failure(Failure::of_broken(source, otherwise, &connector.endpoint)));
    }
    link.is_used = true;
    *place = Some(link);
    outcome.map(tonic::Response::into_inner).map_err(ExportError::Status)
}

fn is_closed(error: &hyper::Error) -> bool {
    error.is_closed() || error.is_canceled() || error.is_incomplete_message()
}

async fn connect(connector: &Connector) -> Result<Link<SendRequest<Body>>, Failure> {
    let stream = connector.connect().await?;
    let tasks = Tasks::default();
    let (sender, connection) = http2::Builder::new(tasks.clone())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::of_broken(&error, FailureKind::Protocol, &connector.endpoint))?;
    let connection = async move {
        let outcome = Arc::new(OnceLock::new());
        let place = Arc::clone(&outcome);
        let connection = Box::pin(async move {
            // It ends once.
            let _ = place.set(connection.await);
        });
        Driver { running: vec![connection], tasks }.await;
        Arc::into_inner(outcome).and_then(OnceLock::into_inner).unwrap_or(Ok(()))
    };
    Ok(Link::new(sender, connection, &connector.health))
}

/// What [`tonic`] sends through.
struct Channel(SendRequest<Body>);

impl GrpcService<Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request that is encoded already, so that a second try costs nothing, and its answer.
#[derive(Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportLogsServiceResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<ExportLogsServiceResponse>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(request);
        Ok(())
    }
}

/// What HTTP/2 wants to be run beside the request: kept with the connection, so that it ends when that does.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(future));
    }
}

/// Runs them.
struct Driver {
    running: Vec<Task>,
    tasks: Tasks,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let new = std::mem::take(&mut *self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner));
            if new.is_empty() && !self.running.is_empty() {
                self.running.retain_mut(|task| task.as_mut().poll(cx).is_pending());
                // What ran may have brought more.
                if !self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    continue;
                }
            }
            if new.is_empty() {
                return if self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending };
            }
            self.running.extend(new);
        }
    }
}

/// By the specification, section “Failures” of OTLP/gRPC.
fn error_of(status: &Status, endpoint: &str) -> SinkError {
    let (code, message) = (status.code(), status.message());
    let cause = format!("{endpoint} answers {code:?}{}", quoted(message));
    let retry_info = status.get_details_retry_info();
    // That of gRPC's Go and C++ libraries, and that of tonic.
    let is_too_large = matches!(code, Code::ResourceExhausted | Code::OutOfRange)
        && (message.contains("larger than max") || message.contains("length too large"));
    let is_retryable = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only where the receiver says that it will recover.
        Code::ResourceExhausted => retry_info.is_some(),
        _ => false,
    };
    if is_retryable && !is_too_large {
        let after = retry_info.and_then(|info| info.retry_delay).map(|delay| delay.min(LONGEST_WAIT));
        return SinkError::Retry { cause, after };
    }
    let reason = match code {
        _ if is_too_large => TOO_LARGE,
        Code::Unauthenticated | Code::PermissionDenied => "unauthorized",
        Code::Unimplemented | Code::NotFound => "not_found",
        Code::InvalidArgument => "bad_request",
        _ => "rejected",
    };
    SinkError::Refused { cause, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_tried_again_as_the_specification_says() {
        let retried: Vec<_> = (0..=16)
            .map(Code::from)
            .filter(|code| matches!(error_of(&Status::new(*code, ""), "x"), SinkError::Retry { .. }))
            .collect();
        assert_eq!(
            retried,
            [
                Code::Cancelled,
                Code::DeadlineExceeded,
                Code::Aborted,
                Code::OutOfRange,
                Code::Unavailable,
                Code::DataLoss
            ]
        );
    }

    #[test]
    fn the_receiver_says_when_to_come_back() {
        let with = |code, seconds| {
            let mut details = tonic_types::ErrorDetails::new();
            details.set_retry_info(Some(Duration::from_secs(seconds)));
            error_of(&Status::with_error_details(code, "busy", details), "x")
        };
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            let error = with(code, 7);
            assert!(matches!(error, SinkError::Retry { after: Some(after), .. } if after == Duration::from_secs(7)));
        }
        assert!(matches!(with(Code::Unavailable, 999_999), SinkError::Retry { after: Some(LONGEST_WAIT), .. }));
        assert!(matches!(with(Code::InvalidArgument, 7), SinkError::Refused { reason: "bad_request", .. }));
    }

    #[test]
    fn a_request_that_is_too_large_is_known_by_what_is_said() {
        for (code, message) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5242880 vs. 4194304)"),
            (Code::ResourceExhausted, "CLIENT: Received message larger than max (5242880 vs. 4194304)"),
            (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
        ] {
            let error = error_of(&Status::new(code, message), "x");
            assert!(matches!(error, SinkError::Refused { reason: TOO_LARGE, .. }), "{message}");
        }
    }
}

//! The messages of Loki's push API, by `pkg/push/push.proto` of Loki 3.
//!
//! Derived by hand: the whole of it is four small messages, and `line` is declared as bytes, which are the same on the
//! wire as a string and need no copy of a line. What is put there is UTF-8.

use bytes::Bytes;

/// What a client pushes. Its second field, `format`, is Loki's own.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) streams: Vec<Stream>,
}

/// `StreamAdapter`: entries that have the same labels. Its third field, `hash`, is Loki's own.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stream {
    /// As a selector of `LogQL`: `{container="web", stream="stdout"}`.
    #[prost(string, tag = "1")]
    pub(super) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<Entry>,
}

/// `EntryAdapter`: one line. Its fourth field, `parsed`, is for answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) line: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub(super) structured_metadata: Vec<LabelPair>,
}

/// `LabelPairAdapter`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    /// Never negative, before 1970 neither.
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Timestamp {
    /// From nanoseconds since the Unix epoch.
    pub(super) fn from_nanos(nanos: i64) -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self { seconds: nanos.div_euclid(SECOND), nanos: nanos.rem_euclid(SECOND) as i32 }
    }

    /// Nanoseconds since the Unix epoch.
    #[cfg(test)]
    pub(super) fn nanos(self) -> i64 {
        self.seconds * 1_000_000_000 + i64::from(self.nanos)
    }
}

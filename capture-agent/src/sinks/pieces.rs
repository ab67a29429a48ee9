//! Batches that a destination finds too large, in smaller ones.

use std::time::Duration;

use super::delivery::{Receipt, Refused, SinkError};
use super::http::answer::TOO_LARGE;
use crate::pipeline::record::Record;

/// Sends records by `send`, in halves where they are too much at once. One that is too large by itself is refused alone.
pub(super) fn in_pieces(
    records: &[Record],
    mut send: impl FnMut(&[Record]) -> Result<Receipt, SinkError>,
) -> Result<Receipt, SinkError> {
    let mut refused = Vec::new();
    // Ascending; the last is next.
    let mut pieces = Vec::new();
    pieces.push(0..records.len());
    while let Some(piece) = pieces.pop() {
        let begin = piece.start;
        match send(&records[piece.clone()]) {
            Ok(receipt) => refused.extend(moved(receipt.refused, begin)),
            Err(SinkError::Refused { reason: TOO_LARGE, .. }) if piece.len() > 1 => {
                let middle = begin + piece.len() / 2;
                pieces.extend([middle..piece.end, begin..middle]);
            }
            Err(error) if piece.len() == records.len() => return Err(error),
            Err(SinkError::Refused { reason, cause }) => {
                tracing::debug!(records = piece.len(), reason, cause, "a part of a batch is refused");
                refused.extend(piece.map(|index| Refused { index, reason }));
            }
            Err(SinkError::Retry { cause, after }) => {
                return Err(partial(cause, after, (begin..records.len()).collect(), refused));
            }
            Err(SinkError::Partial { cause, after, left, refused: more }) => {
                refused.extend(moved(more, begin));
                let left = left.into_iter().map(|index| begin + index).chain(piece.end..records.len());
                return Err(partial(cause, after, left.collect(), refused));
            }
            Err(error @ SinkError::Closed { .. }) => return Err(error),
        }
    }
    Ok(Receipt { refused })
}

fn moved(refused: Vec<Refused>, by: usize) -> impl Iterator<Item = Refused> {
    refused.into_iter().map(move |refusal| Refused { index: refusal.index + by, ..refusal })
}

fn partial(cause: String, after: Option<Duration>, left: Vec<usize>, refused: Vec<Refused>) -> SinkError {
    SinkError::Partial { cause, after, left, refused }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use capture_common::Stream;

    use super::*;
    use crate::pipeline::record::{Content, Origin};

    /// Records whose messages are so long.
    fn records(lengths: &[usize]) -> Vec<Record> {
        let origin = Arc::new(Origin::new("a".into(), None, Arc::default()));
        let content =
            |length| Content::Line { message: vec![b'x'; length].into(), newline: true, partial: false, omitted: 0 };
        let record = |length: &usize| Record {
            origin: Arc::clone(&origin),
            stream: Stream::Stdout,
            timestamp: 0,
            completed: 0,
            position: 0,
            content: content(*length),
            attributes: None,
        };
        lengths.iter().map(record).collect()
    }

    /// A destination that takes up to so many bytes at once, and answers at the given try that it is busy.
    fn destination(
        limit: usize,
        busy_at: Option<usize>,
        taken: &mut Vec<usize>,
    ) -> impl FnMut(&[Record]) -> Result<Receipt, SinkError> {
        let mut tries = 0;
        move |records| {
            tries += 1;
            if busy_at == Some(tries) {
                return Err(SinkError::Retry { cause: "busy".to_owned(), after: None });
            }
            let lengths = records.iter().map(|record| match &record.content {
                Content::Line { message, .. } => message.len(),
                Content::Lines { data, .. } => data.len(),
                Content::Gap { .. } => 0,
            });
            if lengths.clone().sum::<usize>() > limit {
                return Err(SinkError::Refused { cause: "too large".to_owned(), reason: TOO_LARGE });
            }
            taken.extend(lengths);
            Ok(Receipt::default())
        }
    }

    #[test]
    fn what_is_too_large_together_is_taken_in_order_and_what_is_too_large_alone_refused() {
        let mut taken = Vec::new();
        let receipt = in_pieces(&records(&[3, 4, 11, 5, 6, 7]), destination(10, None, &mut taken)).unwrap();
        assert_eq!(taken, [3, 4, 5, 6, 7]);
        assert_eq!(receipt.refused, [Refused { index: 2, reason: TOO_LARGE }]);
    }

    #[test]
    fn what_is_left_is_said_and_not_sent_again() {
        let mut taken = Vec::new();
        // The whole, both halves' first pieces, then busy.
        let error = in_pieces(&records(&[11, 4, 5, 6]), destination(10, Some(5), &mut taken)).unwrap_err();
        assert_eq!(taken, [4]);
        let SinkError::Partial { left, refused, .. } = error else { panic!("{error:?}") };
        assert_eq!((left, refused), (vec![2, 3], vec![Refused { index: 0, reason: TOO_LARGE }]));
    }

    #[test]
    fn an_error_about_all_of_it_stays_what_it_is() {
        let mut taken = Vec::new();
        let error = in_pieces(&records(&[3, 4]), destination(10, Some(1), &mut taken)).unwrap_err();
        assert!(matches!(error, SinkError::Retry { .. }));
        let error = in_pieces(&records(&[11]), destination(10, None, &mut taken)).unwrap_err();
        assert!(matches!(error, SinkError::Refused { reason: TOO_LARGE, .. }));
    }
}

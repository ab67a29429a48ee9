//! Some of the records of a load: what one request is made of.

use std::borrow::Cow;
use std::ops::Range;

use crate::pipeline::record::Record;

/// Places in a load, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Range(Range<usize>),
    Places(Vec<usize>),
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Places(places) => places.len(),
        }
    }

    /// The place in the load of one of its records.
    pub(super) fn place(&self, index: usize) -> usize {
        match self {
            Self::Range(range) => range.start + index,
            Self::Places(places) => places[index],
        }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(|index| self.place(index))
    }

    /// Its records in a row; copied, without their payload, only where they do not stand in one.
    pub(super) fn records<'a>(&self, load: &'a [Record]) -> Cow<'a, [Record]> {
        match self {
            Self::Range(range) => Cow::Borrowed(&load[range.clone()]),
            Self::Places(places) => Cow::Owned(places.iter().map(|place| load[*place].clone()).collect()),
        }
    }

    /// Those of its records, by index.
    pub(super) fn pick(&self, indices: &[usize]) -> Self {
        let is_row = indices.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        match (self, indices) {
            (Self::Range(range), [first, .., last]) if is_row => {
                Self::Range(range.start + first..range.start + last + 1)
            }
            _ => Self::Places(indices.iter().map(|index| self.place(*index)).collect()),
        }
    }

    /// Two pieces, the first half first.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let middle = self.len() / 2;
        match &mut self {
            Self::Range(range) => {
                let middle = range.start + middle;
                (Self::Range(range.start..middle), Self::Range(middle..range.end))
            }
            Self::Places(places) => {
                let rest = places.split_off(middle);
                (self, Self::Places(rest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_picks_keep_their_places() {
        let (first, second) = Piece::Range(4..9).halves();
        assert_eq!((first, second.clone()), (Piece::Range(4..6), Piece::Range(6..9)));
        assert_eq!(second.pick(&[1, 2]), Piece::Range(7..9));
        let holes = Piece::Range(0..10).pick(&[1, 4, 5, 9]);
        assert_eq!(holes.places().collect::<Vec<_>>(), [1, 4, 5, 9]);
        assert_eq!(holes.pick(&[0, 3]), Piece::Places(vec![1, 9]));
        let (first, second) = holes.halves();
        assert_eq!((first.place(1), second.place(1)), (4, 9));
        assert_eq!(Piece::Range(3..9).pick(&[2]), Piece::Places(vec![5]));
    }
}

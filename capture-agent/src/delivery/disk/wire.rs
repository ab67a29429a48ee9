//! Numbers and texts in a frame.

use bytes::Bytes;

/// A frame that passed its checksum and does not read as what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub(super) struct Malformed;

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number that may be below zero and is mostly near it.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, (number << 1 ^ number >> 63).cast_unsigned());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above have written.
pub(super) struct Input {
    bytes: Bytes,
}

impl Input {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn exact(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.bytes.len() { Err(Malformed) } else { Ok(self.bytes.split_to(length)) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.exact(1).map(|byte| byte[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(Malformed);
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn small(&mut self) -> Result<u32, Malformed> {
        self.number()?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.number()?.try_into().map_err(|_| Malformed)?;
        self.exact(length)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        let numbers = (0..64).flat_map(|shift| [(1_u64 << shift) - 1, 1 << shift]).chain([u64::MAX]);
        let numbers: Vec<u64> = numbers.collect();
        let mut out = Vec::new();
        for number in &numbers {
            put_number(&mut out, *number);
            put_signed(&mut out, number.cast_signed());
            put_signed(&mut out, number.cast_signed().wrapping_neg());
        }
        let mut input = Input::new(out.into());
        for number in numbers {
            assert_eq!(input.number(), Ok(number));
            assert_eq!(input.signed(), Ok(number.cast_signed()));
            assert_eq!(input.signed(), Ok(number.cast_signed().wrapping_neg()));
        }
        assert!(input.is_empty());
    }

    #[test]
    fn what_does_not_end_or_fit_is_malformed() {
        for bytes in [&[0x80; 9][..], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], &[]] {
            assert_eq!(Input::new(Bytes::copy_from_slice(bytes)).number(), Err(Malformed), "{bytes:x?}");
        }
        assert_eq!(Input::new(Bytes::from_static(&[5, b'a'])).bytes(), Err(Malformed));
        assert_eq!(Input::new(Bytes::from_static(&[1, 0xff])).text(), Err(Malformed));
    }
}

//! The one pass over what comes out of the ring buffer. It was written on another processor, so that it is in no cache near: what
//! is to be known of it is found out while it is copied.

use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_sub_epi8,
};
use std::mem::MaybeUninit;

/// Bytes that are copied and compared in one turn.
const BLOCK: usize = WORDS * size_of::<__m256i>();
const WORDS: usize = 4;
/// Blocks before the newlines are summed up: for each byte of a word a byte counts them.
const BLOCKS: usize = u8::MAX as usize / WORDS;

/// Copies `from` to all of `to`; how many newlines there are in it.
///
/// # Panics
///
/// Where they are not of the same length: whoever calls it takes `to` for written then.
pub(super) fn counting(from: &[u8], to: &mut [MaybeUninit<u8>]) -> usize {
    assert_eq!(from.len(), to.len());
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has it.
        unsafe { counting_avx2(from, to) }
    } else {
        one_after_the_other(from, to)
    }
}

fn one_after_the_other(from: &[u8], to: &mut [MaybeUninit<u8>]) -> usize {
    to.write_copy_of_slice(from);
    memchr::memchr_iter(b'\n', from).count()
}

/// The compiler would make of a loop over bytes what the other one says.
#[target_feature(enable = "avx2")]
#[expect(clippy::cast_ptr_alignment, reason = "words are loaded and stored wherever they lie")]
fn counting_avx2(from: &[u8], to: &mut [MaybeUninit<u8>]) -> usize {
    let (from, from_rest) = from.as_chunks::<BLOCK>();
    let (to, to_rest) = to.as_chunks_mut::<BLOCK>();
    let newline = _mm256_set1_epi8(b'\n'.cast_signed());
    let mut sum = 0;
    for (from, to) in from.chunks(BLOCKS).zip(to.chunks_mut(BLOCKS)) {
        let mut newlines = _mm256_setzero_si256();
        for (from, to) in from.iter().zip(to) {
            let (from, to) = (from.as_ptr().cast::<__m256i>(), to.as_mut_ptr().cast::<__m256i>());
            // SAFETY: a block has so many words.
            let words: [__m256i; WORDS] = std::array::from_fn(|index| unsafe { _mm256_loadu_si256(from.add(index)) });
            for (index, word) in words.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm256_storeu_si256(to.add(index), word) };
                // What is equal is -1.
                newlines = _mm256_sub_epi8(newlines, _mm256_cmpeq_epi8(word, newline));
            }
        }
        let mut sums = [0_u64; 4];
        let eights = _mm256_sad_epu8(newlines, _mm256_setzero_si256());
        // SAFETY: it is as long.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), eights) };
        sum += sums.iter().sum::<u64>() as usize;
    }
    sum + one_after_the_other(from_rest, to_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &[u8]) {
        for count in [counting, one_after_the_other] {
            let mut to = vec![MaybeUninit::new(b'?'); from.len()];
            let newlines = count(from, &mut to);
            // SAFETY: all of it was there from the start.
            let to: Vec<u8> = to.into_iter().map(|byte| unsafe { byte.assume_init() }).collect();
            assert!(to == from, "{} bytes are not the same", from.len());
            assert_eq!(newlines, memchr::memchr_iter(b'\n', from).count(), "of {} bytes", from.len());
        }
    }

    #[test]
    fn copies_every_byte_and_counts_every_newline() {
        let text = b"\n\none\n\xff\0\x8a\n three and more\n".repeat(3000);
        let lengths = (0..300).chain([4096, BLOCK * BLOCKS, BLOCK * BLOCKS + 1, 65_536, text.len()]);
        for (length, begin) in lengths.flat_map(|length| [(length, 0), (length, 3)]) {
            check(&text[begin.min(length)..length]);
        }
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn never_leaves_a_part_unwritten() {
        counting(&[0; BLOCK], &mut [MaybeUninit::uninit(); 2 * BLOCK]);
    }

    #[test]
    fn counts_as_many_as_there_can_be() {
        check(&vec![b'\n'; 3 * BLOCK * BLOCKS + 7]);
    }
}

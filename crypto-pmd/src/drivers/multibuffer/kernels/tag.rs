//! The place of a tag in its packet: what a keyed hash gives is written there, or compared with what stands there.

use subtle::ConstantTimeEq as _;

/// A tag's place, and what is to be done when the hash is known.
pub(in crate::drivers::multibuffer) struct Tag<'a> {
    place: &'a mut [u8],
    checks: bool,
    is_right: bool,
}

impl<'a> Tag<'a> {
    /// It is to be written, or, where `checks`, compared.
    #[inline(always)]
    pub(in crate::drivers::multibuffer) fn new(checks: bool, place: &'a mut [u8]) -> Self {
        Self { place, checks, is_right: false }
    }

    /// The hash is known; as many of its first bytes count as there is room for. There are so many, and at least one.
    #[inline(always)]
    pub(in crate::drivers::multibuffer) fn take(&mut self, hash: &[u8]) {
        let Some(hash) = hash.get(..self.place.len()).filter(|hash| !hash.is_empty()) else { return };
        if self.checks {
            self.is_right = is_equal(self.place, hash);
        } else {
            write(self.place, hash);
            self.is_right = true;
        }
    }

    /// Whether it was written, or found to be right.
    #[inline(always)]
    pub(in crate::drivers::multibuffer) fn is_right(&self) -> bool {
        self.is_right
    }
}

/// The usual lengths have copies of their own, which take a fifth of the time of one of any length.
#[inline(always)]
fn write(place: &mut [u8], hash: &[u8]) {
    if let (Ok(place), Some(hash)) = (<&mut [u8; 12]>::try_from(&mut *place), hash.first_chunk()) {
        *place = *hash;
    } else if let (Ok(place), Some(hash)) = (<&mut [u8; 16]>::try_from(&mut *place), hash.first_chunk()) {
        *place = *hash;
    } else {
        place.copy_from_slice(hash);
    }
}

/// Whether two tags of one length are the same, in time that does not depend on where they differ. They are compared as words, which is ten
/// times as fast as byte by byte.
#[inline]
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let ends = |tag: &[u8]| {
        let (first, last) = (tag.first_chunk()?, tag.last_chunk()?);
        (tag.len() <= 16).then_some((u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    if let (Some((a, b)), Some((c, d))) = (ends(one), ends(other)) {
        // The two words overlap where there are fewer than sixteen bytes.
        return bool::from(((a ^ c) | (b ^ d)).ct_eq(&0));
    }
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let differ = words
        .iter()
        .zip(other_words)
        .fold(0, |differ, (one, other)| differ | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other)));
    one.len() == other.len() && bool::from(differ.ct_eq(&0) & rest.ct_eq(other_rest))
}

#[cfg(test)]
mod tests {
    use super::{Tag, is_equal};

    #[test]
    fn as_many_bytes_are_written_or_compared_as_there_is_room_for() {
        let hash: [u8; 64] = std::array::from_fn(|n| n as u8 + 1);
        for len in 1..=64 {
            let mut place = vec![0; len];
            let mut tag = Tag::new(false, &mut place);
            assert!(!tag.is_right());
            tag.take(&hash);
            assert!(tag.is_right());
            assert_eq!(place, hash[..len]);
            let mut tag = Tag::new(true, &mut place);
            tag.take(&hash);
            assert!(tag.is_right());
            place[len - 1] ^= 1;
            let mut tag = Tag::new(true, &mut place);
            tag.take(&hash);
            assert!(!tag.is_right());
        }
        // No tag is never right.
        let mut tag = Tag::new(true, &mut []);
        tag.take(&hash);
        assert!(!tag.is_right());
    }

    #[test]
    fn tags_are_equal_in_every_bit_or_not_at_all() {
        for len in [8, 10, 12, 16, 20, 24, 32, 48, 64] {
            let tag: Vec<u8> = (0..len).map(|n| n * 3 + 1).collect();
            assert!(is_equal(&tag, &tag.clone()));
            for bit in 0..usize::from(len) * 8 {
                let mut other = tag.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_equal(&tag, &other), "{len} bytes, bit {bit}");
            }
        }
    }
}

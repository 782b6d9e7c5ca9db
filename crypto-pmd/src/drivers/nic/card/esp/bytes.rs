//! Numbers in network order, and the Internet checksum (RFC 1071).

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Writes bytes at a place; `None`, and nothing written, where they do not fit.
pub(super) fn put(bytes: &mut [u8], at: usize, from: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(from.len())?)?.copy_from_slice(from);
    Some(())
}

/// The sum of bytes as 16-bit words, an odd last one padded with zero, added to `sum`.
pub(super) fn sum(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    words.fold(sum, |sum, word| sum + word)
}

pub(super) fn checksum(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

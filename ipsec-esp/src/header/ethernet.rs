//! Ethernet link headers: where the IP packet starts, and where the type is that must follow the outer family.
//!
//! Up to two VLAN tags are stepped over and stay as they are. It reads no addresses and changes nothing.

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

const MAX_TAGS: u8 = 2;

/// What was found of a frame's link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2 {
    /// Bytes before the payload: 14, 18 or 22.
    pub len: u8,
    /// Where the two bytes of the payload's EtherType are.
    pub ethertype_offset: u8,
    /// The payload's EtherType; below 0x0600 it is a length (IEEE 802.3), after a third tag still a tag's.
    pub ethertype: u16,
}

/// Reads the link header; `None` when the frame ends within it.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<L2> {
    let mut offset = 12_u8;
    let mut ethertype = type_at(frame, offset)?;
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        offset += 4;
        ethertype = type_at(frame, offset)?;
    }
    Some(L2 { len: offset + 2, ethertype_offset: offset, ethertype })
}

fn type_at(frame: &[u8], offset: u8) -> Option<u16> {
    frame.get(usize::from(offset)..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Whether an EtherType is that of a VLAN tag: 802.1Q, 802.1ad, and the number that older switches use for an outer one.
#[must_use]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(types: &[u16]) -> Vec<u8> {
        let mut bytes = vec![0xaa; 12];
        for (index, ethertype) in types.iter().enumerate() {
            bytes.extend(ethertype.to_be_bytes());
            if index + 1 < types.len() {
                bytes.extend([0x00, 0x07]);
            }
        }
        bytes
    }

    #[test]
    fn up_to_two_tags_are_stepped_over() {
        for (types, len) in [
            (vec![IPV4], 14),
            (vec![IPV6], 14),
            (vec![0x8100, IPV4], 18),
            (vec![0x88a8, 0x8100, IPV6], 22),
            (vec![0x9100, 0x8100, IPV6], 22),
        ] {
            let ethertype = *types.last().unwrap();
            let expected = L2 { len, ethertype_offset: len - 2, ethertype };
            assert_eq!(parse(&frame(&types)), Some(expected), "{types:x?}");
        }
    }

    #[test]
    fn a_third_tag_is_left_as_a_type_that_is_not_ip() {
        let found = parse(&frame(&[0x8100, 0x8100, 0x8100, IPV4])).unwrap();
        assert_eq!((found.len, found.ethertype), (22, 0x8100));
    }

    #[test]
    fn a_frame_that_ends_within_its_header_has_none() {
        let whole = frame(&[0x88a8, 0x8100, IPV4]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
        assert!(parse(&whole).is_some());
    }
}

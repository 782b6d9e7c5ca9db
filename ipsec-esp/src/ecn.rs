//! The byte that carries DSCP and ECN, across a tunnel's ends: RFC 6040 (normal mode) and RFC 4301 section 5.1.2.
//!
//! The byte is IPv4's type of service and IPv6's traffic class: DSCP in the high six bits, ECN in the low two. Only
//! the values are computed here; headers are changed, and packets dropped, elsewhere. Transport mode has one header
//! and needs none of this.

const ECN_MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// Which DSCP the outer header gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// The inner header's.
    Copy,
    /// Always this one, 0 to 63; higher bits are ignored. Hides the inner one from observers.
    Fixed(u8),
}

/// The outer header's byte for a packet whose own is `inner`: ECN is copied (RFC 6040 section 4.1).
#[must_use]
pub const fn encapsulate(inner: u8, dscp: Dscp) -> u8 {
    match dscp {
        Dscp::Copy => inner,
        Dscp::Fixed(dscp) => dscp << 2 | inner & ECN_MASK,
    }
}

/// Congestion was marked on the outer header of a packet whose sender would not understand the mark: loss is the
/// only signal left, the packet has to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionDrop;

/// The byte that the inner header gets when the outer one is taken off: its own DSCP, and the more severe of the two
/// ECN marks unless it does not speak ECN (RFC 6040 section 4.2, figure 4).
///
/// # Errors
///
/// [`CongestionDrop`] for a congestion mark outside and no ECN inside.
pub const fn decapsulate(outer: u8, inner: u8) -> Result<u8, CongestionDrop> {
    let ecn = match (inner & ECN_MASK, outer & ECN_MASK) {
        (NOT_ECT, CE) => return Err(CongestionDrop),
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) | (CE, _) => CE,
        (_, ECT_1) | (ECT_1, _) => ECT_1,
        _ => ECT_0,
    };
    Ok(inner & !ECN_MASK | ecn)
}

/// Whether no tunnel entry that follows a standard makes this pair, so that an operator should hear of it
/// (RFC 6040 section 4.2, the combinations marked as unused).
#[must_use]
pub const fn is_unused_pair(outer: u8, inner: u8) -> bool {
    matches!(
        (inner & ECN_MASK, outer & ECN_MASK),
        (NOT_ECT, ECT_0 | ECT_1 | CE) | (ECT_1, ECT_0) | (CE, ECT_1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040 figure 4, inner by row and outer by column in the order not-ECT, ECT(0), ECT(1), CE; `None` drops.
    const DECAPSULATION: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(0), Some(0), None],
        [Some(2), Some(2), Some(1), Some(3)],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];

    /// The same places: where figure 4 has a mark of surprise.
    const UNUSED: [[bool; 4]; 4] = [
        [false, true, true, true],
        [false, false, false, false],
        [false, true, false, false],
        [false, false, true, false],
    ];

    const ORDER: [u8; 4] = [0b00, 0b10, 0b01, 0b11];

    #[test]
    fn decapsulation_follows_the_table_and_keeps_the_inner_dscp() {
        for (row, inner) in ORDER.into_iter().enumerate() {
            for (column, outer) in ORDER.into_iter().enumerate() {
                let got = decapsulate(0b1111_1100 | outer, 0b1010_1000 | inner);
                let expected = DECAPSULATION[row][column].map(|ecn| 0b1010_1000 | ecn).ok_or(CongestionDrop);
                assert_eq!(got, expected, "inner {inner:02b} outer {outer:02b}");
                assert_eq!(
                    is_unused_pair(0xfc | outer, inner),
                    UNUSED[row][column],
                    "inner {inner:02b} outer {outer:02b}"
                );
            }
        }
    }

    #[test]
    fn encapsulation_copies_ecn_and_copies_or_sets_the_dscp() {
        for inner in 0..=255 {
            assert_eq!(encapsulate(inner, Dscp::Copy), inner);
            assert_eq!(encapsulate(inner, Dscp::Fixed(46)), 46 << 2 | inner & 3);
            assert_eq!(encapsulate(inner, Dscp::Fixed(0)), inner & 3);
        }
    }

    #[test]
    fn a_tunnel_that_marks_nothing_gives_every_packet_back_as_it_was() {
        for inner in 0..=255 {
            for dscp in [Dscp::Copy, Dscp::Fixed(10)] {
                assert_eq!(decapsulate(encapsulate(inner, dscp), inner), Ok(inner));
            }
        }
    }
}

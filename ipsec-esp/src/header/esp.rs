//! The eight bytes with which every ESP packet begins (RFC 4303 sections 2.1 and 2.2).
//!
//! Of a 64-bit sequence number only the low half travels; the high half is inferred in [`crate::sequence`]. IV,
//! trailer and ICV depend on the suite and are not handled here.

use std::fmt;

/// Length of the ESP header: SPI and sequence number.
pub const LEN: usize = 8;

/// A security parameters index: with which SA the receiver opens a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl Spi {
    /// Whether the value may not be used on the wire: 0 is for local use, 1 to 255 are kept back (RFC 4303
    /// section 2.1).
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 < 256
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({:#x})", self.0)
    }
}

/// SPI and the low half of the sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspHeader {
    /// Which SA.
    pub spi: Spi,
    /// Low 32 bits of the sequence number.
    pub sequence: u32,
}

impl EspHeader {
    /// Reads the header at the start of `esp`; `None` when there are fewer than [`LEN`] bytes.
    #[must_use]
    pub fn parse(esp: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = *esp.first_chunk::<LEN>()?;
        Some(Self { spi: Spi(u32::from_be_bytes([a, b, c, d])), sequence: u32::from_be_bytes([e, f, g, h]) })
    }

    /// Writes the header to the start of `esp`; `None`, and nothing written, when there is no room.
    pub fn write(&self, esp: &mut [u8]) -> Option<()> {
        *esp.first_chunk_mut::<LEN>()? = self.to_bytes();
        Some(())
    }

    /// The header's bytes, which are also the AAD of a 32-bit AEAD SA (RFC 4106 section 5).
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        (((self.spi.0 as u64) << 32) | self.sequence as u64).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_header_has_spi_then_sequence_in_network_order_and_reads_back() {
        let header = EspHeader { spi: Spi(0x1234_5678), sequence: 0x9abc_def0 };
        let mut bytes = [0xff; 9];
        assert_eq!(header.write(&mut bytes), Some(()));
        assert_eq!(bytes, [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0xff]);
        assert_eq!(EspHeader::parse(&bytes), Some(header));
    }

    #[test]
    fn seven_bytes_are_too_few_to_read_or_write() {
        let header = EspHeader { spi: Spi(256), sequence: 1 };
        let mut bytes = [0xee; 7];
        assert_eq!(EspHeader::parse(&bytes), None);
        assert_eq!(header.write(&mut bytes), None);
        assert_eq!(bytes, [0xee; 7]);
    }

    #[test]
    fn spis_up_to_255_are_reserved_and_shown_in_hex() {
        assert!(Spi(0).is_reserved() && Spi(255).is_reserved() && !Spi(256).is_reserved());
        assert_eq!(Spi(0x1001).to_string(), "0x1001");
    }
}

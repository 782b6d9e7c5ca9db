//! The IPv4 header (RFC 791): a checked view, in-place changes that keep the checksum right, and a template from
//! which the outer header of a tunnel is written with a few additions.
//!
//! Options are kept and covered by the checksum, not interpreted. Fragmentation and TTL policy are decided elsewhere.

use std::net::Ipv4Addr;

use super::{HeaderError, Sum, updated_checksum};

/// Length of a header without options.
pub const LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
/// The flag that forbids fragments, in a header's seventh byte.
pub const DONT_FRAGMENT_BYTE: u8 = 0x40;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A view of a packet whose header was found consistent: version 4, header within total length within slice.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    fixed: &'a [u8; LEN],
    header: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Checks the lengths of the packet at the start of `packet`; bytes after its total length are link padding.
    /// The checksum is not verified: see [`Ipv4::checksum_verifies`].
    ///
    /// # Errors
    ///
    /// A [`HeaderError`] that says which field is wrong.
    pub fn parse(packet: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse_part(packet, packet.len())
    }

    /// As [`Ipv4::parse`] for a packet of which `part` is the beginning, in one piece, and `available` the length in
    /// all. The header must lie in the part; of the payload, the view shows what does.
    ///
    /// # Errors
    ///
    /// As [`Ipv4::parse`].
    #[inline]
    pub fn parse_part(part: &'a [u8], available: usize) -> Result<Self, HeaderError> {
        let fixed: &[u8; LEN] = part.first_chunk().ok_or(HeaderError::Truncated)?;
        let header_len = stated_header_len(fixed)?;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total_len < header_len {
            return Err(HeaderError::BadLength);
        }
        if total_len > available {
            return Err(HeaderError::Truncated);
        }
        let whole = part.get(..total_len.min(part.len())).ok_or(HeaderError::Truncated)?;
        let (header, payload) = whole.split_at_checked(header_len).ok_or(HeaderError::Truncated)?;
        Ok(Self { fixed, header, payload })
    }

    /// Header length, options included: 20 to 60.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Length of header and payload.
    #[must_use]
    pub fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    /// The identification that fragments of one packet share.
    #[must_use]
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Whether routers may not fragment it.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DONT_FRAGMENT != 0
    }

    /// Whether fragments follow this one.
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & MORE_FRAGMENTS != 0
    }

    /// Where this fragment's payload belongs, in bytes.
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_and_offset() & OFFSET_MASK) * 8
    }

    /// Whether it is part of a packet only, the first part included.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Hops left.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// Protocol of the payload.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[12], self.fixed[13], self.fixed[14], self.fixed[15])
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[16], self.fixed[17], self.fixed[18], self.fixed[19])
    }

    /// The header's bytes, options included.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        self.header
    }

    /// What follows the header, without link padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the header checksum is right.
    #[must_use]
    pub fn checksum_verifies(&self) -> bool {
        Sum::new().bytes(self.header).folded() == 0xffff
    }

    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }
}

/// Changes to a header in place. Every setter keeps a right checksum right and a wrong one wrong, so that damage
/// done before is not hidden; [`Ipv4Mut::fill_checksum`] computes it anew.
#[derive(Debug)]
pub struct Ipv4Mut<'a> {
    fixed: &'a mut [u8; LEN],
    options: &'a mut [u8],
}

impl<'a> Ipv4Mut<'a> {
    /// Takes the header at the start of `packet`. The total length is not compared with the slice, as packets are
    /// changed while they grow and shrink.
    ///
    /// # Errors
    ///
    /// [`HeaderError::BadVersion`], [`HeaderError::BadLength`] or [`HeaderError::Truncated`].
    pub fn parse(packet: &'a mut [u8]) -> Result<Self, HeaderError> {
        let (fixed, rest) = packet.split_first_chunk_mut::<LEN>().ok_or(HeaderError::Truncated)?;
        let options_len = stated_header_len(fixed)? - LEN;
        let options = rest.get_mut(..options_len).ok_or(HeaderError::Truncated)?;
        Ok(Self { fixed, options })
    }

    /// Sets DSCP and ECN.
    pub fn set_tos(&mut self, tos: u8) {
        let version_and_ihl = self.fixed[0];
        self.replace::<0>([version_and_ihl, tos]);
    }

    /// Sets the length of header and payload.
    pub fn set_total_len(&mut self, total_len: u16) {
        self.replace::<2>(total_len.to_be_bytes());
    }

    /// Sets the hops left.
    pub fn set_ttl(&mut self, ttl: u8) {
        let protocol = self.fixed[9];
        self.replace::<8>([ttl, protocol]);
    }

    /// Sets the protocol of the payload.
    pub fn set_protocol(&mut self, protocol: u8) {
        let ttl = self.fixed[8];
        self.replace::<8>([ttl, protocol]);
    }

    /// Computes the checksum over the whole header and sets it.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = Sum::new().bytes(self.fixed.as_slice()).bytes(self.options);
        self.set_checksum(sum.checksum());
    }

    fn replace<const AT: usize>(&mut self, new: [u8; 2]) {
        const { assert!(AT + 1 < LEN && AT & 1 == 0) };
        let old = u16::from_be_bytes([self.fixed[AT], self.fixed[AT + 1]]);
        let checksum = u16::from_be_bytes([self.fixed[10], self.fixed[11]]);
        [self.fixed[AT], self.fixed[AT + 1]] = new;
        self.set_checksum(updated_checksum(checksum, old, u16::from_be_bytes(new)));
    }

    fn set_checksum(&mut self, checksum: u16) {
        [self.fixed[10], self.fixed[11]] = checksum.to_be_bytes();
    }
}

/// What changes from packet to packet in a tunnel's outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerPacket {
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload.
    pub total_len: u16,
    /// Identification; any value where fragments are forbidden (RFC 6864 section 4.1).
    pub identification: u16,
    /// The seventh byte: [`DONT_FRAGMENT_BYTE`] where routers may not fragment it, or 0.
    pub flags: u8,
}

/// A tunnel's outer header, prepared once per SA: the constant fields and the sum over them.
///
/// Words are as they lie in memory, read as little-endian numbers: a header is three stores, and the sum of the
/// swapped halves is the swapped sum (RFC 1071 section 2).
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Template {
    /// Bytes 0 to 7, 8 to 15, and the destination.
    first: u64,
    second: u64,
    destination: u32,
    /// Folded sum of the constant fields.
    sum: u16,
}

impl Ipv4Template {
    /// A header without options for this payload protocol and these endpoints.
    #[must_use]
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ttl: u8) -> Self {
        let [a, b, c, d] = src.octets();
        let destination = dst.octets();
        let first = [0x45, 0, 0, 0, 0, 0, 0, 0];
        let second = [ttl, protocol, 0, 0, a, b, c, d];
        let sum = Sum::new().bytes(&first).bytes(&second).bytes(&destination).folded();
        Self {
            first: u64::from_le_bytes(first),
            second: u64::from_le_bytes(second),
            destination: u32::from_le_bytes(destination),
            sum: sum.swap_bytes(),
        }
    }

    /// Writes one header, checksum included, to the start of `packet`; `None`, and nothing written, when there is
    /// no room.
    #[inline(always)]
    pub fn write(&self, packet: &mut [u8], fields: PerPacket) -> Option<()> {
        let header: &mut [u8; LEN] = packet.first_chunk_mut()?;
        let flags = fields.flags & DONT_FRAGMENT_BYTE;
        let total_len = fields.total_len.swap_bytes();
        let identification = fields.identification.swap_bytes();
        // A reduced sum and four words stay below 2^19: two folds are enough.
        let sum = u32::from(self.sum)
            + (u32::from(fields.tos) << 8)
            + u32::from(total_len)
            + u32::from(identification)
            + u32::from(flags);
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum + (sum >> 16)) as u16);
        let first = self.first
            | u64::from(fields.tos) << 8
            | u64::from(total_len) << 16
            | u64::from(identification) << 32
            | u64::from(flags) << 48;
        let (words, rest) = header.split_first_chunk_mut::<8>()?;
        *words = first.to_le_bytes();
        *rest.first_chunk_mut()? = (self.second | u64::from(checksum) << 16).to_le_bytes();
        *rest.last_chunk_mut()? = self.destination.to_le_bytes();
        Some(())
    }
}

/// Header length that the first byte states, with version and minimum checked; not compared with any slice.
fn stated_header_len(fixed: &[u8; LEN]) -> Result<usize, HeaderError> {
    if fixed[0] >> 4 != 4 {
        return Err(HeaderError::BadVersion);
    }
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    if header_len < LEN { Err(HeaderError::BadLength) } else { Ok(header_len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header seen on a wire, whose checksum 0xb861 others computed.
    const SAMPLE: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];

    fn sample_packet() -> Vec<u8> {
        let mut packet = SAMPLE.to_vec();
        packet.resize(0x73, 0x5a);
        packet
    }

    #[test]
    fn fields_are_read_from_their_places() {
        let mut packet = sample_packet();
        packet.extend([0; 9]);
        let ip = Ipv4::parse(&packet).unwrap();
        assert_eq!((ip.header_len(), ip.total_len(), ip.payload().len()), (20, 0x73, 0x73 - 20));
        assert_eq!((ip.tos(), ip.identification(), ip.ttl(), ip.protocol()), (0, 0, 64, 17));
        assert_eq!((ip.src(), ip.dst()), (Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 199)));
        assert!(ip.dont_fragment() && !ip.more_fragments() && !ip.is_fragment());
        assert!(ip.checksum_verifies());
    }

    #[test]
    fn first_and_later_fragments_are_told_by_flag_and_offset() {
        let mut packet = sample_packet();
        for (bytes, more, offset) in
            [([0x20, 0x00], true, 0), ([0x00, 0x03], false, 24), ([0x3f, 0xff], true, 65528)]
        {
            packet[6..8].copy_from_slice(&bytes);
            let ip = Ipv4::parse(&packet).unwrap();
            assert_eq!((ip.is_fragment(), ip.more_fragments(), ip.fragment_offset()), (true, more, offset));
        }
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let refused = |at: usize, value: u8| {
            let mut packet = sample_packet();
            packet[at] = value;
            Ipv4::parse(&packet).map(|_| ()).unwrap_err()
        };
        assert_eq!(refused(0, 0x65), HeaderError::BadVersion);
        assert_eq!(refused(0, 0x44), HeaderError::BadLength);
        assert_eq!(refused(3, 19), HeaderError::BadLength);
        assert_eq!(refused(3, 0x74), HeaderError::Truncated);
        assert_eq!(Ipv4::parse(&SAMPLE[..19]).map(|_| ()), Err(HeaderError::Truncated));
        let mut with_options = SAMPLE;
        with_options[0] = 0x46;
        assert_eq!(Ipv4Mut::parse(&mut with_options).map(|_| ()), Err(HeaderError::Truncated));
    }

    #[test]
    fn a_filled_checksum_is_the_one_that_others_computed() {
        let mut packet = sample_packet();
        packet[10..12].fill(0xee);
        Ipv4Mut::parse(&mut packet).unwrap().fill_checksum();
        assert_eq!(packet[..20], SAMPLE);
    }

    #[test]
    fn a_template_writes_the_sample_header_and_refuses_too_little_room() {
        let template =
            Ipv4Template::new(Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 199), 17, 64);
        let fields = PerPacket { tos: 0, total_len: 0x73, identification: 0, flags: DONT_FRAGMENT_BYTE };
        let mut out = [0; 21];
        assert_eq!(template.write(&mut out, fields), Some(()));
        assert_eq!(out[..20], SAMPLE);
        assert_eq!(template.write(&mut out[..19], fields), None);
    }

    proptest! {
        #[test]
        fn setters_keep_the_checksum_right_also_with_options(
            mut header: [u8; 60], ihl in 5_u8..=15, tos: u8, total_len: u16, ttl: u8, protocol: u8,
        ) {
            header[0] = 0x40 | ihl;
            let mut ip = Ipv4Mut::parse(&mut header).unwrap();
            ip.fill_checksum();
            ip.set_tos(tos);
            ip.set_total_len(total_len);
            ip.set_ttl(ttl);
            ip.set_protocol(protocol);
            prop_assert_eq!(Sum::new().bytes(&header[..usize::from(ihl) * 4]).folded(), 0xffff);
            prop_assert_eq!((header[1], header[8], header[9]), (tos, ttl, protocol));
            prop_assert_eq!(&header[2..4], &total_len.to_be_bytes());
        }

        #[test]
        fn template_headers_verify(src: u32, dst: u32, tos: u8, total_len in 20_u16.., identification: u16, df: bool) {
            let template = Ipv4Template::new(src.into(), dst.into(), 50, 64);
            let flags = if df { DONT_FRAGMENT_BYTE } else { 0 };
            let fields = PerPacket { tos, total_len, identification, flags };
            let mut packet = vec![0; usize::from(total_len)];
            template.write(&mut packet, fields).unwrap();
            let ip = Ipv4::parse(&packet).unwrap();
            prop_assert!(ip.checksum_verifies());
            prop_assert_eq!(PerPacket {
                tos: ip.tos(), total_len: ip.total_len(), identification: ip.identification(),
                flags: if ip.dont_fragment() { DONT_FRAGMENT_BYTE } else { 0 },
            }, fields);
            prop_assert_eq!((ip.src(), ip.dst(), ip.is_fragment()), (src.into(), dst.into(), false));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic_and_stay_within_the_slice(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(ip) = Ipv4::parse(&bytes) {
                prop_assert_eq!(ip.header_len() + ip.payload().len(), usize::from(ip.total_len()));
                prop_assert!(usize::from(ip.total_len()) <= bytes.len());
            }
        }
    }
}

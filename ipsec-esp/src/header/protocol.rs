//! IP protocol numbers: those that ESP has to know, and names for people to write and read.
//!
//! The names are those of the IANA registry in lower case, with the spellings that policy files commonly use. A
//! number without a name here is as good as any other.

/// IPv6 hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// IPv4 inside IP.
pub const IPV4: u8 = 4;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// DCCP.
pub const DCCP: u8 = 33;
/// IPv6 inside IP.
pub const IPV6: u8 = 41;
/// IPv6 routing header.
pub const ROUTING: u8 = 43;
/// IPv6 fragment header.
pub const FRAGMENT: u8 = 44;
/// ESP.
pub const ESP: u8 = 50;
/// AH.
pub const AH: u8 = 51;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// No next header; as ESP's next header, a dummy packet (RFC 4303 section 2.6).
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 destination options.
pub const DESTINATION_OPTIONS: u8 = 60;
/// SCTP.
pub const SCTP: u8 = 132;
/// IPv6 mobility header.
pub const MOBILITY: u8 = 135;
/// UDP-Lite.
pub const UDP_LITE: u8 = 136;

/// Names and numbers; of several names for a number the first is the one shown.
const NAMES: &[(&str, u8)] = &[
    ("icmp", ICMP),
    ("igmp", 2),
    ("ipv4", IPV4),
    ("ipip", IPV4),
    ("tcp", TCP),
    ("egp", 8),
    ("udp", UDP),
    ("dccp", DCCP),
    ("ipv6", IPV6),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", ESP),
    ("ah", AH),
    ("icmpv6", ICMPV6),
    ("ipv6-icmp", ICMPV6),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", SCTP),
    ("mh", MOBILITY),
    ("udplite", UDP_LITE),
];

/// The number of a protocol's name, in any case.
#[must_use]
pub fn by_name(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

/// The name of a protocol number, where it has one here.
#[must_use]
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// What an upper header offers to policies in place of ports (RFC 4301 section 4.4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortField {
    /// Source and destination port in its first four bytes.
    Ports,
    /// A message type and a code in its first two bytes.
    TypeAndCode,
    /// A mobility message type in its third byte.
    MobilityType,
    /// Nothing.
    None,
}

/// What the upper header of this protocol offers in place of ports.
#[must_use]
pub const fn port_field(number: u8) -> PortField {
    match number {
        TCP | UDP | DCCP | SCTP | UDP_LITE => PortField::Ports,
        ICMP | ICMPV6 => PortField::TypeAndCode,
        MOBILITY => PortField::MobilityType,
        _ => PortField::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_a_number_whose_name_leads_back() {
        for (known, number) in NAMES {
            assert_eq!(by_name(known), Some(*number));
            assert_eq!(by_name(name(*number).unwrap()), Some(*number));
        }
        assert_eq!(by_name("ICMPv6"), Some(58));
        assert_eq!(by_name("tcpp"), None);
        assert_eq!(name(250), None);
    }

    #[test]
    fn names_are_unique() {
        for (index, (known, _)) in NAMES.iter().enumerate() {
            assert!(NAMES.iter().skip(index + 1).all(|(other, _)| other != known), "{known}");
        }
    }
}

//! Link types: what the bytes of a packet begin with.
//!
//! Invariant: a known type has one number in files that we write; reading accepts the numbers that other systems use for
//! the same thing. What it does not do: parse link headers.

use std::fmt;

/// The link type of a capture, as the public registry of LINKTYPE values numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkType {
    /// Ethernet frames without preamble; a frame check sequence may follow (1).
    Ethernet,
    /// A bare IPv4 or IPv6 packet, told apart by its version field (101; also read from 12 and 14).
    Raw,
    /// A bare IPv4 packet (228).
    Ipv4,
    /// A bare IPv6 packet (229).
    Ipv6,
    /// BSD loopback: four bytes of address family in the byte order of the recording machine (0).
    Null,
    /// OpenBSD loopback: four bytes of address family in network byte order (108).
    Loop,
    /// Linux "cooked" capture, 16 bytes of header (113).
    LinuxSll,
    /// Linux "cooked" capture version 2, 20 bytes of header (276).
    LinuxSll2,
    /// Any other, by its number in the file.
    Other(u16),
}

/// Numbers that some systems wrote for [`LinkType::Raw`] before the registry settled on one.
const RAW_ALIASES: [u16; 2] = [12, 14];

impl LinkType {
    /// The link type with this number in a capture file.
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            101 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::LinuxSll2,
            other if RAW_ALIASES.contains(&other) => Self::Raw,
            other => Self::Other(other),
        }
    }

    /// The number that stands for this link type in a capture file.
    pub fn number(self) -> u16 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Loop => 108,
            Self::LinuxSll => 113,
            Self::Ipv4 => 228,
            Self::Ipv6 => 229,
            Self::LinuxSll2 => 276,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Null => "BSD loopback",
            Self::Ethernet => "Ethernet",
            Self::Raw => "raw IP",
            Self::Loop => "OpenBSD loopback",
            Self::LinuxSll => "Linux cooked",
            Self::Ipv4 => "raw IPv4",
            Self::Ipv6 => "raw IPv6",
            Self::LinuxSll2 => "Linux cooked v2",
            Self::Other(_) => "unnamed",
        };
        write!(out, "{} ({name})", self.number())
    }
}

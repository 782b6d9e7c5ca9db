//! The fields of a selector, read from text and shown as text: addresses, protocol, ports.
//!
//! A prefix is kept as the range it spans, and shown as a prefix again. No range is empty.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use super::SelectorError;
use crate::header::protocol::{self, PortField};

/// Addresses that a selector takes: all, or from one to another, both included.
///
/// Written `any`, `10.0.1.0/24`, `10.0.1.1-10.0.1.9` or `10.0.1.1`; IPv6 likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses(Span);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Any,
    V4(u32, u32),
    V6(u128, u128),
}

impl Addresses {
    /// Every address of both families.
    pub const ANY: Self = Self(Span::Any);

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    ///
    /// [`SelectorError::MixedFamilies`] or [`SelectorError::EmptyRange`].
    pub fn range(first: IpAddr, last: IpAddr) -> Result<Self, SelectorError> {
        let (span, is_empty) = match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (Span::V4(a.to_bits(), b.to_bits()), a > b),
            (IpAddr::V6(a), IpAddr::V6(b)) => (Span::V6(a.to_bits(), b.to_bits()), a > b),
            _ => return Err(SelectorError::MixedFamilies { src: first.to_string(), dst: last.to_string() }),
        };
        if is_empty {
            return Err(SelectorError::EmptyRange {
                text: format!("{first}-{last}"),
                right: format!("{last}-{first}"),
            });
        }
        Ok(Self(span))
    }

    /// The first and the last address, or `None` for any.
    #[must_use]
    pub fn bounds(&self) -> Option<(IpAddr, IpAddr)> {
        match self.0 {
            Span::Any => None,
            Span::V4(a, b) => Some((Ipv4Addr::from_bits(a).into(), Ipv4Addr::from_bits(b).into())),
            Span::V6(a, b) => Some((Ipv6Addr::from_bits(a).into(), Ipv6Addr::from_bits(b).into())),
        }
    }

    /// Whether one takes IPv4 alone and the other IPv6 alone.
    pub(super) const fn is_of_other_family(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Span::V4(..), Span::V6(..)) | (Span::V6(..), Span::V4(..)))
    }

    pub(super) const fn has_v4(&self, address: u32) -> bool {
        match self.0 {
            Span::Any => true,
            Span::V4(first, last) => first <= address && address <= last,
            Span::V6(..) => false,
        }
    }

    pub(super) const fn has_v6(&self, address: u128) -> bool {
        match self.0 {
            Span::Any => true,
            Span::V6(first, last) => first <= address && address <= last,
            Span::V4(..) => false,
        }
    }
}

impl FromStr for Addresses {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError::NotAddresses { text: text.to_owned() };
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::ANY);
        }
        if let Some((first, last)) = text.split_once('-') {
            let parse = |end: &str| end.trim().parse::<IpAddr>().map_err(|_| wrong());
            return Self::range(parse(first)?, parse(last)?);
        }
        if text.contains('/') {
            return prefix(text.parse().map_err(|_| wrong())?);
        }
        let address = text.parse().map_err(|_| wrong())?;
        Self::range(address, address)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bounds() {
            None => f.write_str("any"),
            Some((first, last)) if first == last => write!(f, "{first}"),
            Some((first, last)) => match spanned_prefix(first, last) {
                Some(prefix) => write!(f, "{prefix}"),
                None => write!(f, "{first}-{last}"),
            },
        }
    }
}

/// Protocols that a selector takes. Written `any`, a name (`tcp`) or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// All.
    Any,
    /// One.
    Number(u8),
}

impl Protocol {
    pub(super) const fn has(self, number: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Number(only) => only == number,
        }
    }

    pub(super) const fn has_port_field(self) -> bool {
        match self {
            Self::Any => false,
            Self::Number(number) => !matches!(protocol::port_field(number), PortField::None),
        }
    }
}

impl FromStr for Protocol {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::Any);
        }
        let number = protocol::by_name(text).or_else(|| text.parse().ok()).filter(|number| *number != 0);
        number.map(Self::Number).ok_or_else(|| SelectorError::NotProtocol { text: text.to_owned() })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Number(number) => match protocol::name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "{number}"),
            },
        }
    }
}

/// Ports that a selector takes: all, opaque ones included, or from one to another, both included. For ICMP they are
/// type * 256 + code. Written `any`, `80` or `1000-2000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(Option<(u16, u16)>);

impl Ports {
    /// Every port, and none.
    pub const ANY: Self = Self(None);

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    ///
    /// [`SelectorError::EmptyRange`].
    pub fn range(first: u16, last: u16) -> Result<Self, SelectorError> {
        if first > last {
            return Err(SelectorError::EmptyRange {
                text: format!("{first}-{last}"),
                right: format!("{last}-{first}"),
            });
        }
        Ok(Self(Some((first, last))))
    }

    /// The first and the last port, or `None` for any.
    #[must_use]
    pub const fn bounds(&self) -> Option<(u16, u16)> {
        self.0
    }

    pub(super) const fn has(self, port: u16) -> bool {
        match self.0 {
            None => true,
            Some((first, last)) => first <= port && port <= last,
        }
    }
}

impl FromStr for Ports {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::ANY);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse =
            |end: &str| end.trim().parse().map_err(|_| SelectorError::NotPorts { text: text.to_owned() });
        Self::range(parse(first)?, parse(last)?)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("any"),
            Some((first, last)) if first == last => write!(f, "{first}"),
            Some((first, last)) => write!(f, "{first}-{last}"),
        }
    }
}

fn prefix(net: IpNet) -> Result<Addresses, SelectorError> {
    if net.trunc() != net {
        return Err(SelectorError::HostBits {
            text: net.to_string(),
            network: net.trunc().to_string(),
            address: net.addr().to_string(),
        });
    }
    // `broadcast` is ipnet's word for the last address, of IPv6 too.
    Addresses::range(net.network(), net.broadcast())
}

/// The prefix that spans exactly this range, where there is one.
fn spanned_prefix(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let shared = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return None,
    };
    let net = IpNet::new(first, u8::try_from(shared).ok()?).ok()?;
    (net.network() == first && net.broadcast() == last).then_some(net)
}

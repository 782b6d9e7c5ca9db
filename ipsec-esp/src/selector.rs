//! Selectors: which packets a policy speaks of (RFC 4301 section 4.4.1.1).
//!
//! Invariant: a [`Selector`] that exists can match something: both addresses are of one family, no range is empty,
//! and ports are given only with a protocol that has them. Opaque ports match `any` alone. Order among selectors is
//! the business of [`crate::spd`].

mod fields;

use std::fmt;

use thiserror::Error;

pub use fields::{Addresses, Ports, Protocol};

use crate::flow_key::{FlowKey, Upper};

/// Which packets a policy speaks of.
///
/// ```
/// use ipsec_esp::flow_key::{FlowKey, Upper, V4Key};
/// use ipsec_esp::selector::Selector;
///
/// let web = Selector::parse("10.0.1.0/24", "any", "tcp", "any", "80-89")?;
/// let key = V4Key::new([10, 0, 1, 7].into(), [192, 0, 2, 1].into(), Upper::with_ports(6, 4000, 80));
/// assert!(web.matches(&FlowKey::V4(key)));
/// assert!(!web.reversed().matches(&FlowKey::V4(key)));
/// # Ok::<(), ipsec_esp::selector::SelectorError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    src: Addresses,
    dst: Addresses,
    protocol: Protocol,
    src_port: Ports,
    dst_port: Ports,
}

impl Selector {
    /// Every packet.
    pub const ANY: Self = Self {
        src: Addresses::ANY,
        dst: Addresses::ANY,
        protocol: Protocol::Any,
        src_port: Ports::ANY,
        dst_port: Ports::ANY,
    };

    /// A selector of these five fields.
    ///
    /// # Errors
    ///
    /// [`SelectorError::MixedFamilies`] or [`SelectorError::PortsNeedProtocol`], where it could match nothing or
    /// would mean different things for different protocols.
    pub fn new(
        src: Addresses,
        dst: Addresses,
        protocol: Protocol,
        src_port: Ports,
        dst_port: Ports,
    ) -> Result<Self, SelectorError> {
        if src.is_of_other_family(&dst) {
            return Err(SelectorError::MixedFamilies { src: src.to_string(), dst: dst.to_string() });
        }
        let has_ports = src_port != Ports::ANY || dst_port != Ports::ANY;
        if has_ports && !protocol.has_port_field() {
            return Err(SelectorError::PortsNeedProtocol { protocol: protocol.to_string() });
        }
        Ok(Self { src, dst, protocol, src_port, dst_port })
    }

    /// A selector from the text of its five fields.
    ///
    /// # Errors
    ///
    /// The first field that is wrong, then as [`Selector::new`].
    pub fn parse(
        src: &str,
        dst: &str,
        protocol: &str,
        src_port: &str,
        dst_port: &str,
    ) -> Result<Self, SelectorError> {
        Self::new(src.parse()?, dst.parse()?, protocol.parse()?, src_port.parse()?, dst_port.parse()?)
    }

    /// Whether the policy speaks of packets with this key.
    #[must_use]
    pub const fn matches(&self, key: &FlowKey) -> bool {
        let has_addresses = match key {
            FlowKey::V4(key) => self.src.has_v4(key.src()) && self.dst.has_v4(key.dst()),
            FlowKey::V6(key) => self.src.has_v6(key.src()) && self.dst.has_v6(key.dst()),
        };
        has_addresses && self.has_upper(key.upper())
    }

    /// The selector of packets that answer: source and destination exchanged.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }

    /// Source addresses.
    #[must_use]
    pub const fn src(&self) -> Addresses {
        self.src
    }

    /// Destination addresses.
    #[must_use]
    pub const fn dst(&self) -> Addresses {
        self.dst
    }

    /// Protocols.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Source ports.
    #[must_use]
    pub const fn src_port(&self) -> Ports {
        self.src_port
    }

    /// Destination ports.
    #[must_use]
    pub const fn dst_port(&self) -> Ports {
        self.dst_port
    }

    const fn has_upper(&self, upper: Upper) -> bool {
        if !self.protocol.has(upper.protocol()) {
            return false;
        }
        match upper.ports() {
            Some((src, dst)) => self.src_port.has(src) && self.dst_port.has(dst),
            None => self.src_port.bounds().is_none() && self.dst_port.bounds().is_none(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {} > {} port {}", self.src, self.src_port, self.dst, self.dst_port)?;
        write!(f, " protocol {}", self.protocol)
    }
}

/// What is wrong with the text or the fields of a selector, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// Not a prefix, a range or an address.
    #[error(
        "\"{text}\" is not an address: write any, a prefix (10.0.1.0/24), a range (10.0.1.1-10.0.1.9) or an address"
    )]
    NotAddresses {
        /// What was written.
        text: String,
    },
    /// A prefix with bits set beyond its length.
    #[error(
        "{text} has bits set beyond the prefix: write {network} for the network or {address} for the host"
    )]
    HostBits {
        /// What was written.
        text: String,
        /// The network it lies in.
        network: String,
        /// The address it names.
        address: String,
    },
    /// A range whose first is above its last.
    #[error("the range {text} is empty: write {right}")]
    EmptyRange {
        /// What was written.
        text: String,
        /// The ends exchanged.
        right: String,
    },
    /// Not a protocol.
    #[error(
        "\"{text}\" is not a protocol: write any, a name (tcp, udp, icmp, icmpv6, sctp, gre) or a number from 1 to 255"
    )]
    NotProtocol {
        /// What was written.
        text: String,
    },
    /// Not a port or a range of ports.
    #[error("\"{text}\" is not a port: write any, a port (80) or a range (1000-2000), from 0 to 65535")]
    NotPorts {
        /// What was written.
        text: String,
    },
    /// IPv4 on one side and IPv6 on the other.
    #[error("{src} and {dst} are not of one family: write both as IPv4 or both as IPv6")]
    MixedFamilies {
        /// The one side.
        src: String,
        /// The other side.
        dst: String,
    },
    /// Ports with a protocol that has none, or with any, for which a number would mean different things.
    #[error(
        "ports need a protocol that has them, not {protocol}: write tcp, udp, sctp, dccp, udplite, or icmp, icmpv6, mh with type * 256 + code as the port"
    )]
    PortsNeedProtocol {
        /// The protocol of the selector.
        protocol: String,
    },
}

#[cfg(test)]
mod tests;

//! A security association as it is configured, and what follows from it: crypto session, lengths, outer header.
//!
//! Invariant: parameters are checked once, in [`SaParams::check`]; what runs packets takes them as they are.

use std::net::IpAddr;

use crypto_pmd::inline::{InlineMode, InlineSa, SaState, Service, UdpPorts};
use crypto_pmd::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm, Key, SessionParams, Transform};
use thiserror::Error;

use crate::header::esp::Spi;
use crate::header::ipv4::{self, Ipv4Template};
use crate::header::ipv6::{self, Ipv6Template};
use crate::header::{IpVersion, esp, protocol, udp};
use crate::replay;
use crate::suite::{Cipher, Integrity, Suite};

/// Hops that an outer header starts with.
const OUTER_HOPS: u8 = 64;

/// Place of an SA: the core that owns it, and its index among the SAs of that core. On a single core, number 0, it is
/// the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaSlot(pub u32);

impl SaSlot {
    /// Most SAs of one core and direction.
    pub const MAX_INDEX: u32 = (1 << 24) - 1;
    /// Highest number of an owner core.
    pub const MAX_OWNER: u8 = 126;

    /// The place of SA `index` (up to [`SaSlot::MAX_INDEX`]) of core `owner` (up to [`SaSlot::MAX_OWNER`]).
    #[must_use]
    pub const fn of(owner: u8, index: u32) -> Self {
        Self((owner as u32) << 24 | (index & Self::MAX_INDEX))
    }

    /// Number of the core that owns it: it alone gives or checks sequence numbers.
    #[inline(always)]
    #[must_use]
    pub const fn owner(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Index among the SAs of core `me`, if that is the owner.
    #[inline(always)]
    #[must_use]
    pub const fn index_at(self, me: u8) -> Option<usize> {
        let index = self.0 ^ (me as u32) << 24;
        if index <= Self::MAX_INDEX { Some(index as usize) } else { None }
    }

    /// Index among its owner's.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & Self::MAX_INDEX) as usize
    }
}

/// What ESP wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole packet, behind a new IP header between these addresses.
    Tunnel {
        /// This end.
        src: IpAddr,
        /// The other end.
        dst: IpAddr,
    },
    /// What follows the packet's own IP header.
    Transport {
        /// Destination of the packets, which tells SAs of one SPI apart; `None` for any.
        destination: Option<IpAddr>,
    },
}

/// Ports of UDP encapsulation (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpEncap {
    /// Source port of what is sent.
    pub src_port: u16,
    /// Destination port of what is sent.
    pub dst_port: u16,
}

/// Who is to do the work for an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// ESP here, crypto in a driver that is given jobs.
    #[default]
    Lookaside,
    /// ESP here, crypto in the card by which packets come and go.
    InlineCrypto,
    /// All of it in that card.
    InlineProtocol,
}

impl Offload {
    /// As configurations write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookaside => "lookaside",
            Self::InlineCrypto => "inline-crypto",
            Self::InlineProtocol => "inline-protocol",
        }
    }

    /// What the card by which packets come and go is asked for.
    #[must_use]
    pub const fn service(self) -> Option<Service> {
        match self {
            Self::Lookaside => None,
            Self::InlineCrypto => Some(Service::Crypto),
            Self::InlineProtocol => Some(Service::Protocol),
        }
    }
}

/// One SA, either direction.
#[derive(Clone, Debug)]
pub struct SaParams {
    /// Index that packets carry.
    pub spi: Spi,
    /// Algorithms.
    pub suite: Suite,
    /// Cipher key, then salt.
    pub encryption_key: Key,
    /// Integrity key; empty for an AEAD.
    pub integrity_key: Key,
    /// Tunnel or transport.
    pub mode: Mode,
    /// Whether UDP goes between IP and ESP.
    pub udp_encap: Option<UdpEncap>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Packets in the replay window of an inbound SA; 0 for none.
    pub replay_window: u32,
    /// First number to send, or next number expected.
    pub sequence: u64,
    /// Who is to do the work. It is a wish: until the SA is bound to a card, the work is done here.
    pub offload: Offload,
}

/// What is wrong with an SA.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaError {
    /// The encryption key has the wrong length.
    #[error("encryption key of {given} bytes; {suite} takes {wanted} (cipher key, then salt)")]
    EncryptionKey {
        /// The suite.
        suite: Suite,
        /// Bytes wanted.
        wanted: usize,
        /// Bytes given.
        given: usize,
    },
    /// The integrity key has the wrong length.
    #[error("integrity key of {given} bytes; {suite} takes {wanted}")]
    IntegrityKey {
        /// The suite.
        suite: Suite,
        /// Bytes wanted.
        wanted: usize,
        /// Bytes given.
        given: usize,
    },
    /// The SPI is kept back.
    #[error("SPI {0} is reserved; use one from 0x100 up (RFC 4303 section 2.1)")]
    ReservedSpi(Spi),
    /// Tunnel ends of two families.
    #[error("tunnel from {src} to {dst} mixes IPv4 and IPv6; give both ends of one family")]
    MixedTunnel {
        /// One end.
        src: IpAddr,
        /// The other.
        dst: IpAddr,
    },
    /// The window has no size that works.
    #[error("replay window of {0} packets; use 0 for none, or from 32 to 65536")]
    Window(u32),
    /// ESN without a window.
    #[error(
        "extended sequence numbers need a replay window on an inbound SA; set replay_window from 32 to 65536, or esn to false"
    )]
    EsnWithoutWindow,
    /// The sequence number is out of range.
    #[error("sequence {sequence} is out of range; use 1 to {last}")]
    Sequence {
        /// The number.
        sequence: u64,
        /// The last one possible.
        last: u64,
    },
    /// The host would have to make a checksum over what the card has not encrypted yet.
    #[error(
        "inline-crypto does not go with udp_encap over IPv6, nor in transport mode, where packets may be of IPv6: the UDP checksum covers what the card encrypts later; use inline-protocol or lookaside"
    )]
    InlineChecksum,
}

impl SaParams {
    /// Checks that the parameters fit each other. `inbound` says on which side the SA is to be used.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, inbound: bool) -> Result<(), SaError> {
        let (suite, wanted) = (self.suite, self.suite.encryption_key_len());
        if self.encryption_key.len() != wanted {
            return Err(SaError::EncryptionKey { suite, wanted, given: self.encryption_key.len() });
        }
        let wanted = suite.integrity_key_len();
        if self.integrity_key.len() != wanted {
            return Err(SaError::IntegrityKey { suite, wanted, given: self.integrity_key.len() });
        }
        if self.spi.is_reserved() {
            return Err(SaError::ReservedSpi(self.spi));
        }
        if let Mode::Tunnel { src, dst } = self.mode
            && src.is_ipv4() != dst.is_ipv4()
        {
            return Err(SaError::MixedTunnel { src, dst });
        }
        let last = self.last_sequence();
        if self.sequence == 0 || self.sequence > last {
            return Err(SaError::Sequence { sequence: self.sequence, last });
        }
        if inbound {
            return self.check_window();
        }
        if self.offload == Offload::InlineCrypto && self.needs_udp_checksum() {
            return Err(SaError::InlineChecksum);
        }
        Ok(())
    }

    /// Whether packets that are sent may need a UDP checksum, which covers the ciphertext (RFC 3948 section 2.1: none over
    /// IPv4).
    pub(crate) fn needs_udp_checksum(&self) -> bool {
        self.udp_encap.is_some() && self.outer_version() != Some(IpVersion::V4)
    }

    fn check_window(&self) -> Result<(), SaError> {
        match self.replay_window {
            0 if self.esn => Err(SaError::EsnWithoutWindow),
            0 => Ok(()),
            window if (replay::SMALLEST..=replay::LARGEST).contains(&window) => Ok(()),
            window => Err(SaError::Window(window)),
        }
    }

    /// Last sequence number that the SA may send (RFC 4303 section 3.3.3).
    #[must_use]
    pub const fn last_sequence(&self) -> u64 {
        if self.esn { u64::MAX } else { u32::MAX as u64 }
    }

    /// What to open a crypto session for.
    #[must_use]
    pub fn session_params(&self) -> SessionParams {
        let cipher_key_len = self.suite.cipher_key_len();
        let (key, salt) = match self.encryption_key.split_at(cipher_key_len) {
            Some(parts) => parts,
            None => (self.encryption_key.clone(), Key::new(&[])),
        };
        let cipher = match self.suite.cipher() {
            Cipher::Null => None,
            Cipher::AesCbc => Some(Transform::cipher(CipherAlgorithm::AesCbc, key)),
            Cipher::TripleDesCbc => Some(Transform::cipher(CipherAlgorithm::TripleDesCbc, key)),
            Cipher::DesCbc => Some(Transform::cipher(CipherAlgorithm::DesCbc, key)),
            Cipher::AesGcm => Some(Transform::aead(AeadAlgorithm::AesGcm, key, salt, self.suite.icv_len())),
        };
        let integrity = self.suite.integrity().map(|integrity| {
            let algorithm = match integrity {
                Integrity::Sha1 => IntegrityAlgorithm::HmacSha1,
                Integrity::Sha256 => IntegrityAlgorithm::HmacSha256,
                Integrity::Sha384 => IntegrityAlgorithm::HmacSha384,
                Integrity::Sha512 => IntegrityAlgorithm::HmacSha512,
                Integrity::Md5 => IntegrityAlgorithm::HmacMd5,
            };
            Transform::integrity(algorithm, self.integrity_key.clone(), self.suite.icv_len())
        });
        cipher.into_iter().chain(integrity).collect()
    }

    /// What a card is told of the SA, which is to go on from `state`; the state says which direction it is.
    #[must_use]
    pub fn inline_sa(&self, state: SaState) -> InlineSa {
        InlineSa {
            spi: self.spi.0,
            destination: self.destination(),
            session: self.session_params(),
            esn: self.esn,
            mode: match self.mode {
                Mode::Tunnel { src, dst } => InlineMode::Tunnel { src, dst },
                Mode::Transport { .. } => InlineMode::Transport,
            },
            udp: self.udp_encap.map(|ports| UdpPorts { src: ports.src_port, dst: ports.dst_port }),
            replay_window: self.replay_window,
            state,
        }
    }

    /// Bytes from the start of the outer header (tunnel), or of what is inserted (transport), to the ciphertext.
    #[must_use]
    pub fn front_len(&self) -> usize {
        let outer = match self.mode {
            Mode::Tunnel { src: IpAddr::V4(_), .. } => ipv4::LEN,
            Mode::Tunnel { src: IpAddr::V6(_), .. } => ipv6::LEN,
            Mode::Transport { .. } => 0,
        };
        let udp = if self.udp_encap.is_some() { udp::LEN } else { 0 };
        outer + udp + esp::LEN + self.suite.iv_len()
    }

    pub(crate) fn outer_header(&self) -> OuterHeader {
        let inside = if self.udp_encap.is_some() { protocol::UDP } else { protocol::ESP };
        match self.mode {
            Mode::Tunnel { src: IpAddr::V4(src), dst: IpAddr::V4(dst) } => {
                OuterHeader::V4(Ipv4Template::new(src, dst, inside, OUTER_HOPS))
            }
            Mode::Tunnel { src: IpAddr::V6(src), dst: IpAddr::V6(dst) } => {
                OuterHeader::V6(Ipv6Template::new(src, dst, inside, OUTER_HOPS))
            }
            // `check` refused a mixed tunnel.
            Mode::Tunnel { .. } | Mode::Transport { .. } => OuterHeader::None,
        }
    }

    /// Version of the outer header, or `None` in transport mode.
    #[must_use]
    pub fn outer_version(&self) -> Option<IpVersion> {
        match self.mode {
            Mode::Tunnel { src: IpAddr::V4(_), .. } => Some(IpVersion::V4),
            Mode::Tunnel { src: IpAddr::V6(_), .. } => Some(IpVersion::V6),
            Mode::Transport { .. } => None,
        }
    }

    /// Destination that arriving packets must have, where the SA names one.
    #[must_use]
    pub fn destination(&self) -> Option<IpAddr> {
        match self.mode {
            Mode::Tunnel { dst, .. } => Some(dst),
            Mode::Transport { destination } => destination,
        }
    }
}

/// The header that tunnel mode puts in front.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OuterHeader {
    None,
    V4(Ipv4Template),
    V6(Ipv6Template),
}

//! What a card is told of an SA, and the state that goes along when an SA moves between host and card.
//!
//! Invariant: state that moves forgets no number. What one side does not remember counts as used, or as seen.

use std::net::IpAddr;

use crate::algorithm::CipherAlgorithm;
use crate::transform::{SessionParams, Transform};

const WORD_BITS: u64 = u64::BITS as u64;

/// The IV that an AEAD, AES in counter mode or GMAC has in an ESP packet (RFC 3686, 4106, 4309, 4543 and 7634).
const SHORT_IV: usize = 8;

/// An SA as a card needs it, for either service. Its keys are wiped when it is dropped.
#[derive(Clone, Debug)]
pub struct InlineSa {
    /// Index that packets carry.
    pub spi: u32,
    /// Destination of arriving packets, which tells SAs of one SPI apart; `None` for any.
    pub destination: Option<IpAddr>,
    /// Algorithms and keys, in the order of encryption.
    pub session: SessionParams,
    /// Extended sequence numbers.
    pub esn: bool,
    /// What ESP wraps.
    pub mode: InlineMode,
    /// UDP between IP and ESP (RFC 3948).
    pub udp: Option<UdpPorts>,
    /// Packets in the replay window of an inbound SA; 0 for none.
    pub replay_window: u32,
    /// Direction, and where its numbers stand.
    pub state: SaState,
}

/// What ESP wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineMode {
    /// What follows the packet's own IP header.
    Transport,
    /// The whole packet, behind a new IP header between these addresses.
    Tunnel {
        /// This end.
        src: IpAddr,
        /// The other end.
        dst: IpAddr,
    },
}

/// Ports of what is sent over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    /// Source.
    pub src: u16,
    /// Destination.
    pub dst: u16,
}

impl InlineSa {
    /// Whether it is for packets that arrive.
    #[must_use]
    pub const fn is_inbound(&self) -> bool {
        matches!(self.state, SaState::Inbound(_))
    }

    /// Bytes of IV behind the sequence number.
    #[must_use]
    pub fn iv_len(&self) -> usize {
        match self.session.transforms.first() {
            Some(Transform::Aead { .. }) => SHORT_IV,
            Some(Transform::Cipher { algorithm: CipherAlgorithm::AesCtr, .. }) => SHORT_IV,
            Some(Transform::Cipher { algorithm, .. }) => algorithm.iv_len(),
            Some(Transform::Integrity { algorithm, .. }) if algorithm.nonce_len() > 0 => SHORT_IV,
            _ => 0,
        }
    }

    /// Bytes of ICV at the end of the packet.
    #[must_use]
    pub fn icv_len(&self) -> usize {
        self.session.transforms.iter().rev().find_map(Transform::tag_len).unwrap_or(0)
    }

    /// What payload, padding and trailer together are a multiple of (RFC 4303 section 2.4).
    #[must_use]
    pub fn alignment(&self) -> usize {
        match self.session.transforms.first() {
            Some(Transform::Cipher { algorithm, .. }) => algorithm.block_len().max(4),
            _ => 4,
        }
    }

    /// Whether cipher and ICV are one algorithm: then only the ESP header is authenticated besides what is encrypted.
    #[must_use]
    pub fn is_aead(&self) -> bool {
        matches!(self.session.transforms.first(), Some(Transform::Aead { .. }))
    }
}

/// State of an SA of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaState {
    /// Of one that sends.
    Outbound(OutboundState),
    /// Of one that receives.
    Inbound(InboundState),
}

impl From<OutboundState> for SaState {
    fn from(state: OutboundState) -> Self {
        Self::Outbound(state)
    }
}

impl From<InboundState> for SaState {
    fn from(state: InboundState) -> Self {
        Self::Inbound(state)
    }
}

/// Where the numbers of a sending SA stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundState {
    /// The next number to send, 64 bits wide with and without ESN; 0 when none is left.
    pub next_sequence: u64,
}

/// Which numbers a receiving SA has received.
///
/// ```
/// use crypto_pmd::inline::InboundState;
/// let state = InboundState { highest: 100, bitmap: vec![0b101] };
/// assert_eq!([100, 99, 98].map(|number| state.was_seen(number)), [true, false, true]);
/// assert!(state.was_seen(36), "it lies before what is remembered");
/// assert!(!state.was_seen(101));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundState {
    /// The highest number received, 64 bits wide; 0 before the first.
    pub highest: u64,
    /// Bit `n % 64` of word `n / 64` says whether number `highest - n` counts as received. As many words as the window
    /// fills; bits past the window are ones, and what lies past the words counts as received.
    pub bitmap: Vec<u64>,
}

impl InboundState {
    /// Whether a number counts as received.
    #[must_use]
    pub fn was_seen(&self, sequence: u64) -> bool {
        let Some(back) = self.highest.checked_sub(sequence) else { return false };
        let word = usize::try_from(back / WORD_BITS).ok().and_then(|word| self.bitmap.get(word));
        word.is_none_or(|word| word >> (back % WORD_BITS) & 1 == 1)
    }
}

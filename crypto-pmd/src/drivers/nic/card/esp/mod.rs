//! The card's firmware for ESP: what stands around the ciphertext is built and taken off here, on the bytes of one frame and the state of one SA. No
//! ring, no clock, and nothing of the floors above: it is a second reading of RFC 4303, made for a card, and is tested against the first.
//!
//! - `find` says where ESP lies in a frame; `ip` reads the headers in front of it.
//! - `build` puts ESP around a packet that leaves; `strip` takes it off one that arrived.
//! - `window` knows which numbers have arrived; `table` finds the SA of a frame.
//!
//! Invariants: a number is taken only for a packet that can be built; a number is set in the window only after the ICV was right; no bytes of
//! a frame make anything here panic.

mod build;
mod bytes;
mod find;
mod ip;
mod strip;
mod table;
mod window;

use std::net::IpAddr;

use crate::algorithm::CipherAlgorithm;
use crate::inline::{InlineMode, InlineSa, OutboundState, SaState, Service, UdpPorts};
use crate::session::SessionId;
use crate::transform::Transform;

pub(super) use build::{build, finish_checksum, ranges_out};
pub(super) use find::{Arrived, find, link_len};
pub(super) use strip::{Stripped, ranges_in, strip};
pub(super) use table::SaTable;
pub(super) use window::{Window, infer};

/// SPI and sequence number.
pub(super) const ESP_HEADER: usize = 8;
const UDP_HEADER: usize = 8;
/// Pad length and next header.
const TRAILER: usize = 2;

/// Numbers of protocols.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const IPV4: u8 = 4;
    pub(super) const UDP: u8 = 17;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const ESP: u8 = 50;
    pub(super) const NOTHING: u8 = 59;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

/// An SA on the card.
#[derive(Debug)]
pub(super) struct CardSa {
    pub(super) service: Service,
    pub(super) session: SessionId,
    pub(super) spi: u32,
    destination: Option<IpAddr>,
    pub(super) esn: bool,
    iv: Iv,
    icv_len: usize,
    /// What the trailer's end is a multiple of.
    alignment: usize,
    /// What the ciphertext is a multiple of.
    block: usize,
    aead: bool,
    mode: InlineMode,
    udp: Option<UdpPorts>,
    pub(super) way: Direction,
}

/// Which way packets go, and their numbers.
#[derive(Debug)]
pub(super) enum Direction {
    Out(Numbers),
    In(Window),
}

/// What stands in front of the ciphertext (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Iv {
    None,
    /// The sequence number, 8 bytes: unique, which is all that counter modes ask for.
    Sequence,
    /// So many bytes that nobody can predict, up to 16.
    Random(usize),
}

impl Iv {
    const fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Sequence => 8,
            Self::Random(len) => len,
        }
    }
}

/// The numbers of an SA that sends: never one twice, and none behind the last (RFC 4303 section 3.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// 0 when none is left.
    next: u64,
    last: u64,
}

impl Numbers {
    fn new(state: OutboundState, esn: bool) -> Self {
        Self { next: state.next_sequence, last: if esn { u64::MAX } else { u64::from(u32::MAX) } }
    }

    fn take(&mut self) -> Option<u64> {
        let number = Some(self.next).filter(|&next| next != 0 && next <= self.last)?;
        self.next = number.wrapping_add(1);
        Some(number)
    }

    pub(super) fn export(self) -> OutboundState {
        OutboundState { next_sequence: if self.next <= self.last { self.next } else { 0 } }
    }
}

/// Why a frame cannot be treated as its SA wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No IP packet, or headers that contradict each other.
    Malformed,
    /// A fragment, in transport mode.
    Fragment,
    /// Transport mode would make of it what looks like a dummy.
    Nothing,
    /// It does not fit a packet, or the card's memory, with ESP around it.
    TooLong,
    /// No number is left.
    Exhausted,
    /// It is no ESP packet of the SA, or none that its ciphers can have made.
    NotOfThisSa,
}

/// Where in a frame cipher and ICV work; offsets from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) esp: usize,
    pub(super) cipher: usize,
    pub(super) cipher_len: usize,
    /// Bytes from `esp` on under the ICV, besides what an AEAD encrypts.
    pub(super) covered: usize,
    /// The high half of the number, where it is under the ICV.
    pub(super) high: Option<u32>,
}

impl Ranges {
    pub(super) const fn tag(&self) -> usize {
        self.cipher + self.cipher_len
    }
}

impl CardSa {
    /// `None` for one that the firmware does not know how to build: a cipher whose IV is none of ESP's, tunnel ends of two families.
    pub(super) fn new(service: Service, sa: &InlineSa, session: SessionId) -> Option<Self> {
        let block = match sa.session.transforms.first()? {
            Transform::Cipher { algorithm: CipherAlgorithm::AesXts | CipherAlgorithm::ChaCha20, .. } => {
                return None;
            }
            Transform::Cipher { algorithm, .. } => algorithm.block_len(),
            Transform::Aead { .. } | Transform::Integrity { .. } => 1,
            Transform::Digest { .. } | Transform::Compression { .. } => return None,
        };
        let is_counter = !matches!(sa.session.transforms.first(), Some(Transform::Cipher { algorithm, .. })
            if *algorithm != CipherAlgorithm::AesCtr);
        let iv = match sa.iv_len() {
            0 => Iv::None,
            _ if is_counter => Iv::Sequence,
            len @ 1..=16 => Iv::Random(len),
            _ => return None,
        };
        if let InlineMode::Tunnel { src, dst } = sa.mode
            && src.is_ipv4() != dst.is_ipv4()
        {
            return None;
        }
        let way = match &sa.state {
            SaState::Outbound(state) => Direction::Out(Numbers::new(*state, sa.esn)),
            SaState::Inbound(state) => Direction::In(Window::new(sa.replay_window, state)),
        };
        Some(Self {
            service,
            session,
            spi: sa.spi,
            destination: sa.destination,
            esn: sa.esn,
            iv,
            icv_len: sa.icv_len(),
            alignment: sa.alignment(),
            block,
            aead: sa.is_aead(),
            mode: sa.mode,
            udp: sa.udp,
            way,
        })
    }

    pub(super) fn export(&self) -> SaState {
        match &self.way {
            Direction::Out(numbers) => numbers.export().into(),
            Direction::In(window) => window.export().into(),
        }
    }

    pub(super) fn window(&mut self) -> Option<&mut Window> {
        match &mut self.way {
            Direction::In(window) => Some(window),
            Direction::Out(_) => None,
        }
    }

    /// The ranges of an ESP packet from `esp` to `end`; `None` where it is too short, or its ciphertext no multiple of the block.
    fn ranges(&self, esp: usize, end: usize, high: Option<u32>) -> Option<Ranges> {
        let cipher = esp + ESP_HEADER + self.iv.len();
        let tag = end.checked_sub(self.icv_len)?;
        let cipher_len =
            tag.checked_sub(cipher).filter(|len| *len >= TRAILER && len.is_multiple_of(self.block))?;
        let covered = if self.aead { ESP_HEADER } else { tag - esp };
        Some(Ranges { esp, cipher, cipher_len, covered, high })
    }
}

#[cfg(test)]
mod tests;

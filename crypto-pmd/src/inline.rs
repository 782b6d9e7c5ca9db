//! The words of inline offload: what travels in an mbuf between whoever has SAs and a card that works on packets as
//! they pass, and what the card is told of an SA ([`InlineSa`]).
//!
//! On the way out [`Mbuf::offload`] holds a [`TxOffload`]; on the way in [`Mbuf::rx_status`] holds an [`RxReport`]. 0 is
//! no word in either, so a packet of which nobody speaks has none. To `pipeline` they are opaque.
//!
//! Contract of a card. It takes a request off a packet before the packet goes out ([`TxOffload::take`]), and a packet
//! whose request it cannot fulfil does not go out. It reports only what it did: [`RxOutcome::Ok`] says that the ICV was
//! right, and with [`Service::Protocol`] that the number was new. With [`Service::Protocol`] it gives each packet that it was
//! handed one number at most, in rising order, and uses numbers for nothing else. Slots are numbers of the card's own, 24
//! bits; where several cards deliver to one host side, no two use the same one.

mod sa;

use pipeline::Mbuf;

pub use sa::{InboundState, InlineMode, InlineSa, OutboundState, SaState, UdpPorts};

/// Highest number of a slot.
pub const MAX_SLOT: u32 = (1 << 24) - 1;

const SERVICE: u32 = 0b11;
const OUTCOME_SHIFT: u32 = 4;
const SLOT_SHIFT: u32 = 8;
const HIGH_SHIFT: u32 = 32;

/// How much a card does for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Cipher and ICV; the host builds and takes apart what is around them, and has the sequence numbers.
    Crypto,
    /// All of ESP, sequence numbers and replay window included.
    Protocol,
}

impl Service {
    const fn bits(self) -> u32 {
        match self {
            Self::Crypto => 1,
            Self::Protocol => 2,
        }
    }

    const fn from_bits(word: u32) -> Option<Self> {
        match word & SERVICE {
            1 => Some(Self::Crypto),
            2 => Some(Self::Protocol),
            _ => None,
        }
    }
}

/// What a card is asked to do with a packet on its way out.
///
/// ```
/// use crypto_pmd::inline::{Service, TxOffload};
/// let offload = TxOffload { service: Service::Crypto, slot: 7, esn_high: 1 };
/// assert_eq!(offload.to_word(), 1 << 32 | 7 << 8 | 1);
/// assert_eq!(TxOffload::from_word(offload.to_word()), Some(offload));
/// assert_eq!(TxOffload::from_word(0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxOffload {
    /// How much.
    pub service: Service,
    /// The card's slot of the SA, up to [`MAX_SLOT`].
    pub slot: u32,
    /// High half of the extended sequence number, which does not travel but is under the ICV; 0 without ESN, and with
    /// [`Service::Protocol`].
    pub esn_high: u32,
}

impl TxOffload {
    /// Bits 0 and 1: the service, 1 crypto, 2 protocol; 8 to 31: the slot; 32 to 63: the high half.
    #[inline]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let low = self.service.bits() | self.slot << SLOT_SHIFT;
        (self.esn_high as u64) << HIGH_SHIFT | low as u64
    }

    /// The request in a word; `None` for 0, and for a word that asks for no service that there is.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let low = word as u32;
        match Service::from_bits(low) {
            Some(service) => {
                Some(Self { service, slot: low >> SLOT_SHIFT, esn_high: (word >> HIGH_SHIFT) as u32 })
            }
            None => None,
        }
    }

    /// Writes the request into a packet.
    #[inline]
    pub fn write(self, packet: &mut Mbuf) {
        packet.set_offload(self.to_word());
    }

    /// The request in a packet.
    #[inline]
    #[must_use]
    pub fn read(packet: &Mbuf) -> Option<Self> {
        Self::from_word(packet.offload())
    }

    /// As [`TxOffload::read`], and the packet has none afterwards.
    #[inline]
    pub fn take(packet: &mut Mbuf) -> Option<Self> {
        let offload = Self::read(packet);
        packet.set_offload(0);
        offload
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RxOutcome {
    /// The ICV was right, and the packet is decrypted, or with [`Service::Protocol`] taken out of ESP.
    Ok = 0,
    /// The ICV was wrong.
    IntegrityFailed = 1,
    /// The sequence number was received before.
    Replayed = 2,
    /// The sequence number lies before the window.
    TooOld = 3,
    /// Too short, or no packet of this SA by its form.
    Malformed = 4,
    /// The engine broke off: the packet's bytes are unspecified.
    Failed = 5,
}

impl RxOutcome {
    pub(crate) const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            0 => Some(Self::Ok),
            1 => Some(Self::IntegrityFailed),
            2 => Some(Self::Replayed),
            3 => Some(Self::TooOld),
            4 => Some(Self::Malformed),
            5 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// What a card did with a packet on its way in.
///
/// ```
/// use crypto_pmd::inline::{RxOutcome, RxReport, Service};
/// use pipeline::{Pool, PoolConfig};
///
/// let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() })?;
/// let mut packet = pool.alloc().unwrap();
/// assert_eq!(RxReport::take(&mut packet), None);
/// let report = RxReport { service: Service::Protocol, outcome: RxOutcome::Replayed, slot: 7, esn_high: 0 };
/// report.write(&mut packet);
/// assert_eq!(packet.rx_status(), 7 << 8 | 2 << 4 | 2);
/// assert_eq!(RxReport::take(&mut packet), Some(report));
/// assert_eq!(packet.rx_status(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxReport {
    /// How much it did.
    pub service: Service,
    /// How it went.
    pub outcome: RxOutcome,
    /// Its slot of the SA, up to [`MAX_SLOT`].
    pub slot: u32,
    /// High half of the sequence number with which the ICV was right; 0 without ESN, and with [`Service::Protocol`].
    pub esn_high: u32,
}

impl RxReport {
    /// Writes the report into a packet: in [`Mbuf::rx_status`] bits 0 and 1 the service, 4 to 7 the outcome, 8 to 31 the
    /// slot; in [`Mbuf::offload`] bits 32 to 63 the high half, where it cannot be taken for a request.
    #[inline]
    pub fn write(self, packet: &mut Mbuf) {
        packet.set_rx_status(
            self.service.bits() | (self.outcome as u32) << OUTCOME_SHIFT | self.slot << SLOT_SHIFT,
        );
        packet.set_offload(u64::from(self.esn_high) << HIGH_SHIFT);
    }

    /// The report in a packet: `None` where there is none, and where [`Mbuf::rx_status`] makes no sense; only in the second
    /// case it is not 0.
    #[inline]
    #[must_use]
    pub fn read(packet: &Mbuf) -> Option<Self> {
        let status = packet.rx_status();
        Some(Self {
            service: Service::from_bits(status)?,
            outcome: RxOutcome::from_bits(status >> OUTCOME_SHIFT & 0xf)?,
            slot: status >> SLOT_SHIFT,
            esn_high: (packet.offload() >> HIGH_SHIFT) as u32,
        })
    }

    /// As [`RxReport::read`], and the packet has none afterwards.
    #[inline]
    pub fn take(packet: &mut Mbuf) -> Option<Self> {
        let report = Self::read(packet);
        packet.set_rx_status(0);
        packet.set_offload(0);
        report
    }
}

#[cfg(test)]
mod tests;

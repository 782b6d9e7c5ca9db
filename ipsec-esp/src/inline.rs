//! Binding SAs to cards that do crypto or all of ESP for packets that pass through them ([`crypto_pmd::inline`] has the
//! words that travel).
//!
//! An SA is bound by [`Outbound::set_inline`](crate::outbound::Outbound::set_inline) and
//! [`Inbound::set_inline`](crate::inbound::Inbound::set_inline), on the core that owns it, between bursts. The way of an SA
//! to a card and back:
//!
//! 1. `inline_state` says where its numbers stand; [`SaParams::inline_sa`](crate::sa::SaParams::inline_sa) makes of that
//!    what the card is told, and the card names its slot.
//! 2. `set_inline(slot, Some((service, card_slot)), None)`: from now on packets carry requests, and reports are believed.
//! 3. The card stops with the SA and gives its state; what it has reported is received.
//! 4. `set_inline(slot, None, Some(state))`, or `Some` of another card: numbers go on.
//!
//! A window leaves and comes back whole, so what would touch it meanwhile has to be away: no packet may be under decryption when
//! it goes to a card ([`InlineError::InFlight`] says so), and what the port still gives without a report afterwards, or had given to
//! another core before, is dropped as `missed_by_card`. Reports that are received after step 4 are dropped as `bad_report`.
//! Outbound a move needs no quiet; the card only has to keep its SA until the packets that have requests for it are out.
//!
//! Control code that changes SAs under traffic ([`crate::control`]) binds none: the owner does, between bursts. An SA that takes the place of a
//! bound one is not bound; where the window was with the card, it lets nothing in until `set_inline` is given the card's state.
//!
//! Invariants: no number is sent twice, and none is accepted twice, wherever the SA was in between. What is in clear behind a
//! request goes to that card only, so a bound SA's packets must leave by a port that knows the request.

use crypto_pmd::inline::{MAX_SLOT, Service};
use thiserror::Error;

use crate::sa::SaSlot;

/// Why an SA is not bound, or not let go; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InlineError {
    /// This core has no such SA.
    #[error("this core has no SA in place {place}; SAs are bound by the core that owns them", place = .0.0)]
    NoSuchSa(SaSlot),
    /// The card's slot is no number that a packet can carry.
    #[error("slot {0} of the card is out of range; a slot is a number up to {MAX_SLOT}")]
    BadSlot(u32),
    /// Two SAs with one slot.
    #[error("slot {0} of the card is bound to the SA in place {place}; let that one go first", place = .1.0)]
    SlotTaken(u32, SaSlot),
    /// The host would have to make a checksum over what the card has not encrypted yet.
    #[error(
        "UDP encapsulation over IPv6 has a checksum over the ciphertext, which inline crypto does not make; bind it to inline protocol"
    )]
    Checksum,
    /// Packets are being decrypted whose numbers are not in the window yet.
    #[error(
        "{0} packets are still being decrypted, and their numbers are not in the window yet; poll until none is, then bind"
    )]
    InFlight(u64),
    /// The window is with a card.
    #[error(
        "the replay window is with a card; give the state that the card exported, or replace the SA by one with new keys"
    )]
    StateMissing,
}

/// A card's part in an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) service: Service,
    /// The card's slot.
    pub(crate) slot: u32,
}

impl Bound {
    /// As `set_inline` is given it.
    pub(crate) fn of(card: Option<(Service, u32)>) -> Result<Option<Self>, InlineError> {
        match card {
            Some((_, slot)) if slot > MAX_SLOT => Err(InlineError::BadSlot(slot)),
            card => Ok(card.map(|(service, slot)| Self { service, slot })),
        }
    }
}

/// The SA of each slot of the cards, of this core and of others. An entry may outlive the binding: the SA itself says whether it is
/// bound to the slot.
#[derive(Debug, Default)]
pub(crate) struct CardSlots(Vec<Option<SaSlot>>);

impl CardSlots {
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<SaSlot> {
        self.0.get(slot as usize).copied().flatten()
    }

    /// `slot` is at most [`MAX_SLOT`].
    pub(crate) fn set(&mut self, slot: u32, sa: Option<SaSlot>) {
        let place = slot as usize;
        if place >= self.0.len() && sa.is_some() {
            self.0.resize(place + 1, None);
        }
        if let Some(entry) = self.0.get_mut(place) {
            *entry = sa;
        }
    }
}

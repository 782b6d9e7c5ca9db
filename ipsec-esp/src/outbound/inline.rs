//! Outbound SAs of which a card does the crypto, or all.
//!
//! Inline crypto: the packet is built as ever and leaves with a request instead of becoming a job. Inline protocol: the
//! packet leaves as it is, with a request. The card gives it its number; the host sets one aside for each packet all the same, so
//! that its own counter is at or above whatever the card may have used, also for packets that still wait for the card, and when the
//! card dies with its state. Coming back, the counter is raised to what the card exported, never lowered: at worst numbers are left out.

use crypto_pmd::inline::{OutboundState, Service, TxOffload};
use crypto_pmd::job::JobBurst;
use pipeline::{Burst, Mbuf, Pool};

use super::Outbound;
use crate::classify::Found;
use crate::counters::{Counters, Passed};
use crate::drop_reason::OutReason;
use crate::encapsulate::OutboundSa;
use crate::header::link::Link;
use crate::inline::{Bound, InlineError};
use crate::iv::IvSource;
use crate::sa::SaSlot;

impl Outbound {
    /// Where the numbers of an SA stand. While they are with a card: the first that it has certainly not used.
    #[must_use]
    pub fn inline_state(&self, slot: SaSlot) -> Option<OutboundState> {
        Some(state_of(self.sa(slot)?))
    }

    /// Binds an SA of this core to slot `card.1` of a card, or to none, between bursts. `exported` is where the card has
    /// come to that had the numbers until now; without it (the card is gone) the host goes on behind all numbers that the card
    /// may have used. Never below them: a state that is lower than what is known here is raised. Returns where the numbers stand now, which
    /// a card that gets them must go on from.
    ///
    /// Jobs that are under way come back as ever, and what follows them leaves behind them.
    ///
    /// # Errors
    /// [`InlineError::NoSuchSa`], [`InlineError::BadSlot`], [`InlineError::Checksum`]; nothing was changed.
    pub fn set_inline(
        &mut self,
        slot: SaSlot,
        card: Option<(Service, u32)>,
        exported: Option<OutboundState>,
    ) -> Result<OutboundState, InlineError> {
        let bound = Bound::of(card)?;
        let sa = slot.index_at(self.me).and_then(|index| self.sas.get_mut(index));
        let sa = sa.ok_or(InlineError::NoSuchSa(slot))?;
        if sa.udp_checksum && matches!(card, Some((Service::Crypto, _))) {
            return Err(InlineError::Checksum);
        }
        if let Some(exported) = exported {
            sa.raise_to(exported.next_sequence);
        }
        sa.bind(bound);
        Ok(state_of(sa))
    }
}

fn state_of(sa: &OutboundSa) -> OutboundState {
    OutboundState { next_sequence: sa.sequence.peek().unwrap_or(0) }
}

/// Gives a packet the request for its SA's card.
pub(super) fn protect(
    mut packet: Mbuf,
    found: &Found,
    (sa, slot, bound): (&mut OutboundSa, u32, Bound),
    (link, pool, ivs): (Link, &Pool, &mut IvSource),
    (jobs, passed): (&JobBurst, &mut Burst<Passed>),
    counters: &mut Counters,
) {
    let built = match bound.service {
        Service::Crypto => sa
            .encapsulate_for_card(&mut packet, found, link, pool, ivs)
            .map(|shape| (shape.ip_len, if sa.esn { (shape.sequence >> 32) as u32 } else { 0 })),
        Service::Protocol => sa.reserve(found).map(|()| (found.total_len, 0)),
    };
    match built {
        Ok((ip_len, esn_high)) => {
            // Padding of the link is not for the card to carry.
            packet.truncate(packet.l2_len() + ip_len as usize);
            TxOffload { service: bound.service, slot: bound.slot, esn_high }.write(&mut packet);
            counters.pass(ip_len, OutReason::Protected, packet, jobs, passed);
        }
        Err(reason) => counters.drop_of(SaSlot(slot), packet, reason),
    }
}

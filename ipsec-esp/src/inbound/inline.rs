//! Packets of which a card has done the crypto, or all, on their way in.
//!
//! A report is believed only of an SA that is bound to the slot and service that it names. With inline crypto the SA is
//! found by SPI as ever and must be that one; replay, trailer and policy are the host's, at once. With inline protocol, and
//! where the card says that something is wrong, the SA is found by the slot alone, because the packet's bytes say nothing about it.
//!
//! A packet without a report goes the usual way, to a driver, as long as the window is here. Where it is with a card, a packet
//! that the card missed is dropped: the host could open it, but not tell whether the card has let in its number before or will
//! do so later.

use crypto_pmd::inline::{InboundState, MAX_SLOT, RxOutcome, RxReport, Service};
use crypto_pmd::job::JobBurst;
use pipeline::{Burst, Mbuf};

use super::{Inbound, Look, accept};
use crate::classify::network_of;
use crate::counters::Passed;
use crate::decapsulate::{EspPacket, Inside, Numbers};
use crate::drop_reason::{AbsorbReason, DropReason, OutReason};
use crate::header::IpVersion;
use crate::inline::{Bound, InlineError};
use crate::sa::SaSlot;

/// What a report makes of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reported {
    /// Decrypted: to be taken out of ESP.
    Decrypted(EspPacket, SaSlot),
    /// Taken out of ESP by the card.
    Inner(SaSlot),
    /// Not to be let in; with the SA, where the report names one.
    Refused(DropReason, Option<SaSlot>),
}

impl Inbound {
    /// What the window of an SA remembers. While it is with a card: what it remembered before.
    #[must_use]
    pub fn inline_state(&self, slot: SaSlot) -> Option<InboundState> {
        Some(self.sa(slot)?.replay.export())
    }

    /// Binds an SA of this core to slot `card.1` of a card, or to none, between bursts. `exported` is what the card
    /// remembers that had the window until now; what is known here and what is known there both count as received. Returns what the
    /// window remembers now, which a card that gets it must go on from.
    ///
    /// # Errors
    /// [`InlineError::NoSuchSa`], [`InlineError::BadSlot`], [`InlineError::SlotTaken`]; [`InlineError::InFlight`] when a window is to
    /// go to a card while packets are being decrypted on this core; [`InlineError::StateMissing`] when one comes back without
    /// its state. Nothing was changed.
    pub fn set_inline(
        &mut self,
        slot: SaSlot,
        card: Option<(Service, u32)>,
        exported: Option<&InboundState>,
    ) -> Result<InboundState, InlineError> {
        let bound = Bound::of(card)?;
        let was_at_card =
            self.sa(slot).map(|sa| sa.numbers == Numbers::AtCard).ok_or(InlineError::NoSuchSa(slot))?;
        if let Some(bound) = bound
            && let Some(other) = self.cards.get(bound.slot)
            && other != slot
            && (other.owner() != self.me || self.sa(other).is_some_and(|sa| is_bound(sa.bound, bound.slot)))
        {
            return Err(InlineError::SlotTaken(bound.slot, other));
        }
        let in_flight = self.sas.in_flight();
        match (was_at_card, bound, exported) {
            (true, _, None) => return Err(InlineError::StateMissing),
            (false, Some(Bound { service: Service::Protocol, .. }), _) if in_flight > 0 => {
                return Err(InlineError::InFlight(in_flight));
            }
            _ => {}
        }
        let sa = self.sas.get_mut(slot.index()).ok_or(InlineError::NoSuchSa(slot))?;
        if let Some(exported) = exported {
            sa.replay.absorb(exported);
        }
        sa.bind(bound);
        if let Some(bound) = bound {
            self.cards.set(bound.slot, Some(slot));
        }
        Ok(sa.replay.export())
    }

    /// Makes known to which SA of another core a slot of a card is bound, or that it is bound to none any more, so that what
    /// the card reports of it is handed to that core.
    ///
    /// # Errors
    /// [`InlineError::BadSlot`], [`InlineError::SlotTaken`] by an SA of this core; nothing was changed.
    pub fn set_inline_of_other(&mut self, card_slot: u32, slot: Option<SaSlot>) -> Result<(), InlineError> {
        if card_slot > MAX_SLOT {
            return Err(InlineError::BadSlot(card_slot));
        }
        if let Some(mine) = self.cards.get(card_slot)
            && self.sa(mine).is_some_and(|sa| is_bound(sa.bound, card_slot))
        {
            return Err(InlineError::SlotTaken(card_slot, mine));
        }
        self.cards.set(card_slot, slot.filter(|slot| slot.owner() != self.me));
        Ok(())
    }

    /// Between the second and the third pass, for a burst in which a card reports something: looks of those packets follow their
    /// reports.
    #[cold]
    #[inline(never)]
    pub(super) fn follow_reports(&mut self, input: &Burst, count: usize) {
        for (index, packet) in
            input.iter().take(count).enumerate().filter(|(_, packet)| packet.rx_status() != 0)
        {
            let Some(&look) = self.looks.get(index) else { continue };
            let look = match RxReport::read(packet) {
                Some(report) => self.reported(report, look),
                None => Look::Reported(Reported::Refused(DropReason::BadReport, None)),
            };
            if let Some(place) = self.looks.get_mut(index) {
                *place = look;
            }
        }
    }

    fn reported(&self, report: RxReport, look: Look) -> Look {
        const NOBODY: Look = Look::Reported(Reported::Refused(DropReason::BadReport, None));
        let card = Bound { service: report.service, slot: report.slot };
        let is_its = |slot| self.sa(slot).is_some_and(|sa| sa.bound == Some(card));
        if (report.service, report.outcome) == (Service::Crypto, RxOutcome::Ok) {
            return match look {
                Look::Others(_) => look,
                Look::Mine(esp, slot) if is_its(SaSlot(slot)) => {
                    Look::Reported(Reported::Decrypted(esp, SaSlot(slot)))
                }
                _ => NOBODY,
            };
        }
        match self.cards.get(report.slot) {
            Some(slot) if slot.owner() != self.me => Look::Others(slot.owner()),
            Some(slot) if is_its(slot) => Look::Reported(match reason_of(report.outcome) {
                None => Reported::Inner(slot),
                Some(reason) => Reported::Refused(reason, Some(slot)),
            }),
            _ => NOBODY,
        }
    }

    /// Third pass for a packet with a report.
    #[inline(never)]
    pub(super) fn follow(
        &mut self,
        mut packet: Mbuf,
        reported: Reported,
        jobs: &JobBurst,
        passed: &mut Burst<Passed>,
    ) {
        let high = RxReport::take(&mut packet).map_or(0, |report| report.esn_high);
        match reported {
            Reported::Refused(reason, None) => self.counters.drop(packet, reason),
            Reported::Refused(reason, Some(slot)) => self.counters.drop_of(slot, packet, reason),
            Reported::Decrypted(esp, slot) => match self.take_out(&mut packet, &esp, slot, high) {
                Ok(Inside::Packet(version)) => self.let_in(packet, version, slot, jobs, passed),
                Ok(Inside::Dummy) => {
                    self.counters.absorbed.add(AbsorbReason::Dummy, 1);
                    drop(packet);
                }
                Err(reason) => self.counters.drop_of(slot, packet, reason),
            },
            Reported::Inner(slot) => {
                let version =
                    network_of(self.link, &packet).ok().flatten().and_then(|network| network.version);
                let Some(version) = version else {
                    return self.counters.drop_of(slot, packet, DropReason::MalformedHeader);
                };
                let len = (packet.packet_len() - packet.l2_len()) as u64;
                self.counters.ip_bytes_in += len;
                if let Some(sa) = self.sas.get_mut(slot.index()) {
                    sa.packets += 1;
                    sa.bytes += len;
                }
                self.let_in(packet, version, slot, jobs, passed);
            }
        }
    }

    /// As after a job: the number is checked and set, and the packet taken out.
    fn take_out(
        &mut self,
        packet: &mut Mbuf,
        esp: &EspPacket,
        slot: SaSlot,
        high: u32,
    ) -> Result<Inside, DropReason> {
        self.counters.ip_bytes_in += u64::from(esp.total_len);
        let sa = self.sas.get_mut(slot.index()).ok_or(DropReason::SaGone)?;
        let l2_len = packet.l2_len();
        packet.truncate(l2_len + esp.total_len as usize);
        let shape = esp.decrypted(sa, l2_len)?;
        let high = (sa.numbers == Numbers::Extended).then_some(high);
        accept(sa, &shape, high, self.link, packet)
    }

    /// The policies must let the inner packet in by this SA.
    fn let_in(
        &mut self,
        mut packet: Mbuf,
        version: IpVersion,
        slot: SaSlot,
        jobs: &JobBurst,
        passed: &mut Burst<Passed>,
    ) {
        let l2_len = packet.l2_len();
        let available = packet.packet_len() - l2_len;
        let ip = packet.data().get(l2_len..).unwrap_or_default();
        let Some(found) = self.found.first_mut() else { return };
        found.came_by = slot.0;
        if !self.classifier.parse_ip(found, version, ip, available) {
            return self.counters.drop_of(slot, packet, DropReason::MalformedHeader);
        }
        match self.objection(0) {
            None => {
                let total_len = self.found.first().map_or(0, |found| found.total_len);
                packet.truncate(l2_len + total_len as usize);
                self.counters.pass(total_len, OutReason::Decrypted, packet, jobs, passed);
            }
            Some(reason) => self.counters.drop_of(slot, packet, reason),
        }
    }
}

fn is_bound(bound: Option<Bound>, slot: u32) -> bool {
    bound.is_some_and(|bound| bound.slot == slot)
}

/// Why a packet that a card found wrong is not let in.
const fn reason_of(outcome: RxOutcome) -> Option<DropReason> {
    match outcome {
        RxOutcome::Ok => None,
        RxOutcome::IntegrityFailed => Some(DropReason::IntegrityFailed),
        RxOutcome::Replayed => Some(DropReason::Replayed),
        RxOutcome::TooOld => Some(DropReason::ReplayTooOld),
        RxOutcome::Malformed => Some(DropReason::MalformedHeader),
        RxOutcome::Failed => Some(DropReason::CryptoIndeterminate),
    }
}

//! SAs for frames that pass: told to the card, told again when it was reset, and their state when they are to move.
//!
//! A card that is reset, pulled out or dead forgets how far its numbers went. What the host knows instead, and why that is safe:
//!
//! - Out, inline protocol: the host counts the frames that it hands over for each SA, before the card can see them. A card gives each of them one
//!   number at most, in rising order, so it cannot have got beyond the first number that it was told plus that count. The SA goes on there:
//!   numbers are left out, none comes twice.
//! - In, inline protocol: the card names with each delivered frame the number that it has let in. When it has forgotten its window, all numbers
//!   up to the highest one of these count as received. What the host was given is below or at it, so nothing is let in twice; what was still on
//!   its way late is lost. A frame that lies delivered but unread when the card is reset is let in only if its number is not above that.
//! - Inline crypto: the numbers are the host's own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::capability::Unsupported;
use crate::device::OpenError;
use crate::drivers::nic::bus::SLOT_BITS;
use crate::drivers::nic::bus::association::{self, code_of};
use crate::drivers::nic::bus::context::{Answer, Order};
use crate::drivers::nic::bus::iommu::cells;
use crate::inline::{InboundState, InlineSa, OutboundState, SaState, Service};

use super::keeper::{Control, Shared};
use super::state::Health;

/// What ports share of an SA; written by the control side, but for the counts.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct OnCard {
    /// The card's handle, with the service in the upper half; 0 for none.
    key: AtomicU64,
    /// The service that packets which leave may ask for; 0 for none.
    sends: AtomicU32,
    /// Frames handed over, ever.
    handed: AtomicU64,
    /// The highest number that the card has named.
    highest: AtomicU64,
    /// Up to here numbers count as received since the card was reset last.
    floor: AtomicU64,
}

/// By the card's place.
#[derive(Debug)]
pub(super) struct OnCards(Box<[OnCard]>);

impl OnCards {
    pub(super) fn new(places: usize) -> Self {
        Self((0..places).map(|_| OnCard::default()).collect())
    }

    fn get(&self, place: u32) -> Option<&OnCard> {
        self.0.get(place as usize)
    }

    /// The handle of the SA by which a packet may leave.
    #[inline]
    pub(super) fn sending(&self, place: u32, service: Service) -> Option<u32> {
        let entry = self.get(place)?;
        let may = entry.sends.load(Ordering::Acquire) == u32::from(code_of(service));
        may.then(|| entry.key.load(Ordering::Acquire) as u32)
    }

    /// A frame is handed over; before the card can see it.
    #[inline]
    pub(super) fn count_handed(&self, handle: u32) {
        if let Some(entry) = self.get(place_of(handle)) {
            entry.handed.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether a report with this handle is of an SA that is there.
    #[inline]
    pub(super) fn is_of(&self, handle: u32, service: Service) -> bool {
        let entry = self.get(place_of(handle));
        entry.is_some_and(|entry| entry.key.load(Ordering::Acquire) == key_of(handle, service))
    }

    /// The card has named a number. What it says of an SA that was in the place before is nothing to the one that is there.
    #[inline]
    pub(super) fn raise(&self, handle: u32, number: u64) {
        if let Some(entry) = self.get(place_of(handle))
            && entry.key.load(Ordering::Acquire) == key_of(handle, Service::Protocol)
        {
            entry.highest.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Whether a number counts as received since the last reset.
    pub(super) fn is_below_floor(&self, handle: u32, number: u64) -> bool {
        self.get(place_of(handle)).is_some_and(|entry| number <= entry.floor.load(Ordering::Acquire))
    }
}

const fn place_of(handle: u32) -> u32 {
    handle & ((1 << SLOT_BITS) - 1)
}

fn key_of(handle: u32, service: Service) -> u64 {
    u64::from(handle) | u64::from(code_of(service)) << 32
}

/// An SA that the card was told of.
#[derive(Debug)]
pub(super) struct Installed {
    handle: u32,
    service: Service,
    /// With the state that the card was told.
    sa: InlineSa,
    /// Frames that had been handed over then.
    handed_before: u64,
    /// The card has stopped with it.
    is_recalled: bool,
}

impl Installed {
    /// Where the SA stands as far as is known without the card; see the module.
    fn safe_state(&self, entry: &OnCard) -> SaState {
        match &self.sa.state {
            SaState::Outbound(state) => {
                let handed = entry.handed.load(Ordering::Acquire).wrapping_sub(self.handed_before);
                let last = if self.sa.esn { u64::MAX } else { u64::from(u32::MAX) };
                let next = state
                    .next_sequence
                    .checked_add(handed)
                    .filter(|&next| state.next_sequence > 0 && next <= last);
                OutboundState { next_sequence: next.unwrap_or(0) }.into()
            }
            SaState::Inbound(state) => {
                let words = (self.sa.replay_window as usize).div_ceil(64);
                let highest = entry.highest.load(Ordering::SeqCst).max(state.highest);
                InboundState { highest, bitmap: vec![u64::MAX; words] }.into()
            }
        }
    }
}

/// By the card's place.
pub(super) type Associations = HashMap<u32, Installed>;

impl Shared {
    pub(super) fn install(&self, name: &str, service: Service, sa: &InlineSa) -> Result<u32, OpenError> {
        let unsupported = |what| OpenError::Unsupported { driver: name.to_owned(), what };
        let services = self.profile.services;
        let (is_offered, called) = match service {
            Service::Crypto => (services.inline_crypto, "inline-crypto"),
            Service::Protocol => (services.inline_protocol, "inline-protocol"),
        };
        if !is_offered {
            return Err(unsupported(Unsupported::Service(called)));
        }
        self.profile.capabilities.check(&sa.session).map_err(unsupported)?;
        let mut control = self.lock();
        let full = || OpenError::Full { driver: name.to_owned() };
        let handle = control.take_slot(self.profile.sa_slots).ok_or_else(full)?;
        let phase = self.shift.now();
        if phase.health == Health::Gone && self.bus.is_there() {
            // It is back.
            self.begin_reset(phase);
        }
        let place = place_of(handle);
        let Some(entry) = self.on_cards.get(place) else { return Err(full()) };
        let handed_before = entry.handed.load(Ordering::Acquire);
        let installed = Installed { handle, service, sa: sa.clone(), handed_before, is_recalled: false };
        let answer = match self.health() {
            Health::Working => self.tell(&control, &installed),
            // It is told when it is back.
            Health::Resetting => Answer::Done,
            Health::Gone | Health::Failed => Answer::Busy,
        };
        let refusal = match answer {
            Answer::Done => None,
            Answer::Busy if self.bus.is_there() && self.health() != Health::Failed => {
                // It hangs, or resets itself: whoever polls sees it through, and the card is told then.
                self.begin_reset(self.shift.now());
                None
            }
            Answer::Busy => Some(OpenError::NotReady { driver: name.to_owned() }),
            Answer::Full => Some(full()),
            Answer::Unsupported => Some(unsupported(Unsupported::Association)),
        };
        if let Some(refusal) = refusal {
            control.free_slot(handle);
            return Err(refusal);
        }
        if let SaState::Inbound(state) = &sa.state {
            entry.highest.store(state.highest, Ordering::SeqCst);
            entry.floor.store(state.highest, Ordering::Release);
        }
        entry.key.store(key_of(handle, service), Ordering::Release);
        let sends = if sa.is_inbound() { 0 } else { u32::from(code_of(service)) };
        entry.sends.store(sends, Ordering::Release);
        control.associations.insert(place, installed);
        Ok(place)
    }

    fn tell(&self, control: &Control, installed: &Installed) -> Answer {
        match association::encode(installed.service, &installed.sa) {
            Some(bytes) => self.hand_over(control, Order::Install, installed.handle, &bytes),
            None => Answer::Unsupported,
        }
    }

    /// The card has forgotten its SAs and is told them again, from where they stand at the least. False when it does not take one now.
    pub(super) fn install_again(&self, control: &mut Control) -> bool {
        // Whoever reads frames raises a number, then looks at the phase; here the phase was changed before. One of both sees the other.
        fence(Ordering::SeqCst);
        let mut associations = std::mem::take(&mut control.associations);
        let mut told = true;
        for (place, installed) in associations.iter_mut().filter(|(_, installed)| !installed.is_recalled) {
            let Some(entry) = self.on_cards.get(*place) else { continue };
            let handed = entry.handed.load(Ordering::Acquire);
            installed.sa.state = installed.safe_state(entry);
            installed.handed_before = handed;
            if let SaState::Inbound(state) = &installed.sa.state {
                entry.floor.store(state.highest, Ordering::Release);
            }
            if matches!(self.tell(control, installed), Answer::Busy | Answer::Full) {
                told = false;
                break;
            }
        }
        control.associations = associations;
        told
    }

    pub(super) fn recall(&self, place: u32) -> Option<SaState> {
        let mut control = self.lock();
        let mut installed = control.associations.remove(&place)?;
        let entry = self.on_cards.get(place)?;
        entry.sends.store(0, Ordering::Release);
        let is_there = !installed.is_recalled && self.health() == Health::Working;
        let exported = if is_there { self.export(&control, installed.handle) } else { None };
        // A second time, or of a card that does not say. What it has delivered, and nobody has read yet, is not in that state, so it is not to be read any
        // more: whoever reads raises a number first and looks at the key then, so either that is seen here, or this is seen there.
        let state = exported.unwrap_or_else(|| {
            entry.key.store(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            installed.safe_state(entry)
        });
        if let SaState::Inbound(state) = &state {
            entry.highest.fetch_max(state.highest, Ordering::SeqCst);
        }
        installed.sa.state = state.clone();
        installed.handed_before = entry.handed.load(Ordering::Acquire);
        installed.is_recalled = true;
        control.associations.insert(place, installed);
        Some(state)
    }

    fn export(&self, control: &Control, handle: u32) -> Option<SaState> {
        if self.order(Order::Export, handle) != Answer::Done {
            return None;
        }
        let (len, words) = cells(&control.admin).split_first()?;
        let len = usize::try_from(len.load(pipeline::sync::Ordering::Acquire)).ok()?;
        let words = words.get(..len.div_ceil(8))?;
        let bytes = words.iter().flat_map(|word| word.load(pipeline::sync::Ordering::Acquire).to_le_bytes());
        let bytes: Vec<u8> = bytes.take(len).collect();
        association::decode_state(&bytes)
    }

    pub(super) fn forget_sa(&self, place: u32) -> bool {
        let mut control = self.lock();
        let Some(installed) = control.associations.remove(&place) else { return false };
        if let Some(entry) = self.on_cards.get(place) {
            entry.sends.store(0, Ordering::Release);
            entry.key.store(0, Ordering::Release);
        }
        // A card that does not hear it has forgotten everything anyway when it is back.
        self.order(Order::Forget, installed.handle);
        control.free_slot(installed.handle);
        true
    }
}

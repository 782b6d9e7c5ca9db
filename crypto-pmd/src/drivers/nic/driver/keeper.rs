//! What all queue pairs of a driver share: the sessions on the card, the numbers and memory of queue pairs, and the way through a reset.

#![allow(
    clippy::disallowed_types,
    reason = "the control side of the driver; queue pairs only try the lock, and after a reset only"
)]

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::memory::{Region, Words};
use pipeline::{Clock, Mbuf, Pool, PoolConfig};
use zeroize::Zeroize as _;

use crate::capability::Capabilities;
use crate::device::OpenError;
use crate::drivers::nic::bus::SLOT_BITS;
use crate::drivers::nic::bus::context::{self, Answer, Order};
use crate::drivers::nic::bus::iommu::cells;
use crate::drivers::nic::bus::registers::{self, OfQueue as QueueRegister, Role};
use crate::drivers::nic::bus::ring::Layout;
use crate::drivers::nic::card::Card;
use crate::drivers::nic::profile::Profile;
use crate::drivers::sessions::Sessions;
use crate::drivers::software::Chain;
use crate::job::Job;
use crate::key::wipe_stack;
use crate::key_op::Unblock;
use crate::session::SessionId;
use crate::transform::SessionParams;

use super::NicConfig;
use super::associations::{Associations, OnCards};
use super::bus::Bus;
use super::counters::{NicCounters, OfQueue};
use super::state::{Health, Phase, Shift};

/// Resets in a row without a job done in between, after which the card is given up.
const MOST_RESETS: u32 = 5;

/// A session, as queue pairs read it.
#[derive(Debug)]
pub(super) struct CardSession {
    /// Its place on the card.
    pub(super) handle: u32,
    /// For what the driver does itself.
    pub(super) chain: Chain,
}

impl AsRef<Chain> for CardSession {
    fn as_ref(&self) -> &Chain {
        &self.chain
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    pub(super) profile: Profile,
    pub(super) config: NicConfig,
    pub(super) shift: Shift,
    pub(super) sessions: Sessions<CardSession>,
    /// SAs on the card, as ports see them.
    pub(super) on_cards: OnCards,
    /// For packets that are copied.
    pub(super) copies: Pool,
    /// Resets since the last job that was done.
    pub(super) resets_in_a_row: AtomicU32,
    /// When the last reset was asked for.
    reset_asked: AtomicU64,
    control: Mutex<Control>,
}

#[derive(Debug)]
pub(super) struct Control {
    /// By the framework's place.
    sessions: HashMap<usize, Loaded>,
    pub(super) associations: Associations,
    free_slots: Vec<u32>,
    /// How often each place was used.
    used: HashMap<u32, u32>,
    next_slot: u32,
    pub(super) admin: Arc<Words>,
    queues: Vec<QueuePlace>,
    retired: Vec<Retired>,
}

#[derive(Debug)]
struct Loaded {
    id: SessionId,
    handle: u32,
    /// So that the card can be told again after a reset.
    params: SessionParams,
}

/// A queue pair's number on the card, with its memory.
#[derive(Debug)]
struct QueuePlace {
    taken: bool,
    words: Option<Arc<Words>>,
    counters: Arc<OfQueue>,
    unblock: Option<Unblock>,
    /// Times that it was enabled or disabled.
    changes: u64,
}

/// Jobs of a queue pair that was dropped: the card may have them until it has seen that.
#[derive(Debug)]
struct Retired {
    queue: usize,
    enable: u64,
    epoch: u64,
    jobs: Vec<Job>,
    frames: Vec<Mbuf>,
}

/// A queue pair's place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) number: usize,
    pub(super) role: Role,
    pub(super) words: Arc<Words>,
    pub(super) counters: Arc<OfQueue>,
}

impl Shared {
    pub(super) fn new(card: &Card, config: NicConfig) -> io::Result<Self> {
        let (bus, profile) = (Bus::of(card), card.profile().clone());
        if !bus.is_known() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no card that this driver knows"));
        }
        // A card that is polled needs no interrupts.
        bus.write(registers::INTERRUPT_MASK, 0);
        let stride = (profile.max_packet + 320).next_multiple_of(64).clamp(512, 65_472) | 64;
        let copies = Pool::new(PoolConfig { buffers: config.copies.max(64), stride: stride.min(65_472) })?;
        bus.iommu().map_pool(&copies);
        let admin = Arc::new(Region::map(16_384)?.into_words());
        if let Some(address) = bus.iommu().map_words(&admin) {
            bus.write(registers::ADMIN_ADDRESS, address);
        }
        let place =
            || QueuePlace { taken: false, words: None, counters: Arc::default(), unblock: None, changes: 0 };
        let control = Control {
            sessions: HashMap::new(),
            associations: Associations::new(),
            free_slots: Vec::new(),
            used: HashMap::new(),
            next_slot: 0,
            admin,
            queues: (0..profile.queues).map(|_| place()).collect(),
            retired: Vec::new(),
        };
        Ok(Self {
            bus,
            clock: card.device().clock.clone(),
            on_cards: OnCards::new(profile.sa_slots),
            profile,
            config,
            shift: Shift::new(),
            sessions: Sessions::new(),
            copies,
            resets_in_a_row: AtomicU32::new(0),
            reset_asked: AtomicU64::new(0),
            control: Mutex::new(control),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> Health {
        self.shift.now().health
    }

    pub(super) fn counters(&self) -> NicCounters {
        let mut all = NicCounters::default();
        self.lock().queues.iter().for_each(|place| all.add(&place.counters));
        all
    }

    pub(super) fn map_memory(&self, pool: &Pool) {
        // Where no window is left, packets are copied.
        let _mapped = self.bus.iommu().map_pool(pool);
    }

    pub(super) fn open(
        &self,
        name: &str,
        capabilities: &Capabilities,
        id: SessionId,
        params: &SessionParams,
    ) -> Result<(), OpenError> {
        let unsupported = |what| OpenError::Unsupported { driver: name.to_owned(), what };
        capabilities.check(params).map_err(unsupported)?;
        let chain = Chain::new(params).map_err(unsupported);
        wipe_stack();
        let chain = chain?;
        let mut control = self.lock();
        self.forget(&mut control, id);
        let full = || OpenError::Full { driver: name.to_owned() };
        let handle = control.take_slot(self.profile.sa_slots).ok_or_else(full)?;
        let phase = self.shift.now();
        if phase.health == Health::Gone && self.bus.is_there() {
            // It is back.
            self.begin_reset(phase);
        }
        let answer = match self.health() {
            Health::Working => self.load(&control, handle, params),
            // It is told when it is back.
            Health::Resetting => Answer::Done,
            Health::Gone | Health::Failed => {
                control.free_slot(handle);
                return Err(OpenError::NotReady { driver: name.to_owned() });
            }
        };
        match answer {
            Answer::Done => {}
            Answer::Busy if self.bus.is_there() => {
                // It hangs, or resets itself: queue pairs see it through, and the card is told then.
                self.begin_reset(self.shift.now());
            }
            Answer::Busy => {
                control.free_slot(handle);
                return Err(OpenError::NotReady { driver: name.to_owned() });
            }
            Answer::Unsupported if self.bus.read(registers::ADMIN_ADDRESS) == 0 => {
                // It was away while nobody had anything to do with it, and has forgotten where to read.
                self.begin_reset(self.shift.now());
            }
            Answer::Full | Answer::Unsupported => {
                control.free_slot(handle);
                return Err(full());
            }
        }
        control.sessions.insert(id.index(), Loaded { id, handle, params: params.clone() });
        self.sessions.open(id, CardSession { handle, chain });
        Ok(())
    }

    /// Tells the card of a session.
    fn load(&self, control: &Control, handle: u32, params: &SessionParams) -> Answer {
        match context::encode(params) {
            Some(bytes) => self.hand_over(control, Order::Load, handle, &bytes),
            None => Answer::Unsupported,
        }
    }

    /// Lays the operand of an order ready, and wipes it when the card has answered.
    pub(super) fn hand_over(&self, control: &Control, order: Order, handle: u32, bytes: &[u8]) -> Answer {
        let cells = cells(&control.admin);
        let Some((len, words)) = cells.split_first() else { return Answer::Busy };
        let count = bytes.len().div_ceil(8);
        if count > words.len() {
            return Answer::Unsupported;
        }
        for (cell, chunk) in words.iter().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, byte)| *to = *byte);
            cell.store(u64::from_le_bytes(word), pipeline::sync::Ordering::Release);
            word.zeroize();
        }
        len.store(bytes.len() as u64, pipeline::sync::Ordering::Release);
        let answer = self.order(order, handle);
        words.iter().take(count).for_each(|cell| cell.store(0, pipeline::sync::Ordering::Release));
        answer
    }

    pub(super) fn order(&self, order: Order, handle: u32) -> Answer {
        self.bus.write(registers::ADMIN_STATUS, 0);
        self.bus.write(registers::ADMIN_SLOT, u64::from(handle));
        self.bus.write(registers::ADMIN_COMMAND, order as u64);
        Answer::of(self.bus.read(registers::ADMIN_STATUS))
    }

    fn forget(&self, control: &mut Control, id: SessionId) {
        if let Some(loaded) = control.sessions.remove(&id.index()) {
            // A card that does not hear it has forgotten everything anyway when it is back.
            self.order(Order::Forget, loaded.handle);
            control.free_slot(loaded.handle);
        }
    }

    pub(super) fn handle_of(&self, id: SessionId) -> Option<u64> {
        let control = self.lock();
        let loaded = control.sessions.get(&id.index()).filter(|loaded| loaded.id == id)?;
        Some(loaded.handle.into())
    }

    pub(super) fn close(&self, id: SessionId) {
        let mut control = self.lock();
        if control.sessions.get(&id.index()).is_some_and(|loaded| loaded.id == id) {
            self.forget(&mut control, id);
            self.sessions.close(id);
        }
    }

    /// Lets go of what the card has had of queue pairs that were dropped, as far as it has seen that; how much still waits.
    fn collect_retired(&self, control: &mut Control) -> usize {
        let phase = self.shift.now();
        control.retired.retain(|retired| {
            let seen = self.bus.read(QueueRegister::Seen.of(retired.queue));
            // A card that is gone, or was reset since, has none of them either.
            let was_reset = phase.health == Health::Working && phase.epoch > retired.epoch;
            seen != retired.enable && seen != registers::ABSENT && !was_reset
        });
        control.retired.iter().map(|retired| retired.jobs.len() + retired.frames.len()).sum()
    }

    pub(super) fn collect(&self) -> usize {
        self.collect_retired(&mut self.lock()) + self.sessions.collect()
    }

    /// A free queue pair of the card, with memory.
    pub(super) fn take_queue(&self) -> Option<Place> {
        let mut control = self.lock();
        let waits: Vec<usize> = control.retired.iter().map(|retired| retired.queue).collect();
        let mut places = control.queues.iter_mut().enumerate();
        let (number, place) = places.find(|(number, place)| !place.taken && !waits.contains(number))?;
        if place.words.is_none() {
            let bytes = Layout::new(self.profile.ring_depth).len() * 8;
            place.words = Some(Arc::new(Region::map(bytes).ok()?.into_words()));
        }
        place.taken = true;
        let words = Arc::clone(place.words.as_ref()?);
        Some(Place { number, role: Role::Crypt, words, counters: Arc::clone(&place.counters) })
    }

    pub(super) fn set_unblock(&self, number: usize, unblock: Unblock) {
        if let Some(place) = self.lock().queues.get_mut(number) {
            place.unblock = Some(unblock);
        }
    }

    /// A queue pair is dropped; the card is told, and what it may still have is kept until it has seen that.
    pub(super) fn return_queue(&self, number: usize, jobs: Vec<Job>) {
        self.retire(number, jobs, Vec::new());
    }

    /// As [`Shared::return_queue`], of a queue pair for frames.
    pub(super) fn return_port(&self, number: usize, frames: Vec<Mbuf>) {
        self.retire(number, Vec::new(), frames);
    }

    fn retire(&self, number: usize, jobs: Vec<Job>, frames: Vec<Mbuf>) {
        let mut control = self.lock();
        let Some(place) = control.queues.get_mut(number) else { return };
        (place.taken, place.unblock) = (false, None);
        place.changes += 1;
        let enable = place.changes << 1;
        self.bus.write(QueueRegister::Enable.of(number), enable);
        if !jobs.is_empty() || !frames.is_empty() {
            let epoch = self.shift.now().epoch;
            control.retired.push(Retired { queue: number, enable, epoch, jobs, frames });
        }
    }

    /// Makes the card use a queue pair whose rings are ready; false when it cannot reach them.
    pub(super) fn enable(&self, place: &Place, start: u32) -> bool {
        let Some(address) = self.bus.iommu().map_words(&place.words) else { return false };
        let Ok(mut control) = self.control.try_lock() else { return false };
        let Some(entry) = control.queues.get_mut(place.number) else { return false };
        entry.changes += 1;
        let write = |register: QueueRegister, value| self.bus.write(register.of(place.number), value);
        write(QueueRegister::Base, address);
        write(QueueRegister::Depth, self.profile.ring_depth as u64);
        write(QueueRegister::Start, start.into());
        write(QueueRegister::Tail, start.into());
        write(QueueRegister::Read, 0);
        write(QueueRegister::Role, place.role as u64);
        write(QueueRegister::Enable, entry.changes << 1 | 1);
        true
    }

    /// Asks for a reset, unless one is under way; whether it was this call that did.
    pub(super) fn begin_reset(&self, from: Phase) -> bool {
        if !matches!(from.health, Health::Working | Health::Gone) {
            return false;
        }
        self.ask_for_reset(from)
    }

    fn ask_for_reset(&self, from: Phase) -> bool {
        let next = if self.resets_in_a_row.load(Ordering::Relaxed) >= MOST_RESETS {
            Health::Failed
        } else {
            Health::Resetting
        };
        if !self.shift.change(from, next, from.epoch + 1) {
            return false;
        }
        self.resets_in_a_row.fetch_add(1, Ordering::Relaxed);
        self.reset_asked.store(self.clock.tick(), Ordering::Relaxed);
        // Also a card that is given up: until it has stopped, it may write over what it has.
        self.bus.write(registers::RESET, from.epoch + 1);
        true
    }

    /// Whether a card that was given up touches nothing any more.
    pub(super) fn has_stopped(&self, phase: Phase) -> bool {
        !self.bus.is_there() || self.bus.read(registers::RESETS) == phase.epoch
    }

    /// Looks whether a reset is over, and tells the card its sessions again; true once everything is as before.
    pub(super) fn see_reset_through(&self, phase: Phase) -> bool {
        if !self.bus.is_there() {
            self.shift.change(phase, Health::Gone, phase.epoch);
            return false;
        }
        let since = self.clock.nanoseconds(self.reset_asked.load(Ordering::Relaxed), self.clock.tick());
        let is_overdue = since > self.profile.reset_us * 1000 * 10 + self.config.watchdog.as_nanos() as u64;
        if self.bus.read(registers::RESETS) != phase.epoch {
            if is_overdue {
                // It came back from somewhere else, or did not hear: once more.
                self.reset_asked.store(self.clock.tick(), Ordering::Relaxed);
                self.bus.write(registers::RESET, phase.epoch);
            }
            return false;
        }
        // Somebody opens or closes a session: the next poll looks again.
        let Ok(mut control) = self.control.try_lock() else { return false };
        self.bus.write(registers::INTERRUPT_MASK, 0);
        if let Some(address) = self.bus.iommu().map_words(&control.admin) {
            self.bus.write(registers::ADMIN_ADDRESS, address);
        }
        let mut loaded = control.sessions.values();
        let is_told = loaded.all(|one| self.load(&control, one.handle, &one.params) != Answer::Busy);
        if !is_told || !self.install_again(&mut control) {
            drop(control);
            if is_overdue {
                // It hangs again, or will not take them: another reset.
                self.ask_for_reset(phase);
            }
            return false;
        }
        let changed = self.shift.change(phase, Health::Working, phase.epoch);
        control.queues.iter().filter_map(|place| place.unblock.as_ref()).for_each(Unblock::signal);
        changed
    }
}

impl Drop for Shared {
    /// Nobody will ask any more whether the card has seen that queue pairs are gone: what it may still write over is nobody's from now on.
    fn drop(&mut self) {
        let mut control = self.lock();
        self.collect_retired(&mut control);
        control.retired.drain(..).for_each(std::mem::forget);
    }
}

impl Control {
    /// A free place on the card, with how often it was used.
    pub(super) fn take_slot(&mut self, slots: usize) -> Option<u32> {
        let slot = match self.free_slots.pop() {
            Some(slot) => slot,
            None if (self.next_slot as usize) < slots => {
                self.next_slot += 1;
                self.next_slot - 1
            }
            None => return None,
        };
        let used = self.used.entry(slot).or_default();
        *used = (*used + 1) & ((1 << (32 - SLOT_BITS)) - 1);
        Some(*used << SLOT_BITS | slot)
    }

    pub(super) fn free_slot(&mut self, handle: u32) {
        self.free_slots.push(handle & ((1 << SLOT_BITS) - 1));
    }
}

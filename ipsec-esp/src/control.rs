//! SAs and policies changed one by one while polling cores run: the control side of all cores and both directions.
//!
//! Each SA belongs to one core. Its state goes there by message and comes back when it is replaced or removed, with what
//! it had counted; its crypto session is closed then. Policies and SPIs are read by all cores and published entry by entry. Nothing
//! waits for a core: what a core's queue does not take now waits here for the next [`Control::collect`].
//!
//! Invariants: all SAs of one SPI belong to one core; a place is given to another SA only when no policy lists it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crypto_pmd::{OpenError, Placement, Registry, SessionId, Transform};
use pipeline::Pool;
use thiserror::Error;

use crate::decapsulate::InboundSa;
use crate::encapsulate::OutboundSa;
use crate::header::esp::Spi;
use crate::header::link::Link;
use crate::inbound::Inbound;
use crate::iv::NoRandomness;
use crate::outbound::Outbound;
use crate::replay::BadWindow;
use crate::sa::{Mode, SaError, SaParams, SaSlot};
use crate::sa_store::{Change, Lane};
use crate::sad::Sad;
use crate::spd::{Action, Direction, Policy, PolicyId, Spd, SpdError};

/// A change that cannot be made; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The parameters do not fit each other.
    #[error(transparent)]
    Sa(#[from] SaError),
    /// The window's size.
    #[error(transparent)]
    Window(#[from] BadWindow),
    /// No driver takes the session.
    #[error(transparent)]
    Session(#[from] OpenError),
    /// The policy cannot be taken.
    #[error(transparent)]
    Policy(#[from] SpdError),
    /// No SA has this place.
    #[error("there is no {0} SA in place {slot}; it may have been removed", slot = .1.0)]
    NoSuchSa(Direction, SaSlot),
    /// Two SAs could not be told apart.
    #[error("another inbound SA has SPI {0} and the same destination; change one of the two")]
    Ambiguous(Spi),
    /// The SPI is another core's.
    #[error("SPI {0} belongs to core {1}; add the SA anew instead of replacing one of another core")]
    OtherOwner(Spi, u8),
    /// The owner has no place left.
    #[error("core {0} owns as many SAs as it can; remove some")]
    Full(u8),
}

/// What an SA had done when it was replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Its direction.
    pub direction: Direction,
    /// Its place.
    pub slot: SaSlot,
    /// Packets and bytes that it was given.
    pub totals: (u64, u64),
    /// The last number sent, or the highest received.
    pub last_sequence: u64,
}

/// What still waits for a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Changes of SAs that were not made yet, or did not come back.
    pub changes: usize,
    /// Entries of tables that some core may still look at.
    pub entries: usize,
}

/// The control side.
#[derive(Debug)]
pub struct Control {
    registry: Registry,
    outbound: Side<OutboundSa>,
    inbound: Side<InboundSa>,
    sad: Sad,
    /// Owner of an SPI, and how many SAs of either direction have it.
    owners: HashMap<Spi, (u8, usize)>,
    retired: VecDeque<Retired>,
}

/// One direction.
#[derive(Debug)]
struct Side<S> {
    direction: Direction,
    spd: Spd,
    cores: Vec<Core<S>>,
    /// How many times policies list an SA.
    listed: HashMap<SaSlot, usize>,
}

/// One core's SAs of a direction.
#[derive(Debug)]
struct Core<S> {
    lane: Lane<S>,
    /// Changes that the lane did not take yet.
    waiting: VecDeque<Box<Change<S>>>,
    /// Changes sent that did not come back.
    away: usize,
    live: HashMap<u32, Known>,
    /// Places whose SA is gone.
    vacant: VecDeque<u32>,
    next: u32,
    chunks: usize,
}

/// What is known of an SA without asking its core.
#[derive(Clone, Copy, Debug)]
struct Known {
    spi: Spi,
    destination: Option<IpAddr>,
    session: SessionId,
    listens: Option<u16>,
}

/// What an SA has in common with another one.
#[derive(Clone, Copy, Debug, Default)]
struct Kinship {
    /// Algorithms, keys and lengths: the crypto session will do.
    same_session: bool,
    /// One of the keys: numbers must go on.
    same_key: bool,
}

/// What both kinds of SAs can be asked when they come back.
trait Returned {
    fn session(&self) -> SessionId;
    fn totals(&self) -> (u64, u64);
    fn last_sequence(&self) -> u64;
}

impl Returned for OutboundSa {
    fn session(&self) -> SessionId {
        self.session
    }
    fn totals(&self) -> (u64, u64) {
        (self.packets(), self.bytes)
    }
    fn last_sequence(&self) -> u64 {
        self.sequence.peek().map_or(self.sequence.last(), |next| next.wrapping_sub(1))
    }
}

impl Returned for InboundSa {
    fn session(&self) -> SessionId {
        self.session
    }
    fn totals(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }
    fn last_sequence(&self) -> u64 {
        self.replay.highest()
    }
}

impl Control {
    /// For `cores` cores (1 to 127), with the sessions of `registry`.
    #[must_use]
    pub fn new(registry: Registry, cores: u8) -> Self {
        let cores = cores.clamp(1, SaSlot::MAX_OWNER + 1);
        Self {
            registry,
            outbound: Side::new(Direction::Outbound, cores),
            inbound: Side::new(Direction::Inbound, cores),
            sad: Sad::new(),
            owners: HashMap::new(),
            retired: VecDeque::new(),
        }
    }

    /// The outbound half of a core, joined to this control side; to be made once for each core, below the number of cores.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn make_outbound(&mut self, core: u8, link: Link, pool: Pool) -> Result<Outbound, NoRandomness> {
        let mut half = Outbound::on_core(core, link, pool)?;
        half.share_policies(self.outbound.spd.view());
        if let Some(core) = self.outbound.cores.get(usize::from(core)) {
            half.join(core.lane.clone());
        }
        Ok(half)
    }

    /// The inbound half of a core, as above.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn make_inbound(&mut self, core: u8, link: Link) -> Result<Inbound, NoRandomness> {
        let mut half = Inbound::on_core(core, link)?;
        half.share_policies(self.inbound.spd.view());
        if let Some(core) = self.inbound.cores.get(usize::from(core)) {
            half.join(self.sad.view(), core.lane.clone());
        }
        Ok(half)
    }

    /// Adds an SA; its owner is the core that has its SPI, or else the one with the fewest SAs.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn add_sa(&mut self, direction: Direction, params: &SaParams) -> Result<SaSlot, ControlError> {
        self.check(direction, params, None)?;
        let owner = self.owners.get(&params.spi).map_or_else(|| self.idlest(), |&(owner, _)| owner);
        match direction {
            Direction::Outbound => {
                let slot = self.outbound.reserve(owner).ok_or(ControlError::Full(owner))?;
                let session = self.open(params).inspect_err(|_| self.outbound.release(slot))?;
                self.outbound.put(slot, Some(OutboundSa::new(params, session)));
                self.outbound.know(slot, params, session);
                self.own(params.spi, owner);
                Ok(slot)
            }
            Direction::Inbound => {
                let slot = self.inbound.reserve(owner).ok_or(ControlError::Full(owner))?;
                let sa = self.open_inbound(params).inspect_err(|_| self.inbound.release(slot))?;
                let session = sa.session;
                self.inbound.put(slot, Some(sa));
                self.inbound.know(slot, params, session);
                self.announce(params, slot, None);
                self.own(params.spi, owner);
                Ok(slot)
            }
        }
    }

    /// Puts another SA into the place of one, as when keys or addresses change: policies go on listing the place. Where a key stays the same,
    /// so do the numbers sent, the numbers received (under the same SPI) and the counts, whatever `params` say: starting anew would use
    /// nonces twice, and let old packets in again. What is under way of the old one outbound goes out; inbound it is dropped as `sa_gone`
    /// when the keys change.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn replace_sa(
        &mut self,
        direction: Direction,
        slot: SaSlot,
        params: &SaParams,
    ) -> Result<(), ControlError> {
        let old = self.known(direction, slot).ok_or(ControlError::NoSuchSa(direction, slot))?;
        self.check(direction, params, Some(slot))?;
        if let Some(&(owner, _)) = self.owners.get(&params.spi)
            && owner != slot.owner()
        {
            return Err(ControlError::OtherOwner(params.spi, owner));
        }
        let kin = self.kinship(&old, params);
        let session = if kin.same_session { old.session } else { self.open(params)? };
        match direction {
            Direction::Outbound => {
                let sa = OutboundSa::new(params, session);
                self.outbound.replace(slot, sa, kin);
                self.outbound.know(slot, params, session);
            }
            Direction::Inbound => {
                let sa = InboundSa::new(params, session).inspect_err(|_| {
                    if !kin.same_session {
                        self.registry.close(session);
                    }
                })?;
                // What came under another SPI cannot come again under this one.
                let same_key = kin.same_key && old.spi == params.spi;
                self.inbound.replace(slot, sa, Kinship { same_key, ..kin });
                self.inbound.know(slot, params, session);
                self.announce(params, slot, Some(&old));
            }
        }
        self.own(params.spi, slot.owner());
        self.disown(old.spi);
        Ok(())
    }

    /// Takes an SA away. Outbound packets of policies that still list it are dropped as `no_sa`.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSa`].
    pub fn remove_sa(&mut self, direction: Direction, slot: SaSlot) -> Result<(), ControlError> {
        let old = self.known(direction, slot).ok_or(ControlError::NoSuchSa(direction, slot))?;
        match direction {
            Direction::Outbound => self.outbound.forget(slot),
            Direction::Inbound => {
                self.withdraw(&old, slot);
                self.inbound.forget(slot);
            }
        }
        self.disown(old.spi);
        Ok(())
    }

    /// Adds a policy behind those of the same priority, in its own direction.
    ///
    /// # Errors
    /// [`ControlError::Policy`].
    pub fn add_policy(&mut self, policy: Policy) -> Result<PolicyId, ControlError> {
        match policy.direction {
            Direction::Outbound => self.outbound.add_policy(policy),
            Direction::Inbound => self.inbound.add_policy(policy),
        }
    }

    /// Takes a policy out and gives it back.
    ///
    /// # Errors
    /// [`ControlError::Policy`].
    pub fn remove_policy(&mut self, direction: Direction, id: PolicyId) -> Result<Policy, ControlError> {
        match direction {
            Direction::Outbound => self.outbound.remove_policy(id),
            Direction::Inbound => self.inbound.remove_policy(id),
        }
    }

    /// Gives a policy another action; the old one comes back.
    ///
    /// # Errors
    /// [`ControlError::Policy`].
    pub fn replace_action(
        &mut self,
        direction: Direction,
        id: PolicyId,
        action: Action,
    ) -> Result<Action, ControlError> {
        match direction {
            Direction::Outbound => self.outbound.replace_action(id, action),
            Direction::Inbound => self.inbound.replace_action(id, action),
        }
    }

    /// Sends changes on, takes back what cores are done with, closes sessions and frees; what still waits. To be called now and then.
    pub fn collect(&mut self) -> Pending {
        let Self { registry, outbound, inbound, retired, sad, .. } = self;
        let changes = outbound.collect(registry, retired) + inbound.collect(registry, retired);
        let entries = outbound.spd.collect() + inbound.spd.collect() + sad.collect() + registry.collect();
        Pending { changes, entries }
    }

    /// What came back of the SAs that were replaced or removed, oldest first; kept until it is fetched. Nothing of those whose counts
    /// went on in their successor.
    pub fn next_retired(&mut self) -> Option<Retired> {
        self.retired.pop_front()
    }

    fn open(&self, params: &SaParams) -> Result<SessionId, ControlError> {
        Ok(self.registry.open(params.session_params(), Placement::Any)?)
    }

    fn open_inbound(&self, params: &SaParams) -> Result<InboundSa, ControlError> {
        let session = self.open(params)?;
        InboundSa::new(params, session).map_err(|error| {
            self.registry.close(session);
            error.into()
        })
    }

    /// Lets all cores find an inbound SA, and no longer the one that it replaces. The new entry goes first, and one that stays is not
    /// touched, so that no packet finds neither.
    fn announce(&mut self, params: &SaParams, slot: SaSlot, old: Option<&Known>) {
        if let Some(port) = listens(params) {
            self.sad.listen(port);
        }
        if old.is_none_or(|old| old.spi != params.spi) {
            self.sad.insert(params.spi, slot);
        }
        let Some(old) = old else { return };
        if old.spi != params.spi {
            self.sad.remove(old.spi, slot);
        }
        if let Some(port) = old.listens {
            self.sad.unlisten(port);
        }
    }

    fn withdraw(&mut self, old: &Known, slot: SaSlot) {
        self.sad.remove(old.spi, slot);
        if let Some(port) = old.listens {
            self.sad.unlisten(port);
        }
    }

    /// What an SA has in common with the one that it replaces.
    fn kinship(&self, old: &Known, params: &SaParams) -> Kinship {
        let Some(kept) = self.registry.params(old.session) else { return Kinship::default() };
        let wanted = params.session_params();
        let is_shared = |transform: &Transform| {
            let key = transform.key().filter(|key| !key.is_empty());
            key.is_some() && kept.transforms.iter().any(|other| other.key() == key)
        };
        Kinship { same_session: *kept == wanted, same_key: wanted.transforms.iter().any(is_shared) }
    }

    fn known(&self, direction: Direction, slot: SaSlot) -> Option<Known> {
        let index = slot.index() as u32;
        let owner = usize::from(slot.owner());
        match direction {
            Direction::Outbound => self.outbound.cores.get(owner)?.live.get(&index).copied(),
            Direction::Inbound => self.inbound.cores.get(owner)?.live.get(&index).copied(),
        }
    }

    fn check(
        &self,
        direction: Direction,
        params: &SaParams,
        except: Option<SaSlot>,
    ) -> Result<(), ControlError> {
        params.check(direction == Direction::Inbound)?;
        let destination = destination_of(params);
        let clashes = |slot: &SaSlot| {
            let other = self.known(Direction::Inbound, *slot).and_then(|known| known.destination);
            Some(*slot) != except && (other == destination || other.is_none() || destination.is_none())
        };
        match direction {
            Direction::Inbound if self.sad.find(params.spi).iter().any(clashes) => {
                Err(ControlError::Ambiguous(params.spi))
            }
            _ => Ok(()),
        }
    }

    /// The core with the fewest SAs.
    fn idlest(&self) -> u8 {
        let counts =
            self.outbound.cores.iter().zip(&self.inbound.cores).map(|(a, b)| a.live.len() + b.live.len());
        (0_u8..).zip(counts).min_by_key(|&(_, count)| count).map_or(0, |(core, _)| core)
    }

    fn own(&mut self, spi: Spi, owner: u8) {
        self.owners.entry(spi).or_insert((owner, 0)).1 += 1;
    }

    fn disown(&mut self, spi: Spi) {
        if let Some((_, count)) = self.owners.get_mut(&spi) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&spi);
            }
        }
    }
}

/// The UDP port on which packets of an SA come.
fn listens(params: &SaParams) -> Option<u16> {
    params.udp_encap.map(|encap| encap.dst_port)
}

/// The destination that tells inbound SAs of one SPI apart.
fn destination_of(params: &SaParams) -> Option<IpAddr> {
    match params.mode {
        Mode::Tunnel { dst, .. } => Some(dst),
        Mode::Transport { destination } => destination,
    }
}

impl<S> Side<S> {
    fn new(direction: Direction, cores: u8) -> Self {
        let core = |_| Core {
            lane: Lane::new(),
            waiting: VecDeque::new(),
            away: 0,
            live: HashMap::new(),
            vacant: VecDeque::new(),
            next: 0,
            chunks: 0,
        };
        let cores = (0..cores).map(core).collect();
        Self { direction, spd: Spd::new(direction), cores, listed: HashMap::new() }
    }

    /// A place for an SA of `owner`: one that is empty and in no policy, or a new one.
    fn reserve(&mut self, owner: u8) -> Option<SaSlot> {
        let Self { cores, listed, .. } = self;
        let core = cores.get_mut(usize::from(owner))?;
        let unlisted = core.vacant.iter().position(|&index| !listed.contains_key(&SaSlot::of(owner, index)));
        if let Some(index) = unlisted.and_then(|at| core.vacant.remove(at)) {
            return Some(SaSlot::of(owner, index));
        }
        let index = core.next;
        if index > SaSlot::MAX_INDEX {
            return None;
        }
        core.next += 1;
        Some(SaSlot::of(owner, index))
    }

    fn release(&mut self, slot: SaSlot) {
        if let Some(core) = self.cores.get_mut(usize::from(slot.owner())) {
            core.vacant.push_back(slot.index() as u32);
        }
    }

    fn put(&mut self, slot: SaSlot, sa: Option<S>) {
        if let Some(core) = self.cores.get_mut(usize::from(slot.owner())) {
            let change = Change::new(slot.index() as u32, sa, &mut core.chunks);
            core.send(change);
        }
    }

    /// As [`Side::put`], in the place of an SA, whose numbers and counts it may take over.
    fn replace(&mut self, slot: SaSlot, sa: S, kin: Kinship) {
        let Some(core) = self.cores.get_mut(usize::from(slot.owner())) else { return };
        let mut change = Change::new(slot.index() as u32, Some(sa), &mut core.chunks);
        (change.inherits, change.keeps_session) = (kin.same_key, kin.same_session);
        core.send(change);
    }

    fn know(&mut self, slot: SaSlot, params: &SaParams, session: SessionId) {
        if let Some(core) = self.cores.get_mut(usize::from(slot.owner())) {
            let (destination, listens) = (destination_of(params), listens(params));
            let known = Known { spi: params.spi, destination, session, listens };
            core.live.insert(slot.index() as u32, known);
        }
    }

    fn forget(&mut self, slot: SaSlot) {
        self.put(slot, None);
        if let Some(core) = self.cores.get_mut(usize::from(slot.owner())) {
            core.live.remove(&(slot.index() as u32));
        }
    }

    fn add_policy(&mut self, policy: Policy) -> Result<PolicyId, ControlError> {
        let action = policy.action.clone();
        let id = self.spd.add(policy)?;
        self.list(&action);
        Ok(id)
    }

    fn remove_policy(&mut self, id: PolicyId) -> Result<Policy, ControlError> {
        let policy = self.spd.remove(id)?;
        self.unlist(&policy.action);
        Ok(policy)
    }

    fn replace_action(&mut self, id: PolicyId, action: Action) -> Result<Action, ControlError> {
        let old = self.spd.replace_action(id, action.clone())?;
        self.list(&action);
        self.unlist(&old);
        Ok(old)
    }

    fn list(&mut self, action: &Action) {
        for slot in slots_of(action) {
            *self.listed.entry(*slot).or_default() += 1;
        }
    }

    fn unlist(&mut self, action: &Action) {
        for slot in slots_of(action) {
            if let Some(count) = self.listed.get_mut(slot) {
                *count -= 1;
                if *count == 0 {
                    self.listed.remove(slot);
                }
            }
        }
    }
}

fn slots_of(action: &Action) -> &[SaSlot] {
    match action {
        Action::Protect(slots) => slots,
        Action::Bypass | Action::Discard => &[],
    }
}

impl<S> Core<S> {
    /// In the order of the calls, whatever the lane takes.
    fn send(&mut self, change: Box<Change<S>>) {
        self.waiting.push_back(change);
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while let Some(change) = self.waiting.pop_front() {
            if let Err(change) = self.lane.send(change) {
                return self.waiting.push_front(change);
            }
            self.away += 1;
        }
    }
}

impl<S: Returned> Side<S> {
    /// How many changes are still on their way.
    fn collect(&mut self, registry: &Registry, retired: &mut VecDeque<Retired>) -> usize {
        let direction = self.direction;
        for (owner, core) in (0_u8..).zip(&mut self.cores) {
            core.send_waiting();
            while let Some(change) = core.lane.made() {
                core.away -= 1;
                let Some(sa) = &change.sa else { continue };
                if !change.keeps_session {
                    registry.close(sa.session());
                }
                if change.vacates {
                    core.vacant.push_back(change.index);
                }
                if !change.inherits {
                    let slot = SaSlot::of(owner, change.index);
                    let (totals, last_sequence) = (sa.totals(), sa.last_sequence());
                    retired.push_back(Retired { direction, slot, totals, last_sequence });
                }
            }
        }
        self.cores.iter().map(|core| core.away + core.waiting.len()).sum()
    }
}

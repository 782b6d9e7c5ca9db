//! The control side of the framework: attached drivers, open sessions, where each session lies.
//!
//! Drivers come and go while dispatchers run. The registry keeps the parameters of every open session, so that any driver can set it
//! up again: a session whose driver goes, or withdraws an algorithm, is opened on another one, under the same handle; or under a new one where the
//! caller wants to be told (crypto(9)'s way). Where no driver is left that can do it, it waits for one that comes. The parameters are wiped
//! when the session is closed.
//!
//! Invariant: drivers' functions that open and close sessions are called under the registry's lock, so that none runs once
//! a driver has been detached.

#![allow(clippy::disallowed_types, reason = "the control side of the framework; dispatchers need no lock")]

mod attached;
mod everywhere;
mod own_ids;
mod placement;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::publish::Table;
use pipeline::{Clock, Pool};
use smallvec::SmallVec;

use crate::algorithm::Algorithm;
use crate::balance::Policy;
use crate::device::{Driver, DriverId, OpenError, QueuePairConfig};
use crate::dispatcher::{Departure, Dispatcher, Route, Slot, Spread, Way};
use crate::key_dispatcher::Numbered;
use crate::key_mail::{KeyMail, KeyMails};
use crate::key_op::KeyQueueConfig;
use crate::session::SessionId;
use crate::transform::SessionParams;

pub use placement::{Opened, Placement, Ranking, SessionOptions};

use attached::Drivers;
use placement::WORTH_A_MOVE;
use sessions::{Open, Place, Sessions};

/// The framework's control side; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
    routes: Table<Route>,
}

#[derive(Debug, Default)]
struct Inner {
    drivers: Drivers,
    sessions: Sessions,
    /// Moves away from drivers so far.
    departures: u64,
    ranking: Option<Arc<dyn Ranking>>,
    /// Some session has been moved: each is to be looked up from now on.
    unsettled: bool,
    /// Dispatchers of key operations.
    keys: KeyMails,
}

/// What became of the sessions of a driver that went, or of an algorithm that it withdrew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Sessions that another driver has now, under the same handle.
    pub moved: usize,
    /// Sessions that another driver has now under a new handle, of which their jobs tell.
    pub renamed: usize,
    /// Sessions that no driver can do now, under the same handle or a new one: their jobs come back to be tried again.
    pub waiting: usize,
}

/// A driver could not be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The name is taken.
    #[error("a driver named {0} is attached already; give this one another unit number")]
    NameTaken(String),
    /// No place left.
    #[error("no place for another driver; detach one first")]
    TooMany,
}

/// There is no such driver, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("driver number {number} is not attached; it may have been detached", number = .0.0)]
pub struct NotAttached(pub DriverId);

impl Registry {
    /// A registry without drivers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry whose dispatchers go by this clock: with one that is moved by hand, what is about time is the same in each run.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let registry = Self::default();
        registry.lock().drivers.clock = clock;
        registry
    }

    /// Makes memory known that packets may lie in: cards reach it from then on, those that are attached and those that come. Packets that lie
    /// elsewhere are copied for a card, which costs time and nothing else.
    pub fn map_memory(&self, pool: &Pool) {
        self.lock().drivers.map_memory(pool);
    }

    /// Attaches a driver. Dispatchers that exist get a queue pair on it; sessions that waited for such a driver are opened there, and so are
    /// those that want every driver.
    ///
    /// # Errors
    /// Another driver has this name, or there is no place left.
    pub fn attach(&self, driver: impl Driver + 'static) -> Result<DriverId, AttachError> {
        self.attach_any(Arc::new(driver))
    }

    /// Detaches a driver: no session is opened on it any more, and those that it has move to other drivers. Jobs that it has come back in its
    /// own time, or to be done by another driver where it gives them back untouched. Once this has returned, none of its functions that open and
    /// close sessions runs. It is dropped when no dispatcher has a job with it any more; see [`Registry::collect`].
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn detach(&self, id: DriverId) -> Result<Moves, NotAttached> {
        let mut inner = self.lock();
        let slot = inner.drivers.slot_of(id).ok_or(NotAttached(id))?;
        Ok(self.detach_slot(&mut inner, slot))
    }

    fn detach_slot(&self, inner: &mut Inner, slot: Slot) -> Moves {
        inner.unsettled = true;
        if let Some(attached) = inner.drivers.get(slot) {
            inner.keys.goes(attached.id);
        }
        inner.drivers.let_go(slot);
        let moves = self.replace_all(inner, slot, |_| true);
        let _news = self.routes.grace();
        moves
    }

    /// Withdraws one algorithm of a driver: its sessions with it move to other drivers. With the last one, the driver is detached.
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn withdraw(&self, id: DriverId, algorithm: impl Into<Algorithm>) -> Result<Moves, NotAttached> {
        let algorithm = algorithm.into();
        let mut inner = self.lock();
        let slot = inner.drivers.slot_of(id).ok_or(NotAttached(id))?;
        let Some(attached) = inner.drivers.get_mut(slot) else { return Err(NotAttached(id)) };
        attached.withdrawn.insert(algorithm);
        if attached.is_bare() {
            return Ok(self.detach_slot(&mut inner, slot));
        }
        inner.unsettled = true;
        let has = |params: &SessionParams| params.transforms.iter().any(|one| one.algorithm() == algorithm);
        Ok(self.replace_all(&mut inner, slot, has))
    }

    /// Moves a session to another driver, for speed or to make room: jobs that the old one has are waited for.
    ///
    /// # Errors
    /// Why the other driver cannot, with nothing changed; [`OpenError::NoDriver`] where there is no such session or driver.
    pub fn move_to(&self, id: SessionId, driver: DriverId) -> Result<(), OpenError> {
        let mut inner = self.lock();
        let missing = || OpenError::NoDriver(Placement::Driver(driver).to_string());
        let slot = inner.drivers.slot_of(driver).ok_or_else(missing)?;
        let open = inner.sessions.get(id).ok_or_else(missing)?;
        let (params, place, segments) = (Arc::clone(&open.params), open.place.clone(), open.options.segments);
        if matches!(place, Place::One(now) if now == slot) {
            return Ok(());
        }
        inner.drivers.get(slot).ok_or_else(missing)?.open(id, &params, segments)?;
        inner.unsettled = true;
        self.put_at(&mut inner, id, Place::One(slot));
        Ok(())
    }

    /// Says how fast drivers are, from now on. Sessions that want the fastest move where it is worth it; how many did.
    pub fn set_ranking(&self, ranking: impl Ranking + 'static) -> usize {
        let mut inner = self.lock();
        inner.ranking = Some(Arc::new(ranking));
        self.move_to_fastest(&mut inner)
    }

    fn move_to_fastest(&self, inner: &mut Inner) -> usize {
        let wants =
            |open: &Open| open.options.placement == Placement::Fastest && matches!(open.place, Place::One(_));
        let mut moved = 0;
        for id in inner.sessions.handles(wants) {
            let Some(better) = inner.better_for(id) else { continue };
            let Some(open) = inner.sessions.get(id) else { continue };
            let (params, segments) = (Arc::clone(&open.params), open.options.segments);
            if inner.opens(better, id, &params, segments) {
                inner.unsettled = true;
                self.put_at(inner, id, Place::One(better));
                moved += 1;
            }
        }
        moved
    }

    /// Finds a driver by name and unit (`software0`), or by name alone (`software`, the first of them).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<DriverId> {
        let inner = self.lock();
        let named = |wanted: &dyn Fn(&str) -> bool| {
            let mut present = inner.drivers.present();
            present.find(|(_, attached)| wanted(attached.driver.name())).map(|(_, attached)| attached.id)
        };
        let without_unit = |full: &str| full.trim_end_matches(|c: char| c.is_ascii_digit()) == name;
        named(&|full| full == name).or_else(|| named(&without_unit))
    }

    /// Opens a session; the handle stays the same until it is closed.
    ///
    /// # Errors
    /// Why the last driver that was allowed could not.
    pub fn open(&self, params: SessionParams, placement: Placement) -> Result<SessionId, OpenError> {
        self.open_with(params, placement.into()).map(|opened| opened.id)
    }

    /// As [`Registry::open`], with more to be wished for, and told where the session lies and who was passed over. A chain whose
    /// algorithms no single driver has is split over two drivers.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn open_with(&self, params: SessionParams, options: SessionOptions) -> Result<Opened, OpenError> {
        let mut inner = self.lock();
        let id = inner.sessions.reserve().ok_or(OpenError::TooMany)?;
        let mut passed_over = Vec::new();
        match inner.place(id, &params, options, &mut passed_over) {
            Ok(place) => {
                let drivers = inner.ids(&place);
                let params = Arc::new(params);
                let open =
                    Open { params, options, place, from: Box::default(), left_behind: SmallVec::new() };
                inner.sessions.put(id, open);
                self.publish(&inner, id);
                Ok(Opened { id, bundle: 0, drivers, passed_over })
            }
            Err(error) => {
                inner.sessions.release(id);
                // A part may have been opened and closed again.
                for (_, attached) in inner.drivers.all() {
                    attached.collect();
                }
                Err(error)
            }
        }
    }

    /// Opens a session for the first of several bundles that can be had, in the order of preference.
    ///
    /// # Errors
    /// Why the last one could not; [`OpenError::NoDriver`] for no bundle.
    pub fn open_first(
        &self,
        bundles: impl IntoIterator<Item = SessionParams>,
        options: SessionOptions,
    ) -> Result<Opened, OpenError> {
        let mut last = OpenError::NoDriver(options.placement.to_string());
        for (bundle, params) in bundles.into_iter().enumerate() {
            match self.open_with(params, options) {
                Ok(opened) => return Ok(Opened { bundle, ..opened }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Closes a session: its keys are wiped here, and in the driver by the first [`Registry::collect`] after every queue pair has
    /// stopped using them. False when the handle is not that of an open session.
    pub fn close(&self, id: SessionId) -> bool {
        let mut inner = self.lock();
        let Some(open) = inner.sessions.take(id) else { return false };
        inner.close_at(id, open.place.slots().iter().chain(&open.left_behind));
        self.routes.remove(id.index());
        inner.sessions.release(id);
        drop(inner);
        self.collect();
        true
    }

    /// Wipes and frees what belonged to closed sessions, as far as every core has passed a burst boundary since, and drops drivers that
    /// have gone; how many entries, of the registry and of drivers, still wait. Closing a session does it too, so only the last ones
    /// closed need it.
    pub fn collect(&self) -> usize {
        let mut inner = self.lock();
        inner.keys.collect();
        let freed = inner.drivers.collect();
        if !freed.is_empty() {
            self.forget(&mut inner, &freed);
        }
        let leaving = inner.drivers.all().filter(|(_, attached)| attached.leaving).count();
        let with_drivers: usize = inner.drivers.all().map(|(_, attached)| attached.collect()).sum();
        leaving + with_drivers + self.routes.collect()
    }

    /// Another driver may get these places: nobody waits there any more.
    fn forget(&self, inner: &mut Inner, freed: &[Slot]) {
        let is_freed = |departure: &Departure| freed.contains(&departure.slot);
        let concerned = |open: &Open| {
            open.from.iter().any(is_freed) || open.left_behind.iter().any(|slot| freed.contains(slot))
        };
        for id in inner.sessions.handles(concerned) {
            if let Some(open) = inner.sessions.get_mut(id) {
                open.from = open.from.iter().copied().filter(|departure| !is_freed(departure)).collect();
                open.left_behind.retain(|slot| !freed.contains(slot));
            }
            self.publish(inner, id);
        }
    }

    /// What an open session was opened for.
    #[must_use]
    pub fn params(&self, id: SessionId) -> Option<Arc<SessionParams>> {
        self.lock().sessions.get(id).map(|open| Arc::clone(&open.params))
    }

    /// What an attached driver can do: sessions that fit, algorithms with their keys, batch size, scatter/gather, queue depth.
    #[must_use]
    pub fn capabilities(&self, id: DriverId) -> Option<crate::Capabilities> {
        let inner = self.lock();
        inner
            .drivers
            .present()
            .find(|(_, attached)| attached.id == id)
            .map(|(_, attached)| attached.driver.capabilities().clone())
    }

    /// Whether jobs of a session are done inside the submit call: true when every driver that has it says so. `None` for no open
    /// session, or one that waits for a driver.
    #[must_use]
    pub fn is_synchronous(&self, id: SessionId) -> Option<bool> {
        let inner = self.lock();
        let slots = inner.sessions.get(id)?.place.slots();
        let mut drivers = slots.iter().filter_map(|&slot| inner.get(slot)).peekable();
        drivers.peek()?;
        Some(drivers.all(|attached| attached.driver.capabilities().synchronous))
    }

    /// Under which ids the drivers that have a session keep it themselves; those that go by its handle are left out.
    #[must_use]
    pub fn own_session_ids(&self, id: SessionId) -> Vec<(DriverId, u64)> {
        let inner = self.lock();
        let slots = inner.sessions.get(id).map(|open| open.place.slots()).unwrap_or_default();
        let attached = slots.iter().filter_map(|&slot| inner.get(slot));
        attached.filter_map(|attached| Some((attached.id, attached.own_id(id)?))).collect()
    }

    /// The drivers that have a session, in the order in which work is given to them; none when it waits for one.
    #[must_use]
    pub fn drivers_of(&self, id: SessionId) -> Vec<DriverId> {
        let inner = self.lock();
        inner.sessions.get(id).map(|open| inner.ids(&open.place)).unwrap_or_default()
    }

    /// Sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// A dispatcher for one core, with a queue pair on every attached driver, and on those that come.
    ///
    /// # Errors
    /// No driver is attached.
    pub fn dispatcher(&self, config: &QueuePairConfig) -> Result<Dispatcher, OpenError> {
        let mut inner = self.lock();
        if inner.drivers.present().next().is_none() {
            return Err(OpenError::NoDriver(Placement::Any.to_string()));
        }
        let settled = !inner.unsettled;
        let (lanes, mail) = inner.drivers.subscribe(config);
        let clock = inner.drivers.clock.clone();
        Ok(Dispatcher::new(lanes, self.routes.reader(), mail, settled, clock))
    }

    /// One more dispatcher of key operations: every attached driver with its number, and where news of them will come.
    pub(crate) fn join_key_operations(&self, config: &KeyQueueConfig) -> (Numbered, Arc<KeyMail>) {
        let mut inner = self.lock();
        let present = inner.drivers.present();
        let drivers = present.map(|(_, attached)| (attached.id, Arc::clone(&attached.driver))).collect();
        (drivers, inner.keys.add(config))
    }

    /// Finds another place for each session of a driver of which this holds.
    fn replace_all(&self, inner: &mut Inner, slot: Slot, which: impl Fn(&SessionParams) -> bool) -> Moves {
        let mut moves = Moves::default();
        let concerned = |open: &Open| open.place.slots().contains(&slot) && which(&open.params);
        for id in inner.sessions.handles(concerned) {
            match self.replace(inner, id, Some(slot)) {
                Place::Nowhere => moves.waiting += 1,
                Place::Moved(handle) if inner.is_nowhere(handle) => moves.waiting += 1,
                Place::Moved(_) => moves.renamed += 1,
                _ => moves.moved += 1,
            }
        }
        moves
    }

    /// Finds a place for a session that cannot stay where it is; where it is now.
    fn replace(&self, inner: &mut Inner, id: SessionId, gone: Option<Slot>) -> Place {
        let Some(open) = inner.sessions.get(id).cloned() else { return Place::Nowhere };
        // On several drivers, the others go on.
        if let (Place::Many { slots, fallback }, Some(gone)) = (&open.place, gone) {
            let slots: SmallVec<[Slot; 8]> = slots.iter().copied().filter(|&slot| slot != gone).collect();
            let fallback = fallback.filter(|&slot| slot != gone);
            if let Some(first) = slots.first().copied().or(fallback) {
                let slots = if slots.is_empty() { SmallVec::from_slice(&[first]) } else { slots };
                let fallback = fallback.filter(|slot| !slots.contains(slot));
                let place = Place::Many { slots, fallback };
                self.put_at(inner, id, place.clone());
                return place;
            }
        }
        let renames = open.options.report_moves && gone.is_some();
        let handle = if renames { inner.sessions.reserve().unwrap_or(id) } else { id };
        // A named driver that is gone cannot be insisted on.
        let placement = match open.options.placement {
            Placement::Driver(wanted) if inner.drivers.slot_of(wanted).is_none() => Placement::Any,
            other => other,
        };
        let options = SessionOptions { placement, ..open.options };
        let place = inner.place(handle, &open.params, options, &mut Vec::new()).unwrap_or(Place::Nowhere);
        if handle == id {
            self.put_at(inner, id, place.clone());
            return place;
        }
        inner.sessions.put(handle, Open { place, ..open });
        self.publish(inner, handle);
        let place = Place::Moved(handle);
        self.put_at(inner, id, place.clone());
        place
    }

    /// Lets a session lie elsewhere from now on.
    fn put_at(&self, inner: &mut Inner, id: SessionId, place: Place) {
        inner.departures += 1;
        let number = inner.departures;
        let Some(open) = inner.sessions.get_mut(id) else { return };
        let place = if matches!(open.place, Place::Many { .. }) { place.in_order() } else { place };
        let now = place.slots();
        let before = open.place.slots();
        if matches!(open.place, Place::One(_) | Place::Split(..)) {
            let leaves = before.iter().map(|&slot| Departure { slot, number });
            // Jobs may still be where it was before that, too.
            let is_known = |one: &Departure| before.contains(&one.slot) || now.contains(&one.slot);
            let earlier = open.from.iter().copied().filter(|one| !is_known(one));
            open.from = leaves.chain(earlier).collect();
        }
        open.left_behind.extend(before.into_iter().filter(|slot| !now.contains(slot)));
        open.left_behind.retain(|slot| !now.contains(slot));
        open.place = place;
        self.publish(inner, id);
    }

    fn publish(&self, inner: &Inner, id: SessionId) {
        let Some(open) = inner.sessions.get(id) else { return };
        let way = match &open.place {
            Place::One(slot) => Way::One(*slot),
            Place::Many { slots, fallback } => {
                let policy = match open.options.placement {
                    Placement::All(policy) | Placement::Everywhere(policy) => policy,
                    _ => Policy::Failover,
                };
                Way::Many(Box::new(Spread { slots: slots.clone(), policy, fallback: *fallback }))
            }
            Place::Split(slots, first) => {
                let second = open.params.transforms.len() - first;
                Way::Split { slots: *slots, first: *first as u8, second: second as u8 }
            }
            Place::Nowhere => Way::Nowhere,
            Place::Moved(handle) => Way::Moved(*handle),
        };
        self.routes.set(id.index(), Route { generation: id.generation(), from: open.from.clone(), way });
    }

    /// Every change leaves the tables whole before it can fail, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The drivers of a place.
    fn ids(&self, place: &Place) -> Vec<DriverId> {
        place.slots().iter().filter_map(|&slot| self.get(slot)).map(|attached| attached.id).collect()
    }

    /// Opens a session where it may lie: on one driver, on all of them, or split over two.
    fn place(
        &self,
        id: SessionId,
        params: &SessionParams,
        options: SessionOptions,
        passed_over: &mut Vec<(DriverId, OpenError)>,
    ) -> Result<Place, OpenError> {
        if let Placement::All(_) = options.placement {
            return self.place_on_all(id, params, options, passed_over);
        }
        if let Placement::Everywhere(_) = options.placement {
            let place = self.place_everywhere(id, params, options, passed_over);
            return place.ok_or_else(|| nowhere(options, passed_over));
        }
        let placement = options.placement;
        let mut candidates: SmallVec<[Slot; 8]> = self.candidates(placement).collect();
        if placement == Placement::Fastest {
            // A stable sort: those without a rank keep their order, behind the others.
            let cost = |slot: &Slot| self.cost(params, *slot).unwrap_or(f64::INFINITY);
            candidates.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
        }
        let first =
            candidates.into_iter().find_map(|slot| self.try_open(slot, id, params, options, passed_over));
        if let Some(slot) = first {
            let fallback = self.fallback(id, params, options, &[slot]);
            return Ok(match fallback {
                Some(_) => Place::Many { slots: SmallVec::from_slice(&[slot]), fallback },
                None => Place::One(slot),
            });
        }
        if let Some(place) = self.place_split(id, params, options) {
            return Ok(place);
        }
        Err(nowhere(options, passed_over))
    }

    fn place_on_all(
        &self,
        id: SessionId,
        params: &SessionParams,
        options: SessionOptions,
        passed_over: &mut Vec<(DriverId, OpenError)>,
    ) -> Result<Place, OpenError> {
        for hardware in [true, false] {
            let kind = if hardware { Placement::Hardware } else { Placement::Software };
            let opened = self
                .candidates(kind)
                .filter_map(|slot| self.try_open(slot, id, params, options, passed_over));
            let slots: SmallVec<[Slot; 8]> = opened.take(MAX_SPREAD).collect();
            if !slots.is_empty() {
                let fallback = self.fallback(id, params, options, &slots);
                return Ok(Place::Many { slots, fallback });
            }
        }
        Err(nowhere(options, passed_over))
    }

    /// A software driver that stands by, where that is wanted.
    fn fallback(
        &self,
        id: SessionId,
        params: &SessionParams,
        options: SessionOptions,
        has: &[Slot],
    ) -> Option<Slot> {
        let mut candidates = options.fallback.then(|| self.candidates(Placement::Software))?;
        candidates.find(|slot| {
            !has.contains(slot)
                && self.get(*slot).is_some_and(|one| one.open(id, params, options.segments).is_ok())
        })
    }

    /// The first part of a chain on one driver and the rest on another one, for a chain that none has whole.
    fn place_split(&self, id: SessionId, params: &SessionParams, options: SessionOptions) -> Option<Place> {
        let (placement, segments) = (options.placement, options.segments);
        if self.candidates(placement).count() < 2 {
            return None;
        }
        for at in 1..params.transforms.len() {
            let (front, back) = params.transforms.split_at(at);
            let part =
                |transforms: &[crate::Transform]| transforms.iter().cloned().collect::<SessionParams>();
            let (front, back) = (part(front), part(back));
            let Some(first) = self.candidates(placement).find(|&slot| self.opens(slot, id, &front, segments))
            else {
                continue;
            };
            let others = self.candidates(placement).filter(|&slot| slot != first);
            match others.into_iter().find(|&slot| self.opens(slot, id, &back, segments)) {
                Some(second) => return Some(Place::Split([first, second], at)),
                None => self.close_at(id, &[first]),
            }
        }
        None
    }

    fn is_nowhere(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_none_or(|open| matches!(open.place, Place::Nowhere))
    }

    /// What the ranking says of a driver.
    fn cost(&self, params: &SessionParams, slot: Slot) -> Option<f64> {
        self.ranking.as_ref()?.cost(params, self.get(slot)?.driver.name())
    }

    /// The driver that is so much faster for a session than its own that a move is worth it.
    fn better_for(&self, id: SessionId) -> Option<Slot> {
        let open = self.sessions.get(id)?;
        let Place::One(now) = open.place else { return None };
        let own = self.cost(&open.params, now).unwrap_or(f64::INFINITY);
        let costs = self
            .candidates(Placement::Fastest)
            .filter_map(|slot| Some((slot, self.cost(&open.params, slot)?)));
        let (slot, cost) = costs.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
        (slot != now && cost < own * WORTH_A_MOVE).then_some(slot)
    }

    fn opens(&self, slot: Slot, id: SessionId, params: &SessionParams, segments: bool) -> bool {
        self.get(slot).is_some_and(|attached| attached.open(id, params, segments).is_ok())
    }

    fn get(&self, slot: Slot) -> Option<&attached::Attached> {
        self.drivers.get(slot)
    }

    /// Places of drivers that may be asked, hardware first.
    fn candidates(&self, placement: Placement) -> impl Iterator<Item = Slot> {
        let of_kind = move |hardware: bool| {
            let present =
                self.drivers.present().filter(move |(_, attached)| attached.is_hardware() == hardware);
            let allowed = present.filter(move |(_, attached)| placement.allows(attached.id, hardware));
            allowed.map(|(slot, _)| slot)
        };
        of_kind(true).chain(of_kind(false)).collect::<SmallVec<[Slot; 8]>>().into_iter()
    }

    fn try_open(
        &self,
        slot: Slot,
        id: SessionId,
        params: &SessionParams,
        options: SessionOptions,
        passed_over: &mut Vec<(DriverId, OpenError)>,
    ) -> Option<Slot> {
        let attached = self.get(slot)?;
        // With a driver that stands by, a card that takes packets in one piece gets those.
        match attached.open(id, params, options.segments && !options.fallback) {
            Ok(()) => Some(slot),
            Err(error) => {
                passed_over.push((attached.id, error));
                None
            }
        }
    }

    fn close_at<'a>(&self, id: SessionId, slots: impl IntoIterator<Item = &'a Slot>) {
        for attached in slots.into_iter().filter_map(|&slot| self.get(slot)) {
            // After it was detached, a driver is asked nothing any more: what it has of the session goes with it.
            if !attached.leaving {
                attached.close(id);
            }
        }
    }
}

/// Why a session lies nowhere: what the last one lacked that was asked, or that nobody was.
fn nowhere(options: SessionOptions, passed_over: &[(DriverId, OpenError)]) -> OpenError {
    let last = passed_over.last().map(|(_, error)| error.clone());
    last.unwrap_or_else(|| OpenError::NoDriver(options.placement.to_string()))
}

/// Most drivers that share one session.
const MAX_SPREAD: usize = 8;

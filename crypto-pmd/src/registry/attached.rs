//! The drivers that are attached, the dispatchers that are told of them, and who still has a lane of whom.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use pipeline::publish::Table;
use pipeline::{Clock, Pool};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::capability::Unsupported;
use crate::device::{Driver, DriverId, OpenError, QueuePairConfig, SessionStates, State};
use crate::dispatcher::{Lane, MAX_DRIVERS, Mail, Manners, News, Slot};
use crate::session::SessionId;
use crate::transform::SessionParams;

use super::own_ids::OwnIds;

/// A driver in its place.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: DriverId,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) withdrawn: HashSet<Algorithm>,
    states: Table<State>,
    own_ids: RefCell<OwnIds>,
    /// It goes: no session is opened here any more.
    pub(super) leaving: bool,
}

impl Attached {
    pub(super) fn is_hardware(&self) -> bool {
        self.driver.capabilities().hardware
    }

    /// Opens a session, unless an algorithm of it was withdrawn, or its packets come in `segments` and are not taken so.
    pub(super) fn open(
        &self,
        id: SessionId,
        params: &SessionParams,
        segments: bool,
    ) -> Result<(), OpenError> {
        if segments && !self.driver.capabilities().scatter_gather {
            let what = Unsupported::Segments;
            return Err(OpenError::Unsupported { driver: self.driver.name().to_owned(), what });
        }
        let withdrawn = params.transforms.iter().map(|transform| transform.algorithm());
        match withdrawn.into_iter().find(|algorithm| self.withdrawn.contains(algorithm)) {
            Some(algorithm) => {
                let what = Unsupported::Withdrawn(algorithm.name());
                Err(OpenError::Unsupported { driver: self.driver.name().to_owned(), what })
            }
            None => self.open_under_own_id(id, params),
        }
    }

    fn open_under_own_id(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.open_with_state(id, params)?;
        let learnt = self.own_ids.borrow_mut().learn(&*self.driver, id);
        if learnt.is_err() {
            self.close(id);
        }
        learnt
    }

    /// The driver's own id of a session that it has.
    pub(super) fn own_id(&self, id: SessionId) -> Option<u64> {
        self.own_ids.borrow().of(id)
    }

    fn open_with_state(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let len = self.driver.session_state_len();
        if len == 0 {
            return self.driver.open_session(id, params);
        }
        let mut state = Zeroizing::new(vec![0; len].into_boxed_slice());
        self.driver.open_with_state(id, params, &mut state)?;
        self.states.set(id.index(), (id.generation(), state));
        Ok(())
    }

    /// Closes a session, and lets its state go.
    pub(super) fn close(&self, id: SessionId) {
        self.driver.close_session(id);
        self.states.remove(id.index());
        self.own_ids.borrow_mut().forget(id);
    }

    /// Frees what nobody looks at any more; how much still waits.
    pub(super) fn collect(&self) -> usize {
        self.driver.collect() + self.states.collect()
    }

    /// Whether it has nothing left to offer.
    pub(super) fn is_bare(&self) -> bool {
        let capabilities = self.driver.capabilities();
        !capabilities.anything
            && capabilities.entries().all(|entry| self.withdrawn.contains(&entry.algorithm))
    }

    fn lane(&self, config: &QueuePairConfig, clock: &Clock) -> Box<Lane> {
        let capabilities = self.driver.capabilities();
        let depth = capabilities.queue_depth.map_or(config.depth, |depth| depth.min(config.depth));
        let manners = Manners {
            batch: capabilities.batch_size,
            in_order: capabilities.in_order,
            latency_ns: capabilities.latency_ns,
            one_piece: !capabilities.scatter_gather,
            hardware: capabilities.hardware,
            driver: Some(self.id),
            depth,
        };
        let mut queue = self.driver.queue_pair(&QueuePairConfig { depth, ..*config });
        if self.driver.session_state_len() > 0 {
            queue.set_states(SessionStates::new(self.states.reader()));
        }
        Box::new(Lane::new(queue, manners, clock))
    }
}

/// A dispatcher, as control code knows it.
#[derive(Debug)]
struct Subscriber {
    mail: Mail,
    config: QueuePairConfig,
    /// Places of which it has a lane.
    lanes: u64,
    unsent: VecDeque<News>,
}

impl Subscriber {
    fn tell(&mut self, news: News) {
        self.unsent.push_back(news);
        self.send();
    }

    fn send(&mut self) {
        while let Some(news) = self.unsent.pop_front() {
            if let Err(news) = self.mail.send(news) {
                return self.unsent.push_front(news);
            }
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    places: Vec<Option<Attached>>,
    next_id: u16,
    subscribers: Vec<Subscriber>,
    /// The dispatchers' clock.
    pub(super) clock: Clock,
    /// Memory that packets lie in, as far as it was made known.
    memory: Vec<Pool>,
}

impl Drivers {
    /// Memory that packets may lie in, for those that are attached and those that come.
    pub(super) fn map_memory(&mut self, pool: &Pool) {
        self.present().for_each(|(_, attached)| attached.driver.map_memory(pool));
        self.memory.push(pool.clone());
    }

    /// Puts a driver into a free place, and tells the dispatchers; `None` when there is none, or no number.
    pub(super) fn attach(&mut self, driver: Arc<dyn Driver>) -> Option<(Slot, DriverId)> {
        let slot = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if slot >= MAX_DRIVERS || self.next_id == u16::MAX {
            return None;
        }
        let id = DriverId(self.next_id);
        self.next_id += 1;
        let attached = Attached {
            id,
            driver,
            withdrawn: HashSet::new(),
            states: Table::new(),
            own_ids: RefCell::default(),
            leaving: false,
        };
        self.memory.iter().for_each(|pool| attached.driver.map_memory(pool));
        for subscriber in &mut self.subscribers {
            subscriber.lanes |= 1 << slot;
            subscriber.tell(News::Came(slot as Slot, attached.lane(&subscriber.config, &self.clock)));
        }
        match self.places.get_mut(slot) {
            Some(place) => *place = Some(attached),
            None => self.places.push(Some(attached)),
        }
        Some((slot as Slot, id))
    }

    /// A driver goes; the dispatchers are told.
    pub(super) fn let_go(&mut self, slot: Slot) {
        if let Some(attached) = self.get_mut(slot) {
            attached.leaving = true;
        }
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.lanes >> slot & 1 == 1) {
            subscriber.tell(News::Goes(slot));
        }
    }

    /// Lanes for a new dispatcher, which is told of what comes.
    pub(super) fn subscribe(&mut self, config: &QueuePairConfig) -> (Vec<(Slot, Box<Lane>)>, Mail) {
        let mail = Mail::new();
        let lanes: Vec<_> =
            self.present().map(|(slot, attached)| (slot, attached.lane(config, &self.clock))).collect();
        let has = lanes.iter().fold(0, |has, (slot, _)| has | 1 << slot);
        let subscriber =
            Subscriber { mail: mail.clone(), config: *config, lanes: has, unsent: VecDeque::new() };
        self.subscribers.push(subscriber);
        (lanes, mail)
    }

    /// Takes lanes back, forgets dispatchers that are gone, and frees the places of drivers of which nobody has a lane any more; those places.
    pub(super) fn collect(&mut self) -> Vec<Slot> {
        self.subscribers.retain_mut(|subscriber| {
            subscriber.send();
            while let Some((slot, lane)) = subscriber.mail.returned() {
                subscriber.lanes &= !(1 << slot);
                drop(lane);
            }
            !subscriber.mail.is_abandoned()
        });
        let used = self.subscribers.iter().fold(0, |used, subscriber| used | subscriber.lanes);
        let mut freed = Vec::new();
        for (slot, place) in (0..).zip(&mut self.places) {
            if place.take_if(|attached| attached.leaving && used >> slot & 1 == 0).is_some() {
                freed.push(slot);
            }
        }
        freed
    }

    /// Drivers that are there to stay.
    pub(super) fn present(&self) -> impl Iterator<Item = (Slot, &Attached)> {
        self.all().filter(|(_, attached)| !attached.leaving)
    }

    /// Also those that go.
    pub(super) fn all(&self) -> impl Iterator<Item = (Slot, &Attached)> {
        (0..).zip(&self.places).filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Attached> {
        self.places.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Attached> {
        self.places.get_mut(usize::from(slot))?.as_mut()
    }

    /// The place of a driver that is there to stay.
    pub(super) fn slot_of(&self, id: DriverId) -> Option<Slot> {
        self.present().find(|(_, attached)| attached.id == id).map(|(slot, _)| slot)
    }
}

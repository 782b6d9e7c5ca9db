//! The way of key operations to the drivers, one for each core that has any: chooses the driver of each request, keeps what a blocked
//! driver cannot take, brings back what is done.
//!
//! Invariants: a request that was taken completes once, with a result in it; requests go to a driver in the order
//! in which they were submitted for it; what is kept is bounded, and what exceeds the bound stays with the caller. Nothing here blocks,
//! computes, or takes memory after the start. Jobs have their own dispatcher, and neither blocks the other.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::device::{Driver, DriverId};
use crate::key_mail::{KeyMail, KeyNews};
use crate::key_op::{KeyError, KeyQueue, KeyQueueConfig, KeyRequest, KeySupport, Unblock};
use crate::registry::{Placement, Registry};

/// A request that is done.
#[derive(Debug)]
pub struct KeyCompletion {
    /// The request, with its result and outputs.
    pub request: KeyRequest,
    driver: Option<(DriverId, Arc<str>)>,
}

impl KeyCompletion {
    /// Which driver did it; `None` when it was refused before any had it.
    #[must_use]
    pub fn driver(&self) -> Option<DriverId> {
        self.driver.as_ref().map(|(id, _)| *id)
    }

    /// That driver's name and unit.
    #[must_use]
    pub fn driver_name(&self) -> Option<&str> {
        self.driver.as_ref().map(|(_, name)| &**name)
    }
}

/// Drivers for which there is room without taking memory.
const DRIVERS: usize = 64;

/// Key queues of one core.
#[derive(Debug)]
pub struct KeyDispatcher {
    /// Hardware before software, otherwise as attached. Those of drivers that go stay until these have given everything back.
    #[allow(
        clippy::vec_box,
        reason = "a lane comes in its box and goes back in it, so that nothing is freed here"
    )]
    lanes: Vec<Box<Lane>>,
    /// What waited for drivers that go, and has no other yet; older than what waits anywhere else.
    again: VecDeque<Waiting>,
    mail: Arc<KeyMail>,
    /// Requests that no driver gets; they complete with their error.
    refused: VecDeque<KeyRequest>,
    waiting: usize,
    in_flight: usize,
    next_poll: usize,
}

impl Registry {
    /// A dispatcher of key operations for one core, with a queue on each attached driver that has one, and on those that come later. When a
    /// driver is detached, what waited for it goes to another, and what it has comes back in its own time.
    #[must_use]
    pub fn key_dispatcher(&self, config: &KeyQueueConfig) -> KeyDispatcher {
        let (drivers, mail) = self.join_key_operations(config);
        KeyDispatcher::new(drivers, config, mail)
    }
}

impl KeyDispatcher {
    fn new(drivers: Numbered, config: &KeyQueueConfig, mail: Arc<KeyMail>) -> Self {
        let made = drivers.iter().filter_map(|(id, driver)| Lane::new(*id, &**driver, config));
        let mut lanes: Vec<Box<_>> = Vec::with_capacity(DRIVERS);
        lanes.extend(made.map(Box::new));
        lanes.sort_by_key(|lane| !lane.hardware);
        let refused = VecDeque::with_capacity(config.waiting.max(1));
        let again = VecDeque::with_capacity(2 * (config.waiting + 1));
        Self { lanes, again, mail, refused, waiting: config.waiting, in_flight: 0, next_poll: 0 }
    }

    /// Takes a request for the first driver that the placement allows and that does the operation with operands of that length. What is wrong
    /// with the request is told by its completion.
    ///
    /// # Errors
    /// The driver is blocked and as many requests wait as may: this one comes back as it was, to be submitted again after a poll.
    pub fn submit(&mut self, mut request: KeyRequest, placement: Placement) -> Result<(), KeyRequest> {
        self.read_news();
        self.drive_again();
        if !self.again.is_empty() {
            return Err(request);
        }
        request.reopen();
        match self.choose(&request, placement) {
            Ok(place) => match self.lanes.get_mut(place) {
                Some(lane) => lane.offer((request, placement)).map_err(|(request, _)| request)?,
                None => return Err(request),
            },
            Err(_) if self.refused.len() >= self.waiting.max(1) => return Err(request),
            Err(error) => {
                request.finish(Err(error));
                self.refused.push_back(request);
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    /// A request that is done, if any; also hands on what waited for a driver that has room again.
    pub fn poll(&mut self) -> Option<KeyCompletion> {
        self.read_news();
        self.drive_again();
        self.lanes.iter_mut().for_each(|lane| lane.pump());
        let done = match self.refused.pop_front() {
            Some(request) => KeyCompletion { request, driver: None },
            None => self.poll_lanes()?,
        };
        self.in_flight -= 1;
        Some(done)
    }

    /// Requests submitted and not polled yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Requests that wait here for blocked drivers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.again.len() + self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>()
    }

    /// Whether a driver has said that it is out of room for key operations, and not yet that it has room again.
    #[must_use]
    pub fn is_blocked(&self, driver: DriverId) -> bool {
        self.lanes.iter().any(|lane| lane.id == driver && lane.is_blocked())
    }

    fn read_news(&mut self) {
        if !self.mail.news.is_empty() {
            self.make_changes();
        }
    }

    #[cold]
    fn make_changes(&mut self) {
        while let Some(news) = self.mail.news.pop() {
            match news {
                KeyNews::Came(lane) => {
                    let place = self.lanes.partition_point(|other| other.hardware || !lane.hardware);
                    self.lanes.insert(place, lane);
                }
                KeyNews::Goes(id) => {
                    let Self { lanes, again, .. } = self;
                    if let Some(lane) = lanes.iter_mut().find(|lane| lane.id == id && !lane.leaving) {
                        lane.leaving = true;
                        again.extend(lane.waiting.drain(..));
                    }
                }
            }
        }
        self.let_go();
    }

    /// Gives lanes back whose driver goes and has nothing any more.
    fn let_go(&mut self) {
        while let Some(place) = self.lanes.iter().position(|lane| lane.leaving && lane.out == 0) {
            let lane = self.lanes.remove(place);
            if let Err(lane) = self.mail.gone.push(lane) {
                return self.lanes.push(lane);
            }
        }
    }

    /// Finds other drivers for what waited for those that go, the oldest first.
    fn drive_again(&mut self) {
        while let Some((mut request, placement)) = self.again.pop_front() {
            match self.choose(&request, placement) {
                Ok(place) => {
                    let Some(lane) = self.lanes.get_mut(place) else { return };
                    if let Err(waiting) = lane.offer((request, placement)) {
                        return self.again.push_front(waiting);
                    }
                }
                Err(error) => {
                    request.finish(Err(error));
                    self.refused.push_back(request);
                }
            }
        }
    }

    fn choose(&self, request: &KeyRequest, placement: Placement) -> Result<usize, KeyError> {
        request.check()?;
        let (operation, bits) = (request.operation(), request.longest());
        let mut longest = None;
        let lanes = self.lanes.iter().enumerate();
        for (place, lane) in lanes.filter(|(_, lane)| !lane.leaving && lane.is_allowed(placement)) {
            let Some(support) = lane.supports.iter().find(|one| one.operation == operation) else { continue };
            if bits <= support.max_bits {
                return Ok(place);
            }
            longest = longest.max(Some(support.max_bits));
        }
        Err(longest.map_or(KeyError::NoDriver(operation), |limit| KeyError::OperandTooLong { bits, limit }))
    }

    /// Begins with another driver each time, so that none starves the others.
    fn poll_lanes(&mut self) -> Option<KeyCompletion> {
        let count = self.lanes.len();
        for turn in 0..count {
            let place = (self.next_poll + turn) % count;
            let Some(lane) = self.lanes.get_mut(place) else { continue };
            if let Some(done) = lane.poll() {
                self.next_poll = place + 1;
                if lane.leaving && lane.out == 0 {
                    self.let_go();
                }
                return Some(done);
            }
        }
        None
    }
}

/// Drivers with their numbers.
pub(crate) type Numbered = Vec<(DriverId, Arc<dyn Driver>)>;

/// A request that waits, and where it may go.
type Waiting = (KeyRequest, Placement);

/// One driver as this core sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    id: DriverId,
    name: Arc<str>,
    hardware: bool,
    supports: Vec<KeySupport>,
    queue: Box<dyn KeyQueue>,
    unblock: Unblock,
    /// The driver's count before the submit that it refused.
    blocked_at: Option<u64>,
    waiting: VecDeque<Waiting>,
    most_waiting: usize,
    /// Requests that the driver has.
    out: usize,
    leaving: bool,
}

impl Lane {
    pub(crate) fn new(id: DriverId, driver: &dyn Driver, config: &KeyQueueConfig) -> Option<Self> {
        let unblock = Unblock::new();
        Some(Self {
            id,
            name: driver.name().into(),
            hardware: driver.capabilities().hardware,
            supports: driver.capabilities().key_operations.clone(),
            queue: driver.key_queue(config, unblock.clone())?,
            unblock,
            blocked_at: None,
            // One more, for a request that is refused while it is first in line.
            waiting: VecDeque::with_capacity(config.waiting + 1),
            most_waiting: config.waiting,
            out: 0,
            leaving: false,
        })
    }

    fn is_allowed(&self, placement: Placement) -> bool {
        placement.allows(self.id, self.hardware)
    }

    fn is_blocked(&self) -> bool {
        self.blocked_at == Some(self.unblock.count())
    }

    fn offer(&mut self, (request, placement): Waiting) -> Result<(), Waiting> {
        self.pump();
        let refused = if self.waiting.is_empty() { self.hand_on(request) } else { Err(request) };
        match refused {
            Err(request) if self.waiting.len() < self.most_waiting => {
                self.waiting.push_back((request, placement));
                Ok(())
            }
            other => other.map_err(|request| (request, placement)),
        }
    }

    /// Hands on what waits, until the driver is blocked again.
    fn pump(&mut self) {
        while let Some((request, placement)) = self.waiting.pop_front() {
            if let Err(request) = self.hand_on(request) {
                return self.waiting.push_front((request, placement));
            }
        }
    }

    /// Offers nothing to a driver that is blocked. The count is read first: room that is made during the submit changes it.
    fn hand_on(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
        let count = self.unblock.count();
        if self.blocked_at == Some(count) {
            return Err(request);
        }
        let handed = self.queue.submit(request);
        self.blocked_at = handed.is_err().then_some(count);
        self.out += usize::from(handed.is_ok());
        handed
    }

    fn poll(&mut self) -> Option<KeyCompletion> {
        let mut request = self.queue.poll()?;
        self.out = self.out.saturating_sub(1);
        if request.result().is_none() {
            request.finish(Err(KeyError::Failed));
        }
        Some(KeyCompletion { request, driver: Some((self.id, Arc::clone(&self.name))) })
    }
}

/// What a driver on another thread and this core share, over all its interleavings.
#[cfg(all(test, model))]
mod models {
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    use super::*;
    use crate::capability::Capabilities;
    use crate::device::{OpenError, QueuePair, QueuePairConfig};
    use crate::drivers::Null;
    use crate::key_mail::KeyMails;
    use crate::key_op::{KeyOperation, KeyRequestPool};
    use crate::{SessionId, SessionParams};

    /// Has no room until another thread makes some.
    #[derive(Debug)]
    struct Full {
        capabilities: Capabilities,
        room: loom::sync::Arc<AtomicBool>,
        unblock: std::sync::Mutex<Option<Unblock>>,
    }

    #[derive(Debug)]
    struct FullQueue(loom::sync::Arc<AtomicBool>, Option<KeyRequest>);

    impl Driver for Full {
        fn name(&self) -> &str {
            "full0"
        }
        fn capabilities(&self) -> &Capabilities {
            &self.capabilities
        }
        fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
            Ok(())
        }
        fn close_session(&self, _id: SessionId) {}
        fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
            Null::new().queue_pair(config)
        }
        fn key_queue(&self, _config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
            *self.unblock.lock().unwrap() = Some(unblock);
            Some(Box::new(FullQueue(self.room.clone(), None)))
        }
    }

    impl KeyQueue for FullQueue {
        fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
            if !self.0.load(Ordering::Relaxed) {
                return Err(request);
            }
            self.1 = Some(request);
            Ok(())
        }
        fn poll(&mut self) -> Option<KeyRequest> {
            self.1.take()
        }
    }

    #[test]
    fn a_driver_that_makes_room_at_any_moment_gets_the_request_that_waits() {
        loom::model(|| {
            let support = KeySupport { operation: KeyOperation::DsaVerify, max_bits: 8 };
            let capabilities = Capabilities { key_operations: vec![support], ..Capabilities::default() };
            let room = loom::sync::Arc::new(AtomicBool::new(false));
            let driver = Arc::new(Full { capabilities, room: room.clone(), unblock: Default::default() });
            let drivers = vec![(DriverId(0), Arc::clone(&driver) as Arc<dyn Driver>)];
            let config = KeyQueueConfig::default();
            let mut dispatcher = KeyDispatcher::new(drivers, &config, KeyMails::default().add(&config));
            let mut request = KeyRequestPool::new(1, 8).alloc(KeyOperation::DsaVerify).unwrap();
            (0..7).for_each(|_| request.add_input(&[1]).unwrap());
            let unblock = driver.unblock.lock().unwrap().take().unwrap();
            let engine = thread::spawn(move || {
                room.store(true, Ordering::Relaxed);
                unblock.signal();
            });
            dispatcher.submit(request, Placement::Any).unwrap();
            engine.join().unwrap();
            assert!(dispatcher.poll().is_some(), "there is room, and nothing is left to say so");
        });
    }
}

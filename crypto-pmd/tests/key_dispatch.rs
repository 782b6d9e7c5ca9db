//! Key operations over several drivers: which one is chosen, what becomes of requests when a card is full, and
//! that each completes once. The card here is worked by hand, one operation at a time.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_types, reason = "the test's own end of the card")]

mod key_common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_queue::ArrayQueue;
use crypto_pmd::device::OpenError;
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::key_op::{
    KeyError, KeyOperation, KeyQueue, KeyQueueConfig, KeyRequest, KeyRequestPool, KeySupport, Unblock,
};
use crypto_pmd::*;
use key_common::{request, wait};
use num_bigint::BigUint;
use proptest::prelude::*;

use KeyOperation::{DhComputeKey, DsaVerify, ModExp};

/// Longest operand of the card, in bits.
const CARD_BITS: u32 = 1024;

/// A card that does plain powers. It takes requests into a ring and does nothing until it is told to.
#[derive(Clone, Debug)]
struct Card(Arc<Engine>);

#[derive(Debug)]
struct Engine {
    capabilities: Capabilities,
    ring: ArrayQueue<KeyRequest>,
    done: ArrayQueue<KeyRequest>,
    /// Requests that it was offered, taken or not.
    offers: AtomicUsize,
    unblock: Mutex<Option<Unblock>>,
}

#[derive(Debug)]
struct CardQueue(Arc<Engine>);

impl Card {
    fn new(ring: usize) -> Self {
        let operations = [ModExp, DhComputeKey];
        let key_operations =
            operations.map(|operation| KeySupport { operation, max_bits: CARD_BITS }).to_vec();
        Self(Arc::new(Engine {
            capabilities: Capabilities { hardware: true, key_operations, ..Capabilities::default() },
            ring: ArrayQueue::new(ring),
            done: ArrayQueue::new(1000),
            offers: AtomicUsize::new(0),
            unblock: Mutex::default(),
        }))
    }

    /// Does one operation; there is room for another from here on, but nobody is told.
    fn work(&self) {
        let Some(mut request) = self.0.ring.pop() else { return };
        let [base, exponent, modulus] = [0, 1, 2].map(|n| BigUint::from_bytes_be(request.input(n).unwrap()));
        let power = base.modpow(&exponent, &modulus).to_bytes_be();
        request.write_output(0, &power);
        request.finish(Ok(()));
        self.0.done.push(request).unwrap();
    }

    fn signal(&self) {
        self.0.unblock.lock().unwrap().as_ref().unwrap().signal();
    }

    fn offers(&self) -> usize {
        self.0.offers.load(Ordering::Relaxed)
    }
}

impl Driver for Card {
    fn name(&self) -> &str {
        "card0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Null::new().queue_pair(config)
    }
    fn key_queue(&self, _config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        *self.0.unblock.lock().unwrap() = Some(unblock);
        Some(Box::new(CardQueue(Arc::clone(&self.0))))
    }
}

impl KeyQueue for CardQueue {
    fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
        self.0.offers.fetch_add(1, Ordering::Relaxed);
        self.0.ring.push(request)
    }
    fn poll(&mut self) -> Option<KeyRequest> {
        self.0.done.pop()
    }
}

/// A card with a ring of `ring` and a software driver, which is attached first.
struct Rig {
    card: Card,
    ids: [DriverId; 2],
    registry: Registry,
    dispatcher: KeyDispatcher,
    pool: KeyRequestPool,
    made: u64,
}

impl Rig {
    fn new(ring: usize, waiting: usize) -> Self {
        let (registry, card) = (Registry::new(), Card::new(ring));
        let ids = [registry.attach(Software::new()).unwrap(), registry.attach(card.clone()).unwrap()];
        let dispatcher = registry.key_dispatcher(&KeyQueueConfig { waiting, ..KeyQueueConfig::default() });
        Self { card, ids, registry, dispatcher, pool: KeyRequestPool::new(64, 2048), made: 0 }
    }

    /// `2 ^ cookie mod 257`.
    fn next(&mut self) -> KeyRequest {
        self.made += 1;
        let exponent = self.made.to_be_bytes();
        request(&self.pool, ModExp, &[&[2], &exponent, &[1, 1]], 16).with_cookie(self.made)
    }

    /// Whether the next request was taken.
    fn submit(&mut self, placement: Placement) -> bool {
        let request = self.next();
        let cookie = request.cookie();
        match self.dispatcher.submit(request, placement) {
            Ok(()) => true,
            Err(back) => {
                assert_eq!((back.cookie(), back.result()), (cookie, None), "it is as it was");
                assert_eq!(back.input(0), Some(&[2][..]));
                self.made -= 1;
                false
            }
        }
    }

    fn poll(&mut self) -> Option<(u64, Option<&'static str>)> {
        let done = self.dispatcher.poll()?;
        let expected = (0..done.request.cookie()).fold(1_u16, |power, _| power * 2 % 257);
        assert_eq!(done.request.result(), Some(Ok(())));
        assert_eq!(done.request.output(0), Some(&expected.to_be_bytes()[..]));
        let name = done.driver_name().map(|name| if name == "card0" { "card0" } else { "software0" });
        Some((done.request.cookie(), name))
    }
}

/// Submits one request and gives what became of it, and which driver had it.
fn placed(
    rig: &mut Rig,
    operation: KeyOperation,
    operand: &[u8],
    placement: Placement,
) -> (Result<(), KeyError>, Option<DriverId>) {
    let inputs: Vec<&[u8]> = operation.inputs().iter().map(|_| operand).collect();
    let request = request(&rig.pool, operation, &inputs, 8 * operand.len() as u32);
    rig.dispatcher.submit(request, placement).unwrap();
    rig.card.work();
    let done = wait(&mut rig.dispatcher);
    (done.request.result().unwrap(), done.driver())
}

#[test]
fn hardware_goes_before_software_and_the_result_says_who_did_it() {
    let mut rig = Rig::new(4, 4);
    assert!(rig.submit(Placement::Any));
    rig.card.work();
    assert_eq!(rig.poll(), Some((1, Some("card0"))));
    assert!(rig.submit(Placement::Software));
    let done = wait(&mut rig.dispatcher);
    assert_eq!((done.driver(), done.driver_name()), (Some(rig.ids[0]), Some("software0")));
    assert_eq!((done.request.cookie(), done.request.output(0)), (2, Some(&[0, 4][..])));
}

#[test]
fn a_placement_is_kept_to() {
    let mut rig = Rig::new(4, 4);
    let [software, card] = rig.ids;
    for (placement, driver) in [
        (Placement::Driver(software), software),
        (Placement::Driver(card), card),
        (Placement::Hardware, card),
        (Placement::Software, software),
        (Placement::Any, card),
    ] {
        let done_by = placed(&mut rig, ModExp, &[3], placement).1;
        assert_eq!(done_by, Some(driver), "{placement}");
    }
}

#[test]
fn a_driver_is_passed_over_that_lacks_the_operation_or_takes_no_operand_that_long() {
    let mut rig = Rig::new(4, 4);
    let [software, card] = rig.ids;
    assert_eq!(placed(&mut rig, DsaVerify, &[0], Placement::Any).1, Some(software));
    let none = (Err(KeyError::NoDriver(DsaVerify)), None);
    assert_eq!(placed(&mut rig, DsaVerify, &[0], Placement::Hardware), none);
    assert_eq!(placed(&mut rig, ModExp, &[3; 129], Placement::Any).1, Some(software));
    let offers = rig.card.offers();
    let long = (Err(KeyError::OperandTooLong { bits: 1032, limit: CARD_BITS }), None);
    assert_eq!(placed(&mut rig, ModExp, &[3; 129], Placement::Driver(card)), long);
    assert_eq!(rig.card.offers(), offers, "the card never saw it");
}

#[test]
fn without_a_driver_each_request_completes_with_an_error() {
    let registry = Registry::new();
    registry.attach(Null::new()).unwrap();
    let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig { waiting: 2, ..KeyQueueConfig::default() });
    let pool = KeyRequestPool::new(4, 64);
    for operation in KeyOperation::ALL {
        let inputs: Vec<&[u8]> = operation.inputs().iter().map(|_| &[3][..]).collect();
        assert!(dispatcher.submit(request(&pool, operation, &inputs, 64), Placement::Any).is_ok());
        let done = dispatcher.poll().unwrap();
        assert_eq!(done.request.result(), Some(Err(KeyError::NoDriver(operation))));
        assert_eq!((done.driver(), done.driver_name()), (None, None));
    }
    let more = || request(&pool, ModExp, &[&[3][..]; 3], 64);
    assert!(
        dispatcher.submit(more(), Placement::Any).is_ok()
            && dispatcher.submit(more(), Placement::Any).is_ok()
    );
    assert!(dispatcher.submit(more(), Placement::Any).is_err(), "no more than may wait");
    assert_eq!((dispatcher.in_flight(), pool.available()), (2, 2));
}

#[test]
fn a_wrong_number_of_operands_is_told_by_the_completion_and_no_driver_sees_it() {
    let mut rig = Rig::new(4, 4);
    let wrong = request(&rig.pool, ModExp, &[&[2], &[3]], 16).with_cookie(77);
    rig.dispatcher.submit(wrong, Placement::Any).unwrap();
    let done = rig.dispatcher.poll().unwrap();
    let error = KeyError::Parameters { operation: ModExp, kind: "inputs", given: 2, right: 3 };
    assert_eq!((done.request.result(), done.request.cookie()), (Some(Err(error)), 77));
    assert_eq!((done.request.output(0), done.driver(), rig.card.offers()), (None, None, 0));
}

#[test]
fn a_full_card_is_offered_nothing_until_it_says_that_it_has_room() {
    let mut rig = Rig::new(2, 3);
    let card = rig.ids[1];
    assert!((0..5).all(|_| rig.submit(Placement::Any)), "two in the card, three wait");
    assert_eq!((rig.card.offers(), rig.dispatcher.waiting(), rig.dispatcher.in_flight()), (3, 3, 5));
    assert!(rig.dispatcher.is_blocked(card) && !rig.dispatcher.is_blocked(rig.ids[0]));
    assert!(!rig.submit(Placement::Any), "beyond the bound");
    assert!(rig.submit(Placement::Software), "the other driver is not blocked");
    // There is room, but the card has not said so.
    rig.card.work();
    assert_eq!(rig.poll(), Some((1, Some("card0"))));
    assert!((rig.card.offers(), rig.dispatcher.waiting()) == (3, 3));
    rig.card.signal();
    assert!(!rig.dispatcher.is_blocked(card));
    while rig.dispatcher.waiting() > 2 {
        let _ = rig.poll();
    }
    assert_eq!(rig.card.offers(), 5, "one was taken, the next was refused");
    assert!(rig.dispatcher.is_blocked(card));
    assert!(rig.submit(Placement::Any), "there is a place again");
}

#[test]
fn a_driver_that_goes_leaves_what_waited_to_others_and_gives_back_what_it_has() {
    let mut rig = Rig::new(1, 3);
    let [_, card] = rig.ids;
    assert!(rig.submit(Placement::Any), "in the card");
    assert!(rig.submit(Placement::Any) && rig.submit(Placement::Any), "these wait for it");
    let alone = request(&rig.pool, ModExp, &[&[2], &[3], &[5]], 16).with_cookie(99);
    rig.dispatcher.submit(alone, Placement::Driver(card)).unwrap();
    rig.registry.detach(card).unwrap();
    let mut done = std::collections::BTreeMap::new();
    while done.len() < 3 {
        let Some(back) = rig.dispatcher.poll() else { continue };
        let cookie = back.request.cookie();
        done.insert(cookie, (back.request.result().unwrap(), back.driver_name().map(str::to_owned)));
    }
    let by_software = (Ok(()), Some("software0".to_owned()));
    assert_eq!((&done[&2], &done[&3]), (&by_software, &by_software));
    assert_eq!(done[&99], (Err(KeyError::NoDriver(ModExp)), None), "it was for the card alone");
    assert!(rig.submit(Placement::Any), "the card is not chosen any more");
    while rig.poll() != Some((4, Some("software0"))) {}
    assert_eq!((rig.card.offers(), rig.dispatcher.in_flight()), (2, 1));
    rig.card.work();
    assert_eq!(rig.poll(), Some((1, Some("card0"))), "what it had comes back");
    assert_eq!((rig.dispatcher.in_flight(), rig.dispatcher.waiting()), (0, 0));
    // The registry lets go of it, and of the queue that the dispatcher had.
    rig.registry.collect();
    assert_eq!(Arc::strong_count(&rig.card.0), 1);
}

#[test]
fn a_driver_that_comes_later_gets_requests_too() {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
    let card = Card::new(4);
    let id = registry.attach(card.clone()).unwrap();
    let pool = KeyRequestPool::new(4, 2048);
    dispatcher.submit(request(&pool, ModExp, &[&[2], &[3], &[5]], 16), Placement::Any).unwrap();
    card.work();
    assert_eq!(wait(&mut dispatcher).driver(), Some(id), "hardware goes first, also when it comes last");
}

#[test]
fn what_waited_goes_first_and_in_order() {
    let mut rig = Rig::new(1, 8);
    (0..6).for_each(|_| assert!(rig.submit(Placement::Hardware)));
    let mut cookies = Vec::new();
    while cookies.len() < 6 {
        rig.card.work();
        rig.card.signal();
        if cookies.len() == 2 {
            assert!(rig.submit(Placement::Hardware), "it may not overtake");
        }
        cookies.extend(rig.poll().map(|(cookie, _)| cookie));
    }
    assert_eq!(cookies, [1, 2, 3, 4, 5, 6]);
}

/// Has made room and said so by the time it has refused.
#[derive(Debug)]
struct Hasty {
    refusals: usize,
    kept: VecDeque<KeyRequest>,
    unblock: Unblock,
}

impl KeyQueue for Hasty {
    fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
        if self.refusals > 0 {
            self.refusals -= 1;
            self.unblock.signal();
            return Err(request);
        }
        self.kept.push_back(request);
        Ok(())
    }
    fn poll(&mut self) -> Option<KeyRequest> {
        self.kept.pop_front()
    }
}

#[derive(Debug)]
struct HastyDriver(Capabilities);

impl Driver for HastyDriver {
    fn name(&self) -> &str {
        "hasty0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Null::new().queue_pair(config)
    }
    fn key_queue(&self, _config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        Some(Box::new(Hasty { refusals: 2, kept: VecDeque::new(), unblock }))
    }
}

#[test]
fn a_signal_during_the_submit_that_is_refused_is_not_lost_and_lets_nobody_overtake() {
    let registry = Registry::new();
    let key_operations = vec![KeySupport { operation: ModExp, max_bits: 64 }];
    registry.attach(HastyDriver(Capabilities { key_operations, ..Capabilities::default() })).unwrap();
    let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
    let pool = KeyRequestPool::new(2, 64);
    for cookie in 1..=2 {
        let request = request(&pool, ModExp, &[&[1][..]; 3], 8).with_cookie(cookie);
        dispatcher.submit(request, Placement::Any).unwrap();
        assert_eq!(dispatcher.waiting() as u64, cookie);
    }
    for cookie in 1..=2 {
        let done = dispatcher.poll().unwrap();
        // This driver gives requests back without a result, which is an error and not a success.
        assert_eq!((done.request.cookie(), done.request.result()), (cookie, Some(Err(KeyError::Failed))));
        assert_eq!(done.driver_name(), Some("hasty0"));
    }
}

#[test]
fn a_blocked_card_is_woken_from_another_thread() {
    let mut rig = Rig::new(1, 16);
    let card = rig.card.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = 0;
            while done < 500 {
                if !card.0.ring.is_empty() {
                    card.work();
                    card.signal();
                    done += 1;
                }
                std::thread::yield_now();
            }
        });
        let (mut next, mut expected) = (0, 1);
        while expected <= 500 {
            while next < 500 && rig.submit(Placement::Hardware) {
                next += 1;
            }
            match rig.poll() {
                Some((cookie, _)) => {
                    assert_eq!(cookie, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
    assert_eq!(rig.dispatcher.in_flight(), 0);
}

#[test]
fn key_operations_and_jobs_do_not_block_each_other() {
    let mut rig = Rig::new(1, 1);
    let card = rig.ids[1];
    let session = rig.registry.open(SessionParams::default(), Placement::Driver(card)).unwrap();
    let mut jobs = rig.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    assert!(rig.submit(Placement::Hardware) && rig.submit(Placement::Hardware));
    assert!(rig.dispatcher.is_blocked(card) && !rig.submit(Placement::Hardware));
    let pool = pipeline::Pool::new(pipeline::PoolConfig { buffers: 4, stride: 512 }).unwrap();
    let mut burst = job::JobBurst::new();
    burst.push(Job::new(pool.alloc().unwrap(), session, Operation::Encrypt)).unwrap();
    assert_eq!((jobs.submit(&mut burst), jobs.poll(&mut burst)), (1, 1));
}

#[test]
fn dropping_a_dispatcher_gives_every_request_back_to_its_pool() {
    let mut rig = Rig::new(2, 4);
    (0..6).for_each(|_| assert!(rig.submit(Placement::Hardware)));
    (0..20).for_each(|_| assert!(rig.submit(Placement::Software)));
    assert_eq!(rig.pool.available(), 64 - 26);
    let Rig { card, registry, dispatcher, pool, .. } = rig;
    drop((dispatcher, registry));
    while card.0.ring.pop().is_some() {}
    assert_eq!(pool.available(), 64);
}

#[derive(Clone, Debug)]
enum Step {
    Submit,
    Work,
    Signal,
    Poll,
}

proptest! {
    #[test]
    fn whatever_the_card_does_each_request_completes_once_and_in_order(
        (ring, waiting) in (1_usize..4, 0_usize..4),
        steps in proptest::collection::vec(
            prop_oneof![Just(Step::Submit), Just(Step::Work), Just(Step::Signal), Just(Step::Poll)], 0..120),
    ) {
        let mut rig = Rig::new(ring, waiting);
        let (mut taken, mut came) = (0, 0);
        for step in steps {
            match step {
                Step::Submit => taken += u64::from(rig.pool.available() > 0 && rig.submit(Placement::Hardware)),
                Step::Work => rig.card.work(),
                Step::Signal => rig.card.signal(),
                Step::Poll => if let Some((cookie, name)) = rig.poll() {
                    came += 1;
                    prop_assert_eq!((cookie, name), (came, Some("card0")));
                }
            }
            prop_assert_eq!(rig.dispatcher.in_flight() as u64, taken - came);
            prop_assert!(rig.dispatcher.waiting() <= waiting);
        }
        while came < taken {
            rig.card.work();
            rig.card.signal();
            if let Some((cookie, _)) = rig.poll() {
                came += 1;
                prop_assert_eq!(cookie, came);
            }
        }
        prop_assert!(rig.poll().is_none());
        prop_assert_eq!(rig.pool.available(), 64);
    }
}

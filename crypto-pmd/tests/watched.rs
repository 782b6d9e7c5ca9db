//! Drivers under watch: one that blocks is caught and named and harms nobody else, and those that do not are left in peace.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test driver that blocks")]

mod common;
mod key_common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{Bench, Suite};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::key_op::{KeyOperation, KeyQueueConfig, KeyRequestPool};
use crypto_pmd::watched::{Caught, EntryPoint, Manner, Watch, Watched};
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};

/// Where a test driver does not come back from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Open,
    Submit,
    Poll,
    Leave,
}

/// Keeps the first thread that comes to a place until it is told to let go, asleep or in circles.
#[derive(Clone, Debug)]
struct Trap {
    at: At,
    let_go: Arc<Mutex<Option<Receiver<()>>>>,
    circles: Option<Arc<AtomicBool>>,
}

impl Trap {
    fn new(at: At) -> (Self, Sender<()>) {
        let (sender, receiver) = channel();
        (Self { at, let_go: Arc::new(Mutex::new(Some(receiver))), circles: None }, sender)
    }
    fn pass(&self, at: At) {
        if at != self.at {
            return;
        }
        let Some(receiver) = self.let_go.lock().unwrap().take() else { return };
        match &self.circles {
            Some(stop) => {
                while !stop.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            }
            None => receiver.recv().unwrap(),
        }
    }
}

/// The software driver behind a trap.
#[derive(Debug)]
struct Sticky(Software, Trap, Capabilities);

#[derive(Debug)]
struct StickyQueue(Box<dyn QueuePair>, Trap);

impl Sticky {
    fn new(trap: Trap) -> Self {
        let engine = Software::new();
        let capabilities = Capabilities { hardware: true, ..engine.capabilities().clone() };
        Self(engine, trap, capabilities)
    }
}

impl Driver for Sticky {
    fn name(&self) -> &str {
        "sticky0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.2
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.1.pass(At::Open);
        self.0.open_session(id, params)
    }
    fn close_session(&self, id: SessionId) {
        self.0.close_session(id);
    }
    fn collect(&self) -> usize {
        self.0.collect()
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(StickyQueue(self.0.queue_pair(config), self.1.clone()))
    }
}

impl QueuePair for StickyQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.1.pass(At::Submit);
        self.0.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.1.pass(At::Poll);
        self.0.poll(done)
    }
    fn leave(&mut self) {
        self.1.pass(At::Leave);
        self.0.leave();
    }
    fn offline(&mut self) {
        self.0.offline();
    }
}

/// Looks until something is caught.
fn look(watch: &mut Watch) -> Vec<Caught> {
    loop {
        let caught = watch.look().unwrap();
        if !caught.is_empty() {
            return caught;
        }
        std::thread::yield_now();
    }
}

/// Submits `count` jobs and polls until they are back; how many were done.
fn work(dispatcher: &mut Dispatcher, pool: &Pool, suite: &Suite, session: SessionId, count: usize) -> usize {
    let mut jobs = JobBurst::new();
    for _ in 0..count {
        let packet = pool.alloc_copy(&suite.plain(&[7; 64], 1)).unwrap();
        jobs.push(suite.job(packet, session, Operation::Encrypt, None)).unwrap();
    }
    let (mut done, mut all) = (JobBurst::new(), 0);
    while !jobs.is_empty() || dispatcher.in_flight() > 0 {
        dispatcher.submit(&mut jobs);
        dispatcher.poll(&mut done);
        all += done.drain().filter(|job| job.status() == Status::Done).count();
    }
    all
}

fn pool() -> Pool {
    Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap()
}

#[test]
fn a_driver_that_blocks_in_submit_is_caught_and_named_and_the_other_cores_go_on_without_it() {
    let (trap, let_go) = Trap::new(At::Submit);
    let (driver, mut watch) = Watched::new(Sticky::new(trap)).unwrap();
    let registry = Registry::new();
    let sticky = registry.attach(driver).unwrap();
    let software = registry.attach(Software::new()).unwrap();
    let suite = Suite::gcm(16);
    let session = registry.open(suite.params.clone(), Placement::Any).unwrap();
    assert_eq!(registry.drivers_of(session), [sticky]);
    let [mut stuck, mut free] = [(); 2].map(|()| registry.dispatcher(&QueuePairConfig::default()).unwrap());
    assert_eq!(watch.look().unwrap(), []);
    std::thread::scope(|scope| {
        let core = scope.spawn(|| work(&mut stuck, &pool(), &suite, session, 20));
        let caught = look(&mut watch);
        let [Caught { driver, entry, manner, .. }] = &caught[..] else { panic!("{caught:?}") };
        assert_eq!((&driver[..], *entry, *manner), ("sticky0", EntryPoint::Submit, Manner::Sleeps));
        let said = caught[0].to_string();
        assert!(said.starts_with("driver sticky0 blocks in QueuePair::submit: thread "), "{said}");
        assert_eq!(watch.look().unwrap(), [], "told once");
        // Without the driver, its sessions go on.
        assert_eq!(registry.detach(sticky).unwrap().moved, 1);
        assert_eq!(registry.drivers_of(session), [software]);
        assert_eq!(work(&mut free, &pool(), &suite, session, 30), 30);
        assert!(registry.collect() > 0, "the driver stays as long as somebody is inside");
        let_go.send(()).unwrap();
        assert_eq!(core.join().unwrap(), 20, "nothing is lost when it lets go");
    });
    // What goes passes a boundary of each core, and so do the routes that speak of it.
    for _ in 0..2 {
        registry.collect();
        let _ = [&mut stuck, &mut free].map(|dispatcher| dispatcher.poll(&mut JobBurst::new()));
    }
    assert_eq!((watch.look().unwrap(), registry.collect()), (vec![], 0));
}

#[test]
fn each_entry_point_that_blocks_is_told_from_the_others() {
    for (at, entry) in
        [(At::Open, EntryPoint::OpenSession), (At::Poll, EntryPoint::Poll), (At::Leave, EntryPoint::Leave)]
    {
        let (trap, let_go) = Trap::new(at);
        let (driver, mut watch) = Watched::new(Sticky::new(trap)).unwrap();
        let registry = Registry::new();
        let sticky = registry.attach(driver).unwrap();
        registry.attach(Software::new()).unwrap();
        let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let suite = Suite::gcm(16);
                let session = registry.open(suite.params.clone(), Placement::Any).unwrap();
                assert_eq!(work(&mut dispatcher, &pool(), &suite, session, 5), 5);
                registry.detach(sticky).unwrap();
                assert_eq!(work(&mut dispatcher, &pool(), &suite, session, 5), 5);
            });
            let caught = look(&mut watch);
            assert_eq!(caught.len(), 1, "{caught:?}");
            assert_eq!((caught[0].entry, caught[0].manner), (entry, Manner::Sleeps), "{at:?}");
            let_go.send(()).unwrap();
        });
    }
}

#[test]
fn a_driver_that_goes_round_in_circles_is_caught_by_its_processor_time() {
    let (mut trap, _let_go) = Trap::new(At::Poll);
    let stop = Arc::new(AtomicBool::new(false));
    trap.circles = Some(Arc::clone(&stop));
    let (driver, mut watch) = Watched::new(Sticky::new(trap)).unwrap();
    let registry = Registry::new();
    registry.attach(driver).unwrap();
    let mut bench = Bench::over(registry);
    std::thread::scope(|scope| {
        scope.spawn(|| bench.dispatcher.poll(&mut JobBurst::new()));
        let caught = look(&mut watch);
        assert_eq!((caught[0].entry, caught[0].manner), (EntryPoint::Poll, Manner::Circles));
        stop.store(true, Ordering::Release);
    });
}

/// Runs jobs, key operations, and sessions that come and go on a driver, and looks at it from another thread all the while.
fn caught_at(driver: impl Driver + 'static, keys: bool) -> Vec<Caught> {
    let (driver, mut watch) = Watched::new(driver).unwrap();
    let registry = Registry::new();
    registry.attach(driver).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let core = scope.spawn(|| {
            let (suite, pool) = (Suite::gcm(16), pool());
            let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
            let mut key_dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
            let requests = KeyRequestPool::new(4, 64);
            for _ in 0..2_000 {
                let session = registry.open(suite.params.clone(), Placement::Any).unwrap();
                assert_eq!(work(&mut dispatcher, &pool, &suite, session, 32), 32);
                if keys {
                    let request =
                        key_common::request(&requests, KeyOperation::ModExp, &[&[3], &[5], &[7]], 8);
                    key_dispatcher.submit(request, Placement::Any).unwrap();
                    key_common::wait(&mut key_dispatcher);
                }
                assert!(registry.close(session));
                // Asleep, but not in the driver.
                std::thread::sleep(std::time::Duration::from_micros(1));
            }
            over.store(true, Ordering::Release);
        });
        let mut caught = Vec::new();
        while !over.load(Ordering::Acquire) && !core.is_finished() {
            caught.extend(watch.look().unwrap());
        }
        caught
    })
}

#[test]
fn the_null_driver_and_the_software_driver_never_block() {
    assert_eq!(caught_at(Null::new(), false), []);
    assert_eq!(caught_at(Software::new(), true), []);
}

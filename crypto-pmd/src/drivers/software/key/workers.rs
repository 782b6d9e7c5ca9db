//! Threads that carry out key operations, and the queues by which cores hand them over.
//!
//! Invariants: a core never waits for a thread; a thread without work sleeps, and wakes when there is some; each request that a queue
//! took comes back through that queue once, also when carrying it out has panicked. The threads end, and are waited for, when the last queue
//! is dropped; that drop may take as long as one operation.

#![allow(
    clippy::disallowed_types,
    reason = "queues come and go on the control side; a core that submits or polls takes no lock"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_queue::ArrayQueue;

use crate::key_op::{KeyError, KeyQueue, KeyQueueConfig, KeyRequest, Unblock};

use super::KeyWorkers;
use super::sleepers::Sleepers;

/// Stack of a thread, in bytes: what is wiped, and some more.
const STACK: usize = super::WIPED_STACK + (1 << 20);

/// One queue's end at the threads.
#[derive(Debug)]
struct Lane {
    todo: ArrayQueue<KeyRequest>,
    /// As long as `todo`: a queue has no more than that out.
    done: ArrayQueue<KeyRequest>,
}

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Changes with `lanes`.
    version: AtomicUsize,
    stop: AtomicBool,
    sleepers: Sleepers,
}

impl Shared {
    /// Every change is one call, so a poisoned lock is as good as any.
    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Lane>>)) {
        let mut lanes = self.lanes();
        change(&mut lanes);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads; `None` when the system gives none at all.
    pub(super) fn start(
        name: &str,
        config: &KeyWorkers,
        carry_out: impl Fn(&mut KeyRequest) + Clone + Send + 'static,
    ) -> Option<Self> {
        let count = config.threads.max(1);
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            version: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sleepers: Sleepers::new(count),
        });
        let start = |number: usize| {
            let core = config.cores.get(number % config.cores.len().max(1)).copied();
            let worker =
                Worker { shared: Arc::clone(&shared), number, lanes: Vec::new(), version: 0, next: 0 };
            let carry_out = carry_out.clone();
            let builder = thread::Builder::new().name(format!("{name}-key{number}")).stack_size(STACK);
            builder.spawn(move || worker.run(core, carry_out)).ok()
        };
        let threads: Vec<_> = (0..count).map_while(start).collect();
        (!threads.is_empty()).then_some(Self { shared, threads })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        // A thread that panicked outside of an operation has nothing to say that anybody waits for.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

struct Worker {
    shared: Arc<Shared>,
    number: usize,
    /// The lanes as this thread last saw them.
    lanes: Vec<Arc<Lane>>,
    version: usize,
    next: usize,
}

impl Worker {
    fn run(mut self, core: Option<usize>, carry_out: impl Fn(&mut KeyRequest)) {
        if let Some(id) = core {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.take() {
                Some((lane, request)) => {
                    // Its wake-up may have come to this thread, which is busy from now on.
                    if self.lanes.iter().any(|lane| !lane.todo.is_empty()) {
                        self.shared.sleepers.wake_one();
                    }
                    finish(&lane, request, &carry_out);
                }
                None => self.sleep(),
            }
        }
    }

    /// The next request, from another lane each time, so that no core starves the others.
    fn take(&mut self) -> Option<(Arc<Lane>, KeyRequest)> {
        self.refresh();
        let count = self.lanes.len();
        for turn in 0..count {
            let place = (self.next + turn) % count;
            let lane = self.lanes.get(place)?;
            if let Some(request) = lane.todo.pop() {
                self.next = place + 1;
                return Some((Arc::clone(lane), request));
            }
        }
        None
    }

    fn refresh(&mut self) {
        if self.shared.version.load(Ordering::Acquire) != self.version {
            let lanes = self.shared.lanes();
            self.version = self.shared.version.load(Ordering::Acquire);
            self.lanes.clone_from(&lanes);
        }
    }

    fn sleep(&self) {
        self.shared.sleepers.sleep(self.number, || {
            self.shared.version.load(Ordering::Acquire) != self.version
                || self.lanes.iter().any(|lane| !lane.todo.is_empty())
                || self.shared.stop.load(Ordering::Acquire)
        });
    }
}

fn finish(lane: &Lane, mut request: KeyRequest, carry_out: &impl Fn(&mut KeyRequest)) {
    if catch_unwind(AssertUnwindSafe(|| carry_out(&mut request))).is_err() {
        request.finish(Err(KeyError::Failed));
    }
    // There is a place for each request that the queue has out.
    drop(lane.done.push(request));
}

/// A core's queue.
#[derive(Debug)]
pub(super) struct Queue {
    lane: Arc<Lane>,
    workers: Arc<Workers>,
    in_flight: usize,
    unblock: Unblock,
    /// A request was refused, and no room was made since.
    refused: bool,
}

impl Queue {
    pub(super) fn new(workers: Arc<Workers>, config: &KeyQueueConfig, unblock: Unblock) -> Self {
        let depth = config.depth.max(1);
        let lane = Arc::new(Lane { todo: ArrayQueue::new(depth), done: ArrayQueue::new(depth) });
        workers.shared.change(|lanes| lanes.push(Arc::clone(&lane)));
        Self { lane, workers, in_flight: 0, unblock, refused: false }
    }
}

impl KeyQueue for Queue {
    fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
        if self.in_flight == self.lane.todo.capacity() {
            self.refused = true;
            return Err(request);
        }
        self.lane.todo.push(request)?;
        self.in_flight += 1;
        self.workers.shared.sleepers.wake_one();
        Ok(())
    }

    fn poll(&mut self) -> Option<KeyRequest> {
        let request = self.lane.done.pop()?;
        self.in_flight -= 1;
        if std::mem::take(&mut self.refused) {
            self.unblock.signal();
        }
        Some(request)
    }
}

/// What was not begun is given up; what is under way goes back to its pool when it is done.
impl Drop for Queue {
    fn drop(&mut self) {
        self.workers.shared.change(|lanes| lanes.retain(|lane| !Arc::ptr_eq(lane, &self.lane)));
        while self.lane.todo.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Condvar, Weak};
    use std::thread::ThreadId;

    use super::*;
    use crate::key_op::{KeyOperation, KeyRequestPool};

    /// Holds threads inside of an operation until it is opened, and knows which ones were there.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<Inside>, Condvar)>);

    /// Whether it is open, and who came.
    type Inside = (bool, Vec<ThreadId>);

    impl Gate {
        fn pass(&self) {
            let (state, changed) = &*self.0;
            let mut state = state.lock().unwrap();
            state.1.push(thread::current().id());
            changed.notify_all();
            drop(changed.wait_while(state, |state| !state.0).unwrap());
        }
        /// Waits until so many came.
        fn wait_for(&self, count: usize) -> Vec<ThreadId> {
            let (state, changed) = &*self.0;
            changed.wait_while(state.lock().unwrap(), |state| state.1.len() < count).unwrap().1.clone()
        }
        fn open(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }
    }

    /// Opens the gate also when a check fails, or the threads would be waited for in vain.
    struct Opened<'a>(&'a Gate);

    impl Drop for Opened<'_> {
        fn drop(&mut self) {
            self.0.open();
        }
    }

    fn config(depth: usize) -> KeyQueueConfig {
        KeyQueueConfig { depth, ..KeyQueueConfig::default() }
    }

    fn workers(threads: usize, carry_out: impl Fn(&mut KeyRequest) + Clone + Send + 'static) -> Arc<Workers> {
        let config = KeyWorkers { threads, cores: Vec::new() };
        Arc::new(Workers::start("test0", &config, carry_out).unwrap())
    }

    fn request(pool: &KeyRequestPool, cookie: u64) -> KeyRequest {
        pool.alloc(KeyOperation::ModExp).unwrap().with_cookie(cookie)
    }

    fn wait(queue: &mut Queue) -> KeyRequest {
        loop {
            match queue.poll() {
                Some(request) => return request,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_core_goes_on_while_every_thread_is_held_inside_an_operation() {
        let (gate, pool) = (Gate::default(), KeyRequestPool::new(8, 64));
        let held = gate.clone();
        let workers = workers(2, move |request| {
            held.pass();
            request.finish(Ok(()));
        });
        let mut queue = Queue::new(workers, &config(3), Unblock::new());
        let _opened = Opened(&gate);
        (0..3).for_each(|n| queue.submit(request(&pool, n)).unwrap());
        // Both threads are inside, one request waits: neither call below can be waiting for any of them.
        let threads = gate.wait_for(2);
        assert!(queue.poll().is_none());
        assert_eq!(queue.submit(request(&pool, 3)).unwrap_err().cookie(), 3);
        assert!(!threads.contains(&thread::current().id()), "nothing runs on the caller's thread");
        assert_eq!(threads.iter().collect::<HashSet<_>>().len(), 2);
        gate.open();
        let mut cookies: Vec<u64> = (0..3).map(|_| wait(&mut queue).cookie()).collect();
        cookies.sort_unstable();
        assert_eq!((cookies, pool.available()), (vec![0, 1, 2], 8));
    }

    #[test]
    fn a_full_queue_gives_the_request_back_and_says_once_when_it_has_room() {
        let (gate, pool) = (Gate::default(), KeyRequestPool::new(8, 64));
        let (held, unblock) = (gate.clone(), Unblock::new());
        let mut queue = Queue::new(workers(1, move |_| held.pass()), &config(2), unblock.clone());
        let _opened = Opened(&gate);
        (0..2).for_each(|n| queue.submit(request(&pool, n)).unwrap());
        assert!(queue.submit(request(&pool, 2)).is_err() && queue.submit(request(&pool, 3)).is_err());
        assert_eq!(unblock.count(), 0);
        gate.open();
        assert_eq!((wait(&mut queue).cookie(), unblock.count()), (0, 1));
        assert_eq!((wait(&mut queue).cookie(), unblock.count()), (1, 1), "nobody was refused in between");
    }

    #[test]
    fn many_cores_get_all_of_their_own_requests_back() {
        let workers = workers(3, |request| request.finish(Ok(())));
        thread::scope(|scope| {
            for core in 0..4_u64 {
                let mut queue = Queue::new(Arc::clone(&workers), &config(4), Unblock::new());
                scope.spawn(move || {
                    let pool = KeyRequestPool::new(4, 64);
                    let (mut next, mut came) = (0, HashSet::new());
                    while came.len() < 500 {
                        while next < 500 && pool.available() > 0 {
                            queue.submit(request(&pool, core << 32 | next)).unwrap();
                            next += 1;
                        }
                        let done = wait(&mut queue);
                        assert_eq!((done.cookie() >> 32, done.result()), (core, Some(Ok(()))));
                        assert!(came.insert(done.cookie()));
                    }
                });
            }
        });
    }

    #[test]
    fn a_thread_that_sleeps_wakes_for_each_request() {
        let mut queue = Queue::new(workers(2, |request| request.finish(Ok(()))), &config(1), Unblock::new());
        let pool = KeyRequestPool::new(1, 64);
        for n in 0..2000 {
            queue.submit(request(&pool, n)).unwrap();
            assert_eq!(wait(&mut queue).cookie(), n);
        }
    }

    #[test]
    fn an_operation_that_panics_completes_as_failed_and_the_thread_goes_on() {
        let carry_out = |request: &mut KeyRequest| {
            assert_ne!(request.cookie(), 1, "this is the panic that the test is about");
            request.finish(Ok(()));
        };
        let mut queue = Queue::new(workers(1, carry_out), &config(4), Unblock::new());
        let pool = KeyRequestPool::new(4, 64);
        (0..3).for_each(|n| queue.submit(request(&pool, n)).unwrap());
        let results = [0; 3].map(|_| wait(&mut queue)).map(|one| (one.cookie(), one.result()));
        assert_eq!(results, [(0, Some(Ok(()))), (1, Some(Err(KeyError::Failed))), (2, Some(Ok(())))]);
    }

    #[test]
    fn the_threads_end_with_the_last_queue_and_requests_go_home() {
        let (gate, pool) = (Gate::default(), KeyRequestPool::new(8, 64));
        let (held, alive) = (gate.clone(), Arc::new(()));
        let inside: Weak<()> = Arc::downgrade(&alive);
        let workers = workers(2, move |_| {
            let _alive = &alive;
            held.pass();
        });
        let mut queues: Vec<_> =
            (0..2).map(|_| Queue::new(Arc::clone(&workers), &config(8), Unblock::new())).collect();
        drop(workers);
        (0..5).for_each(|n| queues[0].submit(request(&pool, n)).unwrap());
        gate.wait_for(2);
        queues.remove(0);
        assert_eq!(pool.available(), 6, "two are under way, three were given up");
        assert!(inside.upgrade().is_some(), "the other queue keeps the threads");
        gate.open();
        drop(queues);
        assert!(inside.upgrade().is_none(), "the threads have ended");
        assert_eq!(pool.available(), 8);
    }
}

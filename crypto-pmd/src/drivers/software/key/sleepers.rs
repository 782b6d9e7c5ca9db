//! Sleep for threads that have no work, and a wake-up that nobody waits for.
//!
//! Invariant: work that was added before [`Sleepers::wake_one`] is seen by a thread before it sleeps, or wakes one that does. Checked over
//! its interleavings by loom, which under `--cfg model` takes the place of the standard library's atomics and threads.

use std::sync::OnceLock;

#[cfg(model)]
use loom::thread::{self, Thread};
#[cfg(not(model))]
use std::thread::{self, Thread};

use pipeline::sync::{AtomicBool, Ordering, fence};

#[derive(Debug)]
struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A place for each thread.
#[derive(Debug)]
pub(super) struct Sleepers(Box<[Sleeper]>);

impl Sleepers {
    pub(super) fn new(count: usize) -> Self {
        let sleeper = |_| Sleeper { asleep: AtomicBool::new(false), thread: OnceLock::new() };
        Self((0..count).map(sleeper).collect())
    }

    /// Wakes one thread that sleeps, if any. Whoever adds work does so before; the fence and its twin in [`Sleepers::sleep`] make that
    /// either this side sees the sleeper or the sleeper sees the work.
    pub(super) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        for sleeper in &self.0 {
            if sleeper.asleep.load(Ordering::Relaxed) && sleeper.wake() {
                return;
            }
        }
    }

    /// Says that the thread of this number sleeps, looks once more for work, and sleeps unless there is some. It may wake for nothing.
    pub(super) fn sleep(&self, number: usize, has_work: impl FnOnce() -> bool) {
        let Some(sleeper) = self.0.get(number) else { return };
        sleeper.thread.get_or_init(thread::current);
        sleeper.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park();
        }
        sleeper.asleep.store(false, Ordering::Relaxed);
    }
}

impl Sleeper {
    /// False when somebody else was faster.
    fn wake(&self) -> bool {
        let mine = self.asleep.swap(false, Ordering::Relaxed);
        if mine && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        mine
    }
}

#[cfg(all(test, model))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;

    use super::*;

    /// Takes one piece of work, if there is any.
    fn take(work: &AtomicUsize) -> bool {
        work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
    }

    struct Shared {
        sleepers: Sleepers,
        work: AtomicUsize,
        left: AtomicUsize,
    }

    /// Works until nothing is left, as a worker does until it is stopped; the last one wakes the others for that.
    fn work(shared: &Shared, number: usize, threads: usize) {
        let is_over = || shared.left.load(Ordering::Relaxed) == 0;
        while !is_over() {
            if !take(&shared.work) {
                shared.sleepers.sleep(number, || shared.work.load(Ordering::Relaxed) > 0 || is_over());
            } else if shared.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                (0..threads).for_each(|_| shared.sleepers.wake_one());
            }
        }
    }

    /// A thread that sleeps while there is work, or when all is over, sleeps for good: loom sees that nothing goes on.
    fn all_is_done(threads: usize, pieces: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(move || {
            let sleepers = Sleepers::new(threads);
            let (added, left) = (AtomicUsize::new(0), AtomicUsize::new(pieces));
            let shared = Arc::new(Shared { sleepers, work: added, left });
            let start = |number| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || work(&shared, number, threads))
            };
            let handles: Vec<_> = (0..threads).map(start).collect();
            for _ in 0..pieces {
                shared.work.fetch_add(1, Ordering::Relaxed);
                shared.sleepers.wake_one();
            }
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    }

    #[test]
    fn work_wakes_the_thread_that_sleeps() {
        all_is_done(1, 2);
    }

    #[test]
    fn work_wakes_one_of_two_threads_that_sleep() {
        all_is_done(2, 1);
    }
}

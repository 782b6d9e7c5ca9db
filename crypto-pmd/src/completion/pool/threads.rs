//! The threads of a pool: one task each, pinned where there is a processor for it.
//!
//! Invariant: no thread outlives this; dropping it tells them to stop and waits for them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use pipeline::lcore::{Idle, Lcore, LcoreId, Task};

#[derive(Debug, Default)]
pub(super) struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts a thread for each task. When one does not start, the others are stopped again.
    pub(super) fn start<T: Task + 'static>(
        tasks: impl IntoIterator<Item = T>,
        cores: &[LcoreId],
        idle: Idle,
    ) -> io::Result<Self> {
        let mut all = Self::default();
        let cores = cores.iter().copied().map(Some).chain(std::iter::repeat(None));
        for ((number, task), core) in tasks.into_iter().enumerate().zip(cores) {
            let stop = Arc::clone(&all.stop);
            let thread = Builder::new().name(format!("crypto-{number}"));
            all.threads.push(thread.spawn(move || poll(task, core, idle, &stop))?);
        }
        Ok(all)
    }

    /// True when every thread has ended, by itself or by a fault of its driver.
    pub(super) fn ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Tells the threads to stop, whatever they do, and waits for them.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let this = std::thread::current().id();
        for thread in self.threads.drain(..) {
            if thread.thread().id() == this {
                // A callback had the last handle to its own pool.
                continue;
            }
            // A thread that ended by a fault of its driver took its jobs along; who counts jobs misses them.
            drop(thread.join());
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn poll(mut task: impl Task, core: Option<LcoreId>, idle: Idle, stop: &AtomicBool) {
    task.open();
    Lcore { id: core, tasks: vec![&mut task], idle }.poll(stop);
}

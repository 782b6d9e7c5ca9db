//! Jobs that are awaited: any thread submits by a [`Client`] and gets a [`Future`]; one core, the [`Service`], does the
//! submitting and polling, and wakes.
//!
//! Client and service share a ring of jobs and a fixed number of cells, one for each job from its submission until its result
//! is taken. Who has a cell has a place in the ring, so nothing but a cell is ever waited for.
//!
//! Invariants: a job that was handed over belongs to the service until it is done. A future may be dropped at any moment: the
//! service then brings the job home all the same and drops it, so no buffer is freed that a driver has. Every future ends: with its job, or,
//! when the service goes, by being told so. The service takes no memory. It takes a lock in one case only: when it frees the cell of a
//! dropped future while another one waits for a cell; waking a task is the business of its executor.
//!
//! [`Future`]: std::future::Future

mod cells;
mod client;

use std::sync::Arc;

use pipeline::lcore::{Ended, Task, Turn};

use crate::crew::Crypto;
use crate::dispatcher::Dispatcher;
use crate::job::JobBurst;

use cells::{Request, Shared};

pub use client::{Client, JobFuture, ServiceStopped};

/// The core's side: a task to be polled, by an lcore or by any thread.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use crypto_pmd::completion::Service;
/// use crypto_pmd::drivers::Software;
/// use crypto_pmd::*;
/// use pipeline::lcore::{Idle, Lcore};
/// use pipeline::{Pool, PoolConfig};
///
/// let registry = Registry::new();
/// registry.attach(Software::new())?;
/// let hash = Transform::digest(DigestAlgorithm::Sha256, 32);
/// let session = registry.open(hash.into(), Placement::Any)?;
/// let (mut service, client) = Service::new(registry.dispatcher(&QueuePairConfig::default())?, 64);
/// let core = std::thread::spawn(move || {
///     // Until the last client is gone.
///     Lcore { id: None, tasks: vec![&mut service], idle: Idle::SLEEP }.poll(&AtomicBool::new(false))
/// });
///
/// let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() })?;
/// let packet = pool.alloc_copy(&[0; 32]).unwrap();
/// let job = Job::new(packet, session, Operation::Encrypt);
/// let done = futures::executor::block_on(client.submit(job))?;
/// // SHA-256 of nothing (FIPS 180-4).
/// assert_eq!(hex::encode(&done.into_packet().data()[..4]), "e3b0c442");
/// drop(client);
/// core.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Service<D: Crypto = Dispatcher> {
    crypto: D,
    shared: Arc<Shared>,
    /// The cookies of the jobs that are here, by cell.
    cookies: Box<[Option<u64>]>,
    jobs: JobBurst,
    done: JobBurst,
}

impl<D: Crypto> Service<D> {
    /// A service with `cells` cells (at least one): the most jobs that were submitted and not taken back. And a client,
    /// to be cloned.
    #[must_use]
    pub fn new(crypto: D, cells: usize) -> (Self, Client) {
        let shared = Arc::new(Shared::new(cells.max(1)));
        let client = Client::new(Arc::clone(&shared));
        let cookies = vec![None; shared.len()].into();
        (Self { crypto, shared, cookies, jobs: JobBurst::new(), done: JobBurst::new() }, client)
    }

    /// Jobs that the service has: those in the ring are not counted.
    #[must_use]
    pub fn held(&self) -> usize {
        self.jobs.len() + self.crypto.in_flight()
    }

    /// Jobs of futures that were dropped while the jobs were under way, brought home so far.
    #[must_use]
    pub fn reaped(&self) -> u64 {
        self.shared.reaped()
    }

    /// Takes requests, as many as the burst has room for; their jobs are named by their cells.
    fn receive(&mut self) -> usize {
        let before = self.jobs.len();
        while self.jobs.room() > 0
            && let Some(Request { mut job, cell }) = self.shared.pop()
        {
            if let Some(place) = self.cookies.get_mut(cell) {
                *place = Some(job.cookie());
            }
            job.set_cookie(cell as u64);
            // Room was seen to above.
            drop(self.jobs.push(job));
        }
        self.jobs.len() - before
    }

    /// Puts results into their cells.
    fn deliver(&mut self) {
        for mut job in self.done.drain() {
            let cell = job.cookie() as usize;
            // Not for a driver that hands a job out twice, or under another cookie.
            if let Some(cookie) = self.cookies.get_mut(cell).and_then(Option::take) {
                job.set_cookie(cookie);
                self.shared.deliver(cell, job);
            }
        }
    }

    fn work(&mut self) -> usize {
        let mut moved = self.receive();
        if !self.jobs.is_empty() {
            moved += self.crypto.submit(&mut self.jobs);
        }
        moved += self.crypto.poll(&mut self.done);
        self.deliver();
        moved
    }
}

impl<D: Crypto> Task for Service<D> {
    fn open(&mut self) {}

    fn turn(&mut self) -> Turn {
        // Before the work: what the last client submitted is then seen.
        let alone = Arc::strong_count(&self.shared) == 1;
        if self.work() > 0 {
            return Turn::Busy;
        }
        if self.held() > 0 {
            self.crypto.flush();
            return Turn::Stalled;
        }
        if alone { Turn::Finished(Ended::Drained) } else { Turn::Idle }
    }

    fn offline(&mut self) {
        self.crypto.offline();
    }
}

impl<D: Crypto> Drop for Service<D> {
    /// Every future ends: jobs that no driver took go back, the others stay with their driver and are dropped with it.
    fn drop(&mut self) {
        self.shared.stop();
        for mut job in self.jobs.drain() {
            let cell = job.cookie() as usize;
            if let Some(cookie) = self.cookies.get_mut(cell).and_then(Option::take) {
                job.set_cookie(cookie);
                self.shared.give_back(cell, Some(job));
            }
        }
        let with_driver = self.cookies.iter().enumerate().filter(|(_, cookie)| cookie.is_some());
        with_driver.for_each(|(cell, _)| self.shared.give_back(cell, None));
    }
}

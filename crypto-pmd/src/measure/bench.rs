//! One driver, alone behind a registry and a dispatcher, with one session of a bundle: what is timed.
//!
//! Packets and jobs are made anew before each round, while no clock runs, because encryption and decryption change them.
//! Packets to be decrypted were sealed by the driver itself, so every tag is valid.

use pipeline::Tick;

use crate::device::QueuePairConfig;
use crate::dispatcher::Dispatcher;
use crate::job::{Job, JobBurst, Operation, Status};
use crate::registry::{Placement, Registry};
use crate::session::SessionId;

use super::calibrate::Ticks;
use super::candidate::Candidate;
use super::class::{BurstClass, Cell, SizeClass};
use super::table::Why;
use super::work::Work;

/// Turns without progress after which other threads are let in: an emulated engine may be one.
const EAGER: u32 = 64;
/// Turns without progress after which a driver has lost a job.
const TURNS: u32 = 1 << 17;

/// A driver ready to be timed.
#[derive(Debug)]
pub(super) struct Bench {
    dispatcher: Dispatcher,
    session: SessionId,
    /// Sessions of the driver live as long as it is attached.
    _registry: Registry,
    waiting: JobBurst,
    done: JobBurst,
    finished: Vec<Job>,
    images: Vec<Image>,
}

/// A packet of one size, as it goes in either way.
#[derive(Debug)]
struct Image {
    size: SizeClass,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Bench {
    /// Opens a session of the bundle on a fresh driver.
    pub(super) fn open(candidate: &Candidate, work: &Work<'_>) -> Result<Self, Why> {
        if candidate.capabilities().anything {
            return Err(Why::ComputesNothing);
        }
        let registry = Registry::new();
        let driver = candidate.attach(&registry)?;
        let unsupported = |error: crate::OpenError| Why::Unsupported(error.to_string());
        let session =
            registry.open(work.bundle().params().clone(), Placement::Driver(driver)).map_err(unsupported)?;
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).map_err(Why::failed)?;
        let (waiting, done) = (JobBurst::new(), JobBurst::new());
        let (finished, images) = (Vec::new(), Vec::new());
        Ok(Self { dispatcher, session, _registry: registry, waiting, done, finished, images })
    }

    /// Makes the packets of one size.
    ///
    /// # Errors
    /// [`Why::Unsupported`] for packets that are too long for the driver.
    pub(super) fn prepare(&mut self, size: SizeClass, work: &Work<'_>) -> Result<(), Why> {
        let plain = work.plain(size);
        let jobs = self.jobs(work, &plain, Operation::Encrypt, 1)?;
        self.run(jobs, BurstClass::One)?;
        self.check()?;
        let packet = self.finished.pop().map(Job::into_packet).ok_or_else(|| Why::failed("no packet"))?;
        let sealed = packet.segments().flatten().copied().collect();
        self.images.push(Image { size, plain, sealed });
        Ok(())
    }

    /// Sizes that are ready.
    pub(super) fn sizes(&self) -> impl Iterator<Item = SizeClass> {
        self.images.iter().map(|image| image.size)
    }

    /// One round; ticks and operations.
    pub(super) fn round(
        &mut self,
        cell: Cell,
        work: &Work<'_>,
        clock: &impl Ticks,
    ) -> Result<(Tick, u64), Why> {
        let image = self.images.iter().find(|image| image.size == cell.size);
        let image = image.ok_or_else(|| Why::failed("no packet of this size"))?;
        let bytes = if cell.operation == Operation::Encrypt { &image.plain } else { &image.sealed };
        let jobs = self.jobs(work, bytes, cell.operation, Work::packets(cell.size))?;
        let count = jobs.len() as u64;
        let start = clock.tick();
        self.run(jobs, cell.burst)?;
        let ticks = clock.tick().saturating_sub(start);
        self.check()?;
        self.finished.clear();
        Ok((ticks, count))
    }

    fn jobs(
        &self,
        work: &Work<'_>,
        image: &[u8],
        operation: Operation,
        count: usize,
    ) -> Result<Vec<Job>, Why> {
        let jobs = (0..count).map(|_| work.job(image, self.session, operation));
        jobs.collect::<Option<_>>().ok_or_else(|| Why::failed("no buffer left"))
    }

    /// Has all jobs done, in bursts. This is what is timed.
    fn run(&mut self, jobs: Vec<Job>, burst: BurstClass) -> Result<(), Why> {
        self.finished.clear();
        self.finished.reserve(jobs.len());
        let total = jobs.len();
        let mut jobs = jobs.into_iter();
        let mut idle = 0;
        while self.finished.len() < total {
            if self.waiting.is_empty() && self.is_next(burst) {
                self.waiting.extend(jobs.by_ref().take(burst.jobs()));
            }
            let taken = self.dispatcher.submit(&mut self.waiting);
            let moved = taken + self.dispatcher.poll(&mut self.done);
            self.finished.extend(self.done.drain());
            idle = if moved > 0 { 0 } else { self.wait(idle)? };
        }
        Ok(())
    }

    fn is_next(&self, burst: BurstClass) -> bool {
        burst == BurstClass::Many || self.dispatcher.in_flight() == 0
    }

    /// A turn moved nothing.
    #[cold]
    fn wait(&mut self, idle: u32) -> Result<u32, Why> {
        self.dispatcher.flush();
        if idle > EAGER {
            std::thread::yield_now();
        }
        if idle < TURNS { Ok(idle + 1) } else { Err(Why::failed("it takes and finishes no job any more")) }
    }

    /// Looks whether every job was done.
    fn check(&self) -> Result<(), Why> {
        match self.finished.iter().map(Job::status).find(|&status| status != Status::Done) {
            None => Ok(()),
            Some(Status::TooLong) => Err(Why::Unsupported("packets of this size are too long".to_owned())),
            Some(status) => Err(Why::Failed(format!("a job came back as {status:?}, not done"))),
        }
    }
}

//! The order in which jobs of sessions on several drivers were taken, restored behind the drivers.
//!
//! Each such job gets a place in one window; its own word for an order (a crew's, say) is kept aside meanwhile. What is finished waits for those
//! before it, but not for ever: a job that does not come back within the deadline is given up, and late when it comes after all.

use pipeline::Clock;
use pipeline::clock::Tick;
use pipeline::reorder::Reorder;

use crate::job::{Job, JobBurst, Status};

/// How long a finished job waits for those before it, in nanoseconds.
/// Models know no time.
const DEADLINE_NS: u64 = if cfg!(model) { u64::MAX } else { 2_000_000_000 };

#[derive(Debug)]
pub(super) struct Order {
    window: Reorder<Job>,
    /// The callers' own words, by place.
    words: Box<[u32]>,
    /// Jobs that came back too late, to be handed out.
    late: Vec<Job>,
    late_count: u64,
    /// Jobs with a place that did not come back.
    away: usize,
    clock: Clock,
    /// The time of the call under way, once somebody asked.
    now: Option<Tick>,
    deadline: Tick,
}

impl Order {
    pub(super) fn new(places: usize, clock: Clock) -> Self {
        let places = places.next_power_of_two();
        Self {
            window: Reorder::with_capacity(places),
            words: vec![0; places].into_boxed_slice(),
            late: Vec::with_capacity(places),
            late_count: 0,
            away: 0,
            deadline: clock.ticks(DEADLINE_NS),
            clock,
            now: None,
        }
    }

    /// A call begins: the clock is read anew, once, when somebody asks for the time.
    pub(super) fn begin_call(&mut self) {
        self.now = None;
    }

    fn now(&mut self) -> Tick {
        *self.now.get_or_insert_with(|| self.clock.tick())
    }

    /// Places that can be given out.
    pub(super) fn room(&self) -> usize {
        self.window.room()
    }

    /// Whether no job has a place, or had one that was given up.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.away == 0 && self.window.held() == 0 && self.late.is_empty()
    }

    /// Jobs that came back too late so far.
    pub(super) fn late(&self) -> u64 {
        self.late_count
    }

    /// Gives a job the next place; the caller saw to room.
    pub(super) fn reserve(&mut self, job: &mut Job) {
        let place = self.window.reserve();
        if let Some(word) = self.word(place) {
            *word = job.order();
        }
        job.set_order(place);
        job.set_ordered(true);
        self.away += 1;
    }

    /// A job is finished.
    pub(super) fn put(&mut self, job: Job) {
        let place = job.order();
        self.away = self.away.saturating_sub(1);
        let now = self.now();
        if let Err(mut job) = self.window.put(place, job, now) {
            job.set_status(Status::Late);
            job.set_ordered(false);
            self.late_count += 1;
            self.late.push(job);
        }
    }

    /// Hands out what is next, while there is room; how many.
    pub(super) fn release(&mut self, done: &mut JobBurst) -> usize {
        let before = done.len();
        while done.room() > 0
            && let Some(job) = self.late.pop()
        {
            drop(done.push(job));
        }
        if self.window.held() > 0 {
            let now = self.now();
            self.window.expire(now, self.deadline);
        }
        while done.room() > 0
            && self.window.held() > 0
            && let Some(mut job) = self.window.take()
        {
            let place = job.order();
            let word = self.word(place).map_or(0, |word| *word);
            job.set_order(word);
            job.set_ordered(false);
            drop(done.push(job));
        }
        done.len() - before
    }

    fn word(&mut self, place: u32) -> Option<&mut u32> {
        let mask = self.words.len() - 1;
        self.words.get_mut(place as usize & mask)
    }
}

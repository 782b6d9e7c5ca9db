//! The jobs of a queue pair that are under way, in the order in which they were taken, which is the order in which they leave.

use pipeline::Mbuf;

use crate::job::{Job, Status};

/// What became of a job in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    /// The place is free.
    #[default]
    Free,
    /// The card has it, or is to have it again.
    Issued,
    /// It waits for those before it.
    Finished,
}

/// What goes with a job.
#[derive(Debug, Default)]
struct Side {
    mark: Mark,
    /// Where the card puts the result, or has the packet from, instead of the packet itself.
    copy: Option<Mbuf>,
    /// The result is to be taken from the copy.
    result_in_copy: bool,
}

/// A ring of places.
#[derive(Debug)]
pub(super) struct Window {
    jobs: Box<[Option<Job>]>,
    sides: Box<[Side]>,
    mask: u32,
    /// Number of the oldest job, and of the next.
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Window {
    /// For so many jobs, a power of two.
    pub(super) fn new(depth: usize) -> Self {
        Self {
            jobs: (0..depth).map(|_| None).collect(),
            sides: (0..depth).map(|_| Side::default()).collect(),
            mask: depth as u32 - 1,
            head: 0,
            tail: 0,
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// Whether a number is that of a job inside.
    #[inline(always)]
    pub(super) fn holds(&self, number: u32) -> bool {
        number.wrapping_sub(self.head) < self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn place(&self, number: u32) -> usize {
        (number & self.mask) as usize
    }

    /// Takes a job in; the caller saw to room.
    #[inline(always)]
    pub(super) fn add(&mut self, job: Job, mark: Mark) {
        let place = self.place(self.tail);
        if let (Some(slot), Some(side)) = (self.jobs.get_mut(place), self.sides.get_mut(place)) {
            *slot = Some(job);
            side.mark = mark;
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Gives the newest job a copy to go with it.
    pub(super) fn set_copy(&mut self, number: u32, copy: Mbuf, result_in_copy: bool) {
        let place = self.place(number);
        if let Some(side) = self.sides.get_mut(place) {
            (side.copy, side.result_in_copy) = (Some(copy), result_in_copy);
        }
    }

    #[inline(always)]
    pub(super) fn mark(&self, number: u32) -> Mark {
        self.sides.get(self.place(number)).map_or(Mark::Free, |side| side.mark)
    }

    #[inline(always)]
    pub(super) fn job(&self, number: u32) -> Option<&Job> {
        self.jobs.get(self.place(number))?.as_ref()
    }

    #[inline(always)]
    pub(super) fn job_mut(&mut self, number: u32) -> Option<&mut Job> {
        let place = self.place(number);
        self.jobs.get_mut(place)?.as_mut()
    }

    /// The copy that goes with a job, and whether the result is in it.
    pub(super) fn take_copy(&mut self, number: u32) -> Option<(Mbuf, bool)> {
        let place = self.place(number);
        let side = self.sides.get_mut(place)?;
        Some((side.copy.take()?, side.result_in_copy))
    }

    pub(super) fn copy(&self, number: u32) -> Option<&Mbuf> {
        self.sides.get(self.place(number))?.copy.as_ref()
    }

    /// Whether the card writes over the packet itself.
    pub(super) fn is_written_over(&self, number: u32) -> bool {
        self.copy(number).is_none() && self.job(number).is_some_and(Job::is_in_place)
    }

    /// It is done, however.
    #[inline(always)]
    pub(super) fn finish(&mut self, number: u32, status: Status) {
        let place = self.place(number);
        if let (Some(Some(job)), Some(side)) = (self.jobs.get_mut(place), self.sides.get_mut(place)) {
            job.set_status(status);
            side.mark = Mark::Finished;
        }
    }

    /// The oldest job, if it is done.
    #[inline(always)]
    pub(super) fn release(&mut self) -> Option<Job> {
        let place = self.place(self.head);
        let side = self.sides.get_mut(place).filter(|side| side.mark == Mark::Finished)?;
        (side.mark, side.copy) = (Mark::Free, None);
        self.head = self.head.wrapping_add(1);
        self.jobs.get_mut(place)?.take()
    }

    /// All that is inside, with no order.
    pub(super) fn take_all(&mut self) -> Vec<Job> {
        self.head = self.tail;
        self.jobs.iter_mut().filter_map(Option::take).collect()
    }
}

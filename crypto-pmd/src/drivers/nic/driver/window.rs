//! The jobs of a queue pair that are under way, in the order in which they were taken, which is the order in which they leave.
//!
//! They stay in the bursts in which they came, and where all of one are done they leave in it: a job's line is moved by exchanging pointers. What
//! becomes of a job is noted beside it, one byte, and written into it when it leaves.

use std::collections::VecDeque;

use pipeline::{MAX_BURST, Mbuf};

use crate::job::{Job, JobBurst, Status};

/// What is known of a job in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    /// The card has it, or is to have it again.
    #[default]
    Issued,
    /// The card has done it.
    Done,
    /// It is finished, and says itself how.
    Finished,
}

/// Bursts that there are: with fewer jobs than this in each, new ones join the last.
const BATCHES: usize = 64;
/// From so many jobs on, a burst stays by itself.
const WORTH_A_BATCH: usize = 16;

#[derive(Debug)]
struct Batch {
    jobs: JobBurst,
    marks: [Mark; MAX_BURST],
    /// Number of the first job that is still inside, and its mark's place.
    first: u32,
    gone: usize,
    /// Jobs that the card has.
    issued: usize,
    /// Some job says itself how it ended.
    has_own_words: bool,
}

impl Batch {
    fn empty() -> Self {
        Self {
            jobs: JobBurst::new(),
            marks: [Mark::Issued; MAX_BURST],
            first: 0,
            gone: 0,
            issued: 0,
            has_own_words: false,
        }
    }

    #[inline(always)]
    fn place(&self, number: u32) -> Option<usize> {
        let place = number.wrapping_sub(self.first) as usize;
        (place < self.jobs.len()).then_some(place)
    }
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    active: VecDeque<Batch>,
    free: Vec<Batch>,
    /// What goes with a job, by its place in the card's ring: where the card puts the result, or has the packet from, instead of the packet.
    copies: Box<[Option<Mbuf>]>,
    copied: usize,
    /// Number of the oldest job, and of the next.
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Window {
    /// For so many jobs, a power of two.
    pub(super) fn new(depth: usize) -> Self {
        Self {
            active: VecDeque::with_capacity(BATCHES),
            free: (0..BATCHES).map(|_| Batch::empty()).collect(),
            copies: (0..depth).map(|_| None).collect(),
            copied: 0,
            head: 0,
            tail: 0,
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// How many of `count` jobs can be taken in at once.
    pub(super) fn room(&self, count: usize) -> usize {
        match (self.free.is_empty(), self.active.back()) {
            (true, Some(last)) => count.min(last.marks.len() - last.gone - last.jobs.len()),
            _ => count,
        }
    }

    /// Takes jobs in, as many as [`Window::room`] has said; they are with the card.
    #[inline]
    pub(super) fn add(&mut self, jobs: &mut JobBurst, count: usize) {
        let joins = |last: &Batch| count <= last.marks.len() - last.gone - last.jobs.len();
        let small = count < WORTH_A_BATCH || self.free.is_empty();
        if !(small && self.active.back().is_some_and(joins)) {
            let Some(mut batch) = self.free.pop() else { return };
            (batch.first, batch.gone, batch.issued, batch.has_own_words) = (self.tail, 0, 0, false);
            self.active.push_back(batch);
        }
        let Some(batch) = self.active.back_mut() else { return };
        let start = batch.gone + batch.jobs.len();
        let taken = batch.jobs.take_some_from(jobs, count);
        batch.issued += taken;
        if let Some(marks) = batch.marks.get_mut(start..start + taken) {
            marks.fill(Mark::Issued);
        }
        self.tail = self.tail.wrapping_add(taken as u32);
    }

    /// The burst with a job, and its place there.
    #[inline(always)]
    fn find(&self, number: u32) -> Option<(usize, usize)> {
        let mut batches = self.active.iter().enumerate();
        batches.find_map(|(index, batch)| Some((index, batch.place(number)?)))
    }

    #[inline(always)]
    pub(super) fn mark(&self, number: u32) -> Option<Mark> {
        let (index, place) = self.find(number)?;
        let batch = self.active.get(index)?;
        batch.marks.get(batch.gone + place).copied()
    }

    #[inline(always)]
    pub(super) fn is_issued(&self, number: u32) -> bool {
        self.mark(number) == Some(Mark::Issued)
    }

    pub(super) fn job(&self, number: u32) -> Option<&Job> {
        let (index, place) = self.find(number)?;
        self.active.get(index)?.jobs.as_slice().get(place)
    }

    pub(super) fn job_mut(&mut self, number: u32) -> Option<&mut Job> {
        let (index, place) = self.find(number)?;
        self.active.get_mut(index)?.jobs.as_mut_slice().get_mut(place)
    }

    /// The card has done a job, unless it did not have it; and there is no copy to be looked after.
    #[inline(always)]
    pub(super) fn done(&mut self, number: u32) -> bool {
        if self.copied > 0 && self.copy(number).is_some() {
            return false;
        }
        let Some((index, place)) = self.find(number) else { return false };
        let Some(batch) = self.active.get_mut(index) else { return false };
        match batch.marks.get_mut(batch.gone + place) {
            Some(mark) if *mark == Mark::Issued => {
                *mark = Mark::Done;
                batch.issued -= 1;
                true
            }
            _ => false,
        }
    }

    /// It is finished, however.
    pub(super) fn finish(&mut self, number: u32, status: Status) {
        drop(self.take_copy(number));
        let Some((index, place)) = self.find(number) else { return };
        let Some(batch) = self.active.get_mut(index) else { return };
        if let (Some(job), Some(mark)) =
            (batch.jobs.as_mut_slice().get_mut(place), batch.marks.get_mut(batch.gone + place))
        {
            job.set_status(status);
            batch.issued -= usize::from(*mark == Mark::Issued);
            *mark = Mark::Finished;
            batch.has_own_words = true;
        }
    }

    fn slot(&mut self, number: u32) -> Option<&mut Option<Mbuf>> {
        let mask = self.copies.len() - 1;
        self.copies.get_mut(number as usize & mask)
    }

    /// Gives a job a copy to go with it.
    pub(super) fn set_copy(&mut self, number: u32, copy: Mbuf) {
        if let Some(slot) = self.slot(number) {
            let was = slot.replace(copy);
            self.copied += usize::from(was.is_none());
        }
    }

    /// The copy that goes with a job.
    pub(super) fn take_copy(&mut self, number: u32) -> Option<Mbuf> {
        let copy = self.slot(number)?.take()?;
        self.copied -= 1;
        Some(copy)
    }

    pub(super) fn copy(&self, number: u32) -> Option<&Mbuf> {
        self.copies.get(number as usize & (self.copies.len() - 1))?.as_ref()
    }

    /// Whether the card writes over the packet itself.
    pub(super) fn is_written_over(&self, number: u32) -> bool {
        self.copy(number).is_none() && self.job(number).is_some_and(Job::is_in_place)
    }

    /// Hands out the oldest jobs that are done, while there is room.
    #[inline]
    pub(super) fn release(&mut self, done: &mut JobBurst) -> usize {
        let before = self.head;
        while let Some(batch) = self.active.front_mut() {
            let inside = batch.jobs.len();
            let marks = batch.marks.get(batch.gone..batch.gone + inside).unwrap_or_default();
            let ready = match batch.issued {
                0 => inside,
                _ => marks.iter().take_while(|mark| **mark != Mark::Issued).count(),
            };
            let start = done.len();
            let moved = done.take_some_from(&mut batch.jobs, ready);
            for (job, mark) in done.iter_mut().skip(start).zip(marks) {
                if !batch.has_own_words || *mark == Mark::Done {
                    job.set_status(Status::Done);
                }
            }
            batch.gone += moved;
            batch.first = batch.first.wrapping_add(moved as u32);
            self.head = self.head.wrapping_add(moved as u32);
            if moved < inside {
                break;
            }
            if let Some(empty) = self.active.pop_front() {
                self.free.push(empty);
            }
        }
        self.head.wrapping_sub(before) as usize
    }

    /// All that is inside, with no order.
    pub(super) fn take_all(&mut self) -> Vec<Job> {
        self.head = self.tail;
        self.active.drain(..).flat_map(|mut batch| batch.jobs.drain().collect::<Vec<_>>()).collect()
    }
}

//! The slab: where a job's callback and its own cookie stay while the job is under way.
//!
//! Invariant: a slot is free, or belongs to the one job whose cookie names it, generation included.

use crate::job::Job;

/// What stays behind when a job leaves.
#[derive(Debug)]
pub(super) struct Entry<C> {
    cookie: u64,
    /// Whether it may be called from inside a submit.
    pub(super) at_once: bool,
    pub(super) callback: C,
}

#[derive(Debug)]
struct Slot<C> {
    /// How often the slot was used before, so that a job that came twice is told from its successor.
    generation: u32,
    entry: Option<Entry<C>>,
}

/// Every slot.
#[derive(Debug)]
pub(super) struct Slots<C> {
    slots: Box<[Slot<C>]>,
    free: Vec<u32>,
}

impl<C> Slots<C> {
    pub(super) fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            slots: (0..count).map(|_| Slot { generation: 0, entry: None }).collect(),
            free: (0..count).rev().collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps the callback and the job's cookie, and gives the job another; without a free slot the callback comes back.
    pub(super) fn put(&mut self, job: &mut Job, at_once: bool, callback: C) -> Result<(), C> {
        let Some((number, slot)) = self.free.pop().and_then(|n| Some((n, self.slots.get_mut(n as usize)?)))
        else {
            return Err(callback);
        };
        slot.entry = Some(Entry { cookie: job.cookie(), at_once, callback });
        job.set_cookie(u64::from(slot.generation) << 32 | u64::from(number));
        Ok(())
    }

    /// The entry that a cookie names.
    pub(super) fn entry(&self, cookie: u64) -> Option<&Entry<C>> {
        let slot = self.slots.get(cookie as u32 as usize)?;
        slot.entry.as_ref().filter(|_| slot.generation == (cookie >> 32) as u32)
    }

    /// Takes a job's entry out and gives the job its own cookie back; `None` when its cookie names none.
    pub(super) fn take_for(&mut self, job: &mut Job) -> Option<Entry<C>> {
        self.entry(job.cookie())?;
        let number = job.cookie() as u32;
        let slot = self.slots.get_mut(number as usize)?;
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(number);
        job.set_cookie(entry.cookie);
        Some(entry)
    }
}

//! The SAs of one core and direction, which that core alone touches, and how control code changes them while it runs.
//!
//! SAs lie in chunks, so that adding one of a million moves none. Control code sends changes over a queue; the core makes them at a
//! burst boundary, by exchanging what the change brings with what is in the place, and sends the change back with what was there. So the core
//! neither allocates nor frees, and keeps nothing of an SA that is gone. A change goes back when every job that was made before it has come
//! back, and the crypto session may be closed then.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use pipeline::memory::prefetch;

/// SAs in a chunk.
const CHUNK: usize = 256;

/// Changes that may be on their way to a core, and back.
const LANE: usize = 256;

/// Of a fixed length, so that a place in it needs no check.
type Chunk<S> = Box<[Option<S>; CHUNK]>;

/// The SAs.
#[derive(Debug)]
pub(crate) struct SaStore<S> {
    chunks: Vec<Chunk<S>>,
    len: usize,
    lane: Option<Lane<S>>,
    /// Changes that were made, and how many jobs had been made then.
    leaving: VecDeque<(u64, Box<Change<S>>)>,
    /// Jobs made, and jobs that came back.
    issued: u64,
    finished: u64,
}

/// A change to one place.
#[derive(Debug)]
pub(crate) struct Change<S> {
    pub(crate) index: u32,
    /// What goes in; on the way back, what came out.
    pub(crate) sa: Option<S>,
    /// A chunk for the place to lie in, where that is new.
    chunk: Option<Chunk<S>>,
    /// Whether what goes in takes over what its predecessor has counted and seen.
    pub(crate) inherits: bool,
    /// Whether what goes in uses the crypto session of its predecessor; for the control side.
    pub(crate) keeps_session: bool,
    /// Whether the place is empty afterwards; for the control side.
    pub(crate) vacates: bool,
}

/// An SA that can take the place of another one with the same keys: numbers go on, so that no nonce and no packet is used twice.
pub(crate) trait Heir {
    /// Takes over what `old` has counted and seen.
    fn inherit(&mut self, old: &Self);
}

/// The queues between control code and a core.
#[derive(Debug)]
pub(crate) struct Lane<S> {
    to: Arc<ArrayQueue<Box<Change<S>>>>,
    back: Arc<ArrayQueue<Box<Change<S>>>>,
}

impl<S> Clone for Lane<S> {
    fn clone(&self) -> Self {
        Self { to: Arc::clone(&self.to), back: Arc::clone(&self.back) }
    }
}

impl<S> Lane<S> {
    pub(crate) fn new() -> Self {
        let queue = || Arc::new(ArrayQueue::new(LANE));
        Self { to: queue(), back: queue() }
    }

    /// For the control side; a full queue gives the change back.
    pub(crate) fn send(&self, change: Box<Change<S>>) -> Result<(), Box<Change<S>>> {
        self.to.push(change)
    }

    /// For the control side: a change that was made.
    pub(crate) fn made(&self) -> Option<Box<Change<S>>> {
        self.back.pop()
    }
}

impl<S> Change<S> {
    /// Puts `sa`, or nothing, into place `index`, for which there is a chunk when `chunks` have been sent before; counts those.
    pub(crate) fn new(index: u32, sa: Option<S>, chunks: &mut usize) -> Box<Self> {
        let is_new = index as usize / CHUNK >= *chunks;
        *chunks += usize::from(is_new);
        let vacates = sa.is_none();
        Box::new(Self {
            index,
            sa,
            chunk: if is_new { chunk() } else { None },
            inherits: false,
            keeps_session: false,
            vacates,
        })
    }
}

/// An empty chunk, made where it stays; none only if a vector of this length were no array of it.
fn chunk<S>() -> Option<Chunk<S>> {
    let places: Vec<Option<S>> = (0..CHUNK).map(|_| None).collect();
    places.into_boxed_slice().try_into().ok()
}

impl<S> SaStore<S> {
    /// No SAs.
    pub(crate) fn new() -> Self {
        let (chunks, leaving) = (Vec::new(), VecDeque::new());
        Self { chunks, len: 0, lane: None, leaving, issued: 0, finished: 0 }
    }

    /// Takes changes from this lane from now on.
    pub(crate) fn join(&mut self, lane: Lane<S>) {
        // As many as there can ever be, so that the core allocates nothing for them.
        self.chunks.reserve_exact((crate::sa::SaSlot::MAX_INDEX as usize + 1) / CHUNK);
        self.leaving.reserve_exact(LANE);
        self.lane = Some(lane);
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&S> {
        self.chunks.get(index / CHUNK)?[index % CHUNK].as_ref()
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut S> {
        self.place(index)?.as_mut()
    }

    /// Asks for a place's line, without looking whether there is an SA, which would wait for it.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        if let Some(chunk) = self.chunks.get(index / CHUNK) {
            prefetch(&chunk[index % CHUNK]);
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut()).flatten()
    }

    /// Puts an SA behind all others and returns its index; for a store that nobody else changes.
    pub(crate) fn push(&mut self, sa: S) -> usize {
        let index = self.len;
        if index / CHUNK >= self.chunks.len() {
            self.chunks.extend(chunk());
        }
        if let Some(place) = self.place(index) {
            *place = Some(sa);
        }
        self.len += 1;
        index
    }

    #[inline(always)]
    fn place(&mut self, index: usize) -> Option<&mut Option<S>> {
        Some(&mut self.chunks.get_mut(index / CHUNK)?[index % CHUNK])
    }

    /// Jobs that did not come back yet.
    pub(crate) fn in_flight(&self) -> u64 {
        self.issued - self.finished
    }

    /// Counts jobs that were made, and that came back.
    #[inline(always)]
    pub(crate) fn count_jobs(&mut self, made: usize, back: usize) {
        self.issued += made as u64;
        self.finished += back as u64;
    }
}

impl<S: Heir> SaStore<S> {
    /// A burst boundary: makes the changes that came.
    #[inline(always)]
    pub(crate) fn refresh(&mut self) {
        if let Some(lane) = &self.lane
            && !(self.leaving.is_empty() && lane.to.is_empty())
        {
            self.make_changes();
        }
    }

    #[inline(never)]
    fn make_changes(&mut self) {
        let Some(lane) = self.lane.clone() else { return };
        while self.leaving.len() < LANE
            && let Some(mut change) = lane.to.pop()
        {
            self.make(&mut change);
            self.leaving.push_back((self.issued, change));
        }
        while self.leaving.front().is_some_and(|&(issued, _)| issued <= self.finished)
            && let Some((issued, change)) = self.leaving.pop_front()
        {
            if let Err(change) = lane.back.push(change) {
                return self.leaving.push_front((issued, change));
            }
        }
    }

    fn make(&mut self, change: &mut Change<S>) {
        if let Some(chunk) = change.chunk.take() {
            self.chunks.push(chunk);
        }
        let Some(place) = self.place(change.index as usize) else { return };
        if change.inherits
            && let (Some(heir), Some(old)) = (&mut change.sa, &*place)
        {
            heir.inherit(old);
        }
        std::mem::swap(place, &mut change.sa);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Heir for &str {
        fn inherit(&mut self, old: &Self) {
            *self = old;
        }
    }

    impl Heir for u32 {
        fn inherit(&mut self, old: &Self) {
            *self += old;
        }
    }

    impl Heir for i32 {
        fn inherit(&mut self, _old: &Self) {}
    }

    #[test]
    fn an_heir_takes_over_what_was_there_and_another_does_not() {
        let (lane, mut store, mut chunks) = (Lane::new(), SaStore::new(), 0);
        store.join(lane.clone());
        lane.send(Change::new(0, Some(5_u32), &mut chunks)).unwrap();
        let mut heir = Change::new(0, Some(100), &mut chunks);
        heir.inherits = true;
        lane.send(heir).unwrap();
        store.refresh();
        assert_eq!(store.get(0), Some(&105));
        lane.send(Change::new(0, Some(7), &mut chunks)).unwrap();
        store.refresh();
        assert_eq!(store.get(0), Some(&7));
    }

    #[test]
    fn a_change_comes_back_with_what_was_there_once_the_jobs_before_it_are_back() {
        let (lane, mut store, mut chunks) = (Lane::new(), SaStore::new(), 0);
        store.join(lane.clone());
        lane.send(Change::new(0, Some("old"), &mut chunks)).unwrap();
        store.refresh();
        assert_eq!((store.get(0), lane.made().unwrap().sa), (Some(&"old"), None));
        store.count_jobs(3, 0);
        lane.send(Change::new(0, Some("new"), &mut chunks)).unwrap();
        store.refresh();
        assert_eq!(store.get(0), Some(&"new"));
        store.count_jobs(5, 2);
        store.refresh();
        assert!(lane.made().is_none(), "a job of the old one is still away");
        store.count_jobs(0, 1);
        store.refresh();
        assert_eq!(lane.made().unwrap().sa, Some("old"));
    }

    #[test]
    fn places_in_new_chunks_come_with_their_chunk() {
        let (lane, mut store, mut chunks) = (Lane::new(), SaStore::new(), 0);
        store.join(lane.clone());
        for index in 0..3 * CHUNK as u32 {
            lane.send(Change::new(index, Some(index), &mut chunks)).unwrap();
            store.refresh();
            drop(lane.made());
        }
        assert_eq!(chunks, 3);
        assert!((0..3 * CHUNK).all(|index| store.get(index) == Some(&(index as u32))));
        assert_eq!(store.get(3 * CHUNK), None);
    }

    #[test]
    fn when_nobody_takes_changes_back_the_core_takes_no_more() {
        let (lane, mut store, mut chunks) = (Lane::new(), SaStore::new(), 0);
        store.join(lane.clone());
        let mut sent = 0;
        while lane.send(Change::new(0, Some(sent), &mut chunks)).is_ok() {
            store.refresh();
            sent += 1;
        }
        assert_eq!(sent, 3 * LANE as i32, "in both queues, and at the core");
        let back = std::iter::from_fn(|| {
            let made = lane.made();
            store.refresh();
            made
        });
        assert_eq!(back.count(), 3 * LANE);
    }
}

//! A table that control code changes entry by entry while polling cores read it, without locks, copies or allocation on
//! their side.
//!
//! An entry is published by storing its pointer in a slot. What was in the slot before is retired, and freed by the
//! control side when no core can still be looking at it: when every [`Reader`] has passed a burst boundary since
//! ([`Reader::refresh`]), or is offline. Slots lie in chunks that double in size and never move, so adding one entry to a million
//! copies none of them.
//!
//! Why it is safe to free. A writer takes the old pointer out of its slot, then raises the epoch to `e`, then looks at the
//! readers' records. A reader that is online and whose record says `e` or more loaded the epoch with acquire after the writer raised it
//! with release, so everything that it loads later sees the slot without the old pointer; and it stored its record with release after its
//! last use of what it had found before, which the writer's acquire load of the record sees. A reader that was offline stores its
//! record, then a sequentially consistent fence, then loads slots; the writer has such a fence between taking the pointer
//! out and loading the record. One of the two fences is first: either the writer sees the record, and waits, or the reader sees the slot without
//! the old pointer.
//!
//! This module is one of the few with `unsafe`: an entry's lifetime hangs on the protocol above, which the type system
//! cannot see. It is checked by the models in `tests/models.rs`.

#![allow(clippy::disallowed_types, reason = "control sides lock each other out; readers need no lock")]

use std::fmt;
use std::sync::PoisonError;

use crossbeam_utils::CachePadded;

use crate::memory::{prefetch, prefetch_line};
use crate::sync::{Arc, AtomicBool, AtomicPtr, AtomicU64, Mutex, MutexGuard, Ordering, fence};

/// Slots of the first chunk.
const FIRST: usize = if cfg!(model) { 1 } else { 64 };

/// Chunks, each twice as long as the one before: more slots than memory has room for entries.
const CHUNKS: usize = if cfg!(model) { 2 } else { 32 };

/// Retired entries for which the queue always has room.
const FEW: usize = 64;

/// The epoch of a reader that looks at nothing.
const OFFLINE: u64 = u64::MAX;

/// Pointers to the entries, in chunks.
struct Directory<T>([AtomicPtr<AtomicPtr<T>>; CHUNKS]);

/// What the control side and all readers have in common.
struct Shared<T> {
    live: Directory<T>,
    epoch: AtomicU64,
    writer: Mutex<Writer<T>>,
}

struct Writer<T> {
    readers: Vec<Arc<CachePadded<Record>>>,
    retired: std::collections::VecDeque<Retired<T>>,
}

/// A reader's line: only the reader writes it.
struct Record {
    /// The epoch at its last burst boundary, or [`OFFLINE`].
    seen: AtomicU64,
    gone: AtomicBool,
}

/// An entry that was taken out in an epoch.
struct Retired<T> {
    epoch: u64,
    entry: *mut T,
}

// SAFETY: the entry is owned by the list, and `T` may be dropped by any thread, and be read by others meanwhile.
unsafe impl<T: Send + Sync> Send for Retired<T> {}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`, taken out of its slot once, and no reader can have it any more: retired entries
        // are dropped when their grace is over, or with the shared part.
        drop(unsafe { Box::from_raw(self.entry) });
    }
}

/// The control side; clones share it.
///
/// ```
/// let table = pipeline::publish::Table::new();
/// let mut reader = table.reader();
/// table.set(3, "three");
/// reader.refresh();
/// assert_eq!(reader.find(3), Some(&"three"));
/// table.set(3, "drei");
/// assert_eq!(table.collect(), 1, "the core may still look at the old entry");
/// reader.refresh();
/// assert_eq!(table.collect(), 0);
/// ```
pub struct Table<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A moment; over when every core has passed a burst boundary since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grace(u64);

impl<T: Send + Sync> Table<T> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let writer = Writer { readers: Vec::new(), retired: std::collections::VecDeque::new() };
        let live = Directory(std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())));
        let shared = Shared { live, epoch: AtomicU64::new(0), writer: Mutex::new(writer) };
        Self { shared: Arc::new(shared) }
    }

    /// A reader for one core, offline until its first burst boundary: a core that was not started yet holds up nobody.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        let record = Record { seen: AtomicU64::new(OFFLINE), gone: AtomicBool::new(false) };
        let record = Arc::new(CachePadded::new(record));
        self.lock().readers.push(Arc::clone(&record));
        Reader { shared: Arc::clone(&self.shared), record, seen: OFFLINE, online: false }
    }

    /// Publishes an entry; what the slot held is retired.
    pub fn set(&self, slot: usize, value: T) {
        let mut writer = self.lock();
        let Some(place) = self.shared.live.place_or_make(slot) else { return };
        let old = place.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        self.retire(&mut writer, old);
    }

    /// Takes an entry out; true when there was one.
    pub fn remove(&self, slot: usize) -> bool {
        let mut writer = self.lock();
        let Some(place) = self.shared.live.place(slot) else { return false };
        let old = place.swap(std::ptr::null_mut(), Ordering::AcqRel);
        self.retire(&mut writer, old);
        !old.is_null()
    }

    /// Looks at an entry on the control side.
    pub fn with<R>(&self, slot: usize, look: impl FnOnce(Option<&T>) -> R) -> R {
        let _unchanged = self.lock();
        let place = self.shared.live.place(slot).map(|place| place.load(Ordering::Acquire));
        // SAFETY: entries are taken out and freed under the lock only, which is held.
        look(place.and_then(|entry| unsafe { entry.as_ref() }))
    }

    /// A moment after everything done so far.
    #[must_use]
    pub fn grace(&self) -> Grace {
        let _writer = self.lock();
        Grace(self.shared.epoch.fetch_add(1, Ordering::Release) + 1)
    }

    /// Whether every core has passed a burst boundary since, is offline, or gone.
    #[must_use]
    pub fn is_over(&self, grace: Grace) -> bool {
        self.oldest_seen(&mut self.lock()) >= grace.0
    }

    /// Frees retired entries that no core can be looking at; how many still wait.
    pub fn collect(&self) -> usize {
        let mut writer = self.lock();
        let oldest = self.oldest_seen(&mut writer);
        let free = writer.retired.iter().take_while(|retired| retired.epoch <= oldest).count();
        let free: Vec<_> = writer.retired.drain(..free).collect();
        let waiting = writer.retired.len();
        // What many changes at once have made of the queue does not stay.
        if writer.retired.capacity() / 8 > waiting + FEW {
            writer.retired.shrink_to(2 * waiting + FEW);
        }
        // An entry may do anything when it is dropped, so the lock goes first.
        drop(writer);
        drop(free);
        waiting
    }

    fn retire(&self, writer: &mut MutexGuard<'_, Writer<T>>, entry: *mut T) {
        if !entry.is_null() {
            // After the slot was changed: whoever sees this epoch sees that too.
            let epoch = self.shared.epoch.fetch_add(1, Ordering::Release) + 1;
            writer.retired.push_back(Retired { epoch, entry });
        }
    }

    /// The oldest epoch that a reader may still be in; forgets readers that are gone.
    fn oldest_seen(&self, writer: &mut MutexGuard<'_, Writer<T>>) -> u64 {
        fence(Ordering::SeqCst);
        let mut oldest = OFFLINE;
        writer.readers.retain(|reader| {
            let gone = reader.gone.load(Ordering::Acquire);
            if !gone {
                oldest = oldest.min(reader.seen.load(Ordering::Acquire));
            }
            !gone
        });
        oldest
    }

    /// Every change leaves the table whole before it can fail, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Writer<T>> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A core's side.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    record: Arc<CachePadded<Record>>,
    /// What the record says when online.
    seen: u64,
    online: bool,
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("online", &self.online).finish_non_exhaustive()
    }
}

impl<T> Reader<T> {
    /// A burst boundary: nothing that was found before is looked at any more. True when something may have changed since the last one.
    #[inline(always)]
    pub fn refresh(&mut self) -> bool {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        let changed = epoch != self.seen || !self.online;
        if changed {
            self.pass(epoch);
        }
        changed
    }

    #[cold]
    fn pass(&mut self, epoch: u64) {
        self.record.seen.store(epoch, Ordering::Release);
        self.seen = epoch;
        if !self.online {
            // Before anything is loaded, the writer must be able to see that somebody looks.
            fence(Ordering::SeqCst);
            self.online = true;
        }
    }

    /// The entry of a slot, until the next burst boundary.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, slot: usize) -> Option<&T> {
        if !self.online {
            return None;
        }
        let entry = self.shared.live.place(slot)?.load(Ordering::Acquire);
        // SAFETY: null, or an entry that is not freed before this reader's record passes its epoch, for which the borrow of `self`
        // must have ended.
        unsafe { entry.as_ref() }
    }

    /// Asks the processor to bring the slot's line closer, before [`Reader::prefetch_entry`] and long before [`Reader::find`].
    #[inline(always)]
    pub fn prefetch_slot(&self, slot: usize) {
        if let Some(place) = self.shared.live.place(slot) {
            prefetch(place);
        }
    }

    /// Asks the processor to bring the first line of the slot's entry closer; waits for the slot itself.
    #[inline(always)]
    pub fn prefetch_entry(&self, slot: usize) {
        if let Some(place) = self.shared.live.place(slot) {
            // Whatever it is by then, nothing is read from it.
            prefetch_line(place.load(Ordering::Relaxed).cast_const().cast());
        }
    }

    /// The core stops looking, until the next [`Reader::refresh`]: it finds nothing, and nothing waits for it.
    pub fn offline(&mut self) {
        self.online = false;
        self.record.seen.store(OFFLINE, Ordering::Release);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.record.seen.store(OFFLINE, Ordering::Release);
        self.record.gone.store(true, Ordering::Release);
    }
}

impl<T> Directory<T> {
    /// Chunk of a slot, and its place there.
    #[inline(always)]
    fn split(slot: usize) -> (usize, usize) {
        let number = slot.saturating_add(FIRST);
        let chunk = (number.ilog2() - FIRST.ilog2()) as usize;
        (chunk, number - (FIRST << chunk))
    }

    #[inline(always)]
    fn place(&self, slot: usize) -> Option<&AtomicPtr<T>> {
        let (chunk, at) = Self::split(slot);
        let start = self.0.get(chunk)?.load(Ordering::Acquire);
        if start.is_null() {
            return None;
        }
        // SAFETY: a chunk has `FIRST << chunk` places, of which `at` is one, and lives as long as the directory.
        Some(unsafe { &*start.add(at) })
    }

    /// As above; makes the chunk where it is missing. For the writer, which holds the lock.
    fn place_or_make(&self, slot: usize) -> Option<&AtomicPtr<T>> {
        let (chunk, _) = Self::split(slot);
        let start = self.0.get(chunk)?;
        if start.load(Ordering::Acquire).is_null() {
            let places: Box<[AtomicPtr<T>]> =
                (0..FIRST << chunk).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect();
            start.store(Box::into_raw(places).cast(), Ordering::Release);
        }
        self.place(slot)
    }
}

impl<T> Drop for Directory<T> {
    fn drop(&mut self) {
        for (chunk, start) in self.0.iter().enumerate() {
            let start = start.load(Ordering::Acquire);
            if start.is_null() {
                continue;
            }
            let places = std::ptr::slice_from_raw_parts_mut(start, FIRST << chunk);
            // SAFETY: made by `Box::into_raw` of a slice of this length, and nobody else is left.
            let places = unsafe { Box::from_raw(places) };
            for place in &places {
                let entry = place.load(Ordering::Acquire);
                if !entry.is_null() {
                    // SAFETY: made by `Box::into_raw`, still in its slot, and nobody else is left.
                    drop(unsafe { Box::from_raw(entry) });
                }
            }
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use proptest::prelude::*;

    /// Counts the living.
    struct Alive(u64, Arc<AtomicUsize>);

    impl Alive {
        fn new(value: u64, count: &Arc<AtomicUsize>) -> Self {
            count.fetch_add(1, Ordering::Relaxed);
            Self(value, Arc::clone(count))
        }
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            // Whoever looks at it later sees that it is dead.
            self.0 = u64::MAX;
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn slots_lie_in_chunks_without_gaps() {
        let mut expected = (0, 0);
        for slot in 0..10_000 {
            assert_eq!(Directory::<u8>::split(slot), expected);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        let table = Table::new();
        table.set(usize::MAX, 'x');
        let mut reader = table.reader();
        reader.refresh();
        assert_eq!(reader.find(usize::MAX), None);
    }

    #[test]
    fn an_entry_lives_until_every_reader_has_passed_a_boundary() {
        let count = Arc::new(AtomicUsize::new(0));
        let table = Table::new();
        let (mut one, mut two) = (table.reader(), table.reader());
        one.refresh();
        two.refresh();
        table.set(0, Alive::new(1, &count));
        assert!(table.remove(0) && !table.remove(0));
        one.refresh();
        assert_eq!((table.collect(), count.load(Ordering::Relaxed)), (1, 1));
        two.refresh();
        assert_eq!((table.collect(), count.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn an_offline_reader_finds_nothing_and_holds_up_nobody() {
        let table = Table::new();
        let mut reader = table.reader();
        table.set(0, 'a');
        reader.refresh();
        reader.offline();
        assert_eq!(reader.find(0), None);
        table.set(0, 'b');
        assert_eq!(table.collect(), 0);
        reader.refresh();
        assert_eq!(reader.find(0), Some(&'b'));
        table.set(0, 'c');
        assert_eq!(table.collect(), 1);
        drop(reader);
        assert_eq!(table.collect(), 0);
    }

    #[test]
    fn a_reader_needs_no_lock() {
        let table = Table::new();
        let mut reader = table.reader();
        table.set(0, 'a');
        // Under the writer's lock, on its own thread.
        table.with(0, |_| {
            reader.refresh();
            assert_eq!(reader.find(0), Some(&'a'));
            reader.offline();
            reader.refresh();
            assert_eq!(reader.find(0), Some(&'a'));
            drop(reader);
        });
    }

    #[test]
    fn a_grace_is_over_when_every_reader_has_passed_it() {
        let table = Table::<u8>::new();
        // A reader is offline until its first boundary.
        let (mut online, mut offline) = (table.reader(), table.reader());
        online.refresh();
        let grace = table.grace();
        assert!(!table.is_over(grace));
        online.refresh();
        assert!(table.is_over(grace));
        offline.refresh();
        assert!(table.is_over(grace));
    }

    #[test]
    fn everything_is_freed_with_the_last_handle() {
        let count = Arc::new(AtomicUsize::new(0));
        let table = Table::new();
        let mut reader = table.reader();
        for slot in [0, 63, 64, 5000] {
            table.set(slot, Alive::new(0, &count));
            table.set(slot, Alive::new(1, &count));
        }
        drop(table);
        reader.refresh();
        assert_eq!(reader.find(5000).map(|alive| alive.0), Some(1));
        drop(reader);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn under_many_changes_readers_see_only_the_living_and_memory_stays_flat() {
        const CHANGES: u64 = 100_000;
        let (count, done) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
        let table: Table<Alive> = Table::new();
        let mut readers: Vec<_> = (0..2).map(|_| table.reader()).collect();
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(|| {
                    let mut turn = 0;
                    while !done.load(Ordering::Relaxed) {
                        reader.refresh();
                        for slot in 0..100 {
                            assert_ne!(reader.find(slot).map(|alive| alive.0), Some(u64::MAX));
                        }
                        turn += 1;
                        if turn % 64 == 0 {
                            reader.offline();
                        }
                    }
                });
            }
            for change in 0..CHANGES {
                match change % 3 {
                    0 => drop(table.remove((change % 97) as usize)),
                    _ => table.set((change % 97) as usize, Alive::new(change, &count)),
                }
                while table.collect() > 1000 {
                    std::thread::yield_now();
                }
                assert!(count.load(Ordering::Relaxed) <= 1000 + 98);
            }
            done.store(true, Ordering::Relaxed);
        });
        readers.clear();
        assert_eq!(table.collect(), 0);
        drop(table);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(steps in proptest::collection::vec((0_usize..300, any::<Option<u16>>()), 1..200)) {
            let (table, mut map) = (Table::new(), HashMap::new());
            let mut reader = table.reader();
            for (slot, value) in steps {
                match value {
                    Some(value) => { table.set(slot, value); map.insert(slot, value); }
                    None => prop_assert_eq!(table.remove(slot), map.remove(&slot).is_some()),
                }
                reader.refresh();
                prop_assert_eq!(table.collect(), 0);
                prop_assert!((0..300).all(|slot| reader.find(slot) == map.get(&slot)));
                prop_assert!(table.with(slot, |entry| entry == map.get(&slot)));
            }
        }
    }
}

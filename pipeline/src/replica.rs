//! A table that control code changes entry by entry while polling cores read it, without locks and without
//! copying the table: every reader has a replica of its own.
//!
//! The writer posts a change to each reader's queue; a reader applies what has come when it calls
//! [`Replica::refresh`], at a burst boundary. So readers read plain memory that nobody else writes, a change is
//! seen whole or not at all, and the order of changes is kept. Values that are large or secret are shared as
//! `Arc`s: the last replica to apply a removal lets the value go.
//!
//! Invariant: once every change is applied, all replicas are equal to the writer's table.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_queue::SegQueue;

/// A change to one slot: the new value, or none.
type Change<T> = (usize, Option<T>);

/// The writer's side; clones share it.
///
/// ```
/// let table = pipeline::replica::Table::new();
/// let mut replica = table.replica();
/// table.set(3, "three");
/// assert_eq!(replica.find(3), None, "not before the next burst boundary");
/// replica.refresh();
/// assert_eq!(replica.find(3), Some(&"three"));
/// ```
#[derive(Debug)]
pub struct Table<T> {
    writer: Arc<Mutex<Writer<T>>>,
}

#[derive(Debug)]
struct Writer<T> {
    entries: Vec<Option<T>>,
    readers: Vec<std::sync::Weak<SegQueue<Change<T>>>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { writer: Arc::clone(&self.writer) }
    }
}

impl<T: Clone> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Table<T> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { writer: Arc::new(Mutex::new(Writer { entries: Vec::new(), readers: Vec::new() })) }
    }

    /// Sets a slot and tells every reader.
    pub fn set(&self, slot: usize, value: T) {
        self.change(slot, Some(value));
    }

    /// Empties a slot and tells every reader; returns what the writer's table held.
    pub fn remove(&self, slot: usize) -> Option<T> {
        self.change(slot, None)
    }

    /// A new reader, with everything set so far.
    #[must_use]
    pub fn replica(&self) -> Replica<T> {
        let mut writer = self.lock();
        let changes = Arc::new(SegQueue::new());
        writer.readers.push(Arc::downgrade(&changes));
        Replica { entries: writer.entries.clone(), changes }
    }

    /// A copy of one entry.
    #[must_use]
    pub fn find(&self, slot: usize) -> Option<T> {
        self.lock().entries.get(slot).cloned().flatten()
    }

    fn change(&self, slot: usize, value: Option<T>) -> Option<T> {
        let mut writer = self.lock();
        writer.readers.retain(|reader| match reader.upgrade() {
            Some(changes) => {
                changes.push((slot, value.clone()));
                true
            }
            None => false,
        });
        put(&mut writer.entries, slot, value)
    }

    /// A writer that panicked half-way left a table that is still whole: each step is one assignment.
    fn lock(&self) -> MutexGuard<'_, Writer<T>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<T>(entries: &mut Vec<Option<T>>, slot: usize, value: Option<T>) -> Option<T> {
    if entries.len() <= slot {
        entries.resize_with(slot + 1, || None);
    }
    entries.get_mut(slot).and_then(|entry| std::mem::replace(entry, value))
}

/// A reader's side: its own copy of the table.
#[derive(Debug)]
pub struct Replica<T> {
    entries: Vec<Option<T>>,
    changes: Arc<SegQueue<Change<T>>>,
}

impl<T> Replica<T> {
    /// Applies what has been posted. Costs one load of a shared line when there is nothing.
    #[inline(always)]
    pub fn refresh(&mut self) {
        if !self.changes.is_empty() {
            self.apply();
        }
    }

    #[cold]
    fn apply(&mut self) {
        while let Some((slot, value)) = self.changes.pop() {
            put(&mut self.entries, slot, value);
        }
    }

    /// The entry of a slot.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, slot: usize) -> Option<&T> {
        self.entries.get(slot)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reader_sees_everything_set_before_it_came() {
        let table = Table::new();
        table.set(0, 'a');
        table.set(5, 'b');
        table.remove(0);
        let replica = table.replica();
        assert_eq!((replica.find(0), replica.find(5), replica.find(99)), (None, Some(&'b'), None));
    }

    #[test]
    fn a_removed_value_goes_when_the_last_replica_has_applied_the_removal() {
        let table = Table::new();
        let value = Arc::new(());
        table.set(1, Arc::clone(&value));
        let (mut one, mut two) = (table.replica(), table.replica());
        drop(table.remove(1));
        one.refresh();
        assert_eq!(Arc::strong_count(&value), 2);
        two.refresh();
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_replica_that_is_gone_collects_no_changes() {
        let table = Table::new();
        let value = Arc::new(());
        drop(table.replica());
        table.set(0, Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
    }

    #[test]
    fn replicas_on_other_threads_end_up_equal() {
        let table = Table::new();
        let mut replicas: Vec<_> = (0..3).map(|_| table.replica()).collect();
        std::thread::scope(|scope| {
            for replica in &mut replicas {
                scope.spawn(move || {
                    while replica.find(999) != Some(&999) {
                        replica.refresh();
                    }
                });
            }
            (0..1000).for_each(|n| table.set(n, n));
        });
        assert!(replicas.iter().all(|replica| replica.entries == replicas[0].entries));
    }
}

//! What cores share memory with, in one place, so that a model checker can take its place: under `--cfg model` these are
//! loom's, and the queue is a plain one, because what is modelled are the protocols of Sealane, not `crossbeam`'s queue.
//!
//! For the floors of Sealane; not meant for others, who may find it changed at any time.

#![allow(clippy::disallowed_types, reason = "for the control side of published tables")]

#[cfg(not(model))]
pub use crossbeam_queue::ArrayQueue;
#[cfg(not(model))]
pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(model))]
pub use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(model)]
pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(model)]
pub use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(model)]
pub use queue::ArrayQueue;

#[cfg(model)]
mod queue {
    use std::collections::VecDeque;
    use std::sync::PoisonError;

    /// As `crossbeam`'s, as far as it is used.
    #[derive(Debug)]
    pub struct ArrayQueue<T> {
        items: loom::sync::Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub fn new(capacity: usize) -> Self {
            Self { items: loom::sync::Mutex::new(VecDeque::new()), capacity }
        }
        fn items(&self) -> loom::sync::MutexGuard<'_, VecDeque<T>> {
            self.items.lock().unwrap_or_else(PoisonError::into_inner)
        }
        pub fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }
        pub fn pop(&self) -> Option<T> {
            self.items().pop_front()
        }
        pub fn len(&self) -> usize {
            self.items().len()
        }
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
        pub fn capacity(&self) -> usize {
            self.capacity
        }
    }
}

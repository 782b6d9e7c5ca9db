//! Where an algorithm's state lies: on the heap for a session, on the stack for the key of one request.
//!
//! A session boxes the state of the algorithm, not the enum of algorithms: a variant that is smaller than its enum would be
//! copied to the heap with whatever the stack held behind it, which may be a key, and dropping the variant would not wipe
//! that. The key of one request may not use the heap, since it comes on the data path.

use std::ops::Deref;

/// One of the two.
pub(super) trait Place: 'static {
    /// A state in this place.
    type Of<T: 'static>: Deref<Target = T>;

    /// Puts a state there.
    fn put<T: 'static>(state: T) -> Self::Of<T>;
}

/// In a block of its own.
pub(super) struct Heap;

impl Place for Heap {
    type Of<T: 'static> = Box<T>;

    fn put<T: 'static>(state: T) -> Box<T> {
        Box::new(state)
    }
}

/// Where the variable lies.
pub(super) struct Stack;

/// A state on the stack.
pub(super) struct Here<T>(T);

impl Place for Stack {
    type Of<T: 'static> = Here<T>;

    #[inline(always)]
    fn put<T: 'static>(state: T) -> Here<T> {
        Here(state)
    }
}

impl<T> Deref for Here<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

//! The driver's side: a queue of key operations, apart from that of jobs.

use std::fmt;
use std::sync::OnceLock;

use pipeline::sync::{Arc, AtomicU64, Ordering};

use super::request::KeyRequest;

/// Shape of a core's key queues.
#[derive(Clone, Copy, Debug)]
pub struct KeyQueueConfig {
    /// Requests that may be in a driver at once.
    pub depth: usize,
    /// Requests that the dispatcher keeps for each driver that is blocked; beyond that they stay with the caller.
    pub waiting: usize,
}

impl Default for KeyQueueConfig {
    fn default() -> Self {
        Self { depth: 64, waiting: 64 }
    }
}

/// Key operations of one core on one driver. No function may block, or compute what takes long.
pub trait KeyQueue: Send + fmt::Debug {
    /// Takes a request, which then comes out of [`KeyQueue::poll`] once.
    ///
    /// # Errors
    /// The driver is out of room: the request comes back as it was, and none is offered until the driver has room
    /// and has said so by [`Unblock::signal`].
    fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest>;

    /// A request that is done, by [`KeyRequest::finish`].
    fn poll(&mut self) -> Option<KeyRequest>;
}

/// How a driver says that it has room again for the key operations of one core; clones signal the same queue.
///
/// Make the room first and signal then. The dispatcher reads the count before it submits, so a signal that comes
/// while a request is being refused is seen, and no wake-up is lost.
///
/// ```
/// let unblock = crypto_pmd::key_op::Unblock::new();
/// let before = unblock.count();
/// unblock.clone().signal();
/// assert_ne!(unblock.count(), before);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Unblock(Arc<Signals>);

#[derive(Debug, Default)]
struct Signals {
    count: AtomicU64,
    /// Of the queue in which this one stands, where a driver is made of several.
    outer: OnceLock<Unblock>,
}

impl Unblock {
    /// A handle for one queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// There is room; from any thread.
    pub fn signal(&self) {
        self.0.count.fetch_add(1, Ordering::Release);
        // Behind the inner one: who is told here finds room there.
        if let Some(outer) = self.0.outer.get() {
            outer.signal();
        }
    }

    /// Signals go on to `outer` too, from now on; the first that is named.
    pub(crate) fn pass_on_to(&self, outer: &Self) {
        self.0.outer.get_or_init(|| outer.clone());
    }

    /// Signals so far; what made the room for them is visible to the caller.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }
}

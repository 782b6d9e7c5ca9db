//! Finds a driver that blocks: which one, in which of its functions, on which thread.
//!
//! [`Watched`] puts any driver under watch. On each entry into the driver it writes down which function that is, and on the way out that
//! it is over: two plain stores, no clock, no system call. A [`Watch`] looks from another thread: where a thread is inside the driver, it
//! asks the kernel what that thread does. A thread that sleeps between two readings of the same entry was put to sleep by the
//! driver; one that has computed for long in one entry waits by going round in circles. How long anything takes by the clock on the wall
//! plays no part, so a loaded machine accuses nobody.
//!
//! A look is a sample: what blocks shortly and seldom is found by looking often. It is for tests, and for whoever asks why a core stands
//! still. It changes nothing: a core that is inside the driver comes back when the driver lets it; the others go on, and once the driver
//! is detached, its sessions go on elsewhere.
//!
//! ```
//! use crypto_pmd::drivers::Software;
//! use crypto_pmd::watched::Watched;
//! use crypto_pmd::Registry;
//!
//! let (driver, mut watch) = Watched::new(Software::new())?;
//! let registry = Registry::new();
//! registry.attach(driver)?;
//! // Another thread polls a dispatcher of it.
//! assert_eq!(watch.look()?, []);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod queue;
mod station;
mod thread;
mod watch;

use std::io;
use std::sync::Arc;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::key_op::{KeyQueue, KeyQueueConfig, Unblock};
use crate::session::SessionId;
use crate::transform::SessionParams;

pub use watch::{Caught, Manner, Watch};

use queue::{WatchedKeyQueue, WatchedQueue};
use station::Board;

/// A function of a driver into which the framework goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
#[allow(missing_docs, reason = "named like the functions of the traits")]
pub enum EntryPoint {
    OpenSession,
    CloseSession,
    Collect,
    MakeQueuePair,
    MakeKeyQueue,
    Submit,
    Poll,
    Flush,
    Leave,
    Offline,
    IsBlocked,
    KeySubmit,
    KeyPoll,
}

impl EntryPoint {
    const ALL: [Self; 13] = [
        Self::OpenSession,
        Self::CloseSession,
        Self::Collect,
        Self::MakeQueuePair,
        Self::MakeKeyQueue,
        Self::Submit,
        Self::Poll,
        Self::Flush,
        Self::Leave,
        Self::Offline,
        Self::IsBlocked,
        Self::KeySubmit,
        Self::KeyPoll,
    ];

    /// Trait and function, as in `QueuePair::submit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSession => "Driver::open_session",
            Self::CloseSession => "Driver::close_session",
            Self::Collect => "Driver::collect",
            Self::MakeQueuePair => "Driver::queue_pair",
            Self::MakeKeyQueue => "Driver::key_queue",
            Self::Submit => "QueuePair::submit",
            Self::Poll => "QueuePair::poll",
            Self::Flush => "QueuePair::flush",
            Self::Leave => "QueuePair::leave",
            Self::Offline => "QueuePair::offline",
            Self::IsBlocked => "QueuePair::is_blocked",
            Self::KeySubmit => "KeyQueue::submit",
            Self::KeyPoll => "KeyQueue::poll",
        }
    }
}

/// A driver under watch; in all else the driver itself.
#[derive(Debug)]
pub struct Watched<D> {
    driver: D,
    board: Arc<Board>,
}

impl<D: Driver> Watched<D> {
    /// Puts a driver under watch, before it is attached.
    ///
    /// # Errors
    /// The kernel does not say what threads do: no `/proc`.
    pub fn new(driver: D) -> io::Result<(Self, Watch)> {
        thread::number()?;
        let board = Arc::new(Board::default());
        let watch = Watch::new(driver.name().to_owned(), Arc::clone(&board));
        Ok((Self { driver, board }, watch))
    }

    /// A control function, of which several may run at once.
    fn inside<T>(&self, entry: EntryPoint, body: impl FnOnce(&D) -> T) -> T {
        let _inside = self.board.control().map(|station| station.enter_shared(entry));
        body(&self.driver)
    }
}

impl<D: Driver> Driver for Watched<D> {
    fn name(&self) -> &str {
        self.driver.name()
    }
    fn capabilities(&self) -> &Capabilities {
        self.driver.capabilities()
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.inside(EntryPoint::OpenSession, |driver| driver.open_session(id, params))
    }
    fn session_state_len(&self) -> usize {
        self.driver.session_state_len()
    }
    fn open_with_state(
        &self,
        id: SessionId,
        params: &SessionParams,
        state: &mut [u8],
    ) -> Result<(), OpenError> {
        self.inside(EntryPoint::OpenSession, |driver| driver.open_with_state(id, params, state))
    }
    fn own_session_id(&self, id: SessionId) -> Option<u64> {
        self.inside(EntryPoint::OpenSession, |driver| driver.own_session_id(id))
    }
    fn close_session(&self, id: SessionId) {
        self.inside(EntryPoint::CloseSession, |driver| driver.close_session(id));
    }
    fn collect(&self) -> usize {
        self.inside(EntryPoint::Collect, Driver::collect)
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let queue = self.inside(EntryPoint::MakeQueuePair, |driver| driver.queue_pair(config));
        Box::new(WatchedQueue::new(queue, self.board.of_a_queue()))
    }
    fn key_queue(&self, config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        let queue = self.inside(EntryPoint::MakeKeyQueue, |driver| driver.key_queue(config, unblock))?;
        Some(Box::new(WatchedKeyQueue::new(queue, self.board.of_a_queue())))
    }
}

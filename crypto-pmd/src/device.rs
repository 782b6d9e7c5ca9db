//! The driver's side: two traits, one for control and one for a queue pair.
//!
//! Write a driver by implementing [`Driver`] (what can you do, open and close sessions, make a queue pair) and
//! [`QueuePair`] (take jobs, give them back). Both rules of a queue pair matter: a job that is not accepted
//! stays in the caller's burst, in order, and gets no completion; a job that is accepted comes out of `poll`
//! exactly once, with a status. No function of a queue pair may block.

use std::fmt;

use pipeline::Pool;
use pipeline::publish::Reader;
use zeroize::Zeroizing;

use crate::capability::{Capabilities, SessionIdFormat, Unsupported};
use crate::job::JobBurst;
use crate::key_op::{KeyQueue, KeyQueueConfig, Unblock};
use crate::session::SessionId;
use crate::transform::SessionParams;

/// Number of an attached driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriverId(pub u16);

/// Why a session could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The driver that was named, or every one that was allowed, lacks something.
    #[error("driver {driver}: {what}")]
    Unsupported {
        /// Name of the (last) driver that was asked.
        driver: String,
        /// What it lacks.
        what: Unsupported,
    },
    /// A driver has no place left.
    #[error("driver {driver} has no room for another session")]
    Full {
        /// Name of the driver.
        driver: String,
    },
    /// A driver cannot take sessions now.
    #[error(
        "driver {driver} is not ready: its card is gone or does not answer; use another one, or try again when it is back"
    )]
    NotReady {
        /// Name of the driver.
        driver: String,
    },
    /// Nothing attached that fits the placement.
    #[error("no driver is attached that fits the placement {0}; attach one first")]
    NoDriver(String),
    /// The id that a driver gave a session is none that it may have.
    #[error("driver {driver} keeps the session under the id {id:#x}, {fault}")]
    SessionId {
        /// Name of the driver.
        driver: String,
        /// The id that it gave.
        id: u64,
        /// What is wrong with it.
        fault: SessionIdFault,
    },
    /// A driver that has session ids of its own gave none.
    #[error("driver {driver} has session ids of its own and gave none")]
    NoSessionId {
        /// Name of the driver.
        driver: String,
    },
    /// More sessions than handles.
    #[error("no session handle left; close sessions that are no longer used")]
    TooMany,
}

/// What is wrong with a driver's own id of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionIdFault {
    /// It does not look like the driver's ids.
    #[error("which is none: its session ids are {0}")]
    Format(SessionIdFormat),
    /// Another session has it: the key of one would be used for the other.
    #[error("which another of its sessions has")]
    Taken,
}

/// Shape of a queue pair.
#[derive(Clone, Copy, Debug)]
pub struct QueuePairConfig {
    /// Jobs that may be in flight.
    pub depth: usize,
    /// Whether packets lie in the cache of another core when they are submitted: a driver may then fetch the next one
    /// while it works on this one.
    pub far: bool,
}

impl Default for QueuePairConfig {
    fn default() -> Self {
        Self { depth: 256, far: false }
    }
}

/// What the framework keeps for the sessions of a driver, as a queue pair reads it: for each as many bytes as the driver asked for.
#[derive(Debug)]
pub struct SessionStates(Reader<State>);

/// Generation of the handle, and the bytes, which are wiped when they go.
pub(crate) type State = (u32, Zeroizing<Box<[u8]>>);

impl SessionStates {
    pub(crate) fn new(reader: Reader<State>) -> Self {
        Self(reader)
    }

    /// A burst boundary: changes made so far are seen from here on.
    #[inline(always)]
    pub fn refresh(&mut self) {
        self.0.refresh();
    }

    /// What the driver wrote when the session was opened; `None` for a session that is not, or not any more.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, id: SessionId) -> Option<&[u8]> {
        let (generation, state) = self.0.find(id.index())?;
        (*generation == id.generation()).then_some(&***state)
    }

    /// Nothing is looked at until the next burst boundary.
    pub fn offline(&mut self) {
        self.0.offline();
    }
}

/// Control side of a driver.
pub trait Driver: Send + Sync + fmt::Debug {
    /// Name with unit, as in `software0`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Sets a session up under a handle that the framework chose; replaces what was there.
    ///
    /// # Errors
    /// What is not supported, or that there is no room.
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError>;

    /// Bytes of state that the framework is to keep for each session, and to hand to the driver; 0 for a driver that keeps its own.
    fn session_state_len(&self) -> usize {
        0
    }

    /// As [`Driver::open_session`], with the session's state, all zero, to be filled in. Queue pairs find it again by the handle, in what
    /// they were given by [`QueuePair::set_states`]; it is wiped when the session is closed and no queue pair looks at it.
    ///
    /// # Errors
    /// As [`Driver::open_session`].
    fn open_with_state(
        &self,
        id: SessionId,
        params: &SessionParams,
        _state: &mut [u8],
    ) -> Result<(), OpenError> {
        self.open_session(id, params)
    }

    /// Under which id the driver itself keeps a session that is open, where its ids have a format of their own
    /// ([`Capabilities::session_ids`]). The framework asks once, when it has opened the session, and refuses the session when the id does
    /// not fit the format or is that of another session.
    fn own_session_id(&self, _id: SessionId) -> Option<u64> {
        None
    }

    /// Forgets a session and wipes its keys, once no queue pair uses it; see [`Driver::collect`].
    fn close_session(&self, id: SessionId);

    /// Wipes and frees what closed sessions left, as far as no queue pair uses it; how many still wait.
    fn collect(&self) -> usize {
        0
    }

    /// Memory that packets may lie in from now on. A card maps it, so that it reaches packets where they are.
    fn map_memory(&self, _pool: &Pool) {}

    /// Makes a queue pair for one core.
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair>;

    /// Makes a queue of key operations for one core, which says by `unblock` that it has room again; `None` when it does none.
    fn key_queue(&self, _config: &KeyQueueConfig, _unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        None
    }
}

/// Data side of a driver, owned by one core.
pub trait QueuePair: Send + fmt::Debug {
    /// Takes jobs from the front of `jobs` and returns how many; the rest stays.
    fn submit(&mut self, jobs: &mut JobBurst) -> usize;

    /// Adds finished jobs to `done` while it has room and returns how many.
    fn poll(&mut self, done: &mut JobBurst) -> usize;

    /// Starts whatever is held back to fill a batch.
    fn flush(&mut self) {}

    /// Gets the handle by which it says that it has room again after it was blocked. Once, before anything is submitted.
    fn set_unblock(&mut self, _unblock: Unblock) {}

    /// Gets the sessions' states, where the driver asked for some. Once, before anything is submitted.
    fn set_states(&mut self, _states: SessionStates) {}

    /// Right after a submit that left jobs: whether the driver is out of something for a short while, and will signal when it has it
    /// again. It is offered nothing until then. A driver that does not signal says no, and is asked again and again.
    fn is_blocked(&self) -> bool {
        false
    }

    /// The driver goes: nothing more is submitted here. What it has not begun may come back as [`Status::Retry`](crate::Status::Retry), to be
    /// done by another driver; all that it has must come back.
    fn leave(&mut self) {}

    /// The core goes to sleep or stops: no claim is held on anything shared until the next call.
    fn offline(&mut self) {}
}

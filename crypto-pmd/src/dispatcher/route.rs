//! Which way the jobs of a session go, as control code publishes it and dispatchers read it.

use smallvec::SmallVec;

use crate::balance::Policy;
use crate::session::SessionId;

use super::mail::Slot;

/// A published entry.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Of the handle: an old handle does not speak of the session that has its place now.
    pub(crate) generation: u32,
    /// Drivers that it had before, each once: jobs that were given to them are waited for, or newer ones would overtake. Not after several
    /// drivers, whose jobs have places in the order.
    pub(crate) from: Box<[Departure]>,
    pub(crate) way: Way,
}

/// The way.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// To one driver.
    One(Slot),
    /// To several drivers.
    Many(Box<Spread>),
    /// To two drivers one after the other: encryption in this order, decryption in the other one. The first has so many transforms of
    /// the chain.
    Split { slots: [Slot; 2], first: u8, second: u8 },
    /// The session has another handle.
    Moved(SessionId),
    /// No driver has it now; one that comes may.
    Nowhere,
}

/// A move away from a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) slot: Slot,
    /// Moves are numbered.
    pub(crate) number: u64,
}

/// A session that is open on several drivers.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) slots: SmallVec<[Slot; 8]>,
    pub(crate) policy: Policy,
    /// Takes what none of them has room for.
    pub(crate) fallback: Option<Slot>,
}

//! Where a session may lie, and what became of the wish.

use std::fmt;

use crate::balance::Policy;
use crate::device::{DriverId, OpenError};
use crate::session::SessionId;
use crate::transform::SessionParams;

/// Where a session may be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// On the first attached driver that can do it, hardware before software.
    #[default]
    Any,
    /// On this one.
    Driver(DriverId),
    /// On hardware only.
    Hardware,
    /// On software only.
    Software,
    /// On every hardware driver that can do it, at the same time; on every software driver where there is no such hardware. Jobs are spread by
    /// the policy, and come back in the order in which they were submitted.
    All(Policy),
    /// On every driver that can do it, hardware and software alike, at the same time, and on those that come; in the order in which they were
    /// attached, which is that of the policy. Jobs come back as with [`Placement::All`].
    Everywhere(Policy),
    /// On the driver that the registry's ranking says is fastest for the bundle, wherever that is, and on a faster one when it comes or the
    /// ranking changes. Drivers without a rank come behind, as with [`Placement::Any`].
    Fastest,
}

/// How fast drivers are, as somebody has found out; see [`crate::measure`].
pub trait Ranking: fmt::Debug + Send + Sync {
    /// What a job of this bundle costs on a driver, in any unit that is the same for all drivers; `None` when that is not known.
    fn cost(&self, params: &SessionParams, driver: &str) -> Option<f64>;
}

/// A session moves to a driver that costs less than this part of what its own does: for less, it is not worth it.
pub(super) const WORTH_A_MOVE: f64 = 0.9;

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any driver"),
            Self::Driver(DriverId(number)) => write!(f, "driver number {number}"),
            Self::Hardware => f.write_str("hardware"),
            Self::Software => f.write_str("software"),
            Self::All(_) => f.write_str("all drivers"),
            Self::Everywhere(_) => f.write_str("every driver"),
            Self::Fastest => f.write_str("the fastest driver"),
        }
    }
}

impl Placement {
    /// Whether a driver may be asked.
    pub(crate) fn allows(self, driver: DriverId, hardware: bool) -> bool {
        match self {
            Self::Any | Self::All(_) | Self::Everywhere(_) | Self::Fastest => true,
            Self::Driver(wanted) => wanted == driver,
            Self::Hardware => hardware,
            Self::Software => !hardware,
        }
    }
}

/// What is wanted of a session besides what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it may lie.
    pub placement: Placement,
    /// Whether the caller wants to be told when the session moves, by a status and a new handle (crypto(9)), instead of keeping its handle.
    pub report_moves: bool,
    /// Whether a software driver stands by for when the others are full, order kept.
    pub fallback: bool,
    /// Whether packets may come in several segments. Drivers that take them in one piece only are passed over; with `fallback`, they get
    /// those in one piece, and the driver that stands by does the others.
    pub segments: bool,
}

impl From<Placement> for SessionOptions {
    fn from(placement: Placement) -> Self {
        Self { placement, ..Self::default() }
    }
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its handle.
    pub id: SessionId,
    /// Which of the bundles it is, where several were offered.
    pub bundle: usize,
    /// The drivers that have it, in the order in which work is given to them; two for a chain that is split.
    pub drivers: Vec<DriverId>,
    /// Drivers that would have come before those and could not, and why.
    pub passed_over: Vec<(DriverId, OpenError)>,
}

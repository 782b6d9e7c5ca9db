//! A driver that takes part in a calibration: how to make one, under what name, and what it says it can do.

use std::convert::Infallible;
use std::fmt;

use crate::capability::Capabilities;
use crate::device::{Driver, DriverId};
use crate::registry::Registry;

use super::table::Why;

type Attach = dyn Fn(&Registry) -> Result<DriverId, Why> + Send + Sync;

/// Makes a driver of one kind whenever one is to be measured. An instance that is attached elsewhere cannot serve: each registry
/// numbers its sessions from the first, so those of a calibration would take the places of sessions in use.
pub struct Candidate {
    name: String,
    capabilities: Capabilities,
    attach: Box<Attach>,
}

impl Candidate {
    /// A driver that can always be made, such as `Software::new`.
    #[must_use]
    pub fn new<D: Driver + 'static>(make: impl Fn() -> D + Send + Sync + 'static) -> Self {
        let Ok(candidate) = Self::fallible(move || Ok::<D, Infallible>(make()));
        candidate
    }

    /// A driver that may be out of reach, such as a card.
    ///
    /// # Errors
    /// What `make` says when it cannot make one now. When it cannot later, the calibration skips it.
    pub fn fallible<D: Driver + 'static, E: fmt::Display>(
        make: impl Fn() -> Result<D, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let first = make()?;
        let attach = move |registry: &Registry| {
            let driver = make().map_err(Why::failed)?;
            registry.attach(driver).map_err(Why::failed)
        };
        let (name, capabilities) = (first.name().to_owned(), first.capabilities().clone());
        Ok(Self { name, capabilities, attach: Box::new(attach) })
    }

    /// Name with unit, as in `software0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Attaches a fresh instance.
    pub(super) fn attach(&self, registry: &Registry) -> Result<DriverId, Why> {
        (self.attach)(registry)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({})", self.name)
    }
}

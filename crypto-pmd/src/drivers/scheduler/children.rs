//! The children of a scheduler, as they come and go.

use std::sync::{Arc, Mutex, PoisonError};

use crate::capability::Capabilities;
use crate::device::Driver;
use crate::registry::{AttachError, Moves, NotAttached, Registry};

use super::MAX_CHILDREN;

/// Why a child is not taken, or not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// A scheduler is made of something.
    #[error("a scheduler needs a child at least; give it a driver")]
    NoChild,
    /// No place left.
    #[error("a scheduler has {MAX_CHILDREN} children at most; leave {0} out, or detach another one")]
    TooMany(String),
    /// Two of one name.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// One that computes nothing beside one that does: packets would leave unprotected now and then.
    #[error(
        "{0} computes nothing where others do, or the other way round; null drivers go with their like only"
    )]
    Mixed(String),
    /// The scheduler has said that jobs are done when they are submitted, or that no work leaves the processor.
    #[error(
        "{0} is a card, or works between submit and poll, and the scheduler was made without such a child; make it with one"
    )]
    Unlike(String),
    /// No such child, or not any more.
    #[error("no child is named {name}; they are {}", .names.join(", "))]
    Unknown {
        /// Who was asked for.
        name: String,
        /// Who is there.
        names: Vec<String>,
    },
}

/// A handle on the children of a scheduler; clones share it.
#[derive(Clone, Debug)]
pub struct Children {
    registry: Registry,
    made_for: Arc<MadeFor>,
}

/// What the scheduler has said of its children when it was made, and what later ones have to keep to.
#[derive(Debug)]
struct MadeFor {
    anything: bool,
    hardware: bool,
    synchronous: bool,
    /// One change at a time.
    change: Mutex<()>,
}

impl Children {
    pub(super) fn new(registry: Registry, said: &Capabilities) -> Self {
        let Capabilities { anything, hardware, synchronous, .. } = *said;
        let made_for = MadeFor { anything, hardware, synchronous, change: Mutex::new(()) };
        Self { registry, made_for: Arc::new(made_for) }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Adds a child behind the others; sessions that it can do are opened there too. What the scheduler has said of itself
    /// ([`Driver::capabilities`]) stays as it was when it was made.
    ///
    /// # Errors
    /// There are [`MAX_CHILDREN`], one has this name, or the child is of another kind than those with which the scheduler was made: a
    /// card, or one that is not done when jobs are submitted, where there was none; or a null driver beside others.
    pub fn attach(&self, child: Box<dyn Driver>) -> Result<(), SchedulerError> {
        self.add(Arc::from(child))
    }

    pub(super) fn add(&self, child: Arc<dyn Driver>) -> Result<(), SchedulerError> {
        let _change = self.made_for.change.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || child.name().to_owned();
        let MadeFor { anything, hardware, synchronous, .. } = *self.made_for;
        let has = child.capabilities();
        if has.anything != anything {
            return Err(SchedulerError::Mixed(name()));
        }
        if has.hardware && !hardware || synchronous && !has.synchronous {
            return Err(SchedulerError::Unlike(name()));
        }
        if self.registry.present().len() >= MAX_CHILDREN {
            return Err(SchedulerError::TooMany(name()));
        }
        self.registry.attach_any(child)?;
        Ok(())
    }

    /// Detaches a child, by name with or without unit. Its jobs come back in its own time, or are done by the others where it gives them back
    /// untouched; sessions stay open on the others. Jobs of a session that is left with none come back as
    /// [`Status::Retry`](crate::Status::Retry). The child is dropped by [`Registry::collect`] of the registry that has the scheduler, when no
    /// queue pair has a job with it any more.
    ///
    /// # Errors
    /// No child has this name.
    pub fn detach(&self, name: &str) -> Result<Moves, SchedulerError> {
        let _change = self.made_for.change.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || SchedulerError::Unknown { name: name.to_owned(), names: self.names() };
        let child = self.registry.find(name).ok_or_else(unknown)?;
        self.registry.detach(child).map_err(|NotAttached(_)| unknown())
    }

    /// Their names, in the order of the policy.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.registry.present().iter().map(|child| child.name().to_owned()).collect()
    }
}

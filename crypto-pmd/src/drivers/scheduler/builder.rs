//! How a scheduler is put together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::balance::Policy;
use crate::capability::Capabilities;
use crate::device::Driver;
use crate::drivers::sessions::Sessions;
use crate::registry::Registry;

use super::capabilities::together;
use super::{Children, Scheduler, SchedulerError};

/// What a scheduler is made from.
#[derive(Debug, Default)]
pub struct Builder {
    unit: u16,
    policy: Policy,
    children: Vec<Box<dyn Driver>>,
}

impl Builder {
    /// Another unit number than 0.
    #[must_use]
    pub fn unit(self, unit: u16) -> Self {
        Self { unit, ..self }
    }

    /// Another policy than round robin.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// One more child, behind the others: the order is that of the policy (short packets to the first half, failover from the first on).
    #[must_use]
    pub fn child(mut self, child: Box<dyn Driver>) -> Self {
        self.children.push(child);
        self
    }

    /// The scheduler.
    ///
    /// # Errors
    /// No child, more than [`MAX_CHILDREN`](super::MAX_CHILDREN), two of one name, or one that takes anything and computes nothing
    /// beside one that does compute.
    pub fn build(self) -> Result<Scheduler, SchedulerError> {
        let listed: Vec<&Capabilities> = self.children.iter().map(|child| child.capabilities()).collect();
        let capabilities = together(&listed).ok_or(SchedulerError::NoChild)?;
        let children = Children::new(Registry::new(), &capabilities);
        self.children.into_iter().try_for_each(|child| children.add(Arc::from(child)))?;
        Ok(Scheduler {
            name: format!("scheduler{}", self.unit),
            policy: self.policy,
            capabilities,
            children,
            sessions: Sessions::new(),
            book: Mutex::new(HashMap::new()),
        })
    }
}

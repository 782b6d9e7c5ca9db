//! The scheduler: several drivers as one, by one of the framework's policies.
//!
//! Inside is a registry of its own with the children attached, and each queue pair is a dispatcher over them. What the framework does for
//! sessions on several cards is done here below one name, for hardware and software alike: jobs are spread by the policy, come back in the order in
//! which they were taken, wait for a child that is blocked, and are done by another one when a child goes.
//!
//! Invariants: a session lies on every child that can do it, and on one at least when it is opened; a job leaves with the session, cookie,
//! order and marks with which it came, whatever the dispatcher inside does with them; what is not taken stays, in order.
//!
//! ```
//! use crypto_pmd::balance::Policy;
//! use crypto_pmd::drivers::{Multibuffer, Scheduler, Software};
//! use crypto_pmd::{Driver as _, Registry};
//!
//! let scheduler = Scheduler::builder()
//!     .policy(Policy::PacketSize(256))
//!     .child(Box::new(Software::new()))
//!     .child(Box::new(Multibuffer::new()))
//!     .build()?;
//! assert_eq!(scheduler.name(), "scheduler0");
//! let children = scheduler.children();
//! let registry = Registry::new();
//! registry.attach(scheduler)?;
//! // Later, under traffic: one child goes, another one comes.
//! children.detach("software0")?;
//! children.attach(Box::new(Software::with_unit(1)))?;
//! assert_eq!(children.names(), ["multibuffer0", "software1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(clippy::disallowed_types, reason = "the control side; a queue pair needs no lock")]

mod builder;
mod capabilities;
mod children;
mod kept;
mod queue;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::balance::Policy;
use pipeline::Pool;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::sessions::Sessions;
use crate::key_op::{KeyQueue, KeyQueueConfig, Unblock};
use crate::registry::Placement;
use crate::session::SessionId;
use crate::transform::SessionParams;

pub use builder::Builder;
pub use children::{Children, SchedulerError};

use queue::Queue;

/// Most children at once.
pub const MAX_CHILDREN: usize = 8;

/// The driver.
#[derive(Debug)]
pub struct Scheduler {
    name: String,
    policy: Policy,
    capabilities: Capabilities,
    children: Children,
    /// By the framework's handle, under which one a session is open inside; for queue pairs.
    sessions: Sessions<SessionId>,
    /// The same for control code, by place.
    book: Mutex<HashMap<usize, SessionId>>,
}

impl Scheduler {
    /// Begins a scheduler: `scheduler0`, round robin, without children.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How jobs are spread.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// A handle by which children come and go, also when the driver has been given to a registry.
    #[must_use]
    pub fn children(&self) -> Children {
        self.children.clone()
    }

    fn book(&self) -> MutexGuard<'_, HashMap<usize, SessionId>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for Scheduler {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let mut book = self.book();
        let placement = Placement::Everywhere(self.policy);
        let inside = self.children.registry().open(params.clone(), placement)?;
        self.sessions.open(id, inside);
        if let Some(replaced) = book.insert(id.index(), inside) {
            self.children.registry().close(replaced);
        }
        Ok(())
    }
    fn close_session(&self, id: SessionId) {
        self.sessions.close(id);
        if let Some(inside) = self.book().remove(&id.index()) {
            self.children.registry().close(inside);
        }
    }
    fn collect(&self) -> usize {
        self.sessions.collect() + self.children.registry().collect()
    }
    fn map_memory(&self, pool: &Pool) {
        self.children.registry().map_memory(pool);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let inside = self.children.registry().dispatcher_inside(config);
        Box::new(Queue::new(inside, self.sessions.view(), config.depth))
    }
    /// Of the first child that does key operations; it stays there when that child is detached.
    fn key_queue(&self, config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        let children = self.children.registry().present();
        children.iter().find_map(|child| child.key_queue(config, unblock.clone()))
    }
}

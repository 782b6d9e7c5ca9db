//! The software driver: RustCrypto, one packet at a time. Portable, the reference that faster drivers are
//! checked against, and the fallback when a card is full.
//!
//! Packets of one segment are worked on in place. A chained packet is gathered into a scratch buffer of the
//! queue pair and scattered back when its job has succeeded, so a job that fails leaves its packet untouched. So are lists of
//! memory, and every packet whose job has steps. One file holds each family of algorithms; `capabilities` lists them all.
//! Broken ones are built only with the cargo feature `legacy`.

mod aead;
mod aes_key;
mod capabilities;
mod cbc;
mod ccm;
mod chain;
mod cipher;
mod compression;
mod delivery;
mod digest;
mod gmac;
mod integrity;
pub mod key;
#[cfg(feature = "legacy")]
mod kpdk;
mod nonce;
mod place;
mod queue;
mod random;
#[cfg(feature = "legacy")]
mod skipjack;
mod steps;
mod straight;
mod stream;
mod unit;
mod xcbc;
mod xts;

use crate::capability::{Capabilities, Unsupported};
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::sessions::Sessions;
use crate::key::wipe_stack;
use crate::key_op::{KeyQueue, KeyQueueConfig, Unblock};
use crate::session::SessionId;
use crate::transform::SessionParams;

use key::{KeyEngine, KeyWorkers};

pub(super) use capabilities::capabilities;
pub(super) use chain::Chain;
pub(super) use delivery::deliver;
pub(super) use queue::{Bench, LONGEST, Queue, run as run_job};

/// The driver.
#[derive(Debug)]
pub struct Software {
    name: String,
    capabilities: Capabilities,
    sessions: Sessions<Chain>,
    keys: KeyEngine,
}

impl Default for Software {
    fn default() -> Self {
        Self::new()
    }
}

impl Software {
    /// The driver, as `software0`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_unit(0)
    }

    /// The driver with another unit number.
    #[must_use]
    pub fn with_unit(unit: u16) -> Self {
        Self::with_key_workers(unit, KeyWorkers::default())
    }

    /// The driver with another unit number and its own choice of threads for key operations.
    #[must_use]
    pub fn with_key_workers(unit: u16, workers: KeyWorkers) -> Self {
        let (name, capabilities) = (format!("software{unit}"), capabilities());
        Self { name, capabilities, sessions: Sessions::new(), keys: KeyEngine::new(workers) }
    }
}

impl Software {
    /// A call, never part of the caller's frame: what it leaves lies where the caller wipes.
    #[inline(never)]
    fn set_up(&self, id: SessionId, params: &SessionParams) -> Result<(), Unsupported> {
        Chain::new(params).map(|chain| self.sessions.open(id, chain))
    }
}

impl Driver for Software {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let unsupported = |what| OpenError::Unsupported { driver: self.name.clone(), what };
        self.capabilities.check(params).map_err(unsupported)?;
        let opened = self.set_up(id, params).map_err(unsupported);
        wipe_stack();
        opened
    }
    fn close_session(&self, id: SessionId) {
        self.sessions.close(id);
    }
    fn collect(&self) -> usize {
        self.sessions.collect()
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(Queue::new(self.sessions.view(), config))
    }
    fn key_queue(&self, config: &KeyQueueConfig, unblock: Unblock) -> Option<Box<dyn KeyQueue>> {
        self.keys.queue(&self.name, config, unblock)
    }
}

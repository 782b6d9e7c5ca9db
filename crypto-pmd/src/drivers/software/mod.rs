//! The software driver: RustCrypto, one packet at a time. Portable, the reference that faster drivers are
//! checked against, and the fallback when a card is full.
//!
//! Packets of one segment are worked on in place. A chained packet is gathered into a scratch buffer of the
//! queue pair and scattered back when its job has succeeded, so a job that fails leaves its packet untouched.

mod aead;
mod chain;
mod cipher;
mod integrity;
pub mod key;
mod queue;

use smallvec::smallvec;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::capability::{Capabilities, KeyLengths, Supported};
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::sessions::Sessions;
use crate::key::wipe_stack;
use crate::key_op::{KeyQueue, KeyQueueConfig, Unblock};
use crate::session::SessionId;
use crate::transform::SessionParams;

use chain::Chain;
use key::{KeyEngine, KeyWorkers};
use queue::Queue;

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

fn capabilities() -> Capabilities {
    let aes_keys = || KeyLengths::OneOf(smallvec![16, 24, 32]);
    let hmac = |algorithm: IntegrityAlgorithm| {
        let full = algorithm.digest_len();
        let half = full / 2;
        // RFC 2404 cuts SHA-1 to 96 bits, RFC 4868 halves the others; the whole tag serves plain HMAC.
        let cut = if algorithm == IntegrityAlgorithm::HmacSha1 { 12 } else { half };
        Supported { algorithm, keys: KeyLengths::Range(0, 1024), tags: smallvec![cut, half, full] }
    };
    Capabilities {
        synchronous: true,
        scatter_gather: true,
        ciphers: vec![Supported { algorithm: CipherAlgorithm::AesCbc, keys: aes_keys(), tags: smallvec![] }],
        integrity: [
            IntegrityAlgorithm::HmacSha1,
            IntegrityAlgorithm::HmacSha256,
            IntegrityAlgorithm::HmacSha384,
            IntegrityAlgorithm::HmacSha512,
        ]
        .map(hmac)
        .to_vec(),
        aeads: vec![Supported { algorithm: AeadAlgorithm::AesGcm, keys: aes_keys(), tags: smallvec![16] }],
        key_operations: key::support(),
        ..Capabilities::default()
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
        let chain = Chain::new(params).map_err(unsupported);
        let opened = chain.map(|chain| self.sessions.open(id, chain));
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

//! The card's driver: sessions on the card, queue pairs over its rings, and what is to be done when it fails.
//!
//! - What the card cannot do as it is (lists of steps, explicit IVs, packets in too many pieces or too long) the driver does itself, as the software
//!   driver does, in its place in the order. So does it with what the card refuses, because that is untouched.
//! - A card that gives nothing back is nudged (its doorbell is rung again), then reset. What it has stays with the driver until the reset is
//!   acknowledged. Then results that had come are handed out, what the card had not begun, or does out of place, goes to it again, and the rest is
//!   [`Indeterminate`](crate::Status::Indeterminate).
//! - A card that has been pulled out touches nothing any more. What it had is treated alike, and waits for its return; not for ever.

mod associations;
mod bus;
mod channel;
mod counters;
mod keeper;
mod port;
mod queue;
mod recovery;
mod state;
mod window;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipeline::Pool;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::software;
use crate::inline::{InlineSa, SaState, Service};
use crate::session::SessionId;
use crate::transform::SessionParams;

use super::card::Card;

pub use counters::NicCounters;
pub use port::{NicRx, NicTx};
pub use state::Health;

use keeper::Shared;
use queue::Queue;

/// How the driver treats its card.
#[derive(Clone, Copy, Debug)]
pub struct NicConfig {
    /// Unit number, the last part of its name.
    pub unit: u16,
    /// A card that gives nothing back for so long is reset.
    pub watchdog: Duration,
    /// How long jobs wait for a card that was pulled out, before others are to do them.
    pub patience: Duration,
    /// Whether dispatchers keep just as many jobs in flight as hide the latency that the profile says.
    pub paced: bool,
    /// Packets that can be copied for the card at once, where it cannot reach them, or must not write over them.
    pub copies: usize,
}

impl Default for NicConfig {
    fn default() -> Self {
        let (watchdog, patience) = (Duration::from_millis(200), Duration::from_millis(20));
        Self { unit: 0, watchdog, patience, paced: false, copies: 1024 }
    }
}

/// The driver; clones share it, so that it can be attached, detached and attached again.
#[derive(Clone, Debug)]
pub struct Nic {
    name: String,
    capabilities: Capabilities,
    shared: Arc<Shared>,
}

impl Nic {
    /// The driver of a card, as `nic0` for unit 0. One driver a card.
    ///
    /// # Errors
    /// No memory, or no card that it knows.
    pub fn new(card: &Card, config: NicConfig) -> io::Result<Self> {
        let profile = card.profile();
        // The driver has no queue for key operations yet.
        let mut capabilities = Capabilities { key_operations: Vec::new(), ..profile.capabilities.clone() };
        if config.paced {
            let busy = profile.busy_ns(profile.max_packet.min(1500)) as u64;
            // Jobs leave in order, so each waits for the slowest of those around it.
            capabilities.latency_ns = Some(profile.latency.ns + profile.latency.jitter_ns + busy);
        }
        let shared = Arc::new(Shared::new(card, config)?);
        Ok(Self { name: format!("nic{}", config.unit), capabilities, shared })
    }

    /// How it is with the card. A card that is gone for good is to be detached, so that others do its work; see
    /// [`Registry::detach`](crate::Registry::detach).
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Both ends of the card's port, for one core: a queue pair each. Frames that arrive come in buffers of `pool`; up to `depth` frames are under
    /// way in each direction, as far as the rings go. Frames have Ethernet headers, with VLAN tags or without.
    ///
    /// Packets of other pools go out without being copied when those were mapped, see [`Driver::map_memory`].
    ///
    /// ```
    /// use crypto_pmd::drivers::nic::{Card, CardConfig, Nic, NicConfig, Profile};
    /// use pipeline::port::{RxPort, TxPort};
    /// use pipeline::{Burst, Clock, Pool, PoolConfig};
    ///
    /// // In virtual time; with `Card::start` the card turns by itself.
    /// let (clock, hand) = Clock::manual();
    /// let (card, mut engine) = Card::new(Profile::named("inline-25g").unwrap(), CardConfig { clock, ..CardConfig::default() })?;
    /// let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() })?;
    /// let (mut far, _) = card.wire(pool.clone())?;
    /// let (_rx, mut tx) = Nic::new(&card, NicConfig::default())?.ports(pool.clone(), 64)?;
    /// let mut burst = Burst::new();
    /// burst.push(pool.alloc_copy(&[0x5a; 60]).unwrap()).unwrap();
    /// assert_eq!(tx.transmit(&mut burst), 1);
    /// while { far.receive(&mut burst, 32); burst.is_empty() } {
    ///     hand.advance(100);
    ///     engine.step();
    /// }
    /// assert_eq!(burst.as_slice()[0].data(), [0x5a; 60]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The card is no NIC (its profile has no inline service), has no two queue pairs left, or no window for the pool.
    pub fn ports(&self, pool: Pool, depth: usize) -> io::Result<(NicRx, NicTx)> {
        port::ports(&self.shared, pool, depth, true)
    }

    /// As [`Nic::ports`], for frames that are IP packets without a link header.
    ///
    /// # Errors
    /// As [`Nic::ports`].
    pub fn raw_ports(&self, pool: Pool, depth: usize) -> io::Result<(NicRx, NicTx)> {
        port::ports(&self.shared, pool, depth, false)
    }

    /// Tells the card of an SA for a service; its slot, which packets and reports name (see [`crate::inline`]). Slots are places of
    /// the table in which sessions are, too. After a reset the card is told again, from a state that is safe.
    ///
    /// # Errors
    /// [`OpenError::Unsupported`] where the card does not offer the service, lacks an algorithm, or cannot build such packets;
    /// [`OpenError::Full`]; [`OpenError::NotReady`] while the card is gone.
    pub fn install(&self, service: Service, sa: &InlineSa) -> Result<u32, OpenError> {
        self.shared.install(&self.name, service, sa)
    }

    /// Has the card stop with the SA in a slot, and says where the SA stands. Frames that still wait for the card with requests for it do not go out.
    /// When the card is gone or does not answer, or the SA was recalled before, it is a state that is safe: the next number lies behind all that the card
    /// may have used, and all numbers up to the highest that it has reported count as received. `None` for a slot without an SA.
    ///
    /// The slot stays taken, so that what the card has reported can be received, until [`Nic::forget`].
    pub fn recall(&self, slot: u32) -> Option<SaState> {
        self.shared.recall(slot)
    }

    /// Takes the SA in a slot off the card; the slot is free. What the card has reported of it and was not received is dropped. Whether there was one.
    pub fn forget(&self, slot: u32) -> bool {
        self.shared.forget_sa(slot)
    }

    /// What the driver did, over all of its queue pairs.
    #[must_use]
    pub fn counters(&self) -> NicCounters {
        self.shared.counters()
    }
}

impl Driver for Nic {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.shared.open(&self.name, &self.capabilities, id, params)
    }
    fn own_session_id(&self, id: SessionId) -> Option<u64> {
        self.shared.handle_of(id)
    }
    fn close_session(&self, id: SessionId) {
        self.shared.close(id);
    }
    fn collect(&self) -> usize {
        self.shared.collect()
    }
    fn map_memory(&self, pool: &Pool) {
        self.shared.map_memory(pool);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        match Queue::new(&self.shared, config) {
            Some(queue) => Box::new(queue),
            // More cores than the card has queue pairs: the driver does their work itself.
            None => Box::new(software::Queue::new(self.shared.sessions.view(), config)),
        }
    }
}

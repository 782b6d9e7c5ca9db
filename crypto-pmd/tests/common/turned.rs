//! The emulated card for tests that know no engines: it turns while its queue pair is polled, in virtual time, and has every algorithm that cards
//! can have.

#![allow(clippy::disallowed_types, reason = "a test may lock")]

use std::sync::{Arc, Mutex};

use crypto_pmd::drivers::nic::{Card, CardConfig, Engine, Engines, Faults, Nic, NicConfig, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::clock::Hand;
use pipeline::{Clock, Pool};

/// A card that takes all that the software driver takes; with `more` lines of its file.
pub(crate) fn everything(more: &str) -> Profile {
    let mut text = format!(
        "name = \"everything\"\nsegments = 16\nsa_slots = 65536\nmax_packet = 60000\nlatency_ns = 1000\nqueues = 4\n{more}\n"
    );
    for algorithm in Algorithm::all().filter(|algorithm| !matches!(algorithm, Algorithm::Compression(_))) {
        text += &format!("[[algorithm]]\nname = \"{}\"\n", algorithm.name());
    }
    Profile::parse("everything", &text).unwrap()
}

/// The driver, with what turns in its card.
#[derive(Clone, Debug)]
pub(crate) struct Turned {
    nic: Nic,
    turn: Arc<Mutex<(Engine, Hand)>>,
}

impl Turned {
    pub(crate) fn new(profile: Profile) -> Self {
        let (clock, hand) = Clock::manual();
        let config = CardConfig { engines: Engines::Multibuffer, faults: Faults::none(), clock };
        let (card, engine) = Card::new(profile, config).unwrap();
        let nic = Nic::new(&card, NicConfig { copies: 64, ..NicConfig::default() }).unwrap();
        Self { nic, turn: Arc::new(Mutex::new((engine, hand))) }
    }
}

impl Driver for Turned {
    fn name(&self) -> &str {
        self.nic.name()
    }
    fn capabilities(&self) -> &Capabilities {
        self.nic.capabilities()
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.nic.open_session(id, params)
    }
    fn own_session_id(&self, id: SessionId) -> Option<u64> {
        self.nic.own_session_id(id)
    }
    fn close_session(&self, id: SessionId) {
        self.nic.close_session(id);
    }
    fn collect(&self) -> usize {
        // Engines let go of what was closed when they turn.
        self.turn.lock().unwrap().0.step();
        self.nic.collect()
    }
    fn map_memory(&self, pool: &Pool) {
        self.nic.map_memory(pool);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(Queue { inner: self.nic.queue_pair(config), turn: Arc::clone(&self.turn) })
    }
}

#[derive(Debug)]
struct Queue {
    inner: Box<dyn QueuePair>,
    turn: Arc<Mutex<(Engine, Hand)>>,
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.inner.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let mut turn = self.turn.lock().unwrap();
        let (engine, hand) = &mut *turn;
        engine.step();
        hand.advance(2000);
        engine.step();
        self.inner.poll(done)
    }
    fn set_unblock(&mut self, unblock: key_op::Unblock) {
        self.inner.set_unblock(unblock);
    }
    fn is_blocked(&self) -> bool {
        self.inner.is_blocked()
    }
    fn leave(&mut self) {
        self.inner.leave();
    }
    fn offline(&mut self) {
        self.inner.offline();
    }
}

//! Cards in virtual time behind a dispatcher, and a load that is checked: each job comes back once, right or untouched or told to be lost.
//!
//! What is right is what the software driver makes of the same packet under a registry of its own.

// Each test program uses a part of this; what cannot be set up may panic, and what is wrong must.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod port;

use std::collections::BTreeMap;
use std::time::Duration;

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::Software;
use crypto_pmd::drivers::nic::{Card, CardConfig, Engine, Engines, Faults, Health, Nic, NicConfig, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::clock::Hand;
use pipeline::{Clock, Mbuf, Pool, PoolConfig};

/// A small card with all that ESP needs, quick in virtual time.
pub(crate) const SMALL: &str = r#"
name = "small"
engines = 2
bandwidth_mbps = 10000
operation_ns = 200
latency_ns = 2000
jitter_ns = 500
queues = 2
ring_depth = 64
burst = 16
sa_slots = 16
segments = 4
max_packet = 2048
reset_us = 50
[[algorithm]]
name = "aes-gcm"
[[algorithm]]
name = "aes-cbc"
[[algorithm]]
name = "sha1-hmac"
"#;

/// The small card with more lines of its file.
pub(crate) fn small(more: &str) -> Profile {
    Profile::parse("small", &format!("{more}\n{SMALL}")).unwrap()
}

/// A card in its slot.
pub(crate) struct Slot {
    pub(crate) card: Card,
    pub(crate) engine: Engine,
    pub(crate) nic: Nic,
    /// While it is attached.
    pub(crate) id: Option<DriverId>,
    gone_since: Option<u64>,
}

/// Cards, software that stands by where it is wanted, and one core.
pub(crate) struct Rig {
    pub(crate) clock: Clock,
    pub(crate) hand: Hand,
    pub(crate) registry: Registry,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) pool: Pool,
    pub(crate) slots: Vec<Slot>,
}

/// How long a job may be away before the card is reset, in virtual time.
pub(crate) const WATCHDOG: Duration = Duration::from_micros(200);

impl Rig {
    /// With a card for each list of faults.
    pub(crate) fn new(profile: &Profile, faults: &[Faults], software: bool) -> Self {
        let (clock, hand) = Clock::manual();
        let registry = Registry::with_clock(clock.clone());
        let pool = Pool::new(PoolConfig { buffers: 1024, stride: 2368 }).unwrap();
        registry.map_memory(&pool);
        let slot = |(unit, faults): (u16, &Faults)| {
            let config =
                CardConfig { engines: Engines::Software, faults: faults.clone(), clock: clock.clone() };
            let (card, engine) = Card::new(profile.clone(), config).unwrap();
            let config = NicConfig {
                unit,
                watchdog: WATCHDOG,
                patience: Duration::from_micros(100),
                copies: 256,
                ..NicConfig::default()
            };
            let nic = Nic::new(&card, config).unwrap();
            let id = Some(registry.attach(nic.clone()).unwrap());
            Slot { card, engine, nic, id, gone_since: None }
        };
        let slots: Vec<_> = (0..).zip(faults).map(slot).collect();
        if software {
            registry.attach(Software::new()).unwrap();
        }
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        Self { clock, hand, registry, dispatcher, pool, slots }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.tick()
    }

    /// Time goes on, and the engines turn.
    pub(crate) fn advance(&mut self, ns: u64) {
        self.hand.advance(ns);
        self.slots.iter_mut().for_each(|slot| {
            slot.engine.step();
        });
    }

    /// Opens a session on all cards, with software standing by where there is any.
    pub(crate) fn open(&self, params: SessionParams, policy: Policy) -> SessionId {
        let options =
            SessionOptions { placement: Placement::All(policy), fallback: true, ..SessionOptions::default() };
        self.registry.open_with(params, options).unwrap().id
    }

    /// What control code does about cards: detaches those that have been gone for so long, and attaches those that are back.
    pub(crate) fn supervise(&mut self, patience: u64) {
        let now = self.now();
        for slot in &mut self.slots {
            match (slot.nic.health(), slot.id) {
                (Health::Gone | Health::Failed, Some(id)) => {
                    let since = *slot.gone_since.get_or_insert(now);
                    if now - since >= patience {
                        self.registry.detach(id).unwrap();
                        slot.id = None;
                    }
                }
                (_, Some(_)) => slot.gone_since = None,
                (_, None) if slot.card.is_present() => {
                    // As long as the old one has not quite gone, its name is taken.
                    slot.id = self.registry.attach(slot.nic.clone()).ok();
                    slot.gone_since = None;
                }
                (_, None) => {}
            }
        }
        self.registry.collect();
    }

    pub(crate) fn poll(&mut self) -> Vec<Job> {
        let (mut done, mut all) = (JobBurst::new(), Vec::new());
        while self.dispatcher.poll(&mut done) > 0 {
            all.extend(done.drain());
        }
        all
    }

    /// Polls until nothing is in flight; panics when that takes longer than `bound` of virtual time.
    pub(crate) fn drain(&mut self, bound: u64) -> Vec<Job> {
        let (end, mut all) = (self.now() + bound, Vec::new());
        while self.dispatcher.in_flight() > 0 {
            assert!(self.now() < end, "{} jobs hang: {:?}", self.dispatcher.in_flight(), self.counters());
            self.dispatcher.flush();
            all.extend(self.poll());
            self.advance(1000);
        }
        all
    }

    /// What cards and drivers did.
    pub(crate) fn counters(&self) -> Vec<Vec<(&'static str, u64)>> {
        let of = |slot: &Slot| [slot.card.counters(), slot.nic.counters().list()].concat();
        self.slots.iter().map(of).collect()
    }
}

pub(crate) fn gcm(key: u8) -> SessionParams {
    Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[key; 16]), Key::new(&[9; 4]), 16).into()
}

pub(crate) fn cbc_sha1(key: u8) -> SessionParams {
    [
        Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[key; 16])),
        Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[key; 20]), 12),
    ]
    .into_iter()
    .collect()
}

/// What a session is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gcm,
    CbcSha1,
}

impl Kind {
    pub(crate) fn params(self, key: u8) -> SessionParams {
        match self {
            Self::Gcm => gcm(key),
            Self::CbcSha1 => cbc_sha1(key),
        }
    }

    const fn iv_len(self) -> usize {
        if matches!(self, Self::Gcm) { 8 } else { 16 }
    }

    pub(crate) const fn tag_len(self) -> usize {
        if matches!(self, Self::Gcm) { 16 } else { 12 }
    }

    /// A frame whose bytes follow from its number: SPI and number, IV, payload, room for the tag.
    pub(crate) fn frame(self, number: u64, payload: usize) -> Vec<u8> {
        let len = 8 + self.iv_len() + payload;
        let mut bytes: Vec<u8> = (0..len as u64)
            .map(|at| (number.wrapping_mul(0x9e37_79b9) >> (at % 24)) as u8 ^ at as u8)
            .collect();
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes.resize(len + self.tag_len(), 0);
        bytes
    }

    /// The job over a frame.
    pub(crate) fn job(self, frame: Mbuf, session: SessionId, operation: Operation) -> Job {
        let payload = frame.packet_len() - 8 - self.iv_len() - self.tag_len();
        let cipher = (8 + self.iv_len()) as u16;
        let integrity = if self == Self::Gcm { 8 } else { 8 + self.iv_len() + payload };
        Job::new(frame, session, operation)
            .with_cipher(cipher, payload as u32)
            .with_integrity(0, integrity as u32)
            .with_iv(8)
            .with_tag(cipher as u32 + payload as u32)
    }
}

/// The same sessions on software alone, to say what is right.
pub(crate) struct Reference {
    dispatcher: Dispatcher,
    sessions: Vec<SessionId>,
    pool: Pool,
}

impl Reference {
    pub(crate) fn new(kinds: &[Kind]) -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let sessions = (1..)
            .zip(kinds)
            .map(|(key, kind)| registry.open(kind.params(key), Placement::Any).unwrap())
            .collect();
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        Self { dispatcher, sessions, pool: Pool::new(PoolConfig { buffers: 8, stride: 2368 }).unwrap() }
    }

    pub(crate) fn seal(&mut self, place: usize, kind: Kind, frame: &[u8]) -> Vec<u8> {
        let packet = self.pool.alloc_copy(frame).unwrap();
        let mut jobs = JobBurst::new();
        jobs.push(kind.job(packet, self.sessions[place], Operation::Encrypt)).unwrap();
        self.dispatcher.submit(&mut jobs);
        self.dispatcher.poll(&mut jobs);
        let job = jobs.pop().unwrap();
        assert_eq!(job.status(), Status::Done);
        job.into_packet().data().to_vec()
    }
}

/// How many jobs came back how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) taken: u64,
    pub(crate) done: u64,
    /// Untouched, to be tried again.
    pub(crate) retry: u64,
    pub(crate) indeterminate: u64,
    pub(crate) rejected: u64,
    pub(crate) late: u64,
    /// A digest of all that came back, in its order.
    pub(crate) trace: u64,
}

/// Jobs that are out, and what is to become of them.
pub(crate) struct Load {
    kinds: Vec<Kind>,
    pub(crate) sessions: Vec<SessionId>,
    reference: Reference,
    /// By cookie: session, operation, the frame before, the right result.
    out: BTreeMap<u64, (usize, Operation, Vec<u8>, Vec<u8>)>,
    /// The highest number of each session that came back.
    highest: Vec<u64>,
    random: fastrand::Rng,
    next: u64,
    waiting: JobBurst,
    pub(crate) tally: Tally,
    /// Some jobs put their result elsewhere.
    pub(crate) apart: bool,
    /// Some packets come in pieces.
    pub(crate) pieces: bool,
    /// How long a card may be gone before it is detached.
    pub(crate) patience: u64,
    /// A session that comes and goes.
    guest: Option<SessionId>,
}

impl Load {
    pub(crate) fn new(rig: &Rig, kinds: &[Kind], policy: Policy, seed: u64) -> Self {
        let sessions = (1..).zip(kinds).map(|(key, kind)| rig.open(kind.params(key), policy)).collect();
        Self {
            kinds: kinds.to_vec(),
            sessions,
            reference: Reference::new(kinds),
            out: BTreeMap::new(),
            highest: vec![0; kinds.len()],
            random: fastrand::Rng::with_seed(seed),
            next: 1,
            waiting: JobBurst::new(),
            tally: Tally::default(),
            apart: true,
            pieces: true,
            patience: 2_000_000,
            guest: None,
        }
    }

    /// Makes up to `most` jobs and submits what is there.
    pub(crate) fn offer(&mut self, rig: &mut Rig, most: usize) {
        let count = self.random.usize(0..=most).min(self.waiting.room());
        for _ in 0..count {
            let Some(job) = self.make(rig) else { break };
            self.waiting.push(job).unwrap();
        }
        self.tally.taken += rig.dispatcher.submit(&mut self.waiting) as u64;
    }

    fn make(&mut self, rig: &Rig) -> Option<Job> {
        let place = self.random.usize(0..self.kinds.len());
        let kind = self.kinds[place];
        let payload = 16 * self.random.usize(1..=20);
        let plain = kind.frame(self.next, payload);
        let sealed = self.reference.seal(place, kind, &plain);
        let decrypt = self.random.bool();
        let (operation, from, to) = if decrypt {
            // The tag stays as it is.
            let len = plain.len() - kind.tag_len();
            let opened = [&plain[..len], &sealed[len..]].concat();
            (Operation::Decrypt, sealed, opened)
        } else {
            (Operation::Encrypt, plain, sealed)
        };
        let packet = if self.pieces && self.random.u8(0..8) == 0 {
            let cut = self.random.usize(1..from.len());
            let mut first = rig.pool.alloc_copy(&from[..cut])?;
            first.chain(rig.pool.alloc_copy(&from[cut..])?).ok()?;
            first
        } else {
            rig.pool.alloc_copy(&from)?
        };
        let mut job = kind.job(packet, self.sessions[place], operation).with_cookie(self.next);
        if self.apart && self.random.u8(0..8) == 0 {
            job = job.with_destination(rig.pool.alloc()?);
        }
        self.out.insert(self.next, (place, operation, from, to));
        self.next += 1;
        Some(job)
    }

    /// A session more or less, now and then.
    fn change_sessions(&mut self, rig: &Rig) {
        if self.random.u8(0..16) == 0 {
            match self.guest.take() {
                Some(guest) => assert!(rig.registry.close(guest)),
                None => self.guest = Some(rig.open(gcm(77), Policy::RoundRobin)),
            }
        }
    }

    /// Checks what came back, and books it.
    pub(crate) fn settle(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            let cookie = job.cookie();
            let known = self
                .out
                .remove(&cookie)
                .unwrap_or_else(|| panic!("job {cookie} came back twice, or was never out"));
            let (place, operation, from, to) = known;
            assert_eq!(job.session(), self.sessions[place], "job {cookie}");
            if job.status() != Status::Late {
                assert!(
                    self.highest[place] < cookie,
                    "job {cookie} was overtaken by {}",
                    self.highest[place]
                );
                self.highest[place] = cookie;
            }
            let status = job.status();
            let was_apart = !job.is_in_place();
            let (source, destination) = job.into_packets();
            let bytes_of = |packet: &Mbuf| packet.segments().flatten().copied().collect::<Vec<_>>();
            let source = bytes_of(&source);
            if was_apart && status != Status::Late {
                assert_eq!(source, from, "job {cookie}: the source was not left alone");
            }
            match status {
                Status::Done => {
                    let result = destination.as_ref().map_or(source, bytes_of);
                    assert!(result == to, "job {cookie} is said to be done and is wrong ({operation:?})");
                    self.tally.done += 1;
                }
                Status::Retry => {
                    assert_eq!(source, from, "job {cookie} is said to be untouched");
                    self.tally.retry += 1;
                }
                Status::IntegrityFailed => {
                    assert_eq!((operation, source), (Operation::Decrypt, from), "job {cookie}");
                    self.tally.rejected += 1;
                }
                Status::Indeterminate => {
                    assert!(!was_apart, "job {cookie}: nothing of it can be lost");
                    self.tally.indeterminate += 1;
                }
                Status::Late => self.tally.late += 1,
                other => panic!("job {cookie} ended as {other:?}"),
            }
            let trace =
                self.tally.trace.rotate_left(7) ^ cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ status as u64;
            self.tally.trace = trace;
        }
    }

    /// Runs so many jobs more through, in steps of up to `step` nanoseconds, and everything out again within `bound`.
    pub(crate) fn run(&mut self, rig: &mut Rig, jobs: u64, step: u64, bound: u64) {
        let (end, jobs) = (rig.now() + bound, self.tally.taken + jobs);
        while self.tally.taken < jobs {
            assert!(rig.now() < end, "{} of {jobs} jobs taken: {:?}", self.tally.taken, rig.counters());
            self.offer(rig, 24);
            let ns = self.random.u64(1..=step);
            rig.advance(ns);
            let came = rig.poll();
            self.settle(came);
            self.change_sessions(rig);
            rig.supervise(self.patience);
        }
        // What was made and not taken is nobody's.
        for job in self.waiting.drain() {
            self.out.remove(&job.cookie());
        }
        let came = rig.drain(bound);
        self.settle(came);
        assert!(self.out.is_empty(), "{} jobs never came back: {:?}", self.out.len(), rig.counters());
        let tally = &self.tally;
        let ends = tally.done + tally.retry + tally.indeterminate + tally.rejected + tally.late;
        assert_eq!(tally.taken, ends, "{tally:?}");
    }
}

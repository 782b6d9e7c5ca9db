//! Bursts of every kind, done by the multi-buffer driver at each level that the processor has and by the software driver, which must agree: each job
//! comes back once, in order, with the same status and bytes. What a burst is like is asked from [`Choices`], so random numbers and the
//! inputs of a fuzzer go through the same.

// The fuzz target uses a part of this; what cannot be set up may panic, and a difference must.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;

use crypto_pmd::drivers::multibuffer::{Level, Multibuffer};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{MAX_BURST, Mbuf, Pool, PoolConfig};

use crate::common::{Bench, HMACS, Suite, bytes_of, chained};

/// Longest payload in bytes: a jumbo frame, less what stands around it.
const LONGEST: usize = 9216 - 100;
/// Depth of each queue of a driver, and whether its packets are said to lie in another core's cache.
const QUEUES: [(usize, bool); 4] = [(MAX_BURST, false), (MAX_BURST, true), (5, false), (1, true)];
/// Submits and polls after which a burst that has not come back is lost.
const PATIENCE: usize = 10_000;

/// Where it is decided what a burst is like.
pub(crate) trait Choices {
    /// A number from 0 to `bound` - 1; `bound` is 65,536 at most.
    fn below(&mut self, bound: usize) -> usize;

    /// True once in so many times.
    fn one_in(&mut self, many: usize) -> bool {
        // The zeros behind the end of a tape mean the ordinary.
        self.below(many) == many - 1
    }
}

/// Random numbers that are the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

impl Choices for Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }
}

/// A fuzzer's input: a byte or two for each choice, and zeros behind its end.
pub(crate) struct Tape<'a>(pub(crate) &'a [u8]);

impl Choices for Tape<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let mut byte = || {
            let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
            self.0 = rest;
            usize::from(*first)
        };
        let low = byte();
        if bound <= 256 { low % bound } else { (low | byte() << 8) % bound }
    }
}

/// What is asked of one job.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) suite: usize,
    pub(crate) bytes: Vec<u8>,
    /// Where the packet is cut into segments.
    pub(crate) cuts: Vec<usize>,
    pub(crate) operation: Operation,
    pub(crate) esn: Option<u32>,
    pub(crate) apart: bool,
    pub(crate) extra: Extra,
    pub(crate) bend: Option<Bend>,
}

/// What an extension carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extra {
    Nothing,
    /// One step for the session's one transform.
    Step,
    Iv(Vec<u8>),
    AssociatedData(Vec<u8>),
}

/// A range or place that is not where the suite has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bend {
    what: usize,
    by: i64,
}

impl Order {
    /// The bytes through a suite, in place and in one segment.
    pub(crate) fn new(suite: usize, bytes: Vec<u8>, operation: Operation) -> Self {
        Self {
            suite,
            bytes,
            cuts: Vec::new(),
            operation,
            esn: None,
            apart: false,
            extra: Extra::Nothing,
            bend: None,
        }
    }
}

/// A job that came back: its status, the source, the destination.
pub(crate) type Outcome = (Status, Vec<u8>, Option<Vec<u8>>);

/// How a burst is handed over: to which queue, how many jobs are submitted at once, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Handing {
    queue: usize,
    parts: Vec<(usize, After)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Poll,
    Flush,
    Nothing,
}

impl Handing {
    /// All at once.
    fn whole() -> Self {
        Self { queue: 0, parts: vec![(MAX_BURST, After::Poll)] }
    }
}

/// A driver with a session for each suite; the last is closed.
pub(crate) struct Side {
    sessions: Vec<SessionId>,
    /// One for each of [`QUEUES`].
    dispatchers: Vec<RefCell<Dispatcher>>,
    _registry: Registry,
}

impl Side {
    fn new(registry: Registry, suites: &[Suite]) -> Self {
        let open = |suite: &Suite| registry.open(suite.params.clone(), Placement::Any).unwrap();
        let sessions: Vec<_> = suites.iter().map(open).collect();
        registry.close(*sessions.last().unwrap());
        let dispatcher = |(depth, far)| registry.dispatcher(&QueuePairConfig { depth, far }).unwrap();
        let dispatchers = QUEUES.into_iter().map(dispatcher).map(RefCell::new).collect();
        Self { sessions, dispatchers, _registry: registry }
    }
}

/// What some bursts came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) jobs: usize,
    pub(crate) done: usize,
    /// The tag did not match.
    pub(crate) refused: usize,
}

/// The drivers side by side.
pub(crate) struct Comparison {
    pub(crate) suites: Vec<Suite>,
    pub(crate) tally: Tally,
    pub(crate) software: Side,
    pub(crate) multibuffer: Vec<(Level, Side)>,
    pool: Pool,
    extensions: ExtensionPool,
}

impl Comparison {
    pub(crate) fn new() -> Self {
        let suites = suites();
        let side = |level: Level| {
            let registry = Registry::new();
            registry.attach(Multibuffer::with_level(0, level).unwrap()).unwrap();
            (level, Side::new(registry, &suites))
        };
        let levels = Level::ALL.into_iter().filter(|level| level.checked().is_ok());
        Self {
            multibuffer: levels.map(side).collect(),
            software: Side::new(Bench::with_software().registry, &suites),
            suites,
            tally: Tally::default(),
            // Room for a jumbo frame in one segment.
            pool: Pool::new(PoolConfig { buffers: 1024, stride: 16 * 1024 + 64 }).unwrap(),
            extensions: ExtensionPool::new(2 * MAX_BURST),
        }
    }

    /// One burst.
    pub(crate) fn check(&mut self, choices: &mut impl Choices) {
        let (orders, handing) = (self.orders(choices), handing(choices));
        let wanted = self.run(&self.software, &orders, &Handing::whole());
        for (level, side) in &self.multibuffer {
            let ours = self.run(side, &orders, &handing);
            for (number, (ours, wanted)) in ours.iter().zip(&wanted).enumerate() {
                let order = &orders[number];
                let algorithms = self.suites[order.suite].params.transforms.iter().map(|one| one.algorithm());
                assert!(
                    ours == wanted,
                    "{level}, job {number} of {}: {:?} in place of {:?}, first difference at {:?}\n{:?}\n{order:?}\n{handing:?}",
                    orders.len(),
                    ours.0,
                    wanted.0,
                    ours.1.iter().zip(&wanted.1).position(|(ours, wanted)| ours != wanted),
                    algorithms.collect::<Vec<_>>(),
                );
            }
        }
        for ((status, source, _), order) in wanted.iter().zip(&orders) {
            let untouched = *source == order.bytes;
            assert!(untouched || *status == Status::Done, "{status:?} and the packet changed");
            assert!(untouched || !order.apart, "the source of a job with a destination changed");
            self.tally.jobs += 1;
            self.tally.done += usize::from(*status == Status::Done);
            self.tally.refused += usize::from(*status == Status::IntegrityFailed);
        }
    }

    /// Does jobs, and gives what came back.
    pub(crate) fn run(&self, side: &Side, orders: &[Order], handing: &Handing) -> Vec<Outcome> {
        let mut dispatcher = side.dispatchers[handing.queue].borrow_mut();
        let (mut burst, mut done) = (JobBurst::new(), JobBurst::new());
        let mut parts = handing.parts.iter().cycle();
        let mut next = 0;
        for turn in 0.. {
            assert!(turn < PATIENCE, "{} of {} jobs came back", done.len(), orders.len());
            let Some(&(count, after)) = parts.next() else { break };
            while burst.len() < count && next < orders.len() {
                burst.push(self.job(side, &orders[next]).with_cookie(next as u64)).unwrap();
                next += 1;
            }
            dispatcher.submit(&mut burst);
            if after == After::Flush {
                dispatcher.flush();
            }
            let last = burst.is_empty() && next == orders.len();
            // Who never polls gets nothing back, and in the end has no room to submit.
            if after == After::Poll || last || turn % 4 == 3 {
                dispatcher.poll(&mut done);
            }
            if last && dispatcher.in_flight() == 0 {
                break;
            }
        }
        assert!(done.iter().map(Job::cookie).eq(0..orders.len() as u64), "each comes back once, in order");
        let outcome = |job: Job| {
            let status = job.status();
            let (source, destination) = job.into_packets();
            (status, bytes_of(&source), destination.map(|packet| bytes_of(&packet)))
        };
        done.drain().map(outcome).collect()
    }

    /// As [`Comparison::run`], all at once.
    pub(crate) fn run_whole(&self, side: &Side, orders: &[Order]) -> Vec<Outcome> {
        self.run(side, orders, &Handing::whole())
    }

    fn job(&self, side: &Side, order: &Order) -> Job {
        let packet = self.packet(order);
        let (suite, session, len) =
            (&self.suites[order.suite], side.sessions[order.suite], order.bytes.len());
        let mut job = suite.job(packet, session, order.operation, order.esn);
        if let Some(bend) = order.bend {
            job = bend.over(job);
        }
        if order.apart {
            job = job.with_destination(self.pool.alloc().unwrap());
        }
        if order.extra == Extra::Nothing {
            return job;
        }
        let mut extension = self.extensions.alloc().unwrap();
        let taken = match &order.extra {
            Extra::Nothing => true,
            Extra::Step => extension.push_step(Step { operation: order.operation, ..suite.step(len) }),
            Extra::Iv(iv) => extension.set_iv(iv),
            Extra::AssociatedData(data) => extension.set_associated_data(data),
        };
        assert!(taken, "{:?} is no extra", order.extra);
        job.with_extension(extension)
    }

    fn packet(&self, order: &Order) -> Mbuf {
        match order.cuts.as_slice() {
            [] => self.pool.alloc_copy(&order.bytes).unwrap(),
            cuts => chained(&self.pool, &order.bytes, cuts),
        }
    }

    /// The jobs of a burst. What is to be decrypted was mostly sealed before, by the software driver.
    fn orders(&self, choices: &mut impl Choices) -> Vec<Order> {
        let count = 1 + choices.below(MAX_BURST);
        // Few suites give many lanes of one kind, and of one key.
        let (first, spread) =
            (choices.below(self.suites.len()), [1, 2, 5, self.suites.len()][choices.below(4)]);
        let mut orders: Vec<Order> = (0..count)
            .map(|_| {
                let suite = (first + choices.below(spread)) % self.suites.len();
                self.order(choices, suite)
            })
            .collect();
        let wants = |order: &&mut Order| order.operation == Operation::Decrypt;
        let mut back: Vec<&mut Order> = orders.iter_mut().filter(wants).collect();
        let plain: Vec<Order> = back
            .iter()
            .map(|order| Order {
                esn: order.esn,
                ..Order::new(order.suite, order.bytes.clone(), Operation::Encrypt)
            })
            .collect();
        let sealed = self.run(&self.software, &plain, &Handing::whole());
        for (order, (_, bytes, _)) in back.iter_mut().zip(sealed) {
            order.bytes = bytes;
            if choices.one_in(5) {
                let at = choices.below(order.bytes.len());
                order.bytes[at] ^= 1 << choices.below(8);
            }
        }
        orders
    }

    fn order(&self, choices: &mut impl Choices, suite: usize) -> Order {
        let wanted = &self.suites[suite];
        let block = wanted.block.max(1);
        let len = match choices.below(20) {
            0..=13 => choices.below(256),
            14..=18 => choices.below(1500),
            _ => choices.below(LONGEST),
        };
        let payload = Random(0x5ea1_a9e5 + choices.below(256) as u64).bytes(len / block * block);
        let operation = if choices.below(2) == 1 { Operation::Decrypt } else { Operation::Encrypt };
        let mut order = Order::new(suite, wanted.plain(&payload, len as u8), operation);
        order.esn = choices.one_in(3).then(|| choices.below(256) as u32 * 0x0101_0001);
        // One byte for what is rare, most of which is: nothing.
        match choices.below(32) {
            0..=19 => {}
            20..=23 => {
                order.cuts = (0..=choices.below(4)).map(|_| choices.below(order.bytes.len())).collect();
            }
            24..=25 => order.apart = true,
            26 if wanted.params.transforms.len() == 1 => order.extra = Extra::Step,
            27 => order.extra = Extra::Iv(vec![choices.below(256) as u8; choices.below(17)]),
            28 => order.extra = Extra::AssociatedData(vec![choices.below(256) as u8; choices.below(33)]),
            _ => order.bend = Some(Bend::new(choices)),
        }
        order
    }
}

impl Bend {
    fn new(choices: &mut impl Choices) -> Self {
        let what = choices.below(6);
        let by = match choices.below(256) as i64 {
            far @ 240.. => (far - 239) << 12,
            near => near - 120,
        };
        Self { what, by }
    }

    fn over(self, job: Job) -> Job {
        let moved = |value: usize| (value as i64 + self.by).max(0);
        let (cipher, covered) = (job.cipher_range(), job.integrity_range());
        let (iv, tag) = (job.iv_offset(), job.tag_offset());
        match self.what {
            0 => job.with_cipher(moved(cipher.0) as u16, cipher.1 as u32),
            1 => job.with_cipher(cipher.0 as u16, moved(cipher.1) as u32),
            2 => job.with_integrity(moved(covered.0) as u16, covered.1 as u32),
            3 => job.with_integrity(covered.0 as u16, moved(covered.1) as u32),
            4 => job.with_iv(moved(iv) as u16),
            _ => job.with_tag(moved(tag) as u32),
        }
    }
}

fn handing(choices: &mut impl Choices) -> Handing {
    if choices.below(2) == 0 {
        return Handing::whole();
    }
    let queue = choices.below(QUEUES.len());
    let part = |choices: &mut _| {
        let count = 1 + Choices::below(choices, MAX_BURST);
        (count, [After::Poll, After::Flush, After::Nothing][Choices::below(choices, 3)])
    };
    let parts = (0..=choices.below(4)).map(|_| part(choices)).collect();
    Handing { queue, parts }
}

/// Suites with kernels and without, whole chains and single algorithms, several keys of a kind. The last one is there twice, for a session
/// that is closed.
pub(crate) fn suites() -> Vec<Suite> {
    let random = &mut Random(7);
    let mut suites = Suite::all();
    let fresh = |random: &mut Random, len| Key::new(&random.bytes(len));
    for (tag_len, key_len) in [(8, 16), (12, 24), (16, 32), (16, 16)] {
        let key = fresh(random, key_len);
        let params = Transform::aead(AeadAlgorithm::AesGcm, key, fresh(random, 4), tag_len).into();
        suites.push(Suite { params, aead: true, iv_len: 8, tag_len, block: 1 });
    }
    for hash in HMACS {
        let key = fresh(random, 7 + 50 * suites.len() % 200);
        suites.extend(Suite::of(hash.into(), key, hash.digest_len()));
    }
    for _ in 0..3 {
        let key = fresh(random, 32);
        let params = Transform::aead(AeadAlgorithm::ChaCha20Poly1305, key, fresh(random, 4), 16).into();
        suites.push(Suite { params, aead: true, iv_len: 8, tag_len: 16, block: 1 });
    }
    for algorithm in [AeadAlgorithm::AesGcm, AeadAlgorithm::ChaCha20Poly1305] {
        // Without a salt, so that packets hold whole nonces.
        let key = fresh(random, 32);
        let params = Transform::aead(algorithm, key, Key::new(&[]), 16).into();
        suites.push(Suite { params, aead: true, iv_len: 12, tag_len: 16, block: 1 });
    }
    for key_len in [16, 24, 32] {
        for cipher in [CipherAlgorithm::AesCbc, CipherAlgorithm::AesCtr] {
            let key = fresh(random, key_len);
            suites.extend(Suite::of(cipher.into(), key, 0));
        }
        for (mac, tag_len) in [(IntegrityAlgorithm::AesCmac, 12), (IntegrityAlgorithm::AesGmac, 16)] {
            let key = fresh(random, key_len);
            suites.extend(Suite::of(mac.into(), key, tag_len));
        }
        suites.extend(counter_mode(random, key_len));
    }
    for tag_len in [12, 16] {
        let key = fresh(random, 16);
        suites.extend(Suite::of(IntegrityAlgorithm::AesXcbcMac.into(), key, tag_len));
    }
    suites.push(Suite::gcm(16));
    suites
}

/// Counter mode as ESP has it, alone and with each kind of hash; and GMAC with a salt.
fn counter_mode(random: &mut Random, key_len: usize) -> Vec<Suite> {
    let fresh = |random: &mut Random, len| Key::new(&random.bytes(len));
    let salted = |random: &mut Random| {
        Transform::cipher(CipherAlgorithm::AesCtr, fresh(random, key_len)).with_salt(fresh(random, 4))
    };
    let suite = |params, tag_len, block| Suite { params, aead: false, iv_len: 8, tag_len, block };
    let hash = |algorithm, key, tag_len| (Transform::integrity(algorithm, key, tag_len), tag_len);
    let hashes = [
        hash(IntegrityAlgorithm::HmacSha256, fresh(random, 32), 16),
        hash(IntegrityAlgorithm::HmacSha384, fresh(random, 48), 24),
        hash(IntegrityAlgorithm::HmacSha512, fresh(random, 64), 32),
        hash(IntegrityAlgorithm::AesXcbcMac, fresh(random, 16), 12),
        hash(IntegrityAlgorithm::AesCmac, fresh(random, key_len), 12),
    ];
    let gmac = Transform::integrity(IntegrityAlgorithm::AesGmac, fresh(random, key_len), 16)
        .with_salt(fresh(random, 4));
    let mut suites = vec![suite(salted(random).into(), 0, 1), suite(gmac.into(), 16, 0)];
    for (hash, tag_len) in hashes {
        suites.push(suite(SessionParams::from_iter([salted(random), hash]), tag_len, 1));
    }
    suites
}

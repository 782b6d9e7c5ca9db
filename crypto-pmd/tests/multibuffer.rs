//! The multi-buffer driver against the software driver: bursts of mixed suites, sessions, lengths and directions, at every level
//! that the processor has.
//!
//! `SEALANE_JOBS=10000000 cargo test --release -p crypto-pmd --test multibuffer` for more than the usual jobs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HMACS, Suite, bytes_of, chained};
use crypto_pmd::drivers::multibuffer::{Level, LevelError, Multibuffer};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;

/// Random numbers that are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.checked().is_ok())
}

fn bench_at(level: Level) -> Bench {
    let registry = Registry::new();
    registry.attach(Multibuffer::with_level(0, level).unwrap()).unwrap();
    Bench::over(registry)
}

/// Suites with kernels and without, whole chains and single algorithms, with keys of their own.
fn suites(random: &mut Random) -> Vec<Suite> {
    let mut suites = Suite::all();
    let fresh = |random: &mut Random, len| Key::new(&random.bytes(len));
    for (tag_len, key_len) in [(8, 16), (12, 24), (16, 32), (16, 16)] {
        let key = fresh(random, key_len);
        let params = Transform::aead(AeadAlgorithm::AesGcm, key, fresh(random, 4), tag_len).into();
        suites.push(Suite { params, aead: true, iv_len: 8, tag_len, block: 1 });
    }
    for _ in 0..3 {
        let key = fresh(random, 32);
        let params = Transform::aead(AeadAlgorithm::ChaCha20Poly1305, key, fresh(random, 4), 16).into();
        suites.push(Suite { params, aead: true, iv_len: 8, tag_len: 16, block: 1 });
    }
    for hash in HMACS {
        let key = fresh(random, 7 + 50 * suites.len() % 200);
        suites.extend(Suite::of(hash.into(), key, hash.digest_len()));
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

/// What a burst is made of: for each job the suite, the packet, how it is cut, and how it is asked for.
struct Order {
    suite: usize,
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    operation: Operation,
    esn: Option<u32>,
    /// The result goes to another packet.
    elsewhere: bool,
}

fn run(
    bench: &mut Bench,
    suites: &[Suite],
    sessions: &[SessionId],
    orders: &[Order],
) -> Vec<(Status, Vec<u8>)> {
    let mut burst = JobBurst::new();
    for (cookie, order) in orders.iter().enumerate() {
        let packet = match order.cuts.as_slice() {
            [] => bench.packet(&order.bytes),
            cuts => chained(&bench.pool, &order.bytes, cuts),
        };
        let mut job = suites[order.suite].job(packet, sessions[order.suite], order.operation, order.esn);
        if order.elsewhere {
            job = job.with_destination(chained(&bench.pool, &vec![0; order.bytes.len()], &order.cuts));
        }
        burst.push(job.with_cookie(cookie as u64)).unwrap();
    }
    let mut done = JobBurst::new();
    while bench.dispatcher.in_flight() > 0 || !burst.is_empty() {
        bench.dispatcher.submit(&mut burst);
        bench.dispatcher.poll(&mut done);
    }
    assert!(done.iter().map(Job::cookie).eq(0..orders.len() as u64), "each comes back once, in order");
    done.drain().map(|job| (job.status(), bytes_of(&job.into_packet()))).collect()
}

#[test]
fn bursts_of_all_kinds_come_out_as_from_the_software_driver() {
    let jobs: usize = std::env::var("SEALANE_JOBS").map_or(12_000, |text| text.parse().unwrap());
    for level in levels() {
        let mut random = Random(0x5ea1_a9e5 + level as u64);
        let suites = suites(&mut random);
        let (mut fast, mut slow) = (bench_at(level), Bench::with_software());
        let open = |bench: &Bench| -> Vec<SessionId> {
            suites.iter().map(|suite| bench.open(suite.params.clone())).collect()
        };
        let (ours, theirs) = (open(&fast), open(&slow));
        let (mut done, mut refused) = (0, 0);
        while done < jobs {
            let count = 1 + random.below(64);
            let plain: Vec<Order> = (0..count).map(|_| order(&mut random, &suites)).collect();
            let sealed = run(&mut slow, &suites, &theirs, &plain);
            compare(&run(&mut fast, &suites, &ours, &plain), &sealed, level);
            // And back, now and then with a bit turned over.
            let back: Vec<Order> = plain
                .into_iter()
                .zip(&sealed)
                .map(|(order, (_, bytes))| {
                    let mut bytes = bytes.clone();
                    if random.below(5) == 0 {
                        let at = random.below(bytes.len());
                        bytes[at] ^= 1 << random.below(8);
                    }
                    let operation =
                        if random.below(8) == 0 { Operation::Encrypt } else { Operation::Decrypt };
                    Order { bytes, operation, ..order }
                })
                .collect();
            let opened = run(&mut slow, &suites, &theirs, &back);
            compare(&run(&mut fast, &suites, &ours, &back), &opened, level);
            refused += opened.iter().filter(|(status, _)| *status == Status::IntegrityFailed).count();
            for ((status, bytes), order) in opened.iter().zip(&back) {
                assert!(
                    *status == Status::Done || order.elsewhere || *bytes == order.bytes,
                    "{level}: a refused packet changed"
                );
            }
            done += 2 * count;
        }
        assert!(refused > 0 && refused < done / 4, "{refused} of {done} were not genuine");
    }
}

fn order(random: &mut Random, suites: &[Suite]) -> Order {
    let suite = random.below(suites.len());
    let len = match random.below(20) {
        0 => random.below(9216 - 1100),
        1..=5 => random.below(1500),
        _ => random.below(260),
    };
    let (wanted, block) = (&suites[suite], suites[suite].block.max(1));
    let payload = random.bytes(len / block * block);
    let bytes = wanted.plain(&payload, random.below(256) as u8);
    let mut cuts: Vec<usize> = (1..=bytes.len() / 2000).map(|n| n * 2000).collect();
    if random.below(10) == 0 {
        cuts.extend((0..=random.below(4)).map(|_| random.below(bytes.len())));
    }
    let esn = (random.below(3) == 0).then(|| random.below(1 << 30) as u32);
    let elsewhere = random.below(10) == 0;
    Order { suite, bytes, cuts, operation: Operation::Encrypt, esn, elsewhere }
}

fn compare(ours: &[(Status, Vec<u8>)], theirs: &[(Status, Vec<u8>)], level: Level) {
    for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours.0, theirs.0, "{level}, job {number}");
        assert_eq!(ours.1, theirs.1, "{level}, job {number}");
    }
}

/// A short packet cut at each of its bytes.
#[test]
fn a_packet_may_be_cut_at_every_byte() {
    for level in levels() {
        let mut random = Random(99);
        let suites = suites(&mut random);
        let (mut fast, mut slow) = (bench_at(level), Bench::with_software());
        for suite in 0..suites.len() {
            let (ours, theirs) =
                (fast.open(suites[suite].params.clone()), slow.open(suites[suite].params.clone()));
            let (ours, theirs) = (vec![ours; suites.len()], vec![theirs; suites.len()]);
            let bytes = suites[suite].plain(&random.bytes(48), 3);
            let orders = |from: &[u8], operation| -> Vec<Order> {
                let cut = |cut| Order {
                    suite,
                    bytes: from.to_vec(),
                    cuts: vec![cut],
                    operation,
                    esn: None,
                    elsewhere: cut % 3 == 0,
                };
                (0..from.len().min(64)).map(cut).collect()
            };
            let plain = orders(&bytes, Operation::Encrypt);
            let sealed = run(&mut slow, &suites, &theirs, &plain);
            compare(&run(&mut fast, &suites, &ours, &plain), &sealed, level);
            let back = orders(&sealed[0].1, Operation::Decrypt);
            let opened = run(&mut fast, &suites, &ours, &back);
            assert!(opened.iter().all(|(status, _)| *status == Status::Done), "{level}");
            compare(&opened, &run(&mut slow, &suites, &theirs, &back), level);
        }
    }
}

#[test]
fn a_level_that_the_processor_lacks_is_refused_by_name() {
    assert_eq!(Multibuffer::new().level(), Level::best());
    for level in Level::ALL {
        let made = Multibuffer::with_level(3, level);
        if level <= Level::best() {
            assert_eq!(made.unwrap().name(), "multibuffer3");
        } else {
            let error = made.unwrap_err();
            assert_eq!(error, LevelError::Missing { wanted: level, best: Level::best() });
            assert!(error.to_string().contains(level.name()), "{error}");
        }
    }
}

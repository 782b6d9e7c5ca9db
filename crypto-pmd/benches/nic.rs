//! What the card's driver costs, and how close a card whose engine is a core of this machine comes to that core alone.
//!
//! `taskset -c 0,1 cargo bench -p crypto-pmd --bench nic`. The first table times submit and poll only, with an engine that computes nothing: on one
//! core, where it turns between the calls and is not timed, and on two. The second has the multi-buffer driver do AES-GCM packets alone on a
//! core, and then as the engine of a card on that core, with the driver on the other one.

use std::time::{Duration, Instant};

use crypto_pmd::drivers::Multibuffer;
use crypto_pmd::drivers::multibuffer::Hold;
use crypto_pmd::drivers::nic::{Card, CardConfig, Engines, Faults, Nic, NicConfig, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Burst, Clock, Mbuf, Pool, PoolConfig};

const BURST: usize = 32;
const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(300);

type Failure = Box<dyn std::error::Error>;

/// A card without a latency or a limit of its own: what is seen is the driver and this machine.
fn profile() -> Result<Profile, Failure> {
    let text = "name = \"bench\"\nengines = 1\nring_depth = 512\nqueues = 1\nmax_packet = 9728\n\
                [[algorithm]]\nname = \"aes-gcm\"\n[[algorithm]]\nname = \"aes-cbc\"\n[[algorithm]]\nname = \"sha1-hmac\"\n";
    Ok(Profile::parse("bench", text)?)
}

fn gcm() -> SessionParams {
    Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[7; 16]), Key::new(&[9; 4]), 16).into()
}

fn cbc_sha1() -> SessionParams {
    let cipher = Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[7; 16]));
    [cipher, Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[5; 20]), 12)].into_iter().collect()
}

/// A job over a frame of `len` bytes of payload.
fn job(packet: Mbuf, session: SessionId, aead: bool, len: usize) -> Job {
    let (iv, cover) = if aead { (8, 8) } else { (16, 8 + 16 + len) };
    let front = 8 + iv;
    Job::new(packet, session, Operation::Encrypt)
        .with_cipher(front as u16, len as u32)
        .with_integrity(0, cover as u32)
        .with_iv(8)
        .with_tag((front + len) as u32)
}

/// Packets that go round and round.
struct Rounds {
    packets: Vec<Mbuf>,
    session: SessionId,
    aead: bool,
    len: usize,
}

impl Rounds {
    fn new(pool: &Pool, session: SessionId, aead: bool, len: usize, count: usize) -> Self {
        let mut packets = Vec::with_capacity(count);
        while packets.len() < count
            && let Some(mut packet) = pool.alloc()
        {
            if packet.append(len + if aead { 32 } else { 36 }).is_none() {
                break;
            }
            packets.push(packet);
        }
        Self { packets, session, aead, len }
    }

    fn burst(&mut self, jobs: &mut JobBurst) {
        while jobs.len() < BURST
            && let Some(packet) = self.packets.pop()
        {
            let (session, aead, len) = (self.session, self.aead, self.len);
            jobs.push_with(|| job(packet, session, aead, len));
        }
    }

    fn back(&mut self, done: &mut Burst<Job, 0>) {
        self.packets.extend(done.drain().map(Job::into_packet));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// TSC cycles a packet of submit and poll, with the engine turned in between and not timed.
fn own_cost_on_one_core(len: usize) -> Result<f64, Failure> {
    let config = CardConfig { engines: Engines::Null, faults: Faults::none(), clock: Clock::new() };
    let (card, mut engine) = Card::new(profile()?, config)?;
    let (registry, pool) = (Registry::new(), Pool::new(PoolConfig::default())?);
    registry.map_memory(&pool);
    registry.attach(Nic::new(&card, NicConfig::default())?)?;
    let session = registry.open(gcm(), Placement::Any)?;
    let mut dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
    let mut rounds = Rounds::new(&pool, session, true, len, 4 * BURST);
    let (clock, mut jobs, mut done) = (Clock::new(), JobBurst::new(), JobBurst::new());
    let mut seen = Vec::new();
    // What two readings of the clock cost.
    let empty = median(
        (0..1001)
            .map(|_| {
                let start = clock.tick();
                (clock.tick() - start) as f64
            })
            .collect(),
    );
    for _ in 0..ROUNDS {
        let (mut ticks, mut packets, end) = (0.0, 0_u64, Instant::now() + SLICE);
        while Instant::now() < end {
            for _ in 0..64 {
                rounds.burst(&mut jobs);
                let start = clock.tick();
                dispatcher.submit(&mut jobs);
                let middle = clock.tick();
                engine.step();
                let again = clock.tick();
                let finished = dispatcher.poll(&mut done);
                ticks += (clock.tick() - again + (middle - start)) as f64 - 2.0 * empty;
                packets += finished as u64;
                rounds.back(&mut done);
            }
        }
        seen.push(ticks / packets as f64);
    }
    Ok(median(seen))
}

/// TSC cycles a packet of the calls that submitted or brought something, with the engine on another core.
fn own_cost_on_two_cores(len: usize, cores: (usize, usize)) -> Result<f64, Failure> {
    let config = CardConfig { engines: Engines::Null, faults: Faults::none(), clock: Clock::new() };
    let (card, _runner) = Card::start(profile()?, config, Some(cores.1))?;
    let (registry, pool) = (Registry::new(), Pool::new(PoolConfig::default())?);
    registry.map_memory(&pool);
    registry.attach(Nic::new(&card, NicConfig::default())?)?;
    let session = registry.open(gcm(), Placement::Any)?;
    let mut dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
    let mut rounds = Rounds::new(&pool, session, true, len, 8 * BURST);
    let (clock, mut jobs, mut done) = (Clock::new(), JobBurst::new(), JobBurst::new());
    let empty = median(
        (0..1001)
            .map(|_| {
                let start = clock.tick();
                (clock.tick() - start) as f64
            })
            .collect(),
    );
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let (mut ticks, mut packets, end) = (0.0, 0_u64, Instant::now() + SLICE);
        while Instant::now() < end {
            for _ in 0..64 {
                rounds.burst(&mut jobs);
                if !jobs.is_empty() {
                    let start = clock.tick();
                    let taken = dispatcher.submit(&mut jobs);
                    if taken > 0 {
                        ticks += (clock.tick() - start) as f64 - empty;
                    }
                }
                // A burst is waited for, as a core with other things to do would find it.
                let start = clock.tick();
                let finished = dispatcher.poll(&mut done);
                if finished > 0 {
                    ticks += (clock.tick() - start) as f64 - empty;
                }
                packets += finished as u64;
                rounds.back(&mut done);
                (0..200).for_each(|_| std::hint::spin_loop());
            }
        }
        seen.push(ticks / packets as f64);
    }
    Ok(median(seen))
}

/// Packets a second through a dispatcher.
fn rate(dispatcher: &mut Dispatcher, rounds: &mut Rounds) -> f64 {
    let (mut jobs, mut done, mut packets) = (JobBurst::new(), JobBurst::new(), 0_u64);
    let start = Instant::now();
    while start.elapsed() < SLICE {
        for _ in 0..16 {
            rounds.burst(&mut jobs);
            dispatcher.submit(&mut jobs);
            let finished = dispatcher.poll(&mut done);
            packets += finished as u64;
            rounds.back(&mut done);
            if finished == 0 {
                // As a polling core waits.
                (0..4).for_each(|_| std::hint::spin_loop());
            }
        }
    }
    packets as f64 / start.elapsed().as_secs_f64()
}

fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// Packets a second of the engine core alone, and of driver and engine on two cores, in alternating slices.
fn pipelined(
    params: &SessionParams,
    aead: bool,
    len: usize,
    cores: (usize, usize),
) -> Result<(f64, f64), Failure> {
    let alone = Registry::new();
    alone.attach(Multibuffer::new().with_hold(Hold::NEVER))?;
    let pool = Pool::new(PoolConfig::default())?;
    let mut own = alone.dispatcher(&QueuePairConfig::default())?;
    let mut own_rounds =
        Rounds::new(&pool, alone.open(params.clone(), Placement::Any)?, aead, len, 4 * BURST);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        pin(cores.1);
        one.push(rate(&mut own, &mut own_rounds));
        pin(cores.0);
        let (card, _runner) = Card::start(profile()?, CardConfig::default(), Some(cores.1))?;
        let registry = Registry::new();
        registry.map_memory(&pool);
        registry.attach(Nic::new(&card, NicConfig::default())?)?;
        let session = registry.open(params.clone(), Placement::Any)?;
        let mut dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
        let mut rounds = Rounds::new(&pool, session, aead, len, 8 * BURST);
        rate(&mut dispatcher, &mut rounds);
        two.push(rate(&mut dispatcher, &mut rounds));
    }
    Ok((median(one), median(two)))
}

fn main() -> Result<(), Failure> {
    if std::env::args().any(|word| word == "one") {
        println!("{:.1}", own_cost_on_one_core(64)?);
        return Ok(());
    }
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let [first, second, ..] = ids.as_slice() else {
        return Err("this needs two processors".into());
    };
    let cores = (first.id, second.id);
    pin(cores.0);
    if std::env::args().any(|word| word == "pipe") {
        let len = std::env::var("LEN").map_or(1408, |text| text.parse().unwrap_or(1408));
        let (one, two) = pipelined(&gcm(), true, len, cores)?;
        println!("{:.3} {:.3} {:.2}", one / 1e6, two / 1e6, two / one);
        return Ok(());
    }
    println!("submit and poll, TSC cycles a packet, burst {BURST}, nothing computed");
    for len in [64, 512, 1400] {
        let (one, two) = (own_cost_on_one_core(len)?, own_cost_on_two_cores(len, cores)?);
        println!("  {len:>5} B   one core {one:6.1}   two cores {two:6.1}");
    }
    println!("Mpps of the engine core alone, of driver and engine on two cores, and their ratio");
    for (name, params, aead) in [("aes128gcm16", gcm(), true), ("aes128-sha1", cbc_sha1(), false)] {
        for len in [64, 512, 1408] {
            let (one, two) = pipelined(&params, aead, len, cores)?;
            println!("  {name} {len:>5} B   {:6.3}   {:6.3}   {:.2}", one / 1e6, two / 1e6, two / one);
        }
    }
    Ok(())
}

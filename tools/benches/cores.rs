//! What several cores bring: the price of a hand-off, one SA over two cores, and two SAs on two cores, with the drivers `software` and `multibuffer`.
//!
//! `cargo bench --bench cores`. One and two cores run in turn, seven times each; a ratio is that of packets over the processor
//! time of the busiest core, and the median is the figure. Needs two processors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crypto_pmd::crew::{CrewConfig, Crypto, crew};
use crypto_pmd::drivers::{Multibuffer, Software};
use crypto_pmd::{Dispatcher, Key, Placement, QueuePairConfig, Registry};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams, SaSlot};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::EspStage;
use ipsec_esp::suite::Suite;
use pipeline::capture::Capture;
use pipeline::handoff::Peers;
use pipeline::lcore::{Ended, Idle, Lcore, LcoreId, PollingCore, Task, run};
use pipeline::port::{NullTx, Replay};
use pipeline::{Burst, Clock, Pool, PoolConfig, Ring};

const PAIRS: usize = 7;
const PACKETS: usize = 1024;
const PASSES: u64 = 300;
const BURST: usize = 32;

fn main() {
    let cores = LcoreId::available();
    let [first, second, ..] = cores.as_slice() else {
        println!("left out: two processors are needed, there is {}", cores.len());
        return;
    };
    let pair = [*first, *second];
    hand_off(pair, false);
    hand_off(pair, true);
    for driver in [Driver::Software, Driver::Multibuffer] {
        for suite in ["aes128gcm16", "aes128-sha1", "aes256-sha256"] {
            for size in [1400, 512, 64] {
                one_sa(pair, driver, suite, size);
            }
            two_sas(pair, driver, suite, 1400);
        }
    }
}

/// Who does the crypto.
#[derive(Clone, Copy)]
enum Driver {
    Software,
    Multibuffer,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Multibuffer => "multibuffer",
        }
    }
}

fn wanted(name: &str) -> bool {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    words.iter().all(|word| name.contains(word.as_str()))
}

/// Bursts go round between two cores. Each lap is two hand-offs on two cores, so the time of a lap is what one hand-off costs
/// both sides together, waiting included.
fn hand_off([here, there]: [LcoreId; 2], touch: bool) {
    const LAPS: u64 = 200_000;
    let name = format!("hand-off of a burst of {BURST}{}", if touch { ", headers touched" } else { "" });
    if !wanted(&name) {
        return;
    }
    let pool = Pool::new(PoolConfig::default()).unwrap();
    let (to, back) = (Arc::new(Ring::with_capacity(16)), Arc::new(Ring::with_capacity(16)));
    let clock = Clock::new();
    let mut cycles: Vec<f64> =
        (0..PAIRS).map(|_| lap(&pool, [&to, &back], [here, there], &clock, touch, LAPS)).collect();
    cycles.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.1} TSC cycles a packet, both sides ({:.1} to {:.1})",
        cycles[PAIRS / 2],
        cycles[0],
        cycles[PAIRS - 1]
    );
}

fn lap(
    pool: &Pool,
    [to, back]: [&Ring; 2],
    [here, there]: [LcoreId; 2],
    clock: &Clock,
    touch: bool,
    laps: u64,
) -> f64 {
    let stop = AtomicBool::new(false);
    let cycles = std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(there.pin_current_thread());
            while !stop.load(Ordering::Relaxed) {
                if let Some(burst) = to.pop() {
                    pass_on(back, burst, touch);
                }
            }
        });
        let first = scope.spawn(|| {
            assert!(here.pin_current_thread());
            for _ in 0..8 {
                let mut burst = Burst::new();
                pool.alloc_burst(&mut burst, BURST);
                pass_on(to, burst, touch);
            }
            let (start, mut done) = (clock.tick(), 0);
            while done < laps {
                if let Some(burst) = back.pop() {
                    pass_on(to, burst, touch);
                    done += 1;
                }
            }
            let cycles = (clock.tick() - start) as f64 / (laps * BURST as u64) as f64;
            stop.store(true, Ordering::Relaxed);
            cycles
        });
        first.join().unwrap()
    });
    // What is left in the rings goes home before the next run.
    while to.pop().is_some() || back.pop().is_some() {}
    cycles
}

/// Hands a burst on, after a look at each of its packets if `touch` says so.
fn pass_on(ring: &Ring, mut burst: Burst, touch: bool) {
    if touch {
        burst.iter_mut().for_each(|packet| packet.set_number(packet.number() + 1));
    }
    while let Err(full) = ring.push(burst) {
        burst = full;
    }
}

/// UDP packets of `ip_len` bytes; the last byte of the destination names one of `flows` policies, in turn.
fn capture(ip_len: usize, flows: usize) -> Arc<Capture> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    for number in 0..PACKETS {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend((ip_len as u16).to_be_bytes());
        frame.extend([
            0,
            0,
            0,
            0,
            64,
            17,
            0,
            0,
            10,
            0,
            1,
            1,
            10,
            0,
            2,
            (number % flows) as u8,
            4,
            0,
            0x13,
            0x88,
        ]);
        frame.extend(((ip_len - 20) as u16).to_be_bytes());
        frame.resize(14 + ip_len, 0x5a);
        bytes.extend([0; 8]);
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(frame);
    }
    Arc::new(Capture::from_bytes("generated", bytes).unwrap())
}

struct Rig {
    registry: Registry,
    pool: Pool,
    source: Arc<Capture>,
    suite: Suite,
    clock: Clock,
}

impl Rig {
    fn new(driver: Driver, suite: &str, size: usize, flows: usize) -> Self {
        let registry = Registry::new();
        let attached = match driver {
            Driver::Software => registry.attach(Software::new()),
            Driver::Multibuffer => registry.attach(Multibuffer::new()),
        };
        attached.unwrap();
        let pool = Pool::new(PoolConfig { buffers: 8192, ..PoolConfig::default() }).unwrap();
        let suite = Suite::parse(suite).unwrap();
        Self { registry, pool, source: capture(size, flows), suite, clock: Clock::new() }
    }

    fn dispatcher(&self, far: bool) -> Dispatcher {
        self.registry.dispatcher(&QueuePairConfig { far, ..QueuePairConfig::default() }).unwrap()
    }

    /// The outbound half of core `core` of `cores`, with an SA for each of them.
    fn outbound(&self, core: u8, cores: u8) -> Outbound {
        let mut outbound = Outbound::on_core(core, Link::Ethernet, self.pool.clone()).unwrap();
        for number in 0..cores {
            let slot = SaSlot::of(number, 0);
            if number == core {
                let params = params(u32::from(number), self.suite);
                let session = self.registry.open(params.session_params(), Placement::Any).unwrap();
                assert_eq!(outbound.add_sa(&params, session), slot);
            }
            outbound.spd_mut().add(policy(number, slot)).unwrap();
        }
        outbound
    }

    fn core<C: Crypto>(
        &self,
        stage: EspStage<Outbound, C>,
        (core, cores): (usize, usize),
    ) -> PollingCore<Replay, EspStage<Outbound, C>, NullTx> {
        let rx = match cores {
            1 => Replay::new(Arc::clone(&self.source), self.pool.clone(), PASSES),
            _ => {
                let share = (0..PACKETS as u32).filter(|number| *number as usize % cores == core).collect();
                Replay::of_packets(Arc::clone(&self.source), self.pool.clone(), PASSES * cores as u64, share)
            }
        };
        PollingCore::new(rx, stage, NullTx::default(), self.clock.clone(), BURST).unwrap()
    }
}

fn params(number: u32, suite: Suite) -> SaParams {
    SaParams {
        spi: Spi(0x1000 + number),
        suite,
        encryption_key: Key::new(&vec![7; suite.encryption_key_len()]),
        integrity_key: Key::new(&vec![9; suite.integrity_key_len()]),
        mode: Mode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() },
        udp_encap: None,
        esn: true,
        replay_window: 64,
        sequence: 1,
        offload: Offload::default(),
    }
}

fn policy(number: u8, slot: SaSlot) -> Policy {
    let selector =
        Selector::parse("10.0.1.0/24", &format!("10.0.2.{number}/32"), "any", "any", "any").unwrap();
    let action = Action::Protect([slot].into_iter().collect());
    Policy { direction: Direction::Outbound, priority: 100, selector, action }
}

/// Packets over the processor time of the busiest core, in packets a microsecond.
fn speed(tasks: Vec<&mut dyn Task>, ids: &[LcoreId], packets: u64) -> f64 {
    let lcore = |(task, id): (_, &LcoreId)| Lcore { id: Some(*id), tasks: vec![task], idle: Idle::Pause };
    let mut lcores: Vec<_> = tasks.into_iter().zip(ids).map(lcore).collect();
    let runs = run(&mut lcores, &AtomicBool::new(false), || {});
    assert!(runs.iter().all(|run| run.ended == Ended::Drained && run.pinned));
    packets as f64 * 1000.0 / runs.iter().map(|run| run.cpu_ns).max().unwrap() as f64
}

fn one_core(rig: &Rig, ids: [LcoreId; 2]) -> f64 {
    let mut core =
        rig.core(EspStage::new(rig.outbound(0, 1), rig.dispatcher(false), rig.clock.clone()), (0, 1));
    speed(vec![&mut core], &ids, PACKETS as u64 * PASSES)
}

/// A core with one SA, and another that does crypto for it.
fn one_sa(ids: [LcoreId; 2], driver: Driver, suite: &str, size: usize) {
    let name = format!("{}, one SA over two cores, {suite}, {size} B", driver.name());
    let rig = Rig::new(driver, suite, size, 1);
    report(
        &name,
        || one_core(&rig, ids),
        || {
            let config = CrewConfig::default();
            let (owner, mut workers) =
                crew(rig.dispatcher(false), vec![rig.dispatcher(true)], config, &rig.clock);
            let mut front = rig.core(EspStage::new(rig.outbound(0, 1), owner, rig.clock.clone()), (0, 1));
            let speed = speed(vec![&mut front, &mut workers[0]], &ids, PACKETS as u64 * PASSES);
            assert!(front.ledger().is_exact() && front.ledger().dropped.is_empty());
            speed
        },
    );
}

/// Two cores that run to completion, each with an SA of its own.
fn two_sas(ids: [LcoreId; 2], driver: Driver, suite: &str, size: usize) {
    let name = format!("{}, two SAs on two cores, {suite}, {size} B", driver.name());
    let (one, two) = (Rig::new(driver, suite, size, 1), Rig::new(driver, suite, size, 2));
    report(
        &name,
        || one_core(&one, ids),
        || {
            let mut peers = Peers::mesh(2).into_iter();
            let mut core = |number: u8| {
                let (half, peers) = (two.outbound(number, 2), peers.next().unwrap());
                let stage = EspStage::among(half, two.dispatcher(false), peers, two.clock.clone());
                two.core(stage, (usize::from(number), 2))
            };
            let (mut first, mut second) = (core(0), core(1));
            speed(vec![&mut first, &mut second], &ids, 2 * PACKETS as u64 * PASSES)
        },
    );
}

/// Runs both in turn and prints the ratios.
fn report(name: &str, one: impl Fn() -> f64, two: impl Fn() -> f64) {
    if !wanted(name) {
        return;
    }
    let pairs: Vec<(f64, f64)> = (0..PAIRS).map(|_| (one(), two())).collect();
    let sorted = |figures: Vec<f64>| {
        let mut figures = figures;
        figures.sort_by(f64::total_cmp);
        figures
    };
    let ratios = sorted(pairs.iter().map(|(one, two)| two / one).collect());
    let (one, two) = (
        sorted(pairs.iter().map(|pair| pair.0).collect()),
        sorted(pairs.iter().map(|pair| pair.1).collect()),
    );
    println!(
        "{name}: {:.2} times one core ({:.2} to {:.2}); {:.3} and {:.3} packets a microsecond of the busiest core",
        ratios[PAIRS / 2],
        ratios[0],
        ratios[PAIRS - 1],
        one[PAIRS / 2],
        two[PAIRS / 2],
    );
}

//! What the path around the crypto costs: TSC cycles a packet of the whole outbound and inbound path with the null
//! driver, from memory, on one pinned core; and of its steps.
//!
//! `cargo bench --bench pipeline_alone` prints, for each case, the least, the median and the largest of several runs.
//! The least is the figure to compare: the machine can only add to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crypto_pmd::drivers::Null;
use crypto_pmd::{Key, Placement, QueuePairConfig, Registry, SessionId};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams, SaSlot};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::{EspStage, Half};
use ipsec_esp::suite::Suite;
use pipeline::capture::Capture;
use pipeline::lcore::{LcoreId, PollingCore};
use pipeline::port::{NullTx, Replay};
use pipeline::stage::{Chain, Forward, Stage};
use pipeline::{Clock, Pool, PoolConfig};

const PACKETS: usize = 1024;
const RUNS: usize = 15;
const PASSES: u64 = 400;

fn main() {
    let core = LcoreId::available().last().copied();
    let pinned = core.is_some_and(LcoreId::pin_current_thread);
    println!("core {core:?}, pinned {pinned}, {:.0} MHz TSC", Clock::new().hz() / 1e6);
    println!("{:<58} {:>7} {:>7} {:>7}", "TSC cycles a packet", "min", "median", "max");
    for size in [64, 512, 1400] {
        let source = capture(size, 1);
        report(&format!("source, sink ({size} B)"), || measure(&source, Forward));
    }
    for size in [64, 512, 1400] {
        for suite in ["aes128gcm16", "aes128-sha1"] {
            for sas in [1, 16] {
                let source = capture(size, sas);
                let about = format!("{suite}, {sas} SAs and policies ({size} B)");
                let rig = Rig::new(sas, suite);
                report_path(&format!("outbound, {about}"), &source, || (rig.pool(), rig.outbound()));
                let rig = Rig::new(sas, suite);
                let both = || (rig.pool(), Chain::new(rig.outbound(), rig.inbound()));
                report_path(&format!("out and back in, {about}"), &source, both);
            }
        }
    }
}

/// Runs a case and prints its steps.
fn report_path<S: Stage>(name: &str, source: &Arc<Capture>, make: impl FnOnce() -> (Pool, S)) {
    let (pool, stage) = make();
    let rx = Replay::new(Arc::clone(source), pool, PASSES);
    let mut core = PollingCore::new(rx, stage, NullTx::default(), Clock::new(), 32).unwrap();
    report(name, || {
        core.rx.rewind(PASSES);
        cycles(&mut core)
    });
    let mut costs = Vec::new();
    core.stage.costs(&mut costs);
    for cost in costs.into_iter().filter(|cost| cost.packets > 0) {
        println!("    {:<54} {:>7} {:>7.1}", cost.name, "", cost.ticks as f64 / cost.packets as f64);
    }
    assert!(core.ledger().is_exact() && core.ledger().dropped.is_empty(), "{:?}", core.ledger());
}

/// Runs a case, unless the command line names others.
fn report(name: &str, mut run: impl FnMut() -> f64) {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !wanted.iter().all(|word| name.contains(word.as_str())) {
        return;
    }
    run();
    let mut cycles: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    cycles.sort_by(f64::total_cmp);
    println!("{name:<58} {:>7.1} {:>7.1} {:>7.1}", cycles[0], cycles[RUNS / 2], cycles[RUNS - 1]);
}

/// UDP packets of `ip_len` bytes whose destination address names one of `flows` policies, in a shuffled order.
fn capture(ip_len: usize, flows: usize) -> Arc<Capture> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let mut random = 0x1234_5678_9abc_def0_u64;
    for _ in 0..PACKETS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let flow = (random >> 33) as usize % flows;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend((ip_len as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 1, 1, 10, 0, 2, flow as u8, 4, 0, 0x13, 0x88]);
        frame.extend(((ip_len - 20) as u16).to_be_bytes());
        frame.resize(14 + ip_len, 0x5a);
        bytes.extend([0; 8]);
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(frame);
    }
    Arc::new(Capture::from_bytes("generated", bytes).unwrap())
}

fn measure<S: Stage>(source: &Arc<Capture>, stage: S) -> f64 {
    let pool = Pool::new(PoolConfig::default()).unwrap();
    let rx = Replay::new(Arc::clone(source), pool, PASSES);
    let mut core = PollingCore::new(rx, stage, NullTx::default(), Clock::new(), 32).unwrap();
    cycles(&mut core)
}

fn cycles<S: Stage>(core: &mut PollingCore<Replay, S, NullTx>) -> f64 {
    let start = core.clock().tick();
    core.run(&AtomicBool::new(false));
    let end = core.clock().tick();
    (end - start) as f64 / (PACKETS as u64 * PASSES) as f64
}

/// SAs with their sessions on the null driver.
struct Rig {
    pool: Pool,
    registry: Registry,
    sas: Vec<(SaParams, SessionId)>,
}

impl Rig {
    fn new(sas: usize, suite: &str) -> Self {
        let registry = Registry::new();
        registry.attach(Null::new()).unwrap();
        let open = |number| {
            let params = params(number, Suite::parse(suite).unwrap());
            let session = registry.open(params.session_params(), Placement::Any).unwrap();
            (params, session)
        };
        let sas = (0..sas as u32).map(open).collect();
        Self { pool: Pool::new(PoolConfig::default()).unwrap(), registry, sas }
    }

    fn pool(&self) -> Pool {
        self.pool.clone()
    }

    fn outbound(&self) -> EspStage<Outbound> {
        let mut outbound = Outbound::new(Link::Ethernet, self.pool()).unwrap();
        for (number, (params, session)) in self.sas.iter().enumerate() {
            let slot = outbound.add_sa(params, *session);
            outbound.spd_mut().add(policy(number, Direction::Outbound, slot)).unwrap();
        }
        self.stage(outbound)
    }

    fn inbound(&self) -> EspStage<Inbound> {
        let mut inbound = Inbound::new(Link::Ethernet).unwrap();
        for (number, (params, session)) in self.sas.iter().enumerate() {
            let slot = inbound.add_sa(params, *session).unwrap();
            inbound.spd_mut().add(policy(number, Direction::Inbound, slot)).unwrap();
        }
        self.stage(inbound)
    }

    fn stage<H: Half>(&self, half: H) -> EspStage<H> {
        EspStage::new(half, self.registry.dispatcher(&QueuePairConfig::default()).unwrap(), Clock::new())
    }
}

fn params(number: u32, suite: Suite) -> SaParams {
    let params = SaParams {
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
    };
    params.check(true).unwrap();
    params
}

fn policy(number: usize, direction: Direction, slot: SaSlot) -> Policy {
    let dst = format!("10.0.2.{number}/32");
    Policy {
        direction,
        priority: 100,
        selector: Selector::parse("10.0.1.0/24", &dst, "any", "any", "any").unwrap(),
        action: Action::Protect([slot].into_iter().collect()),
    }
}

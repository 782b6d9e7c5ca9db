//! SAs and policies added, replaced and removed under the traffic of two cores that hand packets to each other.
//!
//! `SEALANE_CHANGES=1000000 cargo test -p ipsec-esp --test control --release` for more than the usual changes.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::alloc::System;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crypto_pmd::crew::{CrewConfig, Crypto, Worker, crew};
use crypto_pmd::drivers::Software;
use crypto_pmd::{Key, QueuePairConfig, Registry};
use ipsec_esp::control::{Control, ControlError, Pending};
use ipsec_esp::drop_reason::DropReason;
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams, SaSlot, UdpEncap};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::EspStage;
use ipsec_esp::suite::Suite;
use pipeline::handoff::Peers;
use pipeline::lcore::{Ended, Idle, Lcore, PollingCore, Task, run};
use pipeline::port::{Receive, RxPort, TxPort};
use pipeline::stage::{Chain, Stage};
use pipeline::{Burst, Clock, Ledger, Mbuf, Pool, PoolConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// How much more may be on the heap after many changes than after few: what a handful of SAs takes, far less than a byte for each
/// change.
const SLACK: i64 = 64 << 10;

/// Held by a test that weighs the heap, which all tests share.
#[allow(clippy::disallowed_types, reason = "tests wait for each other here, no core does")]
static SCALES: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Sets a flag when it goes, also when a test fails: the cores would go on for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes on the heap.
fn live() -> i64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i64 + stats.bytes_reallocated as i64 - stats.bytes_deallocated as i64
}

/// Flows whose SAs and policies stay; the others come and go.
const LASTING: u8 = 4;
const FLOWS: u8 = 12;

fn params(spi: u32, key: u8) -> SaParams {
    let suite = Suite::parse("aes128gcm16").unwrap();
    SaParams {
        spi: Spi(spi),
        suite,
        encryption_key: Key::new(&vec![key; suite.encryption_key_len()]),
        integrity_key: Key::new(&[]),
        mode: Mode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() },
        udp_encap: None,
        esn: false,
        replay_window: 64,
        sequence: 1,
        offload: Offload::default(),
    }
}

fn policy(direction: Direction, flow: u8, slot: SaSlot) -> Policy {
    let selector = Selector::parse("10.0.1.0/24", &format!("10.0.2.{flow}/32"), "any", "any", "any").unwrap();
    let priority = u32::from(flow) % 3;
    Policy { direction, priority, selector, action: Action::Protect([slot].into_iter().collect()) }
}

fn frame(flow: u8) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[17..24].copy_from_slice(&[46, 0, 0, 0, 0, 64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 1, 1, 10, 0, 2, flow]);
    frame[34..40].copy_from_slice(&[4, 0, 0x13, 0x88, 0, 26]);
    frame
}

/// Packets of all flows in turn, numbered by flow, until told to stop.
struct Source<'a> {
    pool: Pool,
    stop: &'a AtomicBool,
    sent: [u32; FLOWS as usize],
    next: u8,
    /// Of these flows only, so that each comes in at one core.
    every: (u8, u8),
}

impl RxPort for Source<'_> {
    fn receive(&mut self, burst: &mut Burst, limit: usize) -> Receive {
        if self.stop.load(Ordering::Relaxed) {
            return Receive::End;
        }
        for _ in 0..limit {
            let flow = self.next;
            self.next = (self.next + 1) % FLOWS;
            if flow % self.every.1 != self.every.0 {
                continue;
            }
            let Some(mut packet) = self.pool.alloc_copy(&frame(flow)) else { break };
            packet.set_number(self.sent[usize::from(flow)]);
            burst.push(packet).unwrap();
            self.sent[usize::from(flow)] += 1;
        }
        if burst.is_empty() { Receive::Idle } else { Receive::Packets }
    }
    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.sent.iter().map(|sent| u64::from(*sent)).sum::<u64>();
    }
}

/// Looks at what comes through.
#[derive(Default)]
struct Sink {
    came: [u32; FLOWS as usize],
    total: u64,
}

impl TxPort for Sink {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = burst.len();
        for packet in burst.drain() {
            let flow = packet.data()[33];
            assert_eq!(packet.data(), frame(flow));
            let came = &mut self.came[usize::from(flow)];
            if flow < LASTING {
                assert_eq!(packet.number(), *came, "flow {flow} lost a packet, or its order");
            }
            *came += 1;
        }
        self.total += count as u64;
        count
    }
    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.total;
    }
}

/// An SA and a policy of a flow in both directions.
fn add_flow(control: &mut Control, flow: u8, key: u8) -> [(Direction, SaSlot, ipsec_esp::spd::PolicyId); 2] {
    [Direction::Outbound, Direction::Inbound].map(|direction| {
        let slot = control.add_sa(direction, &params(0x1000 + u32::from(flow), key)).unwrap();
        let id = control.add_policy(policy(direction, flow, slot)).unwrap();
        (direction, slot, id)
    })
}

/// Changes what does not last, as fast as memory stays flat; what had been sent by the SAs that are gone.
fn change(control: &mut Control, changes: u64, turns: &AtomicU64) -> u64 {
    let mut flows: Vec<_> = (LASTING..FLOWS).map(|flow| (flow, None)).collect();
    let (mut made, mut sent, mut round) = (0, 0, 0_u64);
    let mut warm = None;
    while made < changes {
        if made > changes / 10 && warm.is_none() {
            sent += settle(control, 0);
            warm = Some(live());
        }
        let (flow, parts) = &mut flows[round as usize % usize::from(FLOWS - LASTING)];
        let key = (round % 200) as u8;
        match parts.take() {
            None => *parts = Some(add_flow(control, *flow, key)),
            Some(old) if round.is_multiple_of(3) => {
                for (direction, slot, _) in old {
                    // New keys under a new SPI, which a later round gives back.
                    let spi = 0x10_0000 + (round as u32 & 0xffff);
                    control.replace_sa(direction, slot, &params(spi, key)).unwrap();
                }
                *parts = Some(old);
            }
            Some(old) => {
                for (direction, slot, id) in old {
                    control.remove_sa(direction, slot).unwrap();
                    control.remove_policy(direction, id).unwrap();
                }
            }
        }
        made += 4;
        round += 1;
        sent += settle(control, 200);
        // Every now and then a few bursts pass between two changes.
        if round.is_multiple_of(16) {
            let now = turns.load(Ordering::Relaxed);
            while turns.load(Ordering::Relaxed) == now {
                std::thread::yield_now();
            }
        }
    }
    sent += settle(control, 0);
    let grown = live() - warm.unwrap();
    assert!(grown < SLACK, "{made} changes left {grown} bytes");
    for (direction, slot, id) in flows.into_iter().filter_map(|(_, parts)| parts).flatten() {
        control.remove_policy(direction, id).unwrap();
        control.remove_sa(direction, slot).unwrap();
    }
    sent + settle(control, 0)
}

/// Collects until no more than `most` wait.
fn settle(control: &mut Control, most: usize) -> u64 {
    let mut sent = 0;
    loop {
        let pending = control.collect();
        while let Some(retired) = control.next_retired() {
            if retired.direction == Direction::Outbound {
                assert_eq!(retired.last_sequence, retired.totals.0, "a number was left out, or used twice");
                sent += retired.totals.0;
            }
        }
        if pending.changes + pending.entries <= most {
            return sent;
        }
        std::thread::yield_now();
    }
}

/// A control side with the SAs that last.
fn lasting(cores: u8) -> (Registry, Control, Pool) {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    let mut control = Control::new(registry.clone(), cores);
    for flow in 0..LASTING {
        add_flow(&mut control, flow, 7);
    }
    (registry, control, Pool::new(PoolConfig { buffers: 4096, ..PoolConfig::default() }).unwrap())
}

type Both<C> = Chain<EspStage<Outbound, C>, EspStage<Inbound, C>>;

#[test]
fn what_lasts_is_never_disturbed_and_memory_stays_flat_under_many_changes() {
    let _alone = SCALES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (registry, mut control, pool) = lasting(2);
    let stop = AtomicBool::new(false);
    let clock = Clock::new();
    let cores: Vec<_> = (0..2_u8)
        .zip(Peers::mesh(2).into_iter().zip(Peers::mesh(2)))
        .map(|(core, (out, back))| {
            let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
            let half = control.make_outbound(core, Link::Ethernet, pool.clone()).unwrap();
            let out = EspStage::among(half, dispatcher(), out, clock.clone());
            let half = control.make_inbound(core, Link::Ethernet).unwrap();
            let back = EspStage::among(half, dispatcher(), back, clock.clone());
            let every = (core, 2);
            let source =
                Source { pool: pool.clone(), stop: &stop, sent: [0; FLOWS as usize], next: 0, every };
            PollingCore::new(source, Chain::new(out, back), Sink::default(), clock.clone(), 32).unwrap()
        })
        .collect();
    change_under_traffic(&registry, control, cores, Vec::new(), &stop);
}

#[test]
fn what_lasts_is_never_disturbed_when_the_crypto_is_spread_over_workers() {
    let _alone = SCALES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (registry, mut control, pool) = lasting(1);
    let stop = AtomicBool::new(false);
    let clock = Clock::new();
    let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let team = || crew(dispatcher(), vec![dispatcher()], CrewConfig::default(), &clock);
    let ((out_owner, mut workers), (in_owner, more)) = (team(), team());
    workers.extend(more);
    let half = control.make_outbound(0, Link::Ethernet, pool.clone()).unwrap();
    let out = EspStage::new(half, out_owner, clock.clone());
    let half = control.make_inbound(0, Link::Ethernet).unwrap();
    let back = EspStage::new(half, in_owner, clock.clone());
    let source = Source { pool, stop: &stop, sent: [0; FLOWS as usize], next: 0, every: (0, 1) };
    let core = PollingCore::new(source, Chain::new(out, back), Sink::default(), clock, 32).unwrap();
    change_under_traffic(&registry, control, vec![core], workers, &stop);
}

fn change_under_traffic<'a, C: Crypto>(
    registry: &Registry,
    mut control: Control,
    mut cores: Vec<PollingCore<Source<'a>, Both<C>, Sink>>,
    mut workers: Vec<Worker>,
    stop: &'a AtomicBool,
) {
    let changes = std::env::var("SEALANE_CHANGES").map_or(20_000, |text| text.parse().unwrap());
    let turns = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _stop = Stop(stop);
            let sent = change(&mut control, changes, &turns);
            assert!(sent > 0, "no packet was sent by an SA that went");
        });
        let cores = cores.iter_mut().map(|core| core as &mut dyn Task);
        let all = cores.chain(workers.iter_mut().map(|worker| worker as &mut dyn Task));
        let mut tasks: Vec<_> = all.map(|task| Ticking { task, turns: &turns }).collect();
        let lcore = |task| Lcore { id: None, tasks: vec![task as &mut dyn Task], idle: Idle::SLEEP };
        let runs = run(&mut tasks.iter_mut().map(lcore).collect::<Vec<_>>(), &AtomicBool::new(false), || {});
        assert!(runs.iter().all(|run| run.ended == Ended::Drained));
    });
    let mut ledger = Ledger::default();
    cores.iter().for_each(|core| ledger.add(&core.ledger()));
    assert!(ledger.is_exact() && ledger.held == 0, "{ledger:?}");
    for flow in 0..usize::from(LASTING) {
        let sent: u32 = cores.iter().map(|core| core.rx.sent[flow]).sum();
        let came: u32 = cores.iter().map(|core| core.tx.came[flow]).sum();
        assert!(sent > 0 && sent == came, "flow {flow}: {came} of {sent}");
    }
    assert_eq!(registry.open_sessions(), 2 * usize::from(LASTING));
    assert_eq!(control.collect(), Pending::default());
}

/// Counts turns, so that changes and bursts alternate.
struct Ticking<'a> {
    task: &'a mut dyn Task,
    turns: &'a AtomicU64,
}

impl Task for Ticking<'_> {
    fn open(&mut self) {
        self.task.open();
    }
    fn turn(&mut self) -> pipeline::lcore::Turn {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.task.turn()
    }
    fn offline(&mut self) {
        self.task.offline();
    }
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    let mut control = Control::new(registry.clone(), 2);
    let slot = control.add_sa(Direction::Inbound, &params(0x1000, 1)).unwrap();
    let again = control.add_sa(Direction::Inbound, &params(0x1000, 2));
    assert_eq!(again, Err(ControlError::Ambiguous(Spi(0x1000))));
    let other = control.add_sa(Direction::Inbound, &params(0x2000, 2)).unwrap();
    assert_ne!(slot.owner(), other.owner(), "SAs are spread");
    let mirror = control.add_sa(Direction::Outbound, &params(0x2000, 2)).unwrap();
    assert_eq!(mirror.owner(), other.owner(), "what has one SPI has one owner");
    let replaced = control.replace_sa(Direction::Outbound, mirror, &params(0x1000, 2));
    assert_eq!(replaced, Err(ControlError::OtherOwner(Spi(0x1000), slot.owner())));
    assert!(matches!(control.add_sa(Direction::Outbound, &params(1, 1)), Err(ControlError::Sa(_))));
    control.remove_sa(Direction::Inbound, slot).unwrap();
    let gone = ControlError::NoSuchSa(Direction::Inbound, slot);
    assert_eq!(control.remove_sa(Direction::Inbound, slot), Err(gone.clone()));
    assert_eq!(control.replace_sa(Direction::Inbound, slot, &params(0x3000, 1)), Err(gone));
    assert_eq!(registry.open_sessions(), 3, "a session is open until its SA has come back");
}

/// Both ends on one core, turned by hand.
struct Ends {
    control: Control,
    registry: Registry,
    pool: Pool,
    out: EspStage<Outbound>,
    back: EspStage<Inbound>,
    slots: [SaSlot; 2],
}

impl Ends {
    fn new(params: &SaParams) -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let mut control = Control::new(registry.clone(), 1);
        let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap();
        let slots = [Direction::Outbound, Direction::Inbound].map(|direction| {
            let slot = control.add_sa(direction, params).unwrap();
            control.add_policy(policy(direction, 0, slot)).unwrap();
            slot
        });
        let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let out = control.make_outbound(0, Link::Ethernet, pool.clone()).unwrap();
        let out = EspStage::new(out, dispatcher(), Clock::new());
        let back = control.make_inbound(0, Link::Ethernet).unwrap();
        let back = EspStage::new(back, dispatcher(), Clock::new());
        Self { control, registry, pool, out, back, slots }
    }

    /// A packet sealed.
    fn seal(&mut self) -> Vec<u8> {
        let (mut input, mut output) = (Burst::new(), Burst::new());
        input.push(self.pool.alloc_copy(&frame(0)).unwrap()).unwrap();
        self.out.process(&mut input, &mut output);
        output.pop().unwrap().data().to_vec()
    }

    /// Whether a packet is let in.
    fn open(&mut self, sealed: &[u8]) -> bool {
        let (mut input, mut output) = (Burst::new(), Burst::new());
        input.push(self.pool.alloc_copy(sealed).unwrap()).unwrap();
        self.back.process(&mut input, &mut output);
        output.pop().is_some()
    }

    fn replace(&mut self, params: &SaParams) {
        let [out, back] = self.slots;
        self.control.replace_sa(Direction::Outbound, out, params).unwrap();
        self.control.replace_sa(Direction::Inbound, back, params).unwrap();
        self.settle();
    }

    /// Lets the core pass boundaries until nothing waits.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.out.process(&mut Burst::new(), &mut Burst::new());
            self.back.process(&mut Burst::new(), &mut Burst::new());
            self.control.collect();
        }
        assert_eq!(self.control.collect(), Pending::default());
    }
}

/// ESP header and IV: what must never come twice under one key.
fn number_and_iv(sealed: &[u8]) -> &[u8] {
    &sealed[14 + 20 + 4..14 + 20 + 16]
}

#[test]
fn an_sa_with_the_same_key_goes_on_counting_and_remembering() {
    let first = params(0x1000, 1);
    let mut ends = Ends::new(&first);
    let mut sealed: Vec<_> = (0..3).map(|_| ends.seal()).collect();
    assert!(sealed.iter().all(|packet| ends.open(packet)));
    // The same again, another tunnel, a larger window, another SPI.
    let mode = Mode::Tunnel { src: [192, 0, 2, 7].into(), dst: [192, 0, 2, 8].into() };
    let moved = SaParams { mode, ..first.clone() };
    let larger = SaParams { replay_window: 1024, ..moved.clone() };
    let renamed = SaParams { spi: Spi(0x2000), sequence: 1, ..larger.clone() };
    for next in [first, moved, larger, renamed] {
        let spi = next.spi;
        ends.replace(&next);
        let packet = ends.seal();
        assert!(
            sealed.iter().all(|old| number_and_iv(old) != number_and_iv(&packet)),
            "{next:?}: a nonce twice"
        );
        sealed.iter().for_each(|old| assert!(!ends.open(old), "{next:?}: an old packet came in again"));
        assert!(ends.open(&packet), "{next:?}");
        sealed.push(packet);
        let [out, back] = ends.slots;
        let sent = sealed.len() as u64;
        assert_eq!(ends.out.half().sa_totals(out).unwrap().0, sent);
        let came = if spi == Spi(0x1000) { sent } else { 1 };
        assert_eq!(ends.back.half().sa_totals(back).unwrap().0, came);
    }
    assert_eq!(ends.control.next_retired().map(|retired| retired.direction), Some(Direction::Inbound));
    assert_eq!((ends.control.next_retired(), ends.registry.open_sessions()), (None, 2));
}

#[test]
fn an_sa_with_another_key_begins_anew_and_the_old_session_is_closed() {
    let mut ends = Ends::new(&params(0x1000, 1));
    let old = ends.seal();
    assert!(ends.open(&old));
    ends.replace(&params(0x1000, 2));
    assert!(!ends.open(&old));
    let packet = ends.seal();
    assert_eq!(number_and_iv(&packet)[..4], [0, 0, 0, 1]);
    assert!(ends.open(&packet));
    let retired: Vec<_> = std::iter::from_fn(|| ends.control.next_retired()).collect();
    assert!(retired.len() == 2 && retired.iter().all(|retired| retired.totals.0 == 1), "{retired:?}");
    assert_eq!(ends.registry.open_sessions(), 2);
}

#[test]
fn esp_over_udp_is_looked_for_on_the_ports_of_the_sas_that_are_there() {
    let encap = UdpEncap { src_port: 4500, dst_port: 4500 };
    let over_udp = SaParams { udp_encap: Some(encap), ..params(0x1000, 1) };
    let mut ends = Ends::new(&over_udp);
    let packet = ends.seal();
    assert!(ends.open(&packet));
    ends.replace(&SaParams { udp_encap: None, ..over_udp });
    let late = ends.seal();
    assert!(ends.open(&late), "without UDP now");
    assert!(!ends.open(&packet));
    let dropped = &ends.back.half().counters().dropped;
    assert_eq!(
        dropped.count(DropReason::SelectorMismatch) + dropped.count(DropReason::NoPolicy),
        1,
        "{dropped:?}"
    );
}

//! Several cores in both layouts: they take no lock, and they can be stopped in the middle of their work and go on later.
//!
//! No lock: the registry opens sessions under its lock; a driver of this test has the cores run from in there. Were one of them to
//! ask for the lock, nothing would ever end. Readers of published tables are shown the same way beside their code. Which files may name a lock
//! at all is for clippy to say (`clippy.toml`).

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "control code of a test may lock")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crypto_pmd::crew::{CrewConfig, Owner, Worker, crew};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::{
    Capabilities, Dispatcher, Driver, Key, OpenError, Placement, QueuePair, QueuePairConfig, Registry,
    SessionId, SessionParams,
};
use ipsec_esp::control::Control;
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::EspStage;
use ipsec_esp::suite::Suite;
use pipeline::handoff::Peers;
use pipeline::lcore::{Ended, Idle, Lcore, PollingCore, Task, run};
use pipeline::port::{NullTx, Receive, RxPort};
use pipeline::stage::{Chain, Stage};
use pipeline::{Burst, Clock, Ledger, Pool, PoolConfig};

const FLOWS: u8 = 8;
const PACKETS: u32 = 20_000;
const CORES: u8 = 2;

type Work = Box<dyn FnOnce() + Send>;

/// Does its work while a session is opened.
struct Interlude {
    work: Mutex<Option<Work>>,
    capabilities: Capabilities,
}

impl std::fmt::Debug for Interlude {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interlude")
    }
}

impl Driver for Interlude {
    fn name(&self) -> &str {
        "interlude0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        if let Some(work) = self.work.lock().unwrap().take() {
            work();
        }
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Null::new().queue_pair(config)
    }
}

/// Runs `work` while the registry is locked.
fn under_the_lock_of(registry: &Registry, work: impl FnOnce() + Send + 'static) {
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let work: Work = Box::new(move || {
        work();
        told.store(true, Ordering::Relaxed);
    });
    let capabilities = Capabilities { anything: true, ..Capabilities::default() };
    let id = registry.attach(Interlude { work: Mutex::new(Some(work)), capabilities }).unwrap();
    registry.open(SessionParams::default(), Placement::Driver(id)).unwrap();
    assert!(done.load(Ordering::Relaxed));
}

fn params(flow: u8) -> SaParams {
    let suite = Suite::parse(if flow.is_multiple_of(2) { "aes128gcm16" } else { "aes128-sha1" }).unwrap();
    SaParams {
        spi: Spi(0x1000 + u32::from(flow)),
        suite,
        encryption_key: Key::new(&vec![7; suite.encryption_key_len()]),
        integrity_key: Key::new(&vec![9; suite.integrity_key_len()]),
        mode: Mode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() },
        udp_encap: None,
        esn: false,
        replay_window: 64,
        sequence: 1,
        offload: Offload::default(),
    }
}

/// An SA and a policy for each flow, both ways.
fn control(registry: &Registry, cores: u8) -> Control {
    let mut control = Control::new(registry.clone(), cores);
    for flow in 0..FLOWS {
        for direction in [Direction::Outbound, Direction::Inbound] {
            let slot = control.add_sa(direction, &params(flow)).unwrap();
            let to = format!("10.0.2.{flow}/32");
            let selector = Selector::parse("10.0.1.0/24", &to, "any", "any", "any").unwrap();
            let action = Action::Protect([slot].into_iter().collect());
            control.add_policy(Policy { direction, priority: 100, selector, action }).unwrap();
        }
    }
    control
}

/// Packets of all flows in turn.
struct Source {
    pool: Pool,
    sent: u32,
    limit: u32,
}

impl RxPort for Source {
    fn receive(&mut self, burst: &mut Burst, limit: usize) -> Receive {
        if self.sent == self.limit {
            return Receive::End;
        }
        for _ in 0..limit.min((self.limit - self.sent) as usize) {
            let mut frame = [0; 60];
            frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
            frame[17..24].copy_from_slice(&[46, 0, 0, 0, 0, 64, 17]);
            frame[26..34].copy_from_slice(&[10, 0, 1, 1, 10, 0, 2, (self.sent % u32::from(FLOWS)) as u8]);
            frame[34..40].copy_from_slice(&[4, 0, 0x13, 0x88, 0, 26]);
            let Some(packet) = self.pool.alloc_copy(&frame) else { break };
            burst.push(packet).unwrap();
            self.sent += 1;
        }
        if burst.is_empty() { Receive::Idle } else { Receive::Packets }
    }
    fn account(&self, ledger: &mut Ledger) {
        ledger.received += u64::from(self.sent);
    }
}

type Core<S> = PollingCore<Source, S, NullTx>;

fn core<S: Stage>(pool: &Pool, stage: S) -> Core<S> {
    let source = Source { pool: pool.clone(), sent: 0, limit: PACKETS };
    PollingCore::new(source, stage, NullTx::default(), Clock::new(), 32).unwrap()
}

/// Runs the tasks until they end, or are stopped by `watch`; how they ended.
fn run_tasks(tasks: Vec<&mut dyn Task>, watch: impl Fn(&AtomicBool)) -> Vec<Ended> {
    let lcore = |task| Lcore { id: None, tasks: vec![task], idle: Idle::SLEEP };
    let mut lcores: Vec<_> = tasks.into_iter().map(lcore).collect();
    let stop = AtomicBool::new(false);
    run(&mut lcores, &stop, || watch(&stop)).iter().map(|run| run.ended).collect()
}

fn run_to_the_end(tasks: Vec<&mut dyn Task>) {
    assert!(run_tasks(tasks, |_| {}).iter().all(|ended| *ended == Ended::Drained));
}

fn ledger_of<S: Stage>(cores: &[Core<S>]) -> Ledger {
    let mut ledger = Ledger::default();
    cores.iter().for_each(|core| ledger.add(&core.ledger()));
    ledger
}

fn assert_all_came<S: Stage>(cores: &[Core<S>]) {
    let ledger = ledger_of(cores);
    let packets = u64::from(PACKETS) * cores.len() as u64;
    assert!(ledger.is_exact() && (ledger.received, ledger.sent) == (packets, packets), "{ledger:?}");
}

fn registry() -> Registry {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    registry
}

fn pool() -> Pool {
    Pool::new(PoolConfig { buffers: 4096, ..PoolConfig::default() }).unwrap()
}

type Both<C> = Chain<EspStage<Outbound, C>, EspStage<Inbound, C>>;

/// Cores that run to completion and hand packets to each other.
fn complete(registry: &Registry, pool: &Pool) -> Vec<Core<Both<Dispatcher>>> {
    let mut control = control(registry, CORES);
    let meshes = Peers::mesh(CORES).into_iter().zip(Peers::mesh(CORES));
    (0..CORES)
        .zip(meshes)
        .map(|(number, (out, back))| {
            let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
            let half = control.make_outbound(number, Link::Ethernet, pool.clone()).unwrap();
            let out = EspStage::among(half, dispatcher(), out, Clock::new());
            let half = control.make_inbound(number, Link::Ethernet).unwrap();
            let back = EspStage::among(half, dispatcher(), back, Clock::new());
            core(pool, Chain::new(out, back))
        })
        .collect()
}

/// An owner, and its workers.
fn pipelined(registry: &Registry, pool: &Pool) -> (Vec<Core<Both<Owner>>>, Vec<Worker>) {
    let mut control = control(registry, 1);
    let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let team = || crew(dispatcher(), vec![dispatcher()], CrewConfig::default(), &Clock::new());
    let ((out_owner, mut workers), (in_owner, more)) = (team(), team());
    workers.extend(more);
    let out = control.make_outbound(0, Link::Ethernet, pool.clone()).unwrap();
    let back = control.make_inbound(0, Link::Ethernet).unwrap();
    let out = EspStage::new(out, out_owner, Clock::new());
    let back = EspStage::new(back, in_owner, Clock::new());
    (vec![core(pool, Chain::new(out, back))], workers)
}

fn tasks<'a, S: Stage>(cores: &'a mut [Core<S>], workers: &'a mut [Worker]) -> Vec<&'a mut dyn Task> {
    let cores = cores.iter_mut().map(|core| core as &mut dyn Task);
    cores.chain(workers.iter_mut().map(|worker| worker as &mut dyn Task)).collect()
}

#[test]
fn cores_that_run_to_completion_and_hand_packets_to_each_other_take_no_lock() {
    let registry = registry();
    let mut cores = complete(&registry, &pool());
    under_the_lock_of(&registry, move || {
        run_to_the_end(tasks(&mut cores, &mut []));
        assert_all_came(&cores);
    });
}

#[test]
fn an_owner_and_its_workers_take_no_lock() {
    let registry = registry();
    let (mut owner, mut workers) = pipelined(&registry, &pool());
    under_the_lock_of(&registry, move || {
        run_to_the_end(tasks(&mut owner, &mut workers));
        assert_all_came(&owner);
    });
}

/// Stops the cores in the middle, looks at the books, and lets them go on to the end.
fn stop_and_go_on<S: Stage>(cores: &mut [Core<S>], workers: &mut [Worker]) {
    cores.iter_mut().for_each(|core| core.rx.limit = u32::MAX);
    let mut sent = 0;
    // Until some were sent, and at least three times.
    for turn in 0.. {
        if turn >= 3 && sent > 0 {
            break;
        }
        let ends = run_tasks(tasks(cores, workers), |stop| stop.store(true, Ordering::Relaxed));
        assert!(ends.iter().all(|ended| *ended == Ended::Stopped), "{ends:?}");
        let ledger = ledger_of(cores);
        assert!(ledger.is_exact() && ledger.dropped.is_empty(), "{ledger:?}");
        sent = ledger.sent;
    }
    cores.iter_mut().for_each(|core| core.rx.limit = core.rx.sent + 100);
    run_to_the_end(tasks(cores, workers));
    let ledger = ledger_of(cores);
    assert!(ledger.is_exact() && ledger.held == 0 && ledger.sent == ledger.received, "{ledger:?}");
}

#[test]
fn cores_that_are_stopped_hold_what_they_have_and_go_on_with_it() {
    let (registry, pool) = (registry(), pool());
    stop_and_go_on(&mut complete(&registry, &pool), &mut []);
    let (mut owner, mut workers) = pipelined(&registry, &pool);
    stop_and_go_on(&mut owner, &mut workers);
}

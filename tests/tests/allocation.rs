//! No heap allocation per packet once the path is warm: a counting allocator around whole passes.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;
use crypto_pmd::drivers::Software;
use crypto_pmd::inline::{RxOutcome, RxReport, Service, TxOffload};
use crypto_pmd::{Key, Placement, QueuePairConfig, Registry};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::EspStage;
use ipsec_esp::suite::Suite;
use pipeline::lcore::{Ended, Idle, Lcore, PollingCore, Task, Turn, run};
use pipeline::port::{NullTx, Receive, Replay, RxPort};
use pipeline::stage::Stage;
use pipeline::{Burst, Clock, Ledger, Pool, PoolConfig};
use tools::children::Family;
use tools::config::Config;
use tools::kernels::Kernels;
use tools::replay::{Options, Parts, Runner, Sink, Source};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts allocations, reallocations and frees of each thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap calls in warm passes over a capture.
fn heap_calls(arguments: &[&str]) -> u64 {
    let options = Options::parse_from(["esp-replay"].iter().chain(arguments));
    let source = Source::of(&options).unwrap();
    let link = Link::try_from(source.capture.link_type()).unwrap();
    let text = std::fs::read_to_string(sealane_tests::pcaps().join("default.toml")).unwrap();
    let config = Config::from_text("default.toml", &text, Path::new(".")).unwrap().mirrored().unwrap();
    let runner = Runner::new(&options, source, link, &config, vec![None]).unwrap();
    let mut core = runner.core_of(runner.path().unwrap(), Sink::null(), 2).unwrap();
    let go_on = AtomicBool::new(false);
    core.run(&go_on);
    let before = COUNT.get();
    core.rx.rewind(20, 0);
    core.run(&go_on);
    let calls = COUNT.get() - before;
    assert!(core.ledger().is_exact());
    assert!(core.ledger().sent > 0);
    calls
}

#[test]
fn warm_passes_make_no_heap_call() {
    for driver in ["null", "software"] {
        for packets in ["64", "1400", "9000", "imix,flows=50"] {
            for burst in ["1", "32", "64"] {
                let calls = heap_calls(&["--driver", driver, "--generate", packets, "--burst", burst]);
                assert_eq!(calls, 0, "{driver}, {packets}, burst {burst}");
            }
        }
    }
}

/// Heap calls in the timed loop of `crypto-perf`, and in putting packets back between its rounds.
fn heap_calls_of_rounds(arguments: &[&str]) -> u64 {
    let options = tools::perf::Options::parse_from(["crypto-perf"].iter().chain(arguments));
    let mut bench = tools::perf::Bench::first_of(&options).unwrap();
    bench.rounds(1).unwrap();
    let before = COUNT.get();
    for _ in 0..5 {
        bench.arm();
        bench.rounds(1).unwrap();
        bench.check().unwrap();
    }
    bench.empty_rounds(5).unwrap();
    COUNT.get() - before
}

#[test]
fn the_timed_loop_of_crypto_perf_makes_no_heap_call() {
    for driver in ["null", "software"] {
        for suite in ["aes128-sha1", "aes128gcm16"] {
            for operation in ["encrypt", "decrypt"] {
                for burst in ["1", "32", "64"] {
                    let what = ["--driver", driver, "--suite", suite, "--operation", operation];
                    let how = ["--burst", burst, "--size", "imix", "--pool", "256", "--sessions", "100"];
                    let calls = heap_calls_of_rounds(&[&what[..], &how].concat());
                    assert_eq!(calls, 0, "{driver}, {suite}, {operation}, burst {burst}");
                }
            }
        }
    }
}

#[test]
fn warm_passes_over_recorded_packets_make_no_heap_call() {
    for capture in sealane_tests::captures() {
        assert_eq!(heap_calls(&[capture.to_str().unwrap()]), 0, "{}", capture.display());
    }
}

/// A task whose heap calls are counted once it is armed.
struct Counted<'a> {
    task: &'a mut dyn Task,
    armed: bool,
    calls: u64,
}

impl Task for Counted<'_> {
    fn open(&mut self) {
        self.task.open();
    }
    fn turn(&mut self) -> Turn {
        let before = COUNT.get();
        let turn = self.task.turn();
        if self.armed {
            self.calls += COUNT.get() - before;
        }
        turn
    }
}

/// Runs the tasks, one a core, a first time to warm them and a second time to count.
fn heap_calls_of(tasks: Vec<&mut dyn Task>) -> Vec<u64> {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| Counted { task, armed: false, calls: 0 }).collect();
    let lcores = |tasks: &mut Vec<Counted<'_>>| {
        let lcore = |task| Lcore { id: None, tasks: vec![task as &mut dyn Task], idle: Idle::SLEEP };
        let runs = run(&mut tasks.iter_mut().map(lcore).collect::<Vec<_>>(), &AtomicBool::new(false), || {});
        assert!(runs.iter().all(|run| run.ended == Ended::Drained));
    };
    lcores(&mut tasks);
    tasks.iter_mut().for_each(|task| task.armed = true);
    lcores(&mut tasks);
    tasks.iter().map(|task| task.calls).collect()
}

/// What paths and ports of several cores are made from.
struct Bench {
    options: Options,
    config: Config,
    source: Source,
    pool: Pool,
}

impl Bench {
    fn new(arguments: &[&str]) -> Self {
        let options = Options::parse_from(["esp-replay"].iter().chain(arguments));
        let text = std::fs::read_to_string(sealane_tests::pcaps().join("default.toml")).unwrap();
        let config = Config::from_text("default.toml", &text, Path::new(".")).unwrap().mirrored().unwrap();
        let source = Source::of(&options).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 8192, ..PoolConfig::default() }).unwrap();
        Self { options, config, source, pool }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            config: &self.config,
            direction: self.options.direction,
            driver: self.options.driver,
            kernels: Kernels::default(),
            family: Family::default(),
            link: Link::Ethernet,
            pool: self.pool.clone(),
            clock: Clock::new(),
        }
    }

    fn core<S: Stage>(&self, numbers: Vec<u32>, stage: S) -> PollingCore<Rewound, S, NullTx> {
        let rx = Replay::of_packets(self.source.capture.clone(), self.pool.clone(), 0, numbers);
        PollingCore::new(Rewound(rx, false), stage, NullTx::default(), Clock::new(), 32).unwrap()
    }
}

/// Replays a few passes more each time it has come to its end.
struct Rewound(Replay, bool);

impl RxPort for Rewound {
    fn receive(&mut self, burst: &mut Burst, limit: usize) -> Receive {
        if !std::mem::replace(&mut self.1, true) {
            self.0.rewind(20);
        }
        let received = self.0.receive(burst, limit);
        self.1 = received != Receive::End;
        received
    }
    fn account(&self, ledger: &mut Ledger) {
        self.0.account(ledger);
    }
}

#[test]
fn several_cores_that_run_to_completion_make_no_heap_call_once_warm() {
    for packets in ["64,flows=50", "1400,flows=50", "9000,flows=50", "imix,flows=50"] {
        let bench = Bench::new(&["--driver", "software", "--generate", packets]);
        let paths = bench.parts().for_cores(3).unwrap();
        let shares = |core: u32| (0..1024).filter(|number| number % 3 == core).collect();
        let mut cores: Vec<_> = (0..).zip(paths).map(|(core, path)| bench.core(shares(core), path)).collect();
        let calls = heap_calls_of(cores.iter_mut().map(|core| core as &mut dyn Task).collect());
        assert_eq!(calls, [0; 3], "{packets}");
        let mut ledger = Ledger::default();
        cores.iter().for_each(|core| ledger.add(&core.ledger()));
        assert!(ledger.is_exact() && ledger.sent == 40 * 1024, "{ledger:?}");
    }
}

#[test]
fn an_owner_and_its_workers_make_no_heap_call_once_warm() {
    for packets in ["64,flows=50", "1400,flows=50", "9000,flows=50", "imix,flows=50"] {
        let bench = Bench::new(&["--driver", "software", "--generate", packets]);
        let (path, mut workers) = bench.parts().for_crew(2).unwrap();
        let mut owner = bench.core((0..1024).collect(), path);
        let mut tasks: Vec<&mut dyn Task> = vec![&mut owner];
        tasks.extend(workers.iter_mut().flatten().map(|worker| worker as &mut dyn Task));
        let calls = heap_calls_of(tasks);
        assert_eq!(calls, [0; 5], "{packets}");
        let done: u64 = workers.iter().flatten().map(crypto_pmd::crew::Worker::jobs_done).sum();
        let ledger = owner.ledger();
        assert!(ledger.is_exact() && ledger.sent == 40 * 1024 && done > 0, "{ledger:?}, {done}");
    }
}

/// Heap calls while packets go out with requests, and come in with what a card that is none reports of them.
fn heap_calls_with_a_card(service: Service) -> u64 {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    // NULL, so that what was not encrypted is what was decrypted.
    let suite = Suite::parse("null-sha256").unwrap();
    let params = SaParams {
        spi: Spi(0x1001),
        suite,
        encryption_key: Key::new(&[]),
        integrity_key: Key::new(&vec![7; suite.integrity_key_len()]),
        mode: Mode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() },
        udp_encap: None,
        esn: true,
        replay_window: 1024,
        sequence: 1,
        offload: Offload::default(),
    };
    let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap();
    let session = || registry.open(params.session_params(), Placement::Any).unwrap();
    let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let (mut out, mut inn) =
        (Outbound::new(Link::Ethernet, pool.clone()).unwrap(), Inbound::new(Link::Ethernet).unwrap());
    let slot = out.add_sa(&params, session());
    assert_eq!(inn.add_sa(&params, session()).unwrap(), slot);
    out.set_inline(slot, Some((service, 9)), None).unwrap();
    inn.set_inline(slot, Some((service, 9)), None).unwrap();
    for (direction, spd) in [(Direction::Outbound, out.spd_mut()), (Direction::Inbound, inn.spd_mut())] {
        let (selector, action) = (Selector::ANY, Action::Protect([slot].into_iter().collect()));
        spd.add(Policy { direction, priority: 1, selector, action }).unwrap();
    }
    let mut out = EspStage::new(out, dispatcher(), Clock::new());
    let mut inn = EspStage::new(inn, dispatcher(), Clock::new());
    let options = Options::parse_from(["esp-replay", "--generate", "imix,flows=20"]);
    let mut rx = Rewound(
        Replay::of_packets(Source::of(&options).unwrap().capture, pool, 0, (0..512).collect()),
        false,
    );
    let (mut burst, mut wire, mut done, mut came) = (Burst::new(), Burst::new(), Burst::new(), 0);
    let mut pass = || {
        while rx.receive(&mut burst, 64) != Receive::End {
            out.process(&mut burst, &mut wire);
            for packet in wire.iter_mut() {
                let request = TxOffload::take(packet).unwrap();
                let (slot, esn_high) = (request.slot, request.esn_high);
                RxReport { service, outcome: RxOutcome::Ok, slot, esn_high }.write(packet);
            }
            inn.process(&mut wire, &mut done);
            came += done.drain().count();
        }
    };
    pass();
    let before = COUNT.get();
    pass();
    let calls = COUNT.get() - before;
    assert_eq!(came, 2 * 20 * 512, "{:?}", inn.half().counters().dropped);
    calls
}

#[test]
fn packets_of_which_a_card_does_the_work_make_no_heap_call() {
    for service in [Service::Crypto, Service::Protocol] {
        assert_eq!(heap_calls_with_a_card(service), 0, "{service:?}");
    }
}

#[test]
fn the_counter_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(COUNT.get() - before, 2);
}

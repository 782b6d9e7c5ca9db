//! The cores of a run and what each of them polls, in either layout, from the same stages.
//!
//! - Run to completion: each core receives, seals or opens, and sends.
//! - Pipelined: the first core receives, owns the SAs, takes a share of the crypto, and sends; the others do crypto. From four cores on,
//!   the first only receives, the second owns, and the last only sends; rings join them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crypto_pmd::DispatcherCounters;
use crypto_pmd::crew::{Crypto, Owner, Worker};
use hdrhistogram::Histogram;
use ipsec_esp::counters::Counters;
use ipsec_esp::drop_reason::DropReason;
use pipeline::latency::{Latency, Watcher};
use pipeline::lcore::{CoreCounters, CoreRun, Ended, Idle, Lcore, LcoreId, PollingCore, Task, run};
use pipeline::port::{Paced, Receive, Replay, RingRx, RingTx, RxPort};
use pipeline::stage::{Forward, Residence, StageCost};
use pipeline::{Burst, Clock, Ledger, Tick};

use crate::failure::Failure;

use super::cards::{BySoftware, Rack, RackSummary};
use super::path::{Held, Path};
use super::verify::Sink;

/// From so many cores on, receiving and sending have cores of their own.
pub(super) const FEWEST_APART: u8 = 4;

/// What a core receives: its share of the capture.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a core has one, and reaches it once a burst")]
pub enum Feed {
    /// As fast as it goes.
    Free(Replay),
    /// When it is due.
    Paced(Paced<Replay>),
}

/// A core of the first layout.
pub type Complete = PollingCore<Feed, Path, Sink>;

/// Who receives, owns and sends in the second layout.
pub(super) enum Front {
    /// One core does.
    Together(Box<PollingCore<Feed, Path<Owner>, Sink>>),
    /// Three cores do.
    Apart(Box<Apart>),
}

pub(super) struct Apart {
    pub(super) rx: PollingCore<Feed, Forward, RingTx>,
    pub(super) owner: PollingCore<RingRx, Path<Owner>, RingTx>,
    pub(super) tx: PollingCore<RingRx, Forward, Sink>,
}

/// The cores.
pub(super) enum Layout {
    Complete(Vec<Complete>),
    Pipelined { front: Front, workers: Vec<Vec<Worker>> },
}

/// What a core is there for.
pub(super) const ROLES: [&str; 6] = ["all", "front", "rx", "owner", "crypto", "tx"];

/// A run's cores, with what they did so far.
pub(super) struct Lineup {
    pub(super) layout: Layout,
    held: Held,
    /// Where each is pinned; `None` leaves it to the scheduler.
    ids: Vec<Option<LcoreId>>,
    idle: Idle,
    clock: Clock,
    cores: Vec<CoreSummary>,
    /// Seconds from the first receive to the last hand-over of any core, summed over the runs.
    seconds: f64,
    empty: Histogram<u64>,
    /// Of the cores that send, in order.
    watchers: Vec<Watcher>,
}

/// What one core did.
#[derive(Clone, Copy, Debug)]
pub struct CoreSummary {
    /// What it is there for.
    pub role: &'static str,
    /// The processor that was asked for.
    pub id: Option<usize>,
    /// Whether it was pinned to it.
    pub pinned: bool,
    /// Its turns.
    pub turns: CoreCounters,
    /// Processor time of its thread, in nanoseconds.
    pub cpu_ns: u64,
    /// Packets that it received, and sent; on a crypto core, jobs that it did.
    pub packets: (u64, u64),
    /// How the last run ended.
    pub ended: Ended,
}

impl Lineup {
    pub(super) fn new(
        layout: Layout,
        held: Held,
        ids: Vec<Option<LcoreId>>,
        idle: Idle,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let empty = Latency::new(clock.clone()).map_err(Failure::machine)?.histogram().clone();
        let mut layout = layout;
        let watchers = layout.watch().map_err(Failure::machine)?;
        let roles = layout.roles();
        let summary = |(role, id): (&&'static str, &Option<LcoreId>)| CoreSummary {
            role,
            id: id.map(|id| id.0),
            pinned: false,
            turns: CoreCounters::default(),
            cpu_ns: 0,
            packets: (0, 0),
            ended: Ended::Drained,
        };
        let cores = roles.iter().zip(&ids).map(summary).collect();
        Ok(Self { layout, held, ids, idle, clock, cores, seconds: 0.0, empty, watchers })
    }

    /// Makes the ports replay the capture so many times more; a schedule begins now.
    pub(super) fn rewind(&mut self, passes: u64) {
        let now = self.clock.tick();
        match &mut self.layout {
            Layout::Complete(cores) => cores.iter_mut().for_each(|core| core.rx.rewind(passes, now)),
            Layout::Pipelined { front: Front::Together(core), .. } => core.rx.rewind(passes, now),
            Layout::Pipelined { front: Front::Apart(apart), .. } => apart.rx.rx.rewind(passes, now),
        }
    }

    /// Runs until everything that was received has been handed on. One core runs on this thread.
    /// Meanwhile `watch` is told, now and then, what 99 % of the packets stayed at most so far, in nanoseconds.
    pub(super) fn run(&mut self, stop: &AtomicBool, mut watch: impl FnMut(u64)) {
        let (watchers, empty) = (&mut self.watchers, &self.empty);
        let look = || {
            let mut sum = empty.clone();
            for watcher in watchers.iter_mut() {
                watcher.ask();
                let _fits = sum.add(watcher.collect());
            }
            watch(sum.value_at_quantile(0.99));
        };
        let mut lcores = self.layout.lcores(&self.ids, self.idle);
        let runs = if let [lcore] = lcores.as_mut_slice() {
            lcore.tasks.iter_mut().for_each(|task| task.open());
            vec![lcore.poll(stop)]
        } else {
            run(&mut lcores, stop, look)
        };
        drop(lcores);
        // What a core handed over last may not have been collected while it ran.
        for watcher in &mut self.watchers {
            watcher.collect();
        }
        for (core, run) in self.cores.iter_mut().zip(&runs) {
            core.add(run);
        }
        let packets = self.layout.packets();
        self.cores.iter_mut().zip(packets).for_each(|(core, packets)| core.packets = packets);
        self.seconds += self.clock.nanoseconds(0, self.layout.span()) as f64 / 1e9;
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(super) fn cores(&self) -> &[CoreSummary] {
        &self.cores
    }

    /// The books of all cores together.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        match &self.layout {
            Layout::Complete(cores) => cores.iter().for_each(|core| ledger.add(&core.ledger())),
            Layout::Pipelined { front: Front::Together(core), .. } => ledger.add(&core.ledger()),
            Layout::Pipelined { front: Front::Apart(apart), .. } => {
                let Apart { rx, owner, tx } = apart.as_ref();
                [rx.ledger(), owner.ledger(), tx.ledger()].iter().for_each(|part| ledger.add(part));
            }
        }
        ledger
    }

    /// Latencies up to the hand-over, of the cores that send.
    pub(super) fn latency(&self) -> Histogram<u64> {
        let mut sum = self.empty.clone();
        for (_, latency) in self.latencies() {
            let _fits = sum.add(&latency);
        }
        sum
    }

    /// The same by core: its place, and what was collected and what the core still has.
    pub(super) fn latencies(&self) -> Vec<(usize, Histogram<u64>)> {
        let own: Vec<(usize, &Latency)> = match &self.layout {
            Layout::Complete(cores) => cores.iter().map(PollingCore::latency).enumerate().collect(),
            Layout::Pipelined { front: Front::Together(core), .. } => vec![(0, core.latency())],
            Layout::Pipelined { front: Front::Apart(apart), .. } => {
                vec![(self.cores.len().saturating_sub(1), apart.tx.latency())]
            }
        };
        let mut all: Vec<_> =
            own.iter().map(|(core, latency)| (*core, latency.histogram().clone())).collect();
        for ((_, sum), watcher) in all.iter_mut().zip(&self.watchers) {
            let _fits = sum.add(watcher.total());
        }
        all
    }

    /// What the steps cost, over all cores.
    pub(super) fn costs(&self) -> Vec<StageCost> {
        let mut costs = Vec::new();
        self.layout.each_path(|path| path.costs(&mut costs));
        let mut sums: BTreeMap<&str, StageCost> = BTreeMap::new();
        for cost in costs {
            let sum = sums.entry(cost.name).or_insert(StageCost { ticks: 0, packets: 0, ..cost });
            sum.ticks += cost.ticks;
            sum.packets += cost.packets;
        }
        sums.into_values().collect()
    }

    /// How long packets stayed in each stage, from a sample, over all cores.
    pub(super) fn residences(&self) -> BTreeMap<&'static str, Histogram<u64>> {
        let mut parts = Vec::new();
        self.layout.each_path(|path| path.residences(&mut parts));
        let mut sums: BTreeMap<&str, Histogram<u64>> = BTreeMap::new();
        for part in parts {
            let _fits = sums.entry(part.name).or_insert_with(|| self.empty.clone()).add(&part.histogram);
        }
        sums
    }

    /// Counters of the halves that packets enter, and of those that they leave, over all cores.
    pub(super) fn counters(&self) -> (Counters, Counters) {
        let (mut first, mut last) = (Counters::default(), Counters::default());
        self.layout.each_path(|path| {
            let (enter, leave) = path.counters();
            first.add(enter);
            last.add(leave);
        });
        (first, last)
    }

    /// SAs that no card can do.
    pub(super) fn by_software(&self) -> &[BySoftware] {
        self.held.rack.as_ref().map_or(&[], Rack::by_software)
    }

    /// What became of the cards; from now on nobody looks after them.
    pub(super) fn finish_cards(&mut self) -> Option<RackSummary> {
        self.held.rack.as_mut().map(Rack::finish)
    }

    /// Jobs that fell back to software for want of room or for their several segments, and jobs that another driver did because theirs went.
    pub(super) fn dispatched(&self) -> (u64, u64) {
        let mut all = Vec::new();
        self.layout.each_path(|path| all.extend(path.dispatched()));
        if let Layout::Pipelined { workers, .. } = &self.layout {
            all.extend(workers.iter().flatten().map(Worker::counters));
        }
        (all.iter().map(|one| one.fell_back + one.segmented).sum(), all.iter().map(|one| one.redriven).sum())
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.counters().0.dropped.count(DropReason::SequenceExhausted) > 0
    }

    /// Starts every replay window anew.
    pub(super) fn reset_windows(&mut self) {
        match &mut self.layout {
            Layout::Complete(cores) => cores.iter_mut().for_each(|core| core.stage.reset_windows()),
            Layout::Pipelined { front: Front::Together(core), .. } => core.stage.reset_windows(),
            Layout::Pipelined { front: Front::Apart(apart), .. } => apart.owner.stage.reset_windows(),
        }
    }

    pub(super) fn sinks(&self) -> Vec<&Sink> {
        match &self.layout {
            Layout::Complete(cores) => cores.iter().map(|core| &core.tx).collect(),
            Layout::Pipelined { front: Front::Together(core), .. } => vec![&core.tx],
            Layout::Pipelined { front: Front::Apart(apart), .. } => vec![&apart.tx.tx],
        }
    }

    /// The sink, where one core sends everything.
    pub(super) fn only_sink(&mut self) -> Option<&mut Sink> {
        match &mut self.layout {
            Layout::Complete(cores) => match cores.as_mut_slice() {
                [core] => Some(&mut core.tx),
                _ => None,
            },
            Layout::Pipelined { front: Front::Together(core), .. } => Some(&mut core.tx),
            Layout::Pipelined { front: Front::Apart(apart), .. } => Some(&mut apart.tx.tx),
        }
    }

    pub(super) fn into_sinks(self) -> Vec<Sink> {
        match self.layout {
            Layout::Complete(cores) => cores.into_iter().map(|core| core.tx).collect(),
            Layout::Pipelined { front: Front::Together(core), .. } => vec![core.tx],
            Layout::Pipelined { front: Front::Apart(apart), .. } => vec![apart.tx.tx],
        }
    }
}

impl Feed {
    /// Replays the share so many times more; a schedule begins at `now`.
    pub fn rewind(&mut self, passes: u64, now: Tick) {
        match self {
            Self::Free(replay) => replay.rewind(passes),
            Self::Paced(paced) => {
                paced.inner_mut().rewind(passes);
                paced.start(now);
            }
        }
    }

    /// The packet that comes next, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        match self {
            Self::Free(replay) => replay.position(),
            Self::Paced(paced) => paced.inner().position(),
        }
    }
}

impl RxPort for Feed {
    #[inline(always)]
    fn receive(&mut self, burst: &mut Burst, limit: usize) -> Receive {
        match self {
            Self::Free(replay) => replay.receive(burst, limit),
            Self::Paced(paced) => paced.receive(burst, limit),
        }
    }
    #[inline(always)]
    fn stamps(&self) -> bool {
        matches!(self, Self::Paced(_))
    }
    fn account(&self, ledger: &mut Ledger) {
        match self {
            Self::Free(replay) => replay.account(ledger),
            Self::Paced(paced) => paced.account(ledger),
        }
    }
}

impl CoreSummary {
    fn add(&mut self, run: &CoreRun) {
        self.pinned = run.pinned;
        self.cpu_ns += run.cpu_ns;
        self.turns.busy += run.turns.busy;
        self.turns.idle += run.turns.idle;
        self.turns.stalled += run.turns.stalled;
        self.ended = run.ended;
    }
}

impl Layout {
    /// A watcher for each core that sends.
    fn watch(&mut self) -> Result<Vec<Watcher>, hdrhistogram::CreationError> {
        match self {
            Self::Complete(cores) => cores.iter_mut().map(PollingCore::watch).collect(),
            Self::Pipelined { front: Front::Together(core), .. } => Ok(vec![core.watch()?]),
            Self::Pipelined { front: Front::Apart(apart), .. } => Ok(vec![apart.tx.watch()?]),
        }
    }

    /// What each core is there for, in the order of the cores.
    fn roles(&self) -> Vec<&'static str> {
        let [all, front, rx, owner, crypto, tx] = ROLES;
        match self {
            Self::Complete(cores) => vec![all; cores.len()],
            Self::Pipelined { front: Front::Together(_), workers } => {
                std::iter::once(front).chain(workers.iter().map(|_| crypto)).collect()
            }
            Self::Pipelined { front: Front::Apart(_), workers } => {
                let crypto = workers.iter().map(|_| crypto);
                [rx, owner].into_iter().chain(crypto).chain([tx]).collect()
            }
        }
    }

    fn lcores(&mut self, ids: &[Option<LcoreId>], idle: Idle) -> Vec<Lcore<'_>> {
        let tasks: Vec<Vec<&mut dyn Task>> = match self {
            Self::Complete(cores) => cores.iter_mut().map(|core| vec![core as &mut dyn Task]).collect(),
            Self::Pipelined { front: Front::Together(core), workers } => {
                let front: Vec<&mut dyn Task> = vec![core.as_mut()];
                std::iter::once(front).chain(tasks_of(workers)).collect()
            }
            Self::Pipelined { front: Front::Apart(apart), workers } => {
                let Apart { rx, owner, tx } = apart.as_mut();
                let front: [Vec<&mut dyn Task>; 2] = [vec![rx], vec![owner]];
                let tx: Vec<&mut dyn Task> = vec![tx];
                front.into_iter().chain(tasks_of(workers)).chain([tx]).collect()
            }
        };
        tasks.into_iter().zip(ids).map(|(tasks, &id)| Lcore { id, tasks, idle }).collect()
    }

    /// Ticks from the first receive to the last hand-over of any core in the last run.
    fn span(&self) -> u64 {
        let counters: Vec<CoreCounters> = match self {
            Self::Complete(cores) => cores.iter().map(PollingCore::counters).collect(),
            Self::Pipelined { front: Front::Together(core), .. } => vec![core.counters()],
            Self::Pipelined { front: Front::Apart(apart), .. } => {
                vec![apart.rx.counters(), apart.tx.counters()]
            }
        };
        let first = counters.iter().map(|core| core.first_rx).filter(|&tick| tick > 0).min();
        let last = counters.iter().map(|core| core.last_tx).max();
        last.unwrap_or(0).saturating_sub(first.unwrap_or(u64::MAX))
    }

    /// Packets received and sent by each core, or jobs done.
    fn packets(&self) -> Vec<(u64, u64)> {
        let of = |ledger: Ledger| (ledger.received, ledger.sent);
        let jobs = |workers: &Vec<Worker>| {
            let done = workers.iter().map(Worker::jobs_done).sum();
            (done, done)
        };
        match self {
            Self::Complete(cores) => cores.iter().map(|core| of(core.ledger())).collect(),
            Self::Pipelined { front: Front::Together(core), workers } => {
                std::iter::once(of(core.ledger())).chain(workers.iter().map(jobs)).collect()
            }
            Self::Pipelined { front: Front::Apart(apart), workers } => {
                let received = of(apart.rx.ledger()).0;
                let sent = of(apart.tx.ledger()).1;
                let ends = [(received, received), (received, sent)];
                ends.into_iter().chain(workers.iter().map(jobs)).chain([(sent, sent)]).collect()
            }
        }
    }

    fn each_path(&self, mut look: impl FnMut(&dyn PathView)) {
        match self {
            Self::Complete(cores) => cores.iter().for_each(|core| look(&core.stage)),
            Self::Pipelined { front: Front::Together(core), .. } => look(&core.stage),
            Self::Pipelined { front: Front::Apart(apart), .. } => look(&apart.owner.stage),
        }
    }
}

/// The workers' tasks, core by core.
fn tasks_of(workers: &mut [Vec<Worker>]) -> impl Iterator<Item = Vec<&mut dyn Task>> {
    workers.iter_mut().map(|core| core.iter_mut().map(|worker| worker as &mut dyn Task).collect())
}

/// A path, whoever does its crypto.
trait PathView {
    fn costs(&self, costs: &mut Vec<StageCost>);
    fn residences(&self, residences: &mut Vec<Residence>);
    fn counters(&self) -> (&Counters, &Counters);
    fn dispatched(&self) -> Vec<DispatcherCounters>;
}

impl<C: Crypto> PathView for Path<C> {
    fn costs(&self, costs: &mut Vec<StageCost>) {
        pipeline::stage::Stage::costs(self, costs);
    }
    fn residences(&self, residences: &mut Vec<Residence>) {
        pipeline::stage::Stage::residences(self, residences);
    }
    fn counters(&self) -> (&Counters, &Counters) {
        self.counters()
    }
    fn dispatched(&self) -> Vec<DispatcherCounters> {
        self.dispatched()
    }
}

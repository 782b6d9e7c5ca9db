//! Runs passes over a capture on the pinned core: one that is verified and written, and as many timed ones as asked.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use ipsec_esp::counters::Counters;
use ipsec_esp::drop_reason::DropReason;
use ipsec_esp::header::link::Link;
use pipeline::capture::CaptureWriter;
use pipeline::lcore::{CoreCounters, PollingCore};
use pipeline::memory::Backing;
use pipeline::port::{CaptureTx, Replay, ReplayDrop};
use pipeline::stage::{Stage as _, StageCost};
use pipeline::{Clock, Ledger, Pool, PoolConfig, Reason as _};

use crate::config::Config;
use crate::failure::Failure;

use super::options::{Direction, DriverName, Options};
use super::path::{Parts, Path};
use super::source::Source;
use super::verify::{Comparison, Sink};

/// Packets that the outbound half rightly drops, so that they are not due back on a round trip.
const NOT_DUE: [DropReason; 5] = [
    DropReason::PolicyDiscard,
    DropReason::NoPolicy,
    DropReason::MalformedHeader,
    DropReason::FragmentInTransport,
    DropReason::NoNextHeader,
];

/// Losses that are the fault of no packet and no policy.
const FAILED_INSIDE: [DropReason; 3] =
    [DropReason::NoBuffer, DropReason::CryptoFailed, DropReason::CryptoIndeterminate];

/// How long a stretch of passes is, between looks at the time and the progress bar.
const STRETCH: Duration = Duration::from_millis(20);

/// Everything that stays the same over the passes of one invocation.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The options.
    pub options: &'a Options,
    /// The capture.
    pub source: Source,
    /// Its link layer.
    pub link: Link,
    /// SAs and policies.
    pub config: &'a Config,
    /// Processor that this thread is pinned to.
    pub core: Option<usize>,
    /// The clock of the core.
    pub clock: Clock,
    pool: Pool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The books of the passes that are reported: the timed ones, or the only one.
    pub ledger: Ledger,
    /// Bytes of IP packets that went in, and that came out.
    pub ip_bytes: (u64, u64),
    /// From the first receive to the last hand-over of a run of passes, summed over the runs.
    pub seconds: f64,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
    /// What the steps cost, from a sample.
    pub costs: Vec<StageCost>,
    /// Turns of the core.
    pub turns: CoreCounters,
    /// Whether what came out is right, where that can be said.
    pub verified: Option<bool>,
    /// What is wrong, in words.
    pub complaint: Option<String>,
    /// Whether an SA has sent its last number.
    pub exhausted: bool,
}

impl Outcome {
    /// Whether a script may go on.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verified != Some(false)
            && self.complaint.is_none()
            && self.ledger.held == 0
            && !self.exhausted
            && self.ledger.is_exact()
    }
}

type Core = PollingCore<Replay, Path, Sink>;

impl<'a> Runner<'a> {
    /// Maps the memory.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        options: &'a Options,
        source: Source,
        link: Link,
        config: &'a Config,
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let pool = Pool::new(PoolConfig::default()).map_err(Failure::machine)?;
        Ok(Self { options, source, link, config, core, clock: Clock::new(), pool })
    }

    /// Pages that the packets lie in.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.pool.backing()
    }

    /// Verifies, writes and times.
    ///
    /// # Errors
    /// A driver that lacks something, or a file that cannot be written.
    pub fn run(&self) -> Result<Outcome, Failure> {
        // Whatever can fail before the output file exists does so here.
        let path = self.path()?;
        let comparison = (self.options.direction == Direction::Roundtrip && !self.is_null())
            .then(|| Comparison::new(Arc::clone(&self.source.capture), self.link));
        let sink = Sink::new(comparison, self.writer()?);
        let mut core = self.core_of(path, sink, 1)?;
        core.run(&AtomicBool::new(false));
        let complaint = self.complaint(&core);
        let verified = self.can_verify().then_some(complaint.is_none());
        let mut outcome = outcome_of(&core);
        // What was written is whole before the timed passes begin, however those end.
        core.tx.finish().map_err(Failure::usage)?;
        let timed = self.options.repeat.is_some() || self.options.duration.is_some();
        let complaint = match complaint {
            None if timed => {
                outcome = self.timed()?;
                outcome.complaint.take()
            }
            Some(complaint) if timed => Some(format!("{complaint}; the timed passes were left out")),
            complaint => complaint,
        };
        outcome.verified = verified.map(|_| complaint.is_none());
        outcome.complaint = complaint;
        Ok(outcome)
    }

    /// A path in its first state.
    ///
    /// # Errors
    /// As [`Parts::build`].
    pub fn path(&self) -> Result<Path, Failure> {
        let parts = Parts {
            config: self.config,
            direction: self.options.direction,
            driver: self.options.driver,
            link: self.link,
            pool: self.pool.clone(),
            clock: self.clock.clone(),
        };
        parts.build()
    }

    /// A core that replays the capture so many times through `path`.
    ///
    /// # Errors
    /// As [`PollingCore::new`].
    pub fn core_of(&self, path: Path, sink: Sink, passes: u64) -> Result<Core, Failure> {
        let rx = Replay::new(Arc::clone(&self.source.capture), self.pool.clone(), passes);
        let burst = if self.options.explain.is_some() { 1 } else { usize::from(self.options.burst) };
        PollingCore::new(rx, path, sink, self.clock.clone(), burst).map_err(Failure::machine)
    }

    fn writer(&self) -> Result<Option<CaptureTx>, Failure> {
        let Some(path) = &self.options.out else { return Ok(None) };
        let capture = &self.source.capture;
        let writer = CaptureWriter::create(path, capture.link_type(), capture.resolution());
        writer.map(|writer| Some(CaptureTx::new(writer))).map_err(Failure::usage)
    }

    fn is_null(&self) -> bool {
        self.options.driver == DriverName::Null
    }

    fn can_verify(&self) -> bool {
        !self.is_null() && self.options.direction != Direction::Outbound
    }

    /// What is wrong with a pass, where that can be said.
    fn complaint(&self, core: &Core) -> Option<String> {
        let (first, last) = core.stage.counters();
        if let Some(failed) = failed_inside(first) {
            return Some(failed);
        }
        if !self.can_verify() {
            return None;
        }
        let ledger = core.ledger();
        match core.tx.comparison() {
            Some(comparison) => {
                let cut_short = ledger.dropped.get(ReplayDrop::CaptureTruncated.name()).copied().unwrap_or(0);
                let not_due: u64 = NOT_DUE.iter().map(|&reason| first.dropped.count(reason)).sum();
                comparison.complaint(ledger.received.saturating_sub(cut_short + not_due))
            }
            None => {
                let failed = last.dropped.total();
                (failed > 0).then(|| format!("{failed} inbound packets failed"))
            }
        }
    }

    /// The timed passes, on fresh state.
    fn timed(&self) -> Result<Outcome, Failure> {
        let mut core = self.core_of(self.path()?, Sink::null(), 0)?;
        let bar = self.progress_bar();
        let start = Instant::now();
        let mut left = self.options.repeat.unwrap_or(u64::MAX);
        let mut stretch = 1;
        while left > 0 {
            let passes = if self.options.direction == Direction::Inbound { 1 } else { stretch.min(left) };
            if let Some(inbound) =
                core.stage.inbound().filter(|_| self.options.direction == Direction::Inbound)
            {
                inbound.reset_windows();
            }
            let began = Instant::now();
            core.rx.rewind(passes);
            core.run(&AtomicBool::new(false));
            left -= passes;
            stretch = next_stretch(passes, began.elapsed());
            self.show(&bar, start, left);
            if self.is_over(start) || is_exhausted(&mut core) {
                break;
            }
        }
        bar.finish_and_clear();
        let mut outcome = outcome_of(&core);
        outcome.complaint = self.timed_complaint(&core);
        Ok(outcome)
    }

    /// Timed passes are not compared, but what fails in them counts.
    fn timed_complaint(&self, core: &Core) -> Option<String> {
        let (first, last) = core.stage.counters();
        let failed = if self.can_verify() { last.dropped.total() } else { 0 };
        let inbound = (failed > 0).then(|| format!("{failed} inbound packets failed"));
        let complaint = failed_inside(first).or(inbound)?;
        Some(format!("{complaint} in the timed passes"))
    }

    fn is_over(&self, start: Instant) -> bool {
        self.options.duration.is_some_and(|seconds| start.elapsed().as_secs_f64() >= seconds)
    }

    fn progress_bar(&self) -> ProgressBar {
        let length = match (self.options.repeat, self.options.duration) {
            (Some(repeat), _) => repeat,
            (None, Some(seconds)) => (seconds * 1000.0) as u64,
            (None, None) => 0,
        };
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {wide_bar} {percent}% left {eta}") {
            bar.set_style(style);
        }
        bar
    }

    fn show(&self, bar: &ProgressBar, start: Instant, left: u64) {
        match self.options.repeat {
            Some(repeat) => bar.set_position(repeat - left),
            None => bar.set_position(start.elapsed().as_millis() as u64),
        }
    }
}

/// What the first half lost by no fault of the packets.
fn failed_inside(counters: &Counters) -> Option<String> {
    let failed: u64 = FAILED_INSIDE.iter().map(|&reason| counters.dropped.count(reason)).sum();
    (failed > 0).then(|| format!("{failed} packets were lost inside, for lack of buffers or by the driver"))
}

/// As many passes as fill a stretch, judged by the last one.
fn next_stretch(passes: u64, took: Duration) -> u64 {
    let nanoseconds = (took.as_nanos() as u64).max(1);
    let wanted = passes.saturating_mul(STRETCH.as_nanos() as u64) / nanoseconds;
    wanted.clamp(1, passes.saturating_mul(16))
}

fn is_exhausted(core: &mut Core) -> bool {
    let exhausted = |outbound: &mut ipsec_esp::outbound::Outbound| {
        outbound.counters().dropped.count(DropReason::SequenceExhausted) > 0
    };
    core.stage.outbound().is_some_and(exhausted)
}

fn outcome_of(core: &Core) -> Outcome {
    let turns = core.counters();
    let (first, last) = core.stage.counters();
    let mut costs = Vec::new();
    core.stage.costs(&mut costs);
    Outcome {
        ledger: core.ledger(),
        ip_bytes: (first.ip_bytes_in, last.ip_bytes_out),
        seconds: core.clock().nanoseconds(0, turns.active) as f64 / 1e9,
        latency: core.latency().histogram().clone(),
        costs,
        turns,
        verified: None,
        complaint: None,
        exhausted: first.dropped.count(DropReason::SequenceExhausted) > 0,
    }
}

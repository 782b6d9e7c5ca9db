//! Runs passes over a capture on the cores: one that is verified and written, and as many timed ones as asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use ipsec_esp::counters::Counters;
use ipsec_esp::drop_reason::DropReason;
use ipsec_esp::header::link::Link;
use pipeline::capture::CaptureWriter;
use pipeline::lcore::{Ended, LcoreId, PollingCore};
use pipeline::memory::Backing;
use pipeline::port::{CaptureTx, Pace, Paced, Replay, ReplayDrop, RxPort, TxPort, ring};
use pipeline::stage::{Forward, Stage, StageCost};
use pipeline::{Clock, Ledger, Pool, PoolConfig, Reason as _};

use crate::config::Config;
use crate::failure::Failure;
use crate::program::progress_bar;

use super::drops::{SaDrops, by_sa};
use super::lineup::{Apart, Complete, CoreSummary, FEWEST_APART, Feed, Front, Layout, Lineup};
use super::options::{Direction, DriverName, LayoutName, Options, Rate};
use super::path::{Parts, Path};
use super::source::Source;
use super::spread::shares;
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
const FAILED_INSIDE: [DropReason; 4] =
    [DropReason::NoBuffer, DropReason::CryptoFailed, DropReason::CryptoIndeterminate, DropReason::CryptoLate];

/// Bursts that wait between two cores.
const RING_BURSTS: usize = 16;

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
    /// Where each core is to be pinned; `None` leaves it to the scheduler.
    pub cores: Vec<Option<LcoreId>>,
    /// The clock of the cores.
    pub clock: Clock,
    pool: Pool,
    /// Further segments of packets under way.
    segments: Pool,
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
    /// What each core did.
    pub cores: Vec<CoreSummary>,
    /// Latencies by core, of those that send.
    pub core_latency: Vec<(usize, Histogram<u64>)>,
    /// Drops by SA and reason.
    pub dropped_by_sa: Vec<SaDrops>,
    /// How long packets stayed in each stage, from a sample, in nanoseconds.
    pub residences: BTreeMap<&'static str, Histogram<u64>>,
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
            && self.cores.iter().all(|core| core.ended == Ended::Drained)
            && self.complaint.is_none()
            && self.ledger.held == 0
            && !self.exhausted
            && self.ledger.is_exact()
    }
}

/// Buffers of packets and of further segments where several cores hold packets.
const BUFFERS_OF_MANY: usize = 8192;

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
        cores: Vec<Option<LcoreId>>,
    ) -> Result<Self, Failure> {
        let alone = cores.len() < 2;
        let config_of = |buffers| PoolConfig { buffers, ..PoolConfig::default() };
        let many = || Pool::new(config_of(BUFFERS_OF_MANY)).map_err(Failure::machine);
        let pool = if alone { Pool::new(PoolConfig::default()).map_err(Failure::machine)? } else { many()? };
        // A pool of their own, because where many packets are under way the ports take the last buffer.
        let segments = if alone { pool.clone() } else { many()? };
        Ok(Self { options, source, link, config, cores, clock: Clock::new(), pool, segments })
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
        let comparison = (self.options.direction == Direction::Roundtrip && !self.is_null())
            .then(|| Comparison::new(Arc::clone(&self.source.capture), self.link));
        let keep = self.options.out.is_some() && self.many_send();
        let mut lineup = self.lineup(|| match keep {
            true => Sink::keeping(comparison.clone()),
            false => Sink::new(comparison.clone(), None),
        })?;
        let mut writer = self.writer()?;
        if let Some(sink) = lineup.only_sink()
            && let Some(writer) = writer.take()
        {
            sink.write_to(CaptureTx::new(writer));
        }
        lineup.rewind(1);
        lineup.run(&AtomicBool::new(false), |_| {});
        let complaint = self.complaint(&lineup);
        let verified = self.can_verify().then_some(complaint.is_none());
        let mut outcome = self.outcome_of(&lineup)?;
        // What was written is whole before the timed passes begin, however those end.
        let sinks = lineup.into_sinks();
        match writer {
            Some(writer) => Sink::write_together(sinks, writer),
            None => sinks.into_iter().try_for_each(Sink::finish),
        }
        .map_err(Failure::usage)?;
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

    fn outcome_of(&self, lineup: &Lineup) -> Result<Outcome, Failure> {
        let (first, last) = lineup.counters();
        let places = self.parts()?.places(self.owners());
        Ok(Outcome {
            ledger: lineup.ledger(),
            ip_bytes: (first.ip_bytes_in, last.ip_bytes_out),
            seconds: lineup.seconds(),
            latency: lineup.latency(),
            costs: lineup.costs(),
            cores: lineup.cores().to_vec(),
            core_latency: lineup.latencies(),
            dropped_by_sa: by_sa(self.options.direction, (&first, &last), &self.config.sas, &places),
            residences: lineup.residences(),
            verified: None,
            complaint: None,
            exhausted: lineup.is_exhausted(),
        })
    }

    /// Cores that own SAs.
    fn owners(&self) -> u8 {
        if self.options.layout == LayoutName::Pipelined { 1 } else { self.cores.len() as u8 }
    }

    /// Whether several cores send.
    fn many_send(&self) -> bool {
        self.options.layout == LayoutName::RunToCompletion && self.cores.len() > 1
    }

    fn parts(&self) -> Result<Parts<'_>, Failure> {
        Ok(Parts {
            config: self.config,
            direction: self.options.direction,
            driver: self.options.driver,
            kernels: self.options.kernels()?,
            family: self.options.family()?,
            link: self.link,
            pool: self.segments.clone(),
            clock: self.clock.clone(),
        })
    }

    /// The path of a single core in its first state.
    ///
    /// # Errors
    /// As [`Parts::for_cores`].
    pub fn path(&self) -> Result<Path, Failure> {
        let missing = || Failure::usage("no core to run on");
        self.parts()?.for_cores(1)?.pop().ok_or_else(missing)
    }

    /// A core that replays the capture so many times through `path`.
    ///
    /// # Errors
    /// As [`PollingCore::new`].
    pub fn core_of(&self, path: Path, sink: Sink, passes: u64) -> Result<Complete, Failure> {
        let rx = Feed::Free(Replay::new(Arc::clone(&self.source.capture), self.pool.clone(), passes));
        self.polling(rx, path, sink)
    }

    fn polling<R: RxPort, S: Stage, T: TxPort>(
        &self,
        rx: R,
        stage: S,
        tx: T,
    ) -> Result<PollingCore<R, S, T>, Failure> {
        let burst = if self.options.explain.is_some() { 1 } else { usize::from(self.options.burst) };
        PollingCore::new(rx, stage, tx, self.clock.clone(), burst).map_err(Failure::machine)
    }

    /// The cores of a run in their first state, with nothing to replay yet.
    fn lineup(&self, sink: impl FnMut() -> Sink) -> Result<Lineup, Failure> {
        let idle = self.options.idle_on(&self.cores);
        Lineup::new(self.layout(sink)?, self.cores.clone(), idle, self.clock.clone())
    }

    fn layout(&self, sink: impl FnMut() -> Sink) -> Result<Layout, Failure> {
        match self.options.layout {
            LayoutName::Pipelined if self.cores.len() > 1 => self.pipelined(sink),
            _ => self.complete(sink),
        }
    }

    fn complete(&self, mut sink: impl FnMut() -> Sink) -> Result<Layout, Failure> {
        let paths = self.parts()?.for_cores(self.cores.len() as u8)?;
        let feeds = self.feeds(paths.len());
        let core = |(path, feed)| self.polling(feed, path, sink());
        Ok(Layout::Complete(paths.into_iter().zip(feeds).map(core).collect::<Result<_, _>>()?))
    }

    fn pipelined(&self, mut sink: impl FnMut() -> Sink) -> Result<Layout, Failure> {
        let cores = self.cores.len() as u8;
        let apart = cores >= FEWEST_APART;
        let (path, workers) = self.parts()?.for_crew(if apart { cores - 3 } else { cores - 1 })?;
        let feed = self.feed(Replay::new(Arc::clone(&self.source.capture), self.pool.clone(), 0));
        let front = if apart {
            let ((to_owner, from_rx), (to_tx, from_owner)) = (ring(RING_BURSTS), ring(RING_BURSTS));
            Front::Apart(Box::new(Apart {
                rx: self.polling(feed, Forward, to_owner)?,
                owner: self.polling(from_rx, path, to_tx)?,
                tx: self.polling(from_owner, Forward, sink())?,
            }))
        } else {
            Front::Together(Box::new(self.polling(feed, path, sink())?))
        };
        Ok(Layout::Pipelined { front, workers })
    }

    /// What each of `cores` cores receives.
    fn feeds(&self, cores: usize) -> Vec<Feed> {
        let capture = &self.source.capture;
        let replay = |numbers| Replay::of_packets(Arc::clone(capture), self.pool.clone(), 0, numbers);
        match cores {
            0 | 1 => vec![self.feed(Replay::new(Arc::clone(capture), self.pool.clone(), 0))],
            _ => {
                let shares = shares(capture, self.link, cores).into_iter();
                shares.map(|numbers| self.feed(replay(numbers))).collect()
            }
        }
    }

    fn feed(&self, replay: Replay) -> Feed {
        match self.pace() {
            None => Feed::Free(replay),
            Some(pace) => Feed::Paced(Paced::new(replay, pace, self.clock.clone())),
        }
    }

    /// When packets are due, if not as fast as they go.
    #[must_use]
    fn pace(&self) -> Option<Pace> {
        let capture = &self.source.capture;
        match self.options.rate {
            Rate::Max => None,
            Rate::Recorded => Some(Pace::recorded(capture.iter().map(|packet| packet.timestamp_ns))),
            Rate::PacketsPerSecond(packets_per_second) => {
                Some(Pace::Rate { packets_per_second, packets: capture.len() as u64 })
            }
        }
    }

    fn writer(&self) -> Result<Option<CaptureWriter>, Failure> {
        let Some(path) = &self.options.out else { return Ok(None) };
        let capture = &self.source.capture;
        let writer = CaptureWriter::create(path, capture.link_type(), capture.resolution());
        writer.map(Some).map_err(Failure::usage)
    }

    fn is_null(&self) -> bool {
        self.options.driver == DriverName::Null
    }

    fn can_verify(&self) -> bool {
        !self.is_null() && self.options.direction != Direction::Outbound
    }

    /// What is wrong with a pass, where that can be said.
    fn complaint(&self, lineup: &Lineup) -> Option<String> {
        let (first, last) = lineup.counters();
        if let Some(failed) = failed_inside(&first) {
            return Some(failed);
        }
        if !self.can_verify() {
            return None;
        }
        let ledger = lineup.ledger();
        let sinks = lineup.sinks();
        let mut comparisons = sinks.iter().filter_map(|sink| sink.comparison());
        match comparisons.next().cloned() {
            Some(mut all) => {
                comparisons.for_each(|one| all.add(one));
                let cut_short = ledger.dropped.get(ReplayDrop::CaptureTruncated.name()).copied().unwrap_or(0);
                let not_due: u64 = NOT_DUE.iter().map(|&reason| first.dropped.count(reason)).sum();
                all.complaint(ledger.received.saturating_sub(cut_short + not_due))
            }
            None => {
                let failed = last.dropped.total();
                (failed > 0).then(|| format!("{failed} inbound packets failed"))
            }
        }
    }

    /// The timed passes, on fresh state.
    fn timed(&self) -> Result<Outcome, Failure> {
        let mut lineup = self.lineup(Sink::null)?;
        let bar = self.progress_bar();
        let start = Instant::now();
        let mut left = self.passes();
        let mut stretch = if self.pace().is_some() { left } else { 1 };
        let inbound = self.options.direction == Direction::Inbound;
        while left > 0 {
            let passes = if inbound { 1 } else { stretch.min(left) };
            if inbound {
                lineup.reset_windows();
            }
            let began = Instant::now();
            lineup.rewind(passes);
            lineup.run(&AtomicBool::new(false), |p99| {
                bar.set_message(format!("99 % stayed {p99} ns at most"));
                self.show(&bar, start, left);
            });
            left -= passes;
            stretch = next_stretch(passes, began.elapsed());
            self.show(&bar, start, left);
            if self.is_over(start) || lineup.is_exhausted() {
                break;
            }
        }
        bar.finish_and_clear();
        let mut outcome = self.outcome_of(&lineup)?;
        outcome.complaint = self.timed_complaint(&lineup);
        Ok(outcome)
    }

    /// Passes to be timed: as many as asked, or as a schedule has in the time, or until the time is over.
    fn passes(&self) -> u64 {
        match (self.options.repeat, self.options.duration, self.pace()) {
            (Some(repeat), ..) => repeat,
            (None, Some(seconds), Some(pace)) => {
                let one = pace.nanoseconds(1).max(1.0);
                ((seconds * 1e9 / one).ceil() as u64).max(1)
            }
            _ => u64::MAX,
        }
    }

    /// Timed passes are not compared, but what fails in them counts.
    fn timed_complaint(&self, lineup: &Lineup) -> Option<String> {
        let (first, last) = lineup.counters();
        let failed = if self.can_verify() { last.dropped.total() } else { 0 };
        let inbound = (failed > 0).then(|| format!("{failed} inbound packets failed"));
        let complaint = failed_inside(&first).or(inbound)?;
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
        progress_bar(length)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_inside_by_no_fault_of_the_packets_is_no_success() {
        for &reason in DropReason::ALL {
            let mut counters = Counters::default();
            counters.dropped.add(reason, 2);
            let inside = ["no_buffer", "crypto_failed", "crypto_indeterminate", "crypto_late"];
            assert_eq!(failed_inside(&counters).is_some(), inside.contains(&reason.name()), "{reason}");
        }
    }
}

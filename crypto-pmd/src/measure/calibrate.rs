//! The calibration: every driver does every bundle for a short time.
//!
//! Time is cut into slices, and drivers take turns slice by slice: what slows the machine down for a while slows them all down,
//! and what slows one slice down is left out by the median.

use std::time::{SystemTime, UNIX_EPOCH};

use pipeline::{Clock, Tick};

use super::bench::Bench;
use super::bundle::Bundle;
use super::candidate::Candidate;
use super::class::{Cell, SizeClass};
use super::fingerprint::Fingerprint;
use super::table::{Measurements, Row, Skipped, Why};
use super::work::Work;

/// The clock of a calibration.
pub trait Ticks {
    /// Now.
    fn tick(&self) -> Tick;

    /// Ticks in a second.
    fn hz(&self) -> f64;

    /// The date, in seconds since 1970: what the figures are stamped with.
    fn date(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl Ticks for Clock {
    fn tick(&self) -> Tick {
        Clock::tick(self)
    }
    fn hz(&self) -> f64 {
        Clock::hz(self)
    }
}

/// How long a calibration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Milliseconds for each driver and bundle. Every figure has at least a round of packets in each slice, which may take
    /// longer, and at most some ten thousand, which may take less.
    pub milliseconds: u64,
    /// Slices, at least three.
    pub slices: usize,
}

impl Default for Budget {
    /// 100 milliseconds in five slices.
    fn default() -> Self {
        Self { milliseconds: 100, slices: 5 }
    }
}

/// Fewest slices of which a median leaves one out on both sides.
const LEAST_SLICES: usize = 3;
/// Most rounds of a slice: more would tell nothing new, and it ends also under a clock that stands still.
const MOST_ROUNDS: u64 = 500;

impl Budget {
    fn slices(self) -> usize {
        self.slices.max(LEAST_SLICES)
    }

    /// Ticks of one slice of one figure.
    fn slice(self, cells: usize, hz: f64) -> Tick {
        let parts = (cells * self.slices()).max(1) as f64;
        (self.milliseconds as f64 * hz / 1e3 / parts) as Tick
    }
}

/// Measures every bundle on every driver that can do it, through submit and poll of a dispatcher. What could not be measured is
/// in [`Measurements::skipped`]. Drivers that compute nothing take no part.
#[must_use]
pub fn calibrate(
    candidates: &[Candidate],
    bundles: &[Bundle],
    budget: Budget,
    clock: &impl Ticks,
) -> Measurements {
    let mut found = Measurements::new(Fingerprint::here(candidates), clock.hz() as u64);
    bundles.iter().for_each(|bundle| measure(bundle, candidates, budget, clock, &mut found));
    found
}

fn measure(
    bundle: &Bundle,
    candidates: &[Candidate],
    budget: Budget,
    clock: &impl Ticks,
    found: &mut Measurements,
) {
    let skip = |driver: &str, size, why| Skipped {
        bundle: bundle.name().to_owned(),
        driver: driver.to_owned(),
        size,
        why,
    };
    let work = match Work::new(bundle) {
        Ok(work) => work,
        Err(why) => {
            return candidates.iter().for_each(|one| found.skip(skip(one.name(), None, why.clone())));
        }
    };
    let mut lanes = Vec::new();
    for candidate in candidates {
        match Lane::open(candidate, &work) {
            Ok(lane) => lanes.push(lane),
            Err(why) => found.skip(skip(candidate.name(), None, why)),
        }
    }
    for _ in 0..budget.slices() {
        lanes.iter_mut().for_each(|lane| lane.slice(&work, budget, clock));
    }
    for lane in lanes {
        lane.too_long.iter().for_each(|(size, why)| found.skip(skip(lane.driver, Some(*size), why.clone())));
        match &lane.failed {
            Some(why) => found.skip(skip(lane.driver, None, why.clone())),
            None => lane.rows(bundle, clock.date()).for_each(|row| found.insert(row)),
        }
    }
}

/// A driver with what it has shown so far.
#[derive(Debug)]
struct Lane<'a> {
    driver: &'a str,
    bench: Bench,
    figures: Vec<(Cell, Vec<Sample>)>,
    too_long: Vec<(SizeClass, Why)>,
    failed: Option<Why>,
}

/// One slice.
#[derive(Clone, Copy, Debug)]
struct Sample {
    ticks: Tick,
    operations: u64,
}

impl Sample {
    /// Ticks an operation, to two places, so that it looks the same in a file.
    fn cycles(self) -> f64 {
        (self.ticks as f64 / self.operations.max(1) as f64 * 100.0).round() / 100.0
    }
}

impl<'a> Lane<'a> {
    fn open(candidate: &'a Candidate, work: &Work<'_>) -> Result<Self, Why> {
        let mut bench = Bench::open(candidate, work)?;
        let mut too_long = Vec::new();
        for size in SizeClass::ALL {
            match bench.prepare(size, work) {
                Ok(()) => {}
                Err(why @ Why::Unsupported(_)) => too_long.push((size, why)),
                Err(why) => return Err(why),
            }
        }
        let figures = Cell::all(bench.sizes()).into_iter().map(|cell| (cell, Vec::new())).collect();
        Ok(Self { driver: candidate.name(), bench, figures, too_long, failed: None })
    }

    /// One slice of every figure; nothing more once one has failed.
    fn slice(&mut self, work: &Work<'_>, budget: Budget, clock: &impl Ticks) {
        let ticks = budget.slice(self.figures.len(), clock.hz());
        for (cell, samples) in &mut self.figures {
            if self.failed.is_some() {
                return;
            }
            match sample(&mut self.bench, *cell, work, ticks, clock) {
                Ok(sample) => samples.push(sample),
                Err(why) => self.failed = Some(why),
            }
        }
    }

    fn rows(&self, bundle: &Bundle, measured_at: u64) -> impl Iterator<Item = Row> {
        self.figures.iter().filter_map(move |(cell, samples)| {
            let mut cycles: Vec<_> = samples.iter().map(|sample| sample.cycles()).collect();
            cycles.sort_by(f64::total_cmp);
            Some(Row {
                bundle: bundle.name().to_owned(),
                driver: self.driver.to_owned(),
                operation: cell.operation,
                size: cell.size,
                burst: cell.burst,
                cycles: *cycles.get((cycles.len().checked_sub(1)?) / 2)?,
                least: *cycles.first()?,
                most: *cycles.last()?,
                slices: cycles.len(),
                operations: samples.iter().map(|sample| sample.operations).sum(),
                measured_at,
            })
        })
    }
}

/// Rounds until the time is over; making packets counts for the time and not for the figure.
fn sample(
    bench: &mut Bench,
    cell: Cell,
    work: &Work<'_>,
    ticks: Tick,
    clock: &impl Ticks,
) -> Result<Sample, Why> {
    let begin = clock.tick();
    let mut sum = Sample { ticks: 0, operations: 0 };
    for _ in 0..MOST_ROUNDS {
        let (round, operations) = bench.round(cell, work, clock)?;
        sum = Sample { ticks: sum.ticks + round, operations: sum.operations + operations };
        if clock.tick().saturating_sub(begin) >= ticks {
            break;
        }
    }
    Ok(sum)
}

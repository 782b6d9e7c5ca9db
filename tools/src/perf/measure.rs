//! Times a row in slices: the timed parts are stretches of rounds, and what lies between them is not timed. Several cores do so at the
//! same time, each by itself, and are put together afterwards.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pipeline::Clock;

use crate::failure::Failure;

use super::bench::Bench;
use super::spread::Spread;
use super::stopwatch::Stopwatch;

/// Slices of a row; odd, so that one of them is the median.
pub(super) const SLICES: u32 = 9;

/// Slices of the empty loop, each a tenth as long.
const EMPTY_SLICES: u32 = 7;
const EMPTY_SHARE: f64 = 0.1;

/// Time between two readings of the clock, so that reading it costs nothing that counts.
const STRETCH_NS: u64 = 100_000;

/// What came of it on one core, in TSC cycles an operation.
#[derive(Clone, Debug)]
pub(super) struct Slices {
    pub(super) operations: u64,
    pub(super) bytes_per_operation: f64,
    /// Of each slice.
    pub(super) cycles: Vec<f64>,
    /// The same loop without submit and poll, where that was asked for.
    pub(super) empty_loop: Option<f64>,
}

/// What came of it on all cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) cores: usize,
    pub(super) operations: u64,
    pub(super) bytes_per_operation: f64,
    /// Of one core, in TSC cycles an operation.
    pub(super) cycles: Spread,
    pub(super) empty_loop: Option<f64>,
}

impl Measured {
    /// Cores that worked at the same time: their operations a second are added, slice by slice. `None` without any.
    pub(super) fn of(cores: &[Slices]) -> Option<Self> {
        let count = cores.len() as f64;
        let slices = cores.iter().map(|core| core.cycles.len()).min()?;
        let together = |slice: usize| {
            let rates = cores.iter().filter_map(|core| core.cycles.get(slice).map(|cycles| 1.0 / cycles));
            count / rates.sum::<f64>()
        };
        let empty_loops: Option<f64> = cores.iter().map(|core| core.empty_loop).sum();
        Some(Self {
            cores: cores.len(),
            operations: cores.iter().map(|core| core.operations).sum(),
            bytes_per_operation: cores.first()?.bytes_per_operation,
            cycles: Spread::of((0..slices).map(together).collect())?,
            empty_loop: empty_loops.map(|sum| sum / count),
        })
    }
}

/// Measures for `seconds`; `tick` is told of each slice.
///
/// # Errors
/// A job that was not done.
pub(super) fn measure(
    bench: &mut Bench,
    clock: &Clock,
    seconds: f64,
    with_empty_loop: bool,
    mut tick: impl FnMut(),
) -> Result<Slices, Failure> {
    let rounds = rounds_of_a_stretch(bench, clock)?;
    let slice = Duration::from_secs_f64(seconds / f64::from(SLICES));
    let mut operations = 0;
    let mut cycles = Vec::new();
    for _ in 0..SLICES {
        let (ticks, done) = timed_slice(bench, slice, rounds, Bench::rounds, Bench::check)?;
        operations += done;
        cycles.push(ticks as f64 / done as f64);
        tick();
    }
    let empty_loop = match with_empty_loop {
        true => empty_loop(bench, slice.mul_f64(EMPTY_SHARE), rounds)?,
        false => None,
    };
    Ok(Slices {
        operations,
        bytes_per_operation: bench.bytes() as f64 / bench.jobs() as f64,
        cycles,
        empty_loop,
    })
}

/// How long jobs stay, over `seconds`, in nanoseconds; `tick` is told of each slice.
///
/// # Errors
/// A job that was not done.
pub(super) fn latency(
    bench: &mut Bench,
    clock: &Clock,
    seconds: f64,
    mut tick: impl FnMut(),
) -> Result<Histogram<u64>, Failure> {
    let rounds = rounds_of_a_stretch(bench, clock)?;
    let slice = Duration::from_secs_f64(seconds / f64::from(SLICES));
    let mut watch = Stopwatch::new(clock, bench.jobs() as usize)?;
    for _ in 0..SLICES {
        let start = Instant::now();
        loop {
            bench.arm();
            bench.watched_rounds(rounds, &mut watch)?;
            bench.check()?;
            if start.elapsed() >= slice {
                break;
            }
        }
        tick();
    }
    Ok(watch.histogram().clone())
}

/// Warms everything with two rounds, and tells from the second how many fill a stretch. What a round spoils must be put
/// back before the next, so there a stretch is one round.
fn rounds_of_a_stretch(bench: &mut Bench, clock: &Clock) -> Result<u64, Failure> {
    let mut warm = || {
        bench.arm();
        let ticks = bench.rounds(1)?;
        bench.check().map(|()| ticks)
    };
    warm()?;
    let ticks = warm()?.max(1);
    Ok(if bench.spoils() { 1 } else { (clock.ticks(STRETCH_NS) / ticks).max(1) })
}

/// Stretches until the time is over: ticks, and operations.
fn timed_slice(
    bench: &mut Bench,
    length: Duration,
    rounds: u64,
    run: impl Fn(&mut Bench, u64) -> Result<u64, Failure>,
    check: impl Fn(&mut Bench) -> Result<(), Failure>,
) -> Result<(u64, u64), Failure> {
    let (mut ticks, mut operations) = (0, 0);
    let start = Instant::now();
    loop {
        bench.arm();
        ticks += run(bench, rounds)?;
        operations += rounds * bench.jobs();
        check(bench)?;
        if start.elapsed() >= length {
            return Ok((ticks, operations));
        }
    }
}

fn empty_loop(bench: &mut Bench, length: Duration, rounds: u64) -> Result<Option<f64>, Failure> {
    let mut cycles = Vec::new();
    for _ in 0..EMPTY_SLICES {
        let (ticks, done) = timed_slice(bench, length, rounds, Bench::empty_rounds, |_| Ok(()))?;
        cycles.push(ticks as f64 / done as f64);
    }
    Ok(Spread::of(cycles).map(|spread| spread.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(operations: u64, cycles: &[f64], empty_loop: Option<f64>) -> Slices {
        Slices { operations, bytes_per_operation: 64.0, cycles: cycles.to_vec(), empty_loop }
    }

    #[test]
    fn cores_that_work_together_add_their_rates_slice_by_slice() {
        let both = [core(10, &[100.0, 300.0, 200.0], Some(2.0)), core(5, &[300.0, 300.0, 200.0], Some(4.0))];
        let measured = Measured::of(&both).unwrap();
        assert_eq!((measured.cores, measured.operations, measured.empty_loop), (2, 15, Some(3.0)));
        // Two operations in 150 cycles of each, in the first slice.
        let Spread { least, median, most } = measured.cycles;
        assert!((least - 150.0).abs() < 1e-9 && (median - 200.0).abs() < 1e-9 && (most - 300.0).abs() < 1e-9);
    }

    #[test]
    fn one_core_stays_as_it_was_measured() {
        let measured = Measured::of(&[core(7, &[110.0, 100.0, 130.0], None)]).unwrap();
        assert_eq!((measured.operations, measured.empty_loop), (7, None));
        assert!((measured.cycles.median - 110.0).abs() < 1e-9);
        assert!(Measured::of(&[]).is_none());
    }
}

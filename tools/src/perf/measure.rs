//! Times a row in slices: the timed parts are stretches of rounds, and what lies between them is not timed.

use std::time::{Duration, Instant};

use pipeline::Clock;

use crate::failure::Failure;

use super::bench::Bench;
use super::spread::Spread;

/// Slices of a row; odd, so that one of them is the median.
pub(super) const SLICES: u32 = 9;

/// Slices of the empty loop, each a tenth as long.
const EMPTY_SLICES: u32 = 7;
const EMPTY_SHARE: f64 = 0.1;

/// Time between two readings of the clock, so that reading it costs nothing that counts.
const STRETCH_NS: u64 = 100_000;

/// What came of it, in TSC cycles an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) operations: u64,
    pub(super) bytes_per_operation: f64,
    pub(super) cycles: Spread,
    /// The same loop without submit and poll, where that was asked for.
    pub(super) empty_loop: Option<f64>,
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
) -> Result<Measured, Failure> {
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
    let nothing = || Failure::bad_result("nothing was measured");
    Ok(Measured {
        operations,
        bytes_per_operation: bench.bytes() as f64 / bench.jobs() as f64,
        cycles: Spread::of(cycles).ok_or_else(nothing)?,
        empty_loop,
    })
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

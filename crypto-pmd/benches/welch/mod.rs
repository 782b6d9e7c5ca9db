//! Whether two classes of inputs take different times: many measurements of either, in an order that chance decides, and Welch's t-test on them
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", DATE 2017). What chance and interrupts make is cut off at several
//! percentiles, since a difference may show only among the fast ones; the largest |t| counts.

// Each bench uses a part of this.
#![allow(dead_code, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::atomic::{Ordering, fence};

use pipeline::Clock;

/// From this |t| on, the classes are told apart by their time.
const LEAKS: f64 = 10.0;
/// From this on, a longer run should decide.
const DOUBTFUL: f64 = 4.5;
/// Parts of all measurements, from the fastest, that are looked at.
const CROPS: [f64; 7] = [1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25];

/// Least number of measurements of a class for a test.
const LEAST: f64 = 200.0;

/// What is measured.
pub(crate) trait Subject {
    /// Makes the input of a class ready, in the same way for both.
    fn prepare(&mut self, class: usize, random: &mut Random);
    /// What takes time.
    fn run(&mut self);
}

/// Random numbers, the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

/// What a case is expected to show.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Expected {
    NoDifference,
    /// A control: if nothing is seen here, the bench sees nothing.
    Difference,
}

/// Cases of one bench, and whether all were as expected.
pub(crate) struct Report {
    measurements: usize,
    words: Vec<String>,
    good: bool,
}

impl Report {
    /// As many measurements of a case as `SEALANE_MEASUREMENTS` says.
    pub(crate) fn new() -> Self {
        let measurements = std::env::var("SEALANE_MEASUREMENTS").ok().and_then(|text| text.parse().ok());
        let measurements = measurements.unwrap_or(100_000);
        println!("{measurements} measurements of a case, times in cycles of the time-stamp counter");
        println!(
            "|t| from {LEAKS} on: leaks; from {DOUBTFUL} on: doubtful, measure longer; below: no difference seen"
        );
        let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        Self { measurements, words, good: true }
    }

    /// Measures a case, unless the words of the command line leave it out.
    pub(crate) fn case(&mut self, name: &str, expected: Expected, subject: &mut impl Subject) {
        if !self.words.iter().all(|word| name.contains(word.as_str())) {
            return;
        }
        let times = measure(self.measurements, subject);
        let (t, crop) = largest_t(&times);
        let [first, second] = times.map(|mut times| median(&mut times));
        let (verdict, good) = match (t, expected) {
            (LEAKS.., Expected::Difference) => ("leaks, as it must", true),
            (_, Expected::Difference) => ("NOT SEEN TO LEAK: this bench proves nothing", false),
            (LEAKS.., _) => ("LEAKS", false),
            (DOUBTFUL.., _) => ("doubtful", true),
            _ => ("no difference seen", true),
        };
        self.good &= good;
        println!(
            "{name}: |t| {t:.1} (fastest {:.0} %), medians {first} and {second}: {verdict}",
            crop * 100.0
        );
    }

    /// The program's exit code.
    pub(crate) fn end(self) -> std::process::ExitCode {
        if self.good { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
    }
}

/// Times of both classes.
fn measure(count: usize, subject: &mut impl Subject) -> [Vec<u64>; 2] {
    let (clock, mut random) = (Clock::new(), Random(0x5ea1_a9e5));
    let mut times = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for number in 0..count + count / 20 {
        let class = (random.next() & 1) as usize;
        subject.prepare(black_box(class), &mut random);
        // What was written last may not be on its way to the cache still, or which byte it was would show.
        fence(Ordering::SeqCst);
        let start = clock.tick();
        subject.run();
        let end = clock.tick();
        // The first are for the caches.
        if number >= count / 20 {
            times[class].push(end - start);
        }
    }
    times
}

/// The largest |t| over all crops, and the crop.
fn largest_t(times: &[Vec<u64>; 2]) -> (f64, f64) {
    let mut all = times.concat();
    all.sort_unstable();
    let at = |crop: f64| {
        let limit = all[(((all.len() - 1) as f64) * crop) as usize];
        (welch(times, limit), crop)
    };
    CROPS.map(at).into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
}

/// |t| of what took no longer than `limit`; 0 where that leaves too little of a class.
fn welch(times: &[Vec<u64>; 2], limit: u64) -> f64 {
    let [a, b] = times.each_ref().map(|times| {
        let kept = times.iter().filter(|time| **time <= limit).map(|time| *time as f64);
        let count = kept.clone().count() as f64;
        let mean = kept.clone().sum::<f64>() / count;
        let spread = kept.map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (count, mean, spread / count)
    });
    let error = (a.2 + b.2).sqrt();
    if a.0.min(b.0) >= LEAST && error > 0.0 { (a.1 - b.1).abs() / error } else { 0.0 }
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Compares as nobody should: it ends at the first byte that differs.
#[inline(never)]
pub(crate) fn is_equal_naively(one: &[u8], other: &[u8]) -> bool {
    for (a, b) in one.iter().zip(other) {
        if black_box(*a) != black_box(*b) {
            return false;
        }
    }
    true
}

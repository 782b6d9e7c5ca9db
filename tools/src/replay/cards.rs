//! The cards of a run, with control code that looks after them on a thread of its own while cores poll.
//!
//! A card that is gone or has failed for a while is detached, so that its sessions lie elsewhere; one that is back in its slot is attached
//! again. Meanwhile how many jobs each card has is written down, ever more sparsely, so that a long run needs no more room than a short one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crypto_pmd::drivers::nic::{Card, Health, Nic};
use crypto_pmd::{DriverId, Registry};
use serde::Serialize;

use crate::cards::Seat;
use crate::failure::Failure;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long a card is gone or has failed before its work goes elsewhere.
const PATIENCE: Duration = Duration::from_millis(50);
/// Most readings that are kept of a card.
const MOST_SAMPLES: usize = 200;

/// The cards, in their slots and attached.
#[derive(Debug)]
pub(super) struct Rack {
    seats: Vec<Seat>,
    /// As they were attached first.
    ids: Vec<DriverId>,
    watch: Option<Watch>,
    /// Sessions that software has because the cards cannot.
    by_software: Vec<BySoftware>,
}

/// An SA that no card can do, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BySoftware {
    /// Its name.
    pub sa: String,
    /// What the cards lack.
    pub why: String,
}

/// What became of the cards of a run.
#[derive(Clone, Debug, Default)]
pub struct RackSummary {
    /// Each card.
    pub cards: Vec<CardSummary>,
    /// Sessions that moved because their card was detached.
    pub migrations: u64,
    /// SAs that software did from the start.
    pub by_software: Vec<BySoftware>,
}

/// What one card did, under the names that scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct CardSummary {
    /// Name of its driver.
    pub name: String,
    /// Its model.
    pub profile: String,
    /// How it was with it at the end.
    pub health: &'static str,
    /// What the card counted.
    pub card: BTreeMap<&'static str, u64>,
    /// What its driver counted.
    pub driver: BTreeMap<&'static str, u64>,
    /// Jobs that it had.
    pub queue_depth: QueueDepth,
}

/// Jobs that a card had.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueDepth {
    /// Mean of the polls that found any, by queue pair.
    pub mean: f64,
    /// Milliseconds since it was made, and jobs that it had then over all queue pairs.
    pub samples: Vec<(u64, u64)>,
}

impl Rack {
    /// Attaches the cards.
    pub(super) fn new(registry: Registry, seats: Vec<Seat>) -> Result<Self, Failure> {
        let attach = |seat: &Seat| registry.attach(seat.nic.clone()).map_err(Failure::usage);
        let ids: Vec<_> = seats.iter().map(attach).collect::<Result<_, Failure>>()?;
        let cards = seats.iter().zip(&ids).map(|(seat, &id)| Watched::new(seat, id)).collect();
        let watch = Watch::start(Watcher { registry, cards, migrations: 0 })?;
        Ok(Self { seats, ids, watch: Some(watch), by_software: Vec::new() })
    }

    /// Whether a driver is that of a card.
    pub(super) fn has(&self, driver: DriverId) -> bool {
        self.ids.contains(&driver)
    }

    /// Software does this one.
    pub(super) fn passes_over(&mut self, sa: &str, why: String) {
        self.by_software.push(BySoftware { sa: sa.to_owned(), why });
    }

    pub(super) fn by_software(&self) -> &[BySoftware] {
        &self.by_software
    }

    /// Looks for the last time; cards stay as they are from now on.
    pub(super) fn finish(&mut self) -> RackSummary {
        let watcher = self.watch.take().and_then(Watch::stop);
        let migrations = watcher.as_ref().map_or(0, |watcher| watcher.migrations);
        let mut depths = watcher.map(|watcher| watcher.cards).unwrap_or_default().into_iter();
        let summary = |seat: &Seat| {
            let samples = depths.next().map(|card| card.depth.samples).unwrap_or_default();
            let driver = seat.nic.counters();
            let mean = driver.depth_sum as f64 / driver.polls.max(1) as f64;
            CardSummary {
                name: crypto_pmd::Driver::name(&seat.nic).to_owned(),
                profile: seat.card.profile().name.clone(),
                health: name_of(seat.nic.health()),
                card: seat.card.counters().into_iter().collect(),
                driver: driver.list().into_iter().collect(),
                queue_depth: QueueDepth { mean, samples },
            }
        };
        let cards = self.seats.iter().map(summary).collect();
        RackSummary { cards, migrations, by_software: self.by_software.clone() }
    }
}

fn name_of(health: Health) -> &'static str {
    match health {
        Health::Working => "working",
        Health::Resetting => "resetting",
        Health::Gone => "gone",
        Health::Failed => "failed",
        _ => "unknown",
    }
}

/// The thread.
#[derive(Debug)]
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Watcher>>,
}

impl Watch {
    fn start(mut watcher: Watcher) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let work = move || {
            let began = Instant::now();
            while !until.load(Ordering::Acquire) {
                watcher.look(began.elapsed());
                thread::park_timeout(LOOK);
            }
            watcher
        };
        let thread = thread::Builder::new().name("cards".to_owned()).spawn(work).map_err(Failure::machine)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    fn stop(mut self) -> Option<Watcher> {
        self.end()
    }

    fn end(&mut self) -> Option<Watcher> {
        let thread = self.thread.take()?;
        self.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Who looks.
#[derive(Debug)]
struct Watcher {
    registry: Registry,
    cards: Vec<Watched>,
    migrations: u64,
}

#[derive(Debug)]
struct Watched {
    nic: Nic,
    card: Card,
    place: Place,
    depth: Depth,
}

/// Where a card's driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Attached, and since when the card has been of no use.
    In(DriverId, Option<Duration>),
    /// Detached, until the card is back.
    Out,
    /// Detached for good: it was reset in vain too often.
    Given,
}

impl Watched {
    fn new(seat: &Seat, id: DriverId) -> Self {
        let (nic, card) = (seat.nic.clone(), seat.card.clone());
        Self { nic, card, place: Place::In(id, None), depth: Depth::default() }
    }
}

impl Watcher {
    fn look(&mut self, now: Duration) {
        for card in &mut self.cards {
            let counters = card.nic.counters();
            card.depth.add(now, counters.submitted.saturating_sub(counters.finished));
            card.place = match card.place {
                Place::In(id, since) => {
                    let health = card.nic.health();
                    // Nobody with a job there may have noticed yet.
                    let is_useless =
                        !card.card.is_present() || matches!(health, Health::Gone | Health::Failed);
                    let since = is_useless.then_some(since.unwrap_or(now));
                    match since {
                        Some(since) if now.saturating_sub(since) >= PATIENCE => {
                            let moves = self.registry.detach(id).unwrap_or_default();
                            self.migrations += (moves.moved + moves.renamed + moves.waiting) as u64;
                            if health == Health::Failed { Place::Given } else { Place::Out }
                        }
                        since => Place::In(id, since),
                    }
                }
                // Refused as long as a core has jobs with it: then at the next look.
                Place::Out if card.card.is_present() => match self.registry.attach(card.nic.clone()) {
                    Ok(id) => Place::In(id, None),
                    Err(_) => Place::Out,
                },
                place => place,
            };
        }
        self.registry.collect();
    }
}

/// Readings of a card's depth: one in so many looks.
#[derive(Clone, Debug, Default)]
struct Depth {
    samples: Vec<(u64, u64)>,
    /// Looks so far.
    looks: u64,
    /// How often their number was halved.
    halved: u32,
}

impl Depth {
    fn add(&mut self, now: Duration, jobs: u64) {
        if self.looks.is_multiple_of(1 << self.halved) {
            if self.samples.len() == MOST_SAMPLES {
                let mut place = 0_usize..;
                self.samples.retain(|_| place.next().is_some_and(|place| place.is_multiple_of(2)));
                self.halved += 1;
            }
            self.samples.push((now.as_millis() as u64, jobs));
        }
        self.looks += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_pmd::drivers::Software;

    use crate::cards::{CardOptions, Wanted};

    #[test]
    fn readings_thin_out_and_stay_evenly_apart() {
        for looks in [1_u64, 200, 201, 1000, 100_000] {
            let mut depth = Depth::default();
            (0..looks).for_each(|look| depth.add(Duration::from_millis(look), look));
            assert!(depth.samples.len() <= MOST_SAMPLES && depth.samples.len() as u64 >= looks.min(100));
            let step = 1 << depth.halved;
            let even = depth
                .samples
                .iter()
                .zip(0..)
                .all(|(&(ms, jobs), place)| (ms, jobs) == (place * step, place * step));
            assert!(even, "{looks}");
        }
    }

    /// A watcher over a card that was pulled out at once, for so long, as text.
    fn watcher(fault: &str) -> (Watcher, Vec<Seat>) {
        let options = CardOptions { fault: fault.parse().ok(), ..CardOptions::default() };
        let seats = options.plan(Wanted::Driver, &[]).unwrap().unwrap().start_all().unwrap();
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let watched = |seat: &Seat| Watched::new(seat, registry.attach(seat.nic.clone()).unwrap());
        let cards = seats.iter().map(watched).collect();
        (Watcher { registry, cards, migrations: 0 }, seats)
    }

    #[test]
    fn a_card_that_works_stays_attached_however_long() {
        let (mut watcher, _seats) = watcher("twice#3");
        let before = watcher.cards[0].place;
        (0..100).for_each(|look| watcher.look(LOOK * look));
        assert_eq!((watcher.cards[0].place, watcher.registry.find("nic").is_some()), (before, true));
    }

    #[test]
    fn a_card_that_is_back_is_attached_again() {
        let (mut watcher, _seats) = watcher("twice#3");
        let Place::In(id, _) = watcher.cards[0].place else { panic!() };
        watcher.registry.detach(id).unwrap();
        watcher.cards[0].place = Place::Out;
        watcher.look(Duration::ZERO);
        watcher.look(LOOK);
        assert!(matches!(watcher.cards[0].place, Place::In(..)) && watcher.registry.find("nic").is_some());
    }
}

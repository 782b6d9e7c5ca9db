//! What to do when a new measurement differs from the one before: whose sessions had better move, and where.
//!
//! A move costs something, and figures vary, so nothing is said until the gain is above a threshold: sessions do not move to
//! and fro between drivers that are about as fast.

use std::collections::BTreeMap;

use super::class::Load;
use super::table::Measurements;

/// Sessions of a bundle had better move.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Name of the bundle.
    pub bundle: String,
    /// Where they are.
    pub from: String,
    /// Where they would be faster.
    pub to: String,
    /// By how much: 0.25 where 1.25 times as many operations are done in the same time. `None` where they are now could not be
    /// measured any more.
    pub gain: Option<f64>,
}

/// The gain that is worth a move unless another is named: 10 %.
pub const USUAL_GAIN: f64 = 0.1;

/// Bundles whose best driver of `old` is beaten in `new` by more than `at_least` (0.1 for 10 %), under [`Load::MIXED`]. Both
/// drivers are compared by their new figures. Who compares again and again keeps a [`Watcher`], which knows where sessions are.
#[must_use]
pub fn changed(old: &Measurements, new: &Measurements, at_least: f64) -> Vec<Change> {
    let mut watcher = Watcher::new(Load::MIXED, at_least);
    for bundle in old.measured_bundles() {
        if let Some(best) = old.best_overall(bundle, &old.drivers(bundle)) {
            watcher.place(bundle, best);
        }
    }
    let mut all: Vec<_> = new.measured_bundles().into_iter().flat_map(|bundle| new.drivers(bundle)).collect();
    all.sort_unstable();
    watcher.observe(new, &all)
}

/// Knows where the sessions of each bundle are, and compares that with every new measurement.
///
/// It compares with where they are and not with the measurement before: many small changes in the same direction add up to a
/// move, when their sum is worth one.
#[derive(Clone, Debug)]
pub struct Watcher {
    load: Load,
    at_least: f64,
    placed: BTreeMap<String, String>,
}

impl Default for Watcher {
    /// With [`Load::MIXED`] and [`USUAL_GAIN`].
    fn default() -> Self {
        Self::new(Load::MIXED, USUAL_GAIN)
    }
}

impl Watcher {
    /// Judges by `load`, and speaks of gains of more than `at_least` (0.1 for 10 %; less than 0 counts as 0).
    #[must_use]
    pub fn new(load: Load, at_least: f64) -> Self {
        Self { load, at_least: at_least.max(0.0), placed: BTreeMap::new() }
    }

    /// Says where the sessions of a bundle are.
    pub fn place(&mut self, bundle: &str, driver: &str) {
        self.placed.insert(bundle.to_owned(), driver.to_owned());
    }

    /// Where they are, by what it was told and what it advised.
    #[must_use]
    pub fn placed(&self, bundle: &str) -> Option<&str> {
        self.placed.get(bundle).map(String::as_str)
    }

    /// What had better move by a new measurement, bundle by bundle, to one of the drivers that are named. It then counts as
    /// moved; whoever does not move it says so with [`Watcher::place`].
    pub fn observe(&mut self, new: &Measurements, among: &[impl AsRef<str>]) -> Vec<Change> {
        let placed = self.placed.iter();
        let changes: Vec<_> =
            placed.filter_map(|(bundle, driver)| self.compare(new, bundle, driver, among)).collect();
        changes.iter().for_each(|change| self.place(&change.bundle, &change.to));
        changes
    }

    fn compare(
        &self,
        new: &Measurements,
        bundle: &str,
        from: &str,
        among: &[impl AsRef<str>],
    ) -> Option<Change> {
        let to = new.best_under(bundle, self.load, among).filter(|&to| to != from)?;
        let then = new.cycles(bundle, to, self.load)?;
        let now = new.cycles(bundle, from, self.load);
        if now.is_some_and(|now| now <= then * (1.0 + self.at_least)) {
            return None;
        }
        let gain = now.map(|now| now / then - 1.0);
        Some(Change { bundle: bundle.to_owned(), from: from.to_owned(), to: to.to_owned(), gain })
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    /// One bundle on two drivers.
    fn two(a: f64, b: f64) -> Measurements {
        table(&[("gcm", "a0", a, a), ("gcm", "b0", b, b)])
    }

    fn names(changes: &[Change]) -> Vec<(&str, &str, &str)> {
        changes.iter().map(|one| (one.bundle.as_str(), one.from.as_str(), one.to.as_str())).collect()
    }

    #[test]
    fn a_gain_above_the_threshold_is_told_and_one_at_or_below_it_is_not() {
        let old = two(100.0, 200.0);
        let told = |a, b| changed(&old, &two(a, b), 0.25);
        assert!(told(125.0, 100.0).is_empty());
        let change = told(126.0, 100.0);
        assert_eq!(names(&change), [("gcm", "a0", "b0")]);
        assert!(change[0].gain.is_some_and(|gain| (gain - 0.26).abs() < 1e-9));
        assert!(told(300.0, 400.0).is_empty(), "all became slower, and the order is the same");
    }

    #[test]
    fn no_threshold_tells_every_gain_and_a_senseless_one_is_none() {
        for at_least in [0.0, -1.0, f64::NAN] {
            assert_eq!(changed(&two(1.0, 2.0), &two(101.0, 100.0), at_least).len(), 1);
            assert!(changed(&two(1.0, 2.0), &two(100.0, 100.0), at_least).is_empty());
        }
    }

    #[test]
    fn each_bundle_is_judged_by_itself() {
        let old =
            table(&[("x", "a0", 1., 1.), ("x", "b0", 9., 9.), ("y", "a0", 1., 1.), ("y", "b0", 9., 9.)]);
        let new =
            table(&[("x", "a0", 9., 9.), ("x", "b0", 1., 1.), ("y", "a0", 1., 1.), ("y", "b0", 9., 9.)]);
        assert_eq!(names(&changed(&old, &new, 0.1)), [("x", "a0", "b0")]);
        assert!(changed(&table(&[]), &new, 0.1).is_empty(), "nothing was placed by a measurement");
    }

    #[test]
    fn a_driver_that_cannot_be_measured_any_more_is_left() {
        let change = changed(&two(1.0, 2.0), &table(&[("gcm", "b0", 2.0, 2.0)]), 0.1);
        assert_eq!((names(&change), change[0].gain), (vec![("gcm", "a0", "b0")], None));
    }

    #[test]
    fn small_changes_add_up_against_the_place_of_the_sessions() {
        let mut watcher = Watcher::default();
        watcher.place("gcm", "a0");
        let among = ["a0", "b0"];
        assert!(watcher.observe(&two(106.0, 100.0), &among).is_empty());
        assert_eq!(names(&watcher.observe(&two(112.0, 100.0), &among)), [("gcm", "a0", "b0")]);
        assert_eq!(watcher.placed("gcm"), Some("b0"));
    }

    #[test]
    fn figures_that_swing_inside_the_threshold_move_nothing() {
        let mut watcher = Watcher::default();
        watcher.place("gcm", "a0");
        for n in 0..50 {
            let (a, b) = if n % 2 == 0 { (100.0, 109.0) } else { (109.0, 100.0) };
            assert!(watcher.observe(&two(a, b), &["a0", "b0"]).is_empty());
        }
    }

    #[test]
    fn only_drivers_that_are_named_are_moved_to() {
        let mut watcher = Watcher::new(Load::of(64, 32), 0.1);
        watcher.place("gcm", "a0");
        assert!(watcher.observe(&two(200.0, 100.0), &["a0"]).is_empty());
        watcher.place("cbc", "a0");
        assert_eq!(watcher.observe(&two(200.0, 100.0), &["b0"]).len(), 1);
    }
}

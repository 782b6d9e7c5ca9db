//! The table of what was measured, and which driver is best by it.
//!
//! Invariant: a driver, bundle, direction, size class and burst class have one row at most.

use serde::{Deserialize, Serialize};

use crate::job::Operation;

use super::class::{BurstClass, Cell, Load, SizeClass};
use super::fingerprint::Fingerprint;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the bundle; see [`super::Bundle::name`].
    pub bundle: String,
    /// Name of the driver, with its unit.
    pub driver: String,
    /// Which way.
    #[serde(with = "way")]
    pub operation: Operation,
    /// Bytes of payload.
    pub size: SizeClass,
    /// Jobs handed in at once.
    pub burst: BurstClass,
    /// Cycles of the time-stamp counter an operation: the median of all slices.
    pub cycles: f64,
    /// The fastest slice.
    pub least: f64,
    /// The slowest slice.
    pub most: f64,
    /// Slices that were measured.
    pub slices: usize,
    /// Operations in all of them.
    pub operations: u64,
    /// When, in seconds since 1970.
    pub measured_at: u64,
}

impl Row {
    fn cell(&self) -> Cell {
        Cell { operation: self.operation, size: self.size, burst: self.burst }
    }

    fn is_of(&self, bundle: &str, driver: &str) -> bool {
        self.bundle == bundle && self.driver == driver
    }
}

/// A direction as text.
mod way {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Operation;

    pub(super) fn serialize<S: Serializer>(way: &Operation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match way {
            Operation::Encrypt => "encrypt",
            Operation::Decrypt => "decrypt",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Operation, D::Error> {
        match String::deserialize(from)?.as_str() {
            "encrypt" => Ok(Operation::Encrypt),
            "decrypt" => Ok(Operation::Decrypt),
            other => Err(de::Error::unknown_variant(other, &["encrypt", "decrypt"])),
        }
    }
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "what")]
#[non_exhaustive]
pub enum Why {
    /// It would win everything, and seals nothing.
    #[error("it computes nothing")]
    ComputesNothing,
    /// The driver cannot do it, and will not be able to.
    #[error("{0}")]
    Unsupported(String),
    /// It did not work this time.
    #[error("{0}")]
    Failed(String),
}

impl Why {
    pub(super) fn failed(what: impl ToString) -> Self {
        Self::Failed(what.to_string())
    }
}

/// A driver that has no figures for a bundle, or none for one of its sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the bundle.
    pub bundle: String,
    /// Name of the driver.
    pub driver: String,
    /// The size, where others were measured.
    pub size: Option<SizeClass>,
    /// Why.
    pub why: Why,
}

/// What was measured, where, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// The machine, program and drivers.
    pub fingerprint: Fingerprint,
    /// Cycles of the time-stamp counter in a second.
    pub tsc_hz: u64,
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
}

impl crate::registry::Ranking for Measurements {
    /// Cycles of an operation under a mixed load.
    fn cost(&self, params: &crate::SessionParams, driver: &str) -> Option<f64> {
        self.cycles(super::Bundle::of(params).name(), driver, super::Load::MIXED)
    }
}

impl Measurements {
    /// An empty table.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, tsc_hz: u64) -> Self {
        Self { fingerprint, tsc_hz, rows: Vec::new(), skipped: Vec::new() }
    }

    /// Every figure.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What has no figure, and why.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Adds a figure, in place of the one that was there.
    pub fn insert(&mut self, row: Row) {
        let same = |other: &Row| other.is_of(&row.bundle, &row.driver) && other.cell() == row.cell();
        self.rows.retain(|other| !same(other));
        self.rows.push(row);
    }

    pub(super) fn skip(&mut self, skipped: Skipped) {
        self.skipped.push(skipped);
    }

    /// Takes over what was measured later, bundle by bundle.
    pub(super) fn renew(&mut self, later: Self) {
        let again = |bundle: &str| later.bundles().any(|other| other == bundle);
        self.rows.retain(|row| !again(&row.bundle));
        self.skipped.retain(|skipped| !again(&skipped.bundle));
        self.rows.extend(later.rows);
        self.skipped.extend(later.skipped);
    }

    /// Names of the bundles that were looked at, perhaps several times.
    fn bundles(&self) -> impl Iterator<Item = &str> {
        let rows = self.rows.iter().map(|row| row.bundle.as_str());
        rows.chain(self.skipped.iter().map(|skipped| skipped.bundle.as_str()))
    }

    /// Names of the bundles that have figures, each once, by name.
    #[must_use]
    pub fn measured_bundles(&self) -> Vec<&str> {
        sorted(self.rows.iter().map(|row| row.bundle.as_str()))
    }

    /// Names of the drivers that have figures for a bundle, each once, by name.
    #[must_use]
    pub fn drivers(&self, bundle: &str) -> Vec<&str> {
        sorted(self.rows.iter().filter(|row| row.bundle == bundle).map(|row| row.driver.as_str()))
    }

    /// True when nothing would be learnt by measuring this again: there are figures, or there cannot be any.
    pub(super) fn knows(&self, bundle: &str, driver: &str) -> bool {
        let of_it = |skipped: &&Skipped| skipped.bundle == bundle && skipped.driver == driver;
        let mut skipped = self.skipped.iter().filter(of_it).peekable();
        let some = skipped.peek().is_some() || self.rows.iter().any(|row| row.is_of(bundle, driver));
        some && !skipped.any(|skipped| matches!(skipped.why, Why::Failed(_)))
    }

    /// Cycles an operation on a driver under a load, on average; `None` when a figure is missing.
    #[must_use]
    pub fn cycles(&self, bundle: &str, driver: &str, load: Load) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (cell, weight) in load.weights() {
            let row = self.rows.iter().find(|row| row.is_of(bundle, driver) && row.cell() == cell)?;
            sum += row.cycles * weight;
            weights += weight;
        }
        (weights > 0.0).then_some(sum / weights)
    }

    /// The driver that needs the fewest cycles under a load, among those that are named; of several that need the same, the
    /// one that is named first. `None` when none of them has all figures.
    #[must_use]
    pub fn best_under<'a>(&self, bundle: &str, load: Load, among: &'a [impl AsRef<str>]) -> Option<&'a str> {
        let mut best: Option<(f64, &str)> = None;
        for driver in among.iter().map(AsRef::as_ref) {
            let Some(cycles) = self.cycles(bundle, driver, load) else { continue };
            if best.is_none_or(|(least, _)| cycles < least) {
                best = Some((cycles, driver));
            }
        }
        best.map(|(_, driver)| driver)
    }

    /// The best driver for payloads of `size` bytes in bursts of `burst`, both ways; see [`Measurements::best_under`].
    #[must_use]
    pub fn best<'a>(
        &self,
        bundle: &str,
        size: usize,
        burst: usize,
        among: &'a [impl AsRef<str>],
    ) -> Option<&'a str> {
        self.best_under(bundle, Load::of(size, burst), among)
    }

    /// The best driver for a session whose sizes are not known: by [`Load::MIXED`].
    #[must_use]
    pub fn best_overall<'a>(&self, bundle: &str, among: &'a [impl AsRef<str>]) -> Option<&'a str> {
        self.best_under(bundle, Load::MIXED, among)
    }

    /// What cannot have been measured, if anything.
    pub(super) fn nonsense(&self) -> Option<String> {
        let bad = |row: &&Row| [row.cycles, row.least, row.most].iter().any(|&n| !n.is_finite() || n < 0.0);
        let row = self.rows.iter().find(bad)?;
        Some(format!("{} on {} has no true figure", row.bundle, row.driver))
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table of bundles and drivers, with the cycles in full bursts of 64 and of 1024 bytes; the same both ways.
    pub(in crate::measure) fn table(figures: &[(&str, &str, f64, f64)]) -> Measurements {
        let mut table = Measurements::new(Fingerprint::here(&[]), 1_000_000_000);
        for &(bundle, driver, small, large) in figures {
            for (size, cycles) in [(SizeClass::B64, small), (SizeClass::B1024, large)] {
                insert(&mut table, (bundle, driver), size, cycles);
            }
        }
        table
    }

    fn insert(table: &mut Measurements, (bundle, driver): (&str, &str), size: SizeClass, cycles: f64) {
        for operation in [Operation::Encrypt, Operation::Decrypt] {
            let (bundle, driver, burst) = (bundle.to_owned(), driver.to_owned(), BurstClass::Many);
            let (least, most, slices, operations, measured_at) = (cycles, cycles, 3, 300, 0);
            table.insert(Row {
                bundle,
                driver,
                operation,
                size,
                burst,
                cycles,
                least,
                most,
                slices,
                operations,
                measured_at,
            });
        }
    }

    #[test]
    fn the_best_driver_is_the_one_with_the_fewest_cycles_in_the_class() {
        let table = table(&[("gcm", "card0", 500.0, 600.0), ("gcm", "soft0", 100.0, 900.0)]);
        let best = |size| table.best("gcm", size, 32, &["card0", "soft0"]);
        assert_eq!((best(64), best(1400)), (Some("soft0"), Some("card0")));
        assert_eq!(table.best("gcm", 64, 32, &["card0"]), Some("card0"));
    }

    #[test]
    fn what_was_not_measured_is_no_best() {
        let table = table(&[("gcm", "card0", 500.0, 600.0)]);
        assert_eq!(table.best("gcm", 64, 32, &["soft0"]), None);
        assert_eq!(table.best("cbc", 64, 32, &["card0"]), None);
        assert_eq!(table.best("gcm", 64, 1, &["card0"]), None);
        assert_eq!(table.best("gcm", 256, 32, &["card0"]), None);
        assert_eq!(table.best("gcm", 64, 32, &[""; 0]), None);
    }

    #[test]
    fn of_two_that_need_the_same_the_one_that_is_named_first_is_best() {
        let table = table(&[("gcm", "a0", 5.0, 5.0), ("gcm", "b0", 5.0, 5.0)]);
        assert_eq!(table.best("gcm", 64, 32, &["a0", "b0"]), Some("a0"));
        assert_eq!(table.best("gcm", 64, 32, &["b0", "a0"]), Some("b0"));
        assert_eq!(table.best_overall("gcm", &["b0", "a0"]), Some("b0"));
    }

    #[test]
    fn without_sizes_seven_small_packets_weigh_against_five_large() {
        // 7 x 100 + 5 x 240 is 1900, 7 x 160 + 5 x 155 is 1895.
        let mut table = table(&[("gcm", "small0", 100.0, 240.0), ("gcm", "large0", 160.0, 155.0)]);
        let among = ["small0", "large0"];
        assert_eq!(table.best_overall("gcm", &among), Some("large0"));
        insert(&mut table, ("gcm", "large0"), SizeClass::B1024, 157.0);
        assert_eq!(table.best_overall("gcm", &among), Some("small0"));
        assert_eq!(table.cycles("gcm", "small0", Load::MIXED), Some(1900.0 / 12.0));
    }

    #[test]
    fn one_way_is_judged_by_itself() {
        let mut table = table(&[("gcm", "a0", 10.0, 10.0), ("gcm", "b0", 20.0, 20.0)]);
        let mut row = table.rows()[1].clone();
        (row.cycles, row.operation) = (90.0, Operation::Decrypt);
        table.insert(row);
        let best = |way| table.best_under("gcm", Load::of(64, 32).one_way(way), &["a0", "b0"]);
        assert_eq!(best(Operation::Encrypt), Some("a0"));
        assert_eq!(best(Operation::Decrypt), Some("b0"));
        assert_eq!(table.best("gcm", 64, 32, &["a0", "b0"]), Some("b0"));
    }

    #[test]
    fn a_figure_takes_the_place_of_the_one_before() {
        let mut table = table(&[("gcm", "a0", 10.0, 10.0)]);
        let rows = table.rows().len();
        insert(&mut table, ("gcm", "a0"), SizeClass::B64, 7.0);
        assert_eq!((table.rows().len(), table.cycles("gcm", "a0", Load::of(64, 32))), (rows, Some(7.0)));
    }

    #[test]
    fn what_failed_is_worth_another_try_and_what_cannot_be_done_is_not() {
        let mut known = table(&[("gcm", "a0", 10.0, 10.0)]);
        let mut skip = |driver: &str, why| {
            known.skip(Skipped { bundle: "gcm".to_owned(), driver: driver.to_owned(), size: None, why });
        };
        skip("b0", Why::Unsupported("no".to_owned()));
        skip("c0", Why::failed("not now"));
        skip("d0", Why::ComputesNothing);
        let known = ["a0", "b0", "c0", "d0", "e0"].map(|driver| known.knows("gcm", driver));
        assert_eq!(known, [true, true, false, true, false]);
    }
}

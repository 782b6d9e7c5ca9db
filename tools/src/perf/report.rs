//! The report: one JSON object for scripts, one table for people.

use comfy_table::CellAlignment;
use hdrhistogram::Histogram;
use pipeline::Clock;
use pipeline::lcore::LcoreId;
use serde::Serialize;

use crate::failure::{BAD_RESULT, Failure, print, warn};
use crate::outputs::{LatencyNs, is_standard, screen, write_json};

use super::measure::{Measured, SLICES};
use super::options::{Options, Size, Test};
use super::plan::Case;
use super::subject::Recipe;
use super::verify::Verdict;

/// Everything went as asked.
const DONE: u8 = 0;

/// Percent from the least to the largest slice above which a figure is doubtful.
const DOUBTFUL: f64 = 10.0;

/// The report, with the names that scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    test: &'static str,
    cores: Vec<usize>,
    tsc_hz: u64,
    rows: Vec<Row>,
}

/// A row; what the test does not find out is null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    driver: &'static str,
    level: &'static str,
    /// The suite, or the algorithm.
    suite: String,
    /// Which of the two.
    kind: &'static str,
    operation: &'static str,
    size: SizeField,
    burst: usize,
    sessions: u32,
    /// Packets in memory.
    pool: usize,
    operations: u64,
    mops: Option<f64>,
    gbps: Option<f64>,
    tsc_cycles_per_operation: Option<f64>,
    tsc_cycles_per_byte: Option<f64>,
    tsc_cycles_per_operation_min: Option<f64>,
    tsc_cycles_per_byte_min: Option<f64>,
    /// Of the same loop without submit and poll.
    empty_loop_tsc_cycles_per_operation: Option<f64>,
    slices: Option<u32>,
    spread_percent: Option<f64>,
    /// Whether the spread is so large that the figures are doubtful.
    noisy: Option<bool>,
    latency_ns: Option<LatencyNs>,
    verified: Option<bool>,
    checks: Vec<&'static str>,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
enum SizeField {
    Bytes(u32),
    Mix(&'static str),
}

impl Row {
    fn of(case: &Case, options: &Options) -> Self {
        Self {
            driver: case.driver.name(),
            level: case.driver.level(),
            suite: case.subject.name.clone(),
            kind: if matches!(case.subject.recipe, Recipe::Suite(_)) { "suite" } else { "algorithm" },
            operation: case.operation.name(),
            size: match case.size {
                Size::Fixed(size) => SizeField::Bytes(size),
                Size::Imix => SizeField::Mix("imix"),
            },
            burst: case.burst,
            sessions: options.sessions,
            pool: options.pool as usize / case.burst * case.burst,
            operations: 0,
            mops: None,
            gbps: None,
            tsc_cycles_per_operation: None,
            tsc_cycles_per_byte: None,
            tsc_cycles_per_operation_min: None,
            tsc_cycles_per_byte_min: None,
            empty_loop_tsc_cycles_per_operation: None,
            slices: None,
            spread_percent: None,
            noisy: None,
            latency_ns: None,
            verified: None,
            checks: Vec::new(),
            failure: None,
        }
    }

    /// A row with speeds, from the median of the slices.
    pub(super) fn measured(case: &Case, options: &Options, measured: &Measured, clock: &Clock) -> Self {
        let (cycles, bytes) = (measured.cycles, measured.bytes_per_operation);
        let per_second = measured.cores as f64 * clock.hz() / cycles.median;
        Self {
            operations: measured.operations,
            mops: Some(per_second / 1e6),
            gbps: Some(per_second * bytes * 8.0 / 1e9),
            tsc_cycles_per_operation: Some(cycles.median),
            tsc_cycles_per_byte: Some(cycles.median / bytes),
            tsc_cycles_per_operation_min: Some(cycles.least),
            tsc_cycles_per_byte_min: Some(cycles.least / bytes),
            empty_loop_tsc_cycles_per_operation: measured.empty_loop,
            slices: Some(SLICES),
            spread_percent: Some(cycles.percent()),
            noisy: Some(cycles.percent() > DOUBTFUL),
            ..Self::of(case, options)
        }
    }

    /// A row with the time that jobs stayed.
    pub(super) fn of_latency(case: &Case, options: &Options, histogram: &Histogram<u64>) -> Self {
        Self {
            operations: histogram.len(),
            latency_ns: Some(LatencyNs::of(histogram)),
            ..Self::of(case, options)
        }
    }

    /// A row with a verdict.
    pub(super) fn verified(case: &Case, options: &Options, verdict: Verdict) -> Self {
        Self {
            operations: verdict.operations,
            verified: Some(verdict.failure.is_none()),
            checks: verdict.checks,
            failure: verdict.failure,
            ..Self::of(case, options)
        }
    }

    /// Says on standard error that a row's figures are doubtful.
    pub(super) fn warn_if_noisy(&self) {
        if let (Some(true), Some(percent)) = (self.noisy, self.spread_percent) {
            warn(format_args!(
                "warning: {}: the {SLICES} runs are {percent:.0} % apart; let nothing else run, or give more --seconds",
                self.in_words()
            ));
        }
    }

    fn in_words(&self) -> String {
        let Self { driver, suite, operation, burst, .. } = self;
        format!("{driver} {suite} {operation} {} burst {burst}", self.size_in_words())
    }

    fn size_in_words(&self) -> String {
        match self.size {
            SizeField::Bytes(size) => size.to_string(),
            SizeField::Mix(name) => name.to_owned(),
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options, cores: &[Option<LcoreId>], clock: &Clock, rows: Vec<Row>) -> Self {
        Self {
            schema: "sealane.crypto-perf/1",
            test: options.test.name(),
            cores: cores.iter().flatten().map(|core| core.0).collect(),
            tsc_hz: clock.hz() as u64,
            rows,
        }
    }

    /// Whether scripts may go on: 0 unless a result is wrong.
    pub(super) fn exit_code(&self) -> u8 {
        let wrong = self.rows.iter().any(|row| row.verified == Some(false));
        if wrong { BAD_RESULT } else { DONE }
    }

    /// Writes what the options ask for; the table goes to standard output unless JSON does.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write(&self, options: &Options) -> Result<(), Failure> {
        if let Some(path) = &options.json {
            write_json(self, path)?;
            if is_standard(path) {
                return Ok(());
            }
        }
        print(&self.text(options))
    }

    fn text(&self, options: &Options) -> String {
        let core = match self.cores.as_slice() {
            [] => "not pinned".to_owned(),
            [core] => format!("core {core}"),
            cores => format!("cores {}", cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        };
        let (test, pool, hz) = (self.test, options.pool, self.tsc_hz as f64 / 1e6);
        let mut text =
            format!("{test} · {core} · sessions {} · pool {pool} · TSC at {hz:.0} MHz\n", options.sessions);
        text += &self.table(options.test);
        for row in &self.rows {
            if let Some(failure) = &row.failure {
                text += &format!("\nFAILED {}: {failure}", row.in_words());
            }
        }
        text
    }

    /// What the rows are about.
    fn kind(&self) -> &'static str {
        self.rows.first().map_or("suite", |row| row.kind)
    }

    fn table(&self, test: Test) -> String {
        let mut table = screen();
        let common = ["driver", self.kind(), "does", "size", "burst"];
        table.add_row(common.iter().chain(headings(test)));
        for row in &self.rows {
            let size = row.size_in_words();
            let common = [
                row.driver.to_owned(),
                row.suite.clone(),
                row.operation.to_owned(),
                size,
                row.burst.to_string(),
            ];
            table.add_row(common.into_iter().chain(row.figures(test)));
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 1));
        });
        // Behind size, burst and operations, verify has words.
        let numbers = if test == Test::Verify { 3 } else { usize::MAX };
        table
            .column_iter_mut()
            .skip(3)
            .take(numbers)
            .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table.to_string()
    }
}

/// Columns of a test behind those of every test.
fn headings(test: Test) -> &'static [&'static str] {
    match test {
        Test::Cycles => &["cycles/op", "least", "a byte", "least", "empty", "spread"],
        Test::Verify => &["operations", "result", "looked at"],
        Test::Latency => &["p50 ns", "p90", "p99", "p99.9", "most"],
        Test::Throughput => &["Mops", "Gbit/s", "cycles/op", "a byte", "spread"],
    }
}

impl Row {
    fn figures(&self, test: Test) -> Vec<String> {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        let spread = self.spread_percent.map_or_else(String::new, |percent| format!("{percent:.1} %"));
        match test {
            Test::Cycles => vec![
                number(self.tsc_cycles_per_operation, 1),
                number(self.tsc_cycles_per_operation_min, 1),
                number(self.tsc_cycles_per_byte, 3),
                number(self.tsc_cycles_per_byte_min, 3),
                number(self.empty_loop_tsc_cycles_per_operation, 2),
                spread,
            ],
            Test::Verify => vec![
                self.operations.to_string(),
                if self.verified == Some(true) { "ok" } else { "FAILED" }.to_owned(),
                self.checks.join(", "),
            ],
            Test::Latency => self.latency_ns.as_ref().map_or_else(Vec::new, |latency| {
                let LatencyNs { p50, p90, p99, p999, max, .. } = latency;
                [p50, p90, p99, p999, max].iter().map(|number| number.to_string()).collect()
            }),
            Test::Throughput => vec![
                number(self.mops, 3),
                number(self.gbps, 3),
                number(self.tsc_cycles_per_operation, 1),
                number(self.tsc_cycles_per_byte, 3),
                spread,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::plan::cases;
    use crate::perf::spread::Spread;
    use clap::Parser as _;

    fn report(test: &str, row: impl Fn(&Case, &Options) -> Row) -> (Report, Options) {
        let options =
            Options::parse_from(["crypto-perf", "--test", test, "--suite", "null-sha1", "--size", "100"]);
        let rows = cases(&options).unwrap().iter().map(|case| row(case, &options)).collect();
        (Report::new(&options, &[None], &Clock::new(), rows), options)
    }

    #[test]
    fn one_wrong_result_makes_the_report_bad_and_is_told_in_words() {
        let verdict =
            |failure: Option<&str>| Verdict { failure: failure.map(str::to_owned), ..Verdict::default() };
        let (good, options) = report("verify", |case, options| Row::verified(case, options, verdict(None)));
        assert_eq!(good.exit_code(), 0);
        assert!(!good.text(&options).contains("FAILED"));
        let (bad, options) = report("verify", |case, options| {
            let wrong = (case.operation.name() == "decrypt").then_some("byte 3 differs");
            Row::verified(case, options, verdict(wrong))
        });
        assert_eq!(bad.exit_code(), 1);
        let text = bad.text(&options);
        assert!(text.contains("FAILED software null-sha1 decrypt 100 burst 32: byte 3 differs"), "{text}");
        let json = serde_json::to_value(&bad).unwrap();
        assert_eq!(
            (&json["rows"][0]["verified"], &json["rows"][1]["verified"]),
            (&true.into(), &false.into())
        );
    }

    #[test]
    fn figures_come_from_the_median_and_a_spread_over_ten_percent_is_noisy() {
        let measured = |most| Measured {
            cores: 1,
            operations: 7,
            bytes_per_operation: 100.0,
            cycles: Spread { least: 990.0, median: 1000.0, most },
            empty_loop: Some(2.0),
        };
        for (most, noisy) in [(1090.0, false), (1091.0, true)] {
            let clock = Clock::new();
            let row = |case: &Case, options: &Options| Row::measured(case, options, &measured(most), &clock);
            let (report, _) = report("cycles", row);
            let row = &report.rows[0];
            assert_eq!((row.tsc_cycles_per_operation, row.tsc_cycles_per_byte), (Some(1000.0), Some(10.0)));
            assert_eq!(
                (row.tsc_cycles_per_operation_min, row.tsc_cycles_per_byte_min),
                (Some(990.0), Some(9.9))
            );
            assert_eq!((row.noisy, row.empty_loop_tsc_cycles_per_operation), (Some(noisy), Some(2.0)));
            assert_eq!(row.mops, Some(clock.hz() / 1000.0 / 1e6));
        }
    }

    #[test]
    fn two_cores_do_twice_as_many_operations_at_the_same_cycles() {
        let cycles = Spread { least: 990.0, median: 1000.0, most: 1001.0 };
        let both = Measured { cores: 2, operations: 8, bytes_per_operation: 100.0, cycles, empty_loop: None };
        let clock = Clock::new();
        let (report, _) = report("throughput", |case, options| Row::measured(case, options, &both, &clock));
        let row = &report.rows[0];
        assert_eq!(row.tsc_cycles_per_operation, Some(1000.0));
        assert_eq!(row.mops, Some(2.0 * clock.hz() / 1000.0 / 1e6));
    }

    #[test]
    fn a_latency_row_has_the_quantiles_of_its_histogram() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|value| histogram.record(value).unwrap());
        let (report, options) = report("latency", |case, options| Row::of_latency(case, options, &histogram));
        let latency = report.rows[0].latency_ns.clone().unwrap();
        let LatencyNs { count, min, p50, p90, p99, p999, max } = latency;
        assert_eq!((count, min, p50, p90, p99, p999, max), (1000, 1, 500, 900, 990, 999, 1000));
        assert!(report.text(&options).contains("500 900 990   999 1000"), "{}", report.text(&options));
    }
}

//! `crypto-perf`: options in, a plan of rows, each measured or verified, a report out.

mod bench;
mod catalogue;
mod device;
mod layout;
mod maker;
mod measure;
mod options;
mod plan;
mod report;
mod rounds;
mod spread;
mod stopwatch;
mod subject;
mod together;
mod vectors;
mod verify;

pub use bench::Bench;
pub use options::{DriverName, OperationName, Options, Size, Test};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use pipeline::Clock;
use pipeline::lcore::LcoreId;

use crate::cores;
use crate::failure::Failure;
use crate::program::progress_bar;

use device::Device;
use measure::{Measured, SLICES, latency, measure};
use plan::Case;
use report::{Report, Row};
use together::on_each;
use verify::{Verdict, verify};

/// Does what the options say; the process's exit code.
///
/// # Errors
/// Bad usage, a machine that lacks something, or a driver that does not do its jobs.
pub fn run(options: &Options) -> Result<u8, Failure> {
    options.check()?;
    let cases = plan::cases(options)?;
    let cores = cores::choose(&options.cores)?;
    let clock = Clock::new();
    let rows = Run { options, cores: &cores, clock: &clock }.rows(&cases)?;
    rows.iter().for_each(Row::warn_if_noisy);
    let report = Report::new(options, &cores, &clock, rows);
    report.write(options)?;
    Ok(report.exit_code())
}

/// What all rows share.
struct Run<'a> {
    options: &'a Options,
    cores: &'a [Option<LcoreId>],
    clock: &'a Clock,
}

impl Run<'_> {
    fn rows(&self, cases: &[Case]) -> Result<Vec<Row>, Failure> {
        let bar = progress_bar(cases.len() as u64 * u64::from(SLICES));
        let rows = cases.iter().map(|case| self.row(case, &bar)).collect();
        bar.finish_and_clear();
        rows
    }

    fn row(&self, case: &Case, bar: &ProgressBar) -> Result<Row, Failure> {
        bar.set_message(case.subject.name.clone());
        match self.options.test {
            Test::Verify => {
                let verdict = self.verified(case)?;
                bar.inc(u64::from(SLICES));
                Ok(Row::verified(case, self.options, verdict))
            }
            Test::Latency => Ok(Row::of_latency(case, self.options, &self.latency(case, bar)?)),
            Test::Throughput | Test::Cycles => {
                Ok(Row::measured(case, self.options, &self.measured(case, bar)?, self.clock))
            }
        }
    }

    /// Every core verifies by itself.
    fn verified(&self, case: &Case) -> Result<Verdict, Failure> {
        let verdicts = on_each(self.cores, |_, _| verify(case, self.options))?;
        Verdict::of_all(verdicts).ok_or_else(nothing)
    }

    fn latency(&self, case: &Case, bar: &ProgressBar) -> Result<Histogram<u64>, Failure> {
        let of_each = self
            .on_each_bench(case, bar, |bench, tick| latency(bench, self.clock, self.options.seconds, tick))?;
        let mut of_each = of_each.into_iter();
        let mut all = of_each.next().ok_or_else(nothing)?;
        of_each.try_for_each(|histogram| all.add(histogram)).map_err(Failure::bad_result)?;
        Ok(all)
    }

    fn measured(&self, case: &Case, bar: &ProgressBar) -> Result<Measured, Failure> {
        let cycles = self.options.test == Test::Cycles;
        let of_each = self.on_each_bench(case, bar, |bench, tick| {
            measure(bench, self.clock, self.options.seconds, cycles, tick)
        })?;
        Measured::of(&of_each).ok_or_else(nothing)
    }

    /// Every core has a queue pair on the one driver, and sessions and packets of its own. They begin together; the first moves the bar.
    fn on_each_bench<T: Send>(
        &self,
        case: &Case,
        bar: &ProgressBar,
        work: impl Fn(&mut Bench, &dyn Fn()) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        let housed = case.driver.housed()?;
        on_each(self.cores, |number, place| {
            let mut bench = Bench::new(case, self.options, self.clock, Device::on(&housed)?)?;
            place.wait();
            work(&mut bench, &|| bar.inc(u64::from(number == 0)))
        })
    }
}

fn nothing() -> Failure {
    Failure::bad_result("nothing was measured")
}

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
mod subject;
mod vectors;
mod verify;

pub use bench::Bench;
pub use options::{DriverName, OperationName, Options, Size, Test};

use indicatif::ProgressBar;
use pipeline::Clock;

use crate::cores;
use crate::failure::Failure;
use crate::program::progress_bar;

use measure::{SLICES, measure};
use plan::Case;
use report::{Report, Row};
use verify::verify;

/// Does what the options say; the process's exit code.
///
/// # Errors
/// Bad usage, a machine that lacks something, or a driver that does not do its jobs.
pub fn run(options: &Options) -> Result<u8, Failure> {
    options.check()?;
    let cases = plan::cases(options)?;
    let core = cores::choose(&options.cores)?.into_iter().next().flatten();
    let clock = Clock::new();
    let rows = rows(&cases, options, &clock)?;
    rows.iter().for_each(Row::warn_if_noisy);
    let report = Report::new(options, core, &clock, rows);
    report.write(options)?;
    Ok(report.exit_code())
}

fn rows(cases: &[Case], options: &Options, clock: &Clock) -> Result<Vec<Row>, Failure> {
    let bar = progress_bar(cases.len() as u64 * u64::from(SLICES));
    let rows = cases.iter().map(|case| row(case, options, clock, &bar)).collect();
    bar.finish_and_clear();
    rows
}

fn row(case: &Case, options: &Options, clock: &Clock, bar: &ProgressBar) -> Result<Row, Failure> {
    bar.set_message(case.subject.name.clone());
    if options.test == Test::Verify {
        let verdict = verify(case, options)?;
        bar.inc(u64::from(SLICES));
        return Ok(Row::verified(case, options, verdict));
    }
    let mut bench = Bench::new(case, options, clock)?;
    let cycles = options.test == Test::Cycles;
    let measured = measure(&mut bench, clock, options.seconds, cycles, || bar.inc(1))?;
    Ok(Row::measured(case, options, &measured, clock))
}

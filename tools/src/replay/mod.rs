//! `esp-replay`: options in, a verified and timed run, a report out.

mod card_report;
mod cards;
mod drops;
mod explain;
mod lineup;
mod options;
mod path;
mod places;
mod report;
mod run;
mod source;
mod spread;
mod verify;

pub use cards::{BySoftware, CardSummary, QueueDepth, RackSummary};
pub use drops::SaDrops;
pub use lineup::{Complete, CoreSummary, Feed};
pub use options::{Direction, DriverName, Generate, IdleName, LayoutName, Options, Rate};
pub use path::{Held, Parts, Path, Workers};
pub use report::Report;
pub use run::{Outcome, Runner};
pub use source::{BUNDLED_CAPTURE, BUNDLED_CONFIG, Source};
pub use verify::{Comparison, Sink};

use ipsec_esp::header::link::Link;

use crate::config::{Config, ReplayDirection};
use crate::cores;
use crate::failure::{Failure, warn};

/// Everything went as asked.
const DONE: u8 = 0;
/// The run is complete and its result is bad.
const NOT_VERIFIED: u8 = 1;

/// Does what the options say; the process's exit code.
///
/// # Errors
/// Bad usage, configuration or input, or a machine that lacks something; nothing was replayed then.
pub fn run(options: &Options) -> Result<u8, Failure> {
    options.check()?;
    places::check(options)?;
    let source = Source::of(options)?;
    let link = Link::try_from(source.capture.link_type())
        .map_err(|error| Failure::usage(format_args!("{}: {error}", source.name)))?;
    let config = read_config(options)?;
    let cores = cores::choose(&options.cores)?;
    let runner = Runner::new(options, source, link, &config, cores)?;
    if let Some(number) = options.explain {
        explain::explain(&runner, number)?;
        return Ok(DONE);
    }
    let outcome = runner.run()?;
    let report = Report::new(options, &runner, &outcome);
    report.write(options, &outcome)?;
    Ok(if outcome.is_good() { DONE } else { NOT_VERIFIED })
}

fn read_config(options: &Options) -> Result<Config, Failure> {
    let config = source::config(options.config.as_deref())?;
    let direction = match options.direction {
        Direction::Outbound => ReplayDirection::Outbound,
        Direction::Inbound => ReplayDirection::Inbound,
        Direction::Roundtrip => ReplayDirection::Roundtrip,
    };
    config.check_for(direction).map_err(Failure::usage)?;
    config.notes.iter().for_each(|note| warn(format_args!("note: {note}")));
    match options.direction {
        Direction::Roundtrip => config.mirrored().map_err(Failure::usage),
        Direction::Outbound | Direction::Inbound => Ok(config),
    }
}

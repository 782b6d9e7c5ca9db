//! `esp-replay`: options in, a verified and timed run, a report out.

mod explain;
mod options;
mod path;
mod places;
mod report;
mod run;
mod source;
mod verify;

pub use options::{Direction, DriverName, Generate, Options};
pub use path::{Parts, Path};
pub use report::Report;
pub use run::{Outcome, Runner};
pub use source::{BUNDLED_CAPTURE, BUNDLED_CONFIG, Source};
pub use verify::{Comparison, Sink};

use ipsec_esp::header::link::Link;
use pipeline::lcore::LcoreId;

use crate::config::{Config, ReplayDirection};
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
    let core = pin(options)?;
    let runner = Runner::new(options, source, link, &config, core)?;
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

/// Pins this thread, which becomes the polling core; `None` when none was asked for and pinning is not allowed.
fn pin(options: &Options) -> Result<Option<usize>, Failure> {
    let available = LcoreId::available();
    match options.cores.first() {
        None => Ok(available.first().filter(|core| core.pin_current_thread()).map(|core| core.0)),
        Some(&wanted) if available.contains(&LcoreId(wanted)) && LcoreId(wanted).pin_current_thread() => {
            Ok(Some(wanted))
        }
        Some(wanted) => {
            let list: Vec<_> = available.iter().map(|core| core.0.to_string()).collect();
            let list = list.join(", ");
            Err(Failure::machine(format_args!("--cores {wanted}: no such processor here; use one of {list}")))
        }
    }
}

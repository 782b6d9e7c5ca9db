//! `esp-replay`: options in, a verified and timed run, a report out.

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

pub use drops::SaDrops;
pub use lineup::{Complete, CoreSummary, Feed};
pub use options::{Direction, DriverName, Generate, IdleName, LayoutName, Options, Rate};
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
    let cores = cores(options)?;
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

/// Where each core is to be pinned; `None` where the scheduler decides.
fn cores(options: &Options) -> Result<Vec<Option<LcoreId>>, Failure> {
    let available = LcoreId::available();
    if options.cores.is_empty() {
        // Where pinning is not allowed, nobody asked for it.
        return Ok(vec![available.first().copied().filter(|core| core.pin_current_thread())]);
    }
    let mut cores = Vec::new();
    for &wanted in &options.cores {
        let core = Some(LcoreId(wanted)).filter(|core| available.contains(core));
        match core {
            Some(core) => cores.push(Some(core)),
            None if options.cores.len() > available.len() => {
                warn(format_args!("note: there is no processor {wanted} here; its core runs unpinned"));
                cores.push(None);
            }
            None => return Err(no_such_core(wanted, &available)),
        }
    }
    match cores.as_slice() {
        [Some(core)] if !core.pin_current_thread() => Err(no_such_core(core.0, &available)),
        _ => Ok(cores),
    }
}

fn no_such_core(wanted: usize, available: &[LcoreId]) -> Failure {
    let list: Vec<_> = available.iter().map(|core| core.0.to_string()).collect();
    let list = list.join(", ");
    Failure::machine(format_args!("--cores {wanted}: no such processor here; use one of {list}"))
}

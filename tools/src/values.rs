//! Values of options that several programs take.

use crypto_pmd::drivers::multibuffer::Level;

use crate::failure::Failure;

/// `value` must be `built`; one of `planned` is refused by name, anything else as a mistake.
pub(crate) fn known(value: Option<&str>, option: &str, built: &str, planned: &[&str]) -> Result<(), Failure> {
    match value {
        None => Ok(()),
        Some(value) if value == built => Ok(()),
        Some(value) if planned.contains(&value) => Err(Failure::not_yet(&format!("{option} {value}"))),
        Some(value) => Err(Failure::usage(format_args!("{option} {value} is unknown; use {built}"))),
    }
}

/// The level at which kernels are to work: the best that there is, or the one that is named.
///
/// # Errors
/// A level that there is not, that the processor lacks, or that is none for the drivers that are named.
pub(crate) fn level(name: Option<&str>, has_kernels: bool) -> Result<Level, Failure> {
    let Some(name) = name else { return Ok(Level::best()) };
    let level: Level = name.parse().map_err(|_| {
        Failure::usage(format_args!("--level {name} is unknown; use avx512, avx2, sse or portable"))
    })?;
    if level != Level::Portable && !has_kernels {
        return Err(Failure::usage(format_args!(
            "--level {name} needs kernels, which only --driver multibuffer has; name that, or leave --level out"
        )));
    }
    level
        .checked()
        .map_err(|error| Failure::machine(format_args!("--level {name}: {error}; use that or a lower one")))
}

/// Seconds of a run.
///
/// # Errors
/// What would be right, for clap.
pub(crate) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("give seconds above 0, up to a million".to_owned()),
    }
}

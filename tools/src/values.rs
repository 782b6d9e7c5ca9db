//! Values of options that several programs take.

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

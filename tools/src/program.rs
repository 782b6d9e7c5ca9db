//! What every program's `main` does, and the bar that a long run shows.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, warn};

/// Reads the options, runs, and ends with the exit code and the one line that scripts rely on.
pub fn main<O: Parser>(run: impl FnOnce(&O) -> Result<u8, Failure>) -> ExitCode {
    let options = match O::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => return fail(&Failure::of_options(&error)),
        Err(help) => help.exit(),
    };
    match run(&options) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    warn(format_args!("error: {failure}"));
    ExitCode::from(failure.code)
}

/// A bar of `length` steps on standard error, hidden where that is no terminal.
pub(crate) fn progress_bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {wide_bar} {percent}% left {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

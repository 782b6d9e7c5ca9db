//! `esp-replay`: replays a capture through ESP and back, and reports throughput and latency.

use std::process::ExitCode;

use clap::Parser as _;
use tools::failure::{Failure, warn};
use tools::replay::{Options, run};

fn main() -> ExitCode {
    let options = match Options::try_parse() {
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

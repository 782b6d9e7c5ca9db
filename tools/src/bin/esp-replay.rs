//! `esp-replay`: replays a capture through ESP and back, and reports throughput and latency.

use std::process::ExitCode;

use clap::Parser as _;
use tools::failure::warn;
use tools::replay::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            warn(format_args!("error: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}

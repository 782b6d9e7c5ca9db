//! `esp-replay`: replays a capture through ESP and back, and reports throughput and latency.

use std::process::ExitCode;

use clap::Parser as _;
use tools::replay::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

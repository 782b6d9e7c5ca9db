//! `esp-replay`: replays a capture through ESP and back, and reports throughput and latency.

use std::process::ExitCode;

use tools::program;
use tools::replay::run;

fn main() -> ExitCode {
    program::main(run)
}

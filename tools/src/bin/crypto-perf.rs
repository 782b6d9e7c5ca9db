//! `crypto-perf`: measures and verifies crypto drivers by themselves.

use std::process::ExitCode;

use tools::perf::run;
use tools::program;

fn main() -> ExitCode {
    program::main(run)
}

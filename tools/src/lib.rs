//! What a person runs, as a library behind the programs in `bin/`.
//!
//! The highest of Sealane's floors: it reads options, configurations and captures, builds the path out of the floors
//! below, runs it on a pinned core, and reports. Everything here may format and allocate; the polling core that it
//! starts does neither.

pub mod children;
pub mod config;
mod cores;
pub mod failure;
pub mod kernels;
mod near;
mod outputs;
pub mod perf;
pub mod program;
pub mod replay;
mod values;

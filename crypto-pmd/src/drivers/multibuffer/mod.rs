//! The multi-buffer driver: many packets side by side, with the widest instructions that the processor has.

mod kernels;
mod level;

pub use level::{Level, LevelError};

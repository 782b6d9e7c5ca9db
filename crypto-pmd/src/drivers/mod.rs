//! The drivers.

mod null;
mod sessions;
pub mod software;

pub use null::Null;
pub use software::Software;

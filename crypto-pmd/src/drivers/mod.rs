//! The drivers.

pub mod multibuffer;
mod null;
mod sessions;
pub mod software;

pub use multibuffer::Multibuffer;
pub use null::Null;
pub use software::Software;

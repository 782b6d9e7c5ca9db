//! The drivers.

pub mod multibuffer;
mod null;
pub mod scheduler;
mod sessions;
pub mod software;

pub use multibuffer::Multibuffer;
pub use null::Null;
pub use scheduler::Scheduler;
pub use software::Software;

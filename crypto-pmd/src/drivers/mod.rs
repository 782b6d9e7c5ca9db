//! The drivers.

pub mod multibuffer;
pub mod nic;
mod null;
pub mod scheduler;
mod sessions;
pub mod software;

pub use multibuffer::Multibuffer;
pub use nic::Nic;
pub use null::Null;
pub use scheduler::Scheduler;
pub use software::Software;

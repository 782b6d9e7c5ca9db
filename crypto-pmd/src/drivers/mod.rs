//! The drivers.

pub mod multibuffer;
pub mod nic;
mod null;
mod sessions;
pub mod software;

pub use multibuffer::Multibuffer;
pub use nic::Nic;
pub use null::Null;
pub use software::Software;

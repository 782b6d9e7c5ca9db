//! Ways to learn that a job is done, above the one that everything is built on: polling.
//!
//! - [`callback`]: [`Callbacks`] calls a function with each finished job, from inside the call that fetched it.
//! - [`pool`]: [`WorkerPool`] spreads jobs over pinned threads and is polled, in order where that is asked for;
//!   [`CallbackPool`] calls from the thread that did the job.
//! - [`future`]: a [`Service`] polls for [`Client`]s on any thread, who await their jobs.
//! - [`simple`]: [`Simple`] takes bytes, waits, and gives bytes.
//!
//! All of them use what anybody may use, [`Crypto`](crate::crew::Crypto): they know nothing of drivers. A job that does not fit comes back to
//! the caller; one that was taken completes once, or is dropped with what it was in, its buffers back in their pool.

pub mod callback;
pub mod future;
pub mod pool;
pub mod simple;

pub use callback::{Callback, CallbackPanicked, Callbacks, Mode, OnDone, Refused, Submitter};
pub use future::{Client, JobFuture, Service, ServiceStopped};
pub use pool::{CallbackPool, Order, PoolCounters, PoolError, Stopped, WorkerPool, WorkerPoolConfig};
pub use simple::{RequestShape, Simple, SimpleError};

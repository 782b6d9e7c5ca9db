//! Key operations: arithmetic on long integers, without a session, far too slow for a polling core.
//!
//! Invariants: a [`KeyRequest`] comes from a [`KeyRequestPool`], goes in by `submit` of a
//! [`KeyDispatcher`](crate::KeyDispatcher), and completes once, with a result or an error in it; its operands are wiped when it is dropped.
//! This module holds what callers and drivers share. It computes nothing, and it does not choose the driver.
//!
//! An operand is a big-endian byte string with a length in bits; a request has eight at most, inputs and outputs together, and each
//! operation has a fixed number of both. An output is as long as it was asked for, with zeros in front.
//!
//! ```
//! use crypto_pmd::drivers::Software;
//! use crypto_pmd::key_op::{KeyOperation, KeyQueueConfig, KeyRequestPool};
//! use crypto_pmd::{Placement, Registry};
//!
//! let registry = Registry::new();
//! registry.attach(Software::new())?;
//! let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
//!
//! // 4 to the power of 13 modulo 497.
//! let pool = KeyRequestPool::new(8, 2048);
//! let mut request = pool.alloc(KeyOperation::ModExp).unwrap().with_cookie(7);
//! for operand in [&[4][..], &[13], &[1, 241]] {
//!     request.add_input(operand)?;
//! }
//! request.add_output(16)?;
//! assert!(dispatcher.submit(request, Placement::Any).is_ok());
//! // A polling core does its other work in between.
//! let done = loop {
//!     match dispatcher.poll() {
//!         Some(done) => break done,
//!         None => std::thread::yield_now(),
//!     }
//! };
//! assert_eq!(done.request.output(0), Some(&[1, 189][..]));
//! assert_eq!((done.request.cookie(), done.driver_name()), (7, Some("software0")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod error;
mod operation;
mod queue;
mod request;

pub use error::KeyError;
pub use operation::{KeyOperation, KeySupport, MAX_PARAMETERS};
pub use queue::{KeyQueue, KeyQueueConfig, Unblock};
pub use request::{KeyRequest, KeyRequestPool};

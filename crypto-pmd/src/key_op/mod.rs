//! Key operations: arithmetic on long integers, without a session, far too slow for a polling core.
//!
//! Invariants: a [`KeyRequest`] comes from a [`KeyRequestPool`], goes in by `submit` of a
//! [`KeyDispatcher`](crate::KeyDispatcher), and completes once, with a result or an error in it; its operands are wiped when it is dropped.
//! This module holds what callers and drivers share. It computes nothing, and it does not choose the driver.
//!
//! An operand is a big-endian byte string with a length in bits; a request has eight at most, inputs and outputs together, and each
//! operation has a fixed number of both. An output is as long as it was asked for, with zeros in front.

mod body;
mod error;
mod operation;
mod queue;
mod request;

pub use error::KeyError;
pub use operation::{KeyOperation, KeySupport, MAX_PARAMETERS};
pub use queue::{KeyQueue, KeyQueueConfig, Unblock};
pub use request::{KeyRequest, KeyRequestPool};

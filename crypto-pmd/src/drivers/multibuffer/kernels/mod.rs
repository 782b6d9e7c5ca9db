//! Kernels: one algorithm at one level in each file. Nothing here knows jobs or sessions; what a kernel reads and writes are the slices that it is given.
//!
//! The functions of this file choose by level and are safe to call with any level that [`Level::checked`](super::Level::checked) let pass. A kernel
//! is a function with `#[target_feature]`; the one unsafe step, to call it, is taken here, and its reason is always that: the level was
//! checked when the driver was made.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "without kernels no key is made, and nothing reads one")
)]

pub(super) mod aes_key;
#[cfg(target_arch = "x86_64")]
mod block;
pub(super) mod cbc;
pub(super) mod cbc_mac;
pub(super) mod chacha;
pub(super) mod ctr;
pub(super) mod gcm;
#[cfg(test)]
mod guard;
pub(super) mod hmac;
pub(super) mod nonce;
pub(super) mod tag;

//! Key operations in software: on threads of the driver's own, never on the core that submits.
//!
//! Invariants: numbers live on the stack of a worker and in the requests, never on the heap; that stack is overwritten after each operation
//! and the requests when they are dropped. What is secret (exponents, bases, primes of an RSA key, DSA's `x` and its nonce) is
//! worked on in time that depends on lengths alone; what is public may take its own time, and the functions that do so say it in their names.
//! Exponents are not blinded.

#![allow(clippy::disallowed_types, reason = "threads start with a queue, on the control side")]

mod dsa;
mod exponent;
mod number;
mod sleepers;
mod workers;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use zeroize::Zeroize as _;

use crate::key_op::{KeyError, KeyOperation, KeyQueue, KeyQueueConfig, KeyRequest, KeySupport, Unblock};

use workers::Workers;

/// Longest operand, in bits.
pub const MAX_BITS: u32 = number::MAX_BITS;

/// Bytes of stack that are overwritten after each operation: as deep as the longest numbers go.
const WIPED_STACK: usize = 512 << 10;

/// Threads for key operations; they start with the first queue and end with the last one.
#[derive(Clone, Debug)]
pub struct KeyWorkers {
    /// How many (at least one).
    pub threads: usize,
    /// Processors to pin them to, in turn; empty to leave it to the system. A pin that the system refuses is left out.
    pub cores: Vec<usize>,
}

impl Default for KeyWorkers {
    /// As many as there are processors, four at most, not pinned.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: processors.min(4), cores: Vec::new() }
    }
}

pub(super) fn support() -> Vec<KeySupport> {
    KeyOperation::ALL.map(|operation| KeySupport { operation, max_bits: MAX_BITS }).to_vec()
}

/// The driver's threads, while any queue uses them.
pub(super) struct KeyEngine {
    config: KeyWorkers,
    running: Mutex<Weak<Workers>>,
}

impl KeyEngine {
    pub(super) fn new(config: KeyWorkers) -> Self {
        Self { config, running: Mutex::new(Weak::new()) }
    }

    /// `None` when the system gives no thread.
    pub(super) fn queue(
        &self,
        name: &str,
        config: &KeyQueueConfig,
        unblock: Unblock,
    ) -> Option<Box<dyn KeyQueue>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = match running.upgrade() {
            Some(workers) => workers,
            None => Arc::new(Workers::start(name, &self.config, carry_out)?),
        };
        *running = Arc::downgrade(&workers);
        Some(Box::new(workers::Queue::new(workers, config, unblock)))
    }
}

impl fmt::Debug for KeyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEngine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Does one operation, and overwrites the stack that it used.
fn carry_out(request: &mut KeyRequest) {
    let result = compute(request);
    wipe_stack();
    request.finish(result);
}

#[inline(never)]
fn compute(request: &mut KeyRequest) -> Result<(), KeyError> {
    #[cfg(test)]
    COMPUTED.set(COMPUTED.get() + 1);
    request.check()?;
    if request.longest() > MAX_BITS {
        return Err(KeyError::OperandTooLong { bits: request.longest(), limit: MAX_BITS });
    }
    match request.operation() {
        KeyOperation::ModExp => exponent::mod_exp(request),
        KeyOperation::ModExpCrt => exponent::mod_exp_crt(request),
        KeyOperation::DsaSign => dsa::sign(request),
        KeyOperation::DsaVerify => dsa::verify(request),
        KeyOperation::DhComputeKey => exponent::dh_compute_key(request),
    }
}

/// As [`crate::key::wipe_stack`], as deep as numbers of [`MAX_BITS`] go.
#[inline(never)]
fn wipe_stack() {
    let mut used = [0_u64; WIPED_STACK / 8];
    used.zeroize();
    std::hint::black_box(&used);
}

/// An input by its name in the operation's list.
fn input(request: &KeyRequest, place: usize) -> &[u8] {
    request.input(place).unwrap_or_default()
}

#[cfg(test)]
thread_local! {
    /// Operations that were computed on this thread.
    static COMPUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::Software;
    use crate::key_op::KeyRequestPool;
    use crate::{Placement, Registry};

    /// All of the operands one and the same.
    fn request(pool: &KeyRequestPool, operation: KeyOperation, operand: &[u8], bits: u32) -> KeyRequest {
        let mut request = pool.alloc(operation).unwrap();
        operation.inputs().iter().for_each(|_| request.add_input(operand).unwrap());
        operation.outputs().iter().for_each(|_| request.add_output(bits).unwrap());
        request
    }

    #[test]
    fn nothing_is_computed_on_the_thread_that_submits_and_polls() {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
        let pool = KeyRequestPool::new(1, 64);
        for operation in KeyOperation::ALL {
            dispatcher.submit(request(&pool, operation, &[3], 64), Placement::Any).unwrap();
            while dispatcher.poll().is_none() {
                std::thread::yield_now();
            }
        }
        assert_eq!(COMPUTED.get(), 0);
        carry_out(&mut request(&pool, KeyOperation::ModExp, &[3], 64));
        assert_eq!(COMPUTED.get(), 1, "here it is this thread");
    }

    /// Runs on a stack of just the length that is wiped: what went deeper would end the process.
    #[test]
    fn the_longest_numbers_go_no_deeper_than_the_stack_that_is_wiped() {
        // One modulo three, so that three passes for the order of a subgroup.
        let (mut longest, half, three) = (vec![0xff; 1024], vec![0xff; 512], [3]);
        longest[1023] = 0xfd;
        // Two below `half`, and the inverse of that.
        let (mut q, mut qinv) = (half.clone(), half.clone());
        (q[511], qinv[0]) = (0xfd, 0x7f);
        let compute_all = move || {
            let pool = KeyRequestPool::new(1, MAX_BITS);
            let run = |operation, inputs: &[&[u8]]| {
                let mut request = pool.alloc(operation).unwrap();
                inputs.iter().for_each(|input| request.add_input(input).unwrap());
                operation.outputs().iter().for_each(|_| request.add_output(MAX_BITS).unwrap());
                compute(&mut request)
            };
            assert_eq!(run(KeyOperation::ModExp, &[&half, &longest, &longest]), Ok(()));
            assert_eq!(run(KeyOperation::DhComputeKey, &[&half, &half, &longest]), Ok(()));
            assert_eq!(run(KeyOperation::ModExpCrt, &[&half, &q, &three, &half, &half, &qinv]), Ok(()));
            let sign = run(KeyOperation::DsaSign, &[&half, &longest, &three, &half, &[1]]);
            let g = KeyError::OutOfRange { name: "g", range: "of order q modulo p" };
            assert!(sign.is_ok() || sign == Err(g), "{sign:?}");
            let verify = run(KeyOperation::DsaVerify, &[&half, &longest, &three, &half, &half, &[1], &[2]]);
            assert!(verify.is_ok() || verify == Err(KeyError::SignatureMismatch), "{verify:?}");
        };
        let thread = std::thread::Builder::new().stack_size(WIPED_STACK).spawn(compute_all);
        thread.unwrap().join().unwrap();
    }
}

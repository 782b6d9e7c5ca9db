//! A key operation with its operands, in memory of a pool.
//!
//! Invariants: a request takes nothing from the heap after its pool was made; dropping it wipes its operands and puts
//! it back; outputs can be read only when the operation has succeeded.

use std::fmt;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::body::{Body, bytes_of};
use super::error::KeyError;
use super::operation::KeyOperation;

/// One operation. Built by the caller, carried out by a driver, read by the caller.
///
/// ```
/// use crypto_pmd::key_op::{KeyOperation, KeyRequestPool};
/// let mut request = KeyRequestPool::new(1, 512).alloc(KeyOperation::ModExp).unwrap();
/// request.add_input_bits(&[1, 0xf1], 9)?;
/// request.add_output(512)?;
/// assert!(request.check().is_err(), "two inputs are missing");
/// # Ok::<(), crypto_pmd::key_op::KeyError>(())
/// ```
pub struct KeyRequest(
    /// Taken only by `drop`.
    Option<Box<Body>>,
);

impl KeyRequest {
    /// The same request with a cookie, which comes back untouched.
    #[must_use]
    pub fn with_cookie(mut self, cookie: u64) -> Self {
        if let Some(body) = &mut self.0 {
            body.cookie = cookie;
        }
        self
    }

    /// Adds an input, in the order of [`KeyOperation::inputs`]; every bit of its bytes counts for its length.
    ///
    /// # Errors
    /// It is longer than the pool was made for, or there is no place for another operand.
    pub fn add_input(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let bits = bytes.len().checked_mul(8).and_then(|bits| u32::try_from(bits).ok());
        self.add_input_bits(bytes, bits.unwrap_or(u32::MAX))
    }

    /// Adds an input with a length in bits that need not fill its first byte.
    ///
    /// # Errors
    /// As [`KeyRequest::add_input`], and when bytes and bits do not go together.
    pub fn add_input_bits(&mut self, bytes: &[u8], bits: u32) -> Result<(), KeyError> {
        let spare = bytes_of(bits) * 8 - bits as usize;
        let overfull = bytes.first().is_some_and(|first| first.leading_zeros() < spare as u32);
        let body = self.0.as_mut().ok_or(KeyError::Failed)?;
        if bytes.len() <= body.place_len && (bytes_of(bits) != bytes.len() || overfull) {
            return Err(KeyError::Length { bytes: bytes.len(), bits });
        }
        body.add(bits, false).map(|place| place.copy_from_slice(bytes))
    }

    /// Adds an output of so many bits, in the order of [`KeyOperation::outputs`].
    ///
    /// # Errors
    /// As [`KeyRequest::add_input`].
    pub fn add_output(&mut self, bits: u32) -> Result<(), KeyError> {
        self.0.as_mut().ok_or(KeyError::Failed)?.add(bits, true).map(|_| ())
    }

    /// What is to be computed.
    #[must_use]
    pub fn operation(&self) -> KeyOperation {
        self.0.as_ref().map_or(KeyOperation::ModExp, |body| body.operation)
    }

    /// The caller's cookie.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.0.as_ref().map_or(0, |body| body.cookie)
    }

    /// What became of it; `None` while it is not done.
    #[must_use]
    pub fn result(&self) -> Option<Result<(), KeyError>> {
        self.0.as_ref()?.result
    }

    /// An input by its place in [`KeyOperation::inputs`].
    #[must_use]
    pub fn input(&self, place: usize) -> Option<&[u8]> {
        let body = self.0.as_ref()?;
        let (number, bits) = body.of_kind(false).nth(place)?;
        body.place(number, bits)
    }

    /// An output by its place in [`KeyOperation::outputs`], as long as it was asked for; `None` unless the operation succeeded.
    #[must_use]
    pub fn output(&self, place: usize) -> Option<&[u8]> {
        let body = self.0.as_ref()?;
        body.result?.ok()?;
        let (number, bits) = body.of_kind(true).nth(place)?;
        body.place(number, bits)
    }

    /// Length of the longest operand, in bits.
    #[must_use]
    pub fn longest(&self) -> u32 {
        let parameters = self.0.as_ref().map(|body| body.parameters.iter().take(body.count));
        parameters.into_iter().flatten().map(|one| one.bits).max().unwrap_or(0)
    }

    /// Whether it has as many inputs and outputs as its operation.
    ///
    /// # Errors
    /// What was given and what is right.
    pub fn check(&self) -> Result<(), KeyError> {
        let body = self.0.as_ref().ok_or(KeyError::Failed)?;
        let operation = body.operation;
        let counts = [
            ("inputs", body.of_kind(false).count(), operation.inputs().len()),
            ("outputs", body.of_kind(true).count(), operation.outputs().len()),
        ];
        match counts.into_iter().find(|(_, given, right)| given != right) {
            Some((kind, given, right)) => Err(KeyError::Parameters { operation, kind, given, right }),
            None => Ok(()),
        }
    }
}

/// What drivers do with a request.
impl KeyRequest {
    /// Checks that an output has room for a number of so many bits: to be asked before anything is computed.
    ///
    /// # Errors
    /// What it has and what it needs.
    pub fn check_output(&self, place: usize, needed: u32) -> Result<(), KeyError> {
        let operation = self.operation();
        let name = operation.outputs().get(place).copied().unwrap_or("output");
        let found = self.0.as_ref().and_then(|body| body.of_kind(true).nth(place));
        match found {
            Some((_, bits)) if bits >= needed => Ok(()),
            _ => Err(KeyError::OutputTooShort { name, bits: found.map_or(0, |one| one.1), needed }),
        }
    }

    /// Writes a big-endian number into an output, with zeros in front; what does not fit in front is cut off, see
    /// [`KeyRequest::check_output`].
    pub fn write_output(&mut self, place: usize, value: &[u8]) {
        let Some(body) = &mut self.0 else { return };
        let Some((number, bits)) = body.of_kind(true).nth(place) else { return };
        if let Some(output) = body.place_mut(number, bits) {
            output.fill(0);
            output.iter_mut().rev().zip(value.iter().rev()).for_each(|(to, byte)| *to = *byte);
        }
    }

    /// Says what became of it; a driver does so once, before it gives the request back.
    pub fn finish(&mut self, result: Result<(), KeyError>) {
        if let Some(body) = &mut self.0 {
            body.result = Some(result);
        }
    }

    /// Forgets the result, so that the request can be submitted again.
    pub(crate) fn reopen(&mut self) {
        if let Some(body) = &mut self.0 {
            body.result = None;
        }
    }
}

impl Drop for KeyRequest {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take() else { return };
        body.wipe();
        if let Some(home) = body.home.upgrade() {
            // A pool has a place for each request it made.
            drop(home.push(body));
        }
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |output| -> Vec<u32> {
            let body = self.0.as_ref();
            body.into_iter().flat_map(|body| body.of_kind(output)).map(|(_, bits)| bits).collect()
        };
        f.debug_struct("KeyRequest")
            .field("operation", &self.operation())
            .field("cookie", &self.cookie())
            .field("result", &self.result())
            .field("input_bits", &bits(false))
            .field("output_bits", &bits(true))
            .finish_non_exhaustive()
    }
}

/// A pool of requests; clones share it.
#[derive(Clone)]
pub struct KeyRequestPool {
    free: Arc<ArrayQueue<Box<Body>>>,
}

impl KeyRequestPool {
    /// A pool of `count` requests (at least one) for operands of up to `max_bits`. A request holds eight of that length.
    #[must_use]
    pub fn new(count: usize, max_bits: u32) -> Self {
        let free = Arc::new(ArrayQueue::new(count.max(1)));
        for _ in 0..free.capacity() {
            drop(free.push(Box::new(Body::new(&free, max_bits))));
        }
        Self { free }
    }

    /// A request without operands, or `None` when all are out.
    #[must_use]
    pub fn alloc(&self, operation: KeyOperation) -> Option<KeyRequest> {
        let mut body = self.free.pop()?;
        body.operation = operation;
        Some(KeyRequest(Some(body)))
    }

    /// Requests that are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }
}

impl fmt::Debug for KeyRequestPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequestPool").field("available", &self.available()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> KeyRequest {
        KeyRequestPool::new(1, 64).alloc(KeyOperation::ModExp).unwrap()
    }

    #[test]
    fn a_request_comes_back_from_its_pool_empty_and_wiped() {
        let pool = KeyRequestPool::new(1, 64);
        let mut request = pool.alloc(KeyOperation::DsaSign).unwrap().with_cookie(9);
        request.add_input(&[0xab; 8]).unwrap();
        request.add_output(64).unwrap();
        request.write_output(0, &[0xcd; 8]);
        request.finish(Ok(()));
        assert!(pool.alloc(KeyOperation::ModExp).is_none());
        drop(request);
        let body = pool.free.pop().unwrap();
        assert!(body.places.iter().all(|&byte| byte == 0));
        assert_eq!((body.cookie, body.result, body.count, body.place_len), (0, None, 0, 8));
        drop(pool.free.push(body));
        let again = pool.clone().alloc(KeyOperation::ModExp).unwrap();
        assert_eq!((again.operation(), again.input(0), pool.available()), (KeyOperation::ModExp, None, 0));
    }

    #[test]
    fn a_request_outlives_its_pool() {
        let mut request = request();
        request.add_input(&[5; 8]).unwrap();
        assert_eq!(request.input(0), Some(&[5; 8][..]));
    }

    #[test]
    fn an_operand_that_does_not_fit_is_refused_and_changes_nothing() {
        let mut request = request();
        assert_eq!(request.add_input(&[1; 9]), Err(KeyError::OperandTooLong { bits: 72, limit: 64 }));
        assert_eq!(request.add_output(65), Err(KeyError::OperandTooLong { bits: 65, limit: 64 }));
        assert_eq!((request.input(0), request.longest()), (None, 0));
        (0..8_u8).for_each(|n| request.add_input(&[n]).unwrap());
        assert_eq!(request.add_input(&[8]), Err(KeyError::TooMany));
        assert_eq!(request.add_output(8), Err(KeyError::TooMany));
        assert!((0..8_u8).all(|n| request.input(n.into()) == Some(&[n][..])));
    }

    #[test]
    fn bits_and_bytes_must_go_together() {
        let mut request = request();
        for (bytes, bits) in [(&[1, 0xff][..], 17), (&[1, 0xff], 8), (&[2, 0xff], 9), (&[], 1), (&[0], 0)] {
            let error = KeyError::Length { bytes: bytes.len(), bits };
            assert_eq!(request.add_input_bits(bytes, bits), Err(error));
        }
        request.add_input_bits(&[1, 0xff], 9).unwrap();
        request.add_input_bits(&[], 0).unwrap();
        assert_eq!((request.longest(), request.input(1)), (9, Some(&[][..])));
    }

    #[test]
    fn inputs_and_outputs_keep_their_order_however_they_are_mixed() {
        let mut request = request();
        request.add_output(16).unwrap();
        request.add_input(&[1]).unwrap();
        request.add_output(8).unwrap();
        request.add_input(&[2]).unwrap();
        request.write_output(0, &[7]);
        request.write_output(1, &[8]);
        assert_eq!(request.output(0), None, "nothing is done yet");
        request.finish(Err(KeyError::Failed));
        assert_eq!(request.output(0), None, "it failed");
        request.finish(Ok(()));
        assert_eq!((request.output(0), request.output(1)), (Some(&[0, 7][..]), Some(&[8][..])));
        assert_eq!((request.input(0), request.input(1)), (Some(&[1][..]), Some(&[2][..])));
    }

    #[test]
    fn a_wrong_number_of_operands_says_what_is_right() {
        for operation in KeyOperation::ALL {
            let (inputs, outputs) = (operation.inputs().len(), operation.outputs().len());
            for (more_in, more_out) in (0..=8).flat_map(|n| (0..=8 - n).map(move |m| (n, m))) {
                let mut request = KeyRequestPool::new(1, 8).alloc(operation).unwrap();
                (0..more_in).for_each(|_| request.add_input(&[1]).unwrap());
                (0..more_out).for_each(|_| request.add_output(8).unwrap());
                let wrong = |kind, given, right| Err(KeyError::Parameters { operation, kind, given, right });
                let expected = match (more_in == inputs, more_out == outputs) {
                    (true, true) => Ok(()),
                    (false, _) => wrong("inputs", more_in, inputs),
                    (true, false) => wrong("outputs", more_out, outputs),
                };
                assert_eq!(request.check(), expected);
            }
        }
        let wrong =
            KeyError::Parameters { operation: KeyOperation::DsaSign, kind: "inputs", given: 4, right: 5 };
        assert_eq!(wrong.to_string(), "dsa-sign takes 5 inputs, not 4");
    }

    #[test]
    fn printing_shows_lengths_and_no_bytes() {
        let mut request = request().with_cookie(3);
        request.add_input(&[0xab; 8]).unwrap();
        let text = format!("{request:?}");
        assert!(text.contains("input_bits: [64]") && text.contains("cookie: 3"), "{text}");
        assert!(!text.contains("171") && !text.to_lowercase().contains("ab,"), "{text}");
    }
}

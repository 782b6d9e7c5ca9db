//! The memory of a request: a place for each operand, made once, wiped and used again.

use std::sync::{Arc, Weak};

use crossbeam_queue::ArrayQueue;
use zeroize::Zeroize as _;

use super::error::KeyError;
use super::operation::{KeyOperation, MAX_PARAMETERS};

#[derive(Clone, Copy, Default)]
pub(super) struct Parameter {
    pub(super) bits: u32,
    pub(super) output: bool,
}

/// Bytes of a length in bits.
pub(super) fn bytes_of(bits: u32) -> usize {
    bits.div_ceil(8) as usize
}

pub(super) struct Body {
    pub(super) home: Weak<ArrayQueue<Box<Body>>>,
    pub(super) operation: KeyOperation,
    pub(super) cookie: u64,
    pub(super) result: Option<Result<(), KeyError>>,
    pub(super) parameters: [Parameter; MAX_PARAMETERS],
    pub(super) count: usize,
    /// A place of `place_len` bytes for each parameter.
    pub(super) places: Box<[u8]>,
    pub(super) place_len: usize,
}

impl Body {
    pub(super) fn new(home: &Arc<ArrayQueue<Box<Self>>>, max_bits: u32) -> Self {
        let place_len = bytes_of(max_bits);
        Self {
            home: Arc::downgrade(home),
            operation: KeyOperation::ModExp,
            cookie: 0,
            result: None,
            parameters: Default::default(),
            count: 0,
            places: vec![0; place_len * MAX_PARAMETERS].into(),
            place_len,
        }
    }

    /// Number and length in bits of the inputs, or of the outputs, in their order.
    pub(super) fn of_kind(&self, output: bool) -> impl Iterator<Item = (usize, u32)> {
        let numbered = self.parameters.iter().take(self.count).enumerate();
        numbered.filter(move |(_, one)| one.output == output).map(|(number, one)| (number, one.bits))
    }

    pub(super) fn place(&self, number: usize, bits: u32) -> Option<&[u8]> {
        self.places.get(number * self.place_len..)?.get(..bytes_of(bits))
    }

    pub(super) fn place_mut(&mut self, number: usize, bits: u32) -> Option<&mut [u8]> {
        self.places.get_mut(number * self.place_len..)?.get_mut(..bytes_of(bits))
    }

    pub(super) fn add(&mut self, bits: u32, output: bool) -> Result<&mut [u8], KeyError> {
        let limit = u32::try_from(self.place_len * 8).unwrap_or(u32::MAX);
        if bits > limit {
            return Err(KeyError::OperandTooLong { bits, limit });
        }
        let number = self.count;
        *self.parameters.get_mut(number).ok_or(KeyError::TooMany)? = Parameter { bits, output };
        self.count += 1;
        self.place_mut(number, bits).ok_or(KeyError::TooMany)
    }

    pub(super) fn wipe(&mut self) {
        let parameters = self.parameters;
        for (number, parameter) in parameters.iter().enumerate().take(self.count) {
            if let Some(place) = self.place_mut(number, parameter.bits) {
                place.zeroize();
            }
        }
        (self.count, self.cookie, self.result) = (0, 0, None);
    }
}

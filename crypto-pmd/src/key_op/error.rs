//! Why a key operation was not done.

use super::operation::{KeyOperation, MAX_PARAMETERS};

/// What went wrong, and what would be right. Holds no text of its own, so that it takes no memory on the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the number of inputs or outputs that the operation has.
    #[error("{} takes {right} {kind}, not {given}", operation.name())]
    Parameters {
        /// The operation.
        operation: KeyOperation,
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// How many the request has.
        given: usize,
        /// How many it must have.
        right: usize,
    },
    /// More operands than a request holds.
    #[error("a request holds {MAX_PARAMETERS} operands and no more")]
    TooMany,
    /// The length in bits is not that of the bytes.
    #[error(
        "{bytes} bytes are not an operand of {bits} bits: give as many bytes as the bits need, the unused ones zero"
    )]
    Length {
        /// Bytes that were given.
        bytes: usize,
        /// Bits that were given.
        bits: u32,
    },
    /// An operand is longer than the request's pool, or any driver that may do the operation, takes.
    #[error("an operand of {bits} bits is too long: at most {limit} will do here")]
    OperandTooLong {
        /// Its length in bits.
        bits: u32,
        /// The most, in bits.
        limit: u32,
    },
    /// An output has no room for the result.
    #[error("the output {name} needs {needed} bits, not {bits}")]
    OutputTooShort {
        /// The output.
        name: &'static str,
        /// Its length in bits.
        bits: u32,
        /// The least, in bits.
        needed: u32,
    },
    /// Nobody does it.
    #[error("no driver that the placement allows does {}: attach one before the dispatcher is made", .0.name())]
    NoDriver(KeyOperation),
    /// A modulus that is zero, one or even.
    #[error("{0} must be odd and above one")]
    Modulus(&'static str),
    /// An operand outside of its range.
    #[error("{name} must be {range}")]
    OutOfRange {
        /// The operand.
        name: &'static str,
        /// Where it must lie.
        range: &'static str,
    },
    /// The public value, or the secret that comes of it, is one that anybody can guess.
    #[error("the public value is degenerate: the other side is broken, or an attack")]
    PublicValue,
    /// The signature is not one of this digest by this key.
    #[error("the signature does not match")]
    SignatureMismatch,
    /// The result did not pass its check, and handing it out could give the key away.
    #[error("the parts of the key do not belong together, or the computation failed; the result is withheld")]
    Inconsistent,
    /// The driver gave the request back without a result.
    #[error("the driver failed and gave no result; submit again, or to another driver")]
    Failed,
}

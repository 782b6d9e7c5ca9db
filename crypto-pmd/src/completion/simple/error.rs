//! What can go wrong in a call of [`Simple`](super::Simple), with what would be right.

use crate::device::OpenError;
use crate::job::Status;

use super::shape::Purpose;

/// Why there is no result. Lengths are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimpleError {
    /// The session could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No memory for buffers.
    #[error("no memory for packet buffers: {0}")]
    Memory(#[from] std::io::Error),
    /// The session's bundle is for something else.
    #[error("{asked} needs a session with {needs}, and this one has {bundle}")]
    Unfit {
        /// The call.
        asked: &'static str,
        /// What it needs.
        needs: &'static str,
        /// Names of the session's algorithms.
        bundle: String,
    },
    /// A nonce or IV of another length.
    #[error("a nonce of {len} bytes was given, and the session takes {takes}")]
    NonceLength {
        /// The length given.
        len: usize,
        /// The length that is right.
        takes: usize,
    },
    /// Not a multiple of the cipher's block.
    #[error("the text has {len} bytes, which is no multiple of the cipher's block of {block}; pad it")]
    NotWhole {
        /// The text's length.
        len: usize,
        /// The block's length.
        block: usize,
    },
    /// Shorter than it can be.
    #[error("{len} bytes were given, and there are {least} at least")]
    TooShort {
        /// The length given.
        len: usize,
        /// The fewest.
        least: usize,
    },
    /// Longer than the driver takes, or than a chain of the pool's buffers holds.
    #[error(
        "{len} bytes are more than the driver, a chain of buffers, or what precedes a text can have; work in pieces"
    )]
    TooLong {
        /// The length given.
        len: usize,
    },
    /// The pool has no buffer left.
    #[error("the pool has no free buffer; use a larger one, or give packets back first")]
    NoBuffer,
    /// The tag does not match.
    #[error("the tag does not match: nonce, associated data, text or tag are not what was sealed")]
    Forged,
    /// The driver did not give the job back in time; what it does with it later is thrown away.
    #[error("the driver did not finish within {turns} polls; allow more, or use another driver")]
    NotBack {
        /// Polls made.
        turns: u32,
    },
    /// The driver failed in another way.
    #[error("the driver answered {0:?}")]
    Failed(Status),
}

pub(super) fn of(status: Status, len: usize) -> SimpleError {
    match status {
        Status::IntegrityFailed => SimpleError::Forged,
        Status::TooLong => SimpleError::TooLong { len },
        Status::NoBuffer => SimpleError::NoBuffer,
        other => SimpleError::Failed(other),
    }
}

pub(super) fn needs(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Cipher => "one cipher",
        Purpose::Mac => "one keyed hash",
        Purpose::Digest => "one hash",
        Purpose::Seal => "one AEAD, or a cipher and then a keyed hash that takes no nonce",
    }
}

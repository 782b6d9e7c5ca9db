//! Hashes without a key.

use blake2::{Blake2b512, Blake2s256};
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::algorithm::DigestAlgorithm;
use crate::job::Operation;

use super::integrity::{Input, settle};

/// Writes or checks a digest; true when written or matching.
pub(super) fn run(
    algorithm: DigestAlgorithm,
    operation: Operation,
    input: &Input<'_>,
    tag: &mut [u8],
) -> bool {
    match algorithm {
        #[cfg(feature = "legacy")]
        DigestAlgorithm::Md5 => run_with::<md5::Md5>(operation, input, tag),
        #[cfg(not(feature = "legacy"))]
        DigestAlgorithm::Md5 => false,
        DigestAlgorithm::Sha1 => run_with::<Sha1>(operation, input, tag),
        DigestAlgorithm::Sha224 => run_with::<Sha224>(operation, input, tag),
        DigestAlgorithm::Sha256 => run_with::<Sha256>(operation, input, tag),
        DigestAlgorithm::Sha384 => run_with::<Sha384>(operation, input, tag),
        DigestAlgorithm::Sha512 => run_with::<Sha512>(operation, input, tag),
        DigestAlgorithm::Ripemd160 => run_with::<Ripemd160>(operation, input, tag),
        DigestAlgorithm::Blake2b => run_with::<Blake2b512>(operation, input, tag),
        DigestAlgorithm::Blake2s => run_with::<Blake2s256>(operation, input, tag),
    }
}

fn run_with<D: Digest>(operation: Operation, input: &Input<'_>, tag: &mut [u8]) -> bool {
    settle(&D::new().chain_update(input.data).chain_update(input.high).finalize(), operation, tag)
}

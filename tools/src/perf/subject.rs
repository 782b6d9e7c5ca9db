//! What is measured: a suite of ESP or a single algorithm, with its name, its layout and sessions of it.

use crypto_pmd::{
    AeadAlgorithm, CipherAlgorithm, DigestAlgorithm, IntegrityAlgorithm, Key, Operation, SessionParams,
    Transform,
};
use ipsec_esp::header::esp::{self, Spi};
use ipsec_esp::sa::{Mode, Offload, SaParams};
use ipsec_esp::suite::{self, Suite};

use super::layout::{Covered, Layout};
use super::options::OperationName;

/// A suite or an algorithm.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) recipe: Recipe,
}

/// How its sessions are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recipe {
    Suite(Suite),
    Cipher { algorithm: CipherAlgorithm, key_len: usize },
    Integrity { algorithm: IntegrityAlgorithm, key_len: usize, tag_len: usize },
    Digest { algorithm: DigestAlgorithm, digest_len: usize },
    Aead { algorithm: AeadAlgorithm, key_len: usize, tag_len: usize },
}

impl Subject {
    pub(super) fn of_suite(suite: Suite) -> Self {
        Self { name: suite.name().to_owned(), recipe: Recipe::Suite(suite) }
    }

    /// What can be done with it, the way there first.
    pub(super) fn operations(&self) -> &'static [OperationName] {
        match self.recipe {
            Recipe::Integrity { .. } => &[OperationName::Generate, OperationName::Verify],
            Recipe::Digest { .. } => &[OperationName::Digest],
            _ => &[OperationName::Encrypt, OperationName::Decrypt],
        }
    }

    pub(super) fn layout(&self) -> Layout {
        match self.recipe {
            Recipe::Suite(suite) => Layout {
                header_len: esp::LEN,
                iv_len: suite.iv_len(),
                tag_len: suite.icv_len(),
                block_len: suite.block_len(),
                enciphers: suite.cipher() != suite::Cipher::Null,
                covered: if suite.is_aead() { Covered::Header } else { Covered::Front },
            },
            Recipe::Cipher { algorithm, .. } => Layout {
                header_len: 0,
                iv_len: algorithm.iv_len(),
                tag_len: 0,
                block_len: algorithm.block_len(),
                enciphers: algorithm != CipherAlgorithm::Null,
                covered: Covered::Nothing,
            },
            Recipe::Integrity { algorithm, tag_len, .. } => {
                let covered = match algorithm {
                    // Its tags are never looked at.
                    IntegrityAlgorithm::Null => Covered::Nothing,
                    _ => Covered::Front,
                };
                hashed(algorithm.nonce_len(), tag_len, covered)
            }
            Recipe::Digest { digest_len, .. } => hashed(0, digest_len, Covered::Front),
            Recipe::Aead { algorithm, tag_len, .. } => Layout {
                header_len: esp::LEN,
                iv_len: algorithm.nonce_len(),
                tag_len,
                block_len: 1,
                enciphers: true,
                covered: Covered::Header,
            },
        }
    }

    /// Whether an operation changes more of a packet than its tag, so that it cannot be done again on its own output.
    pub(super) fn spoils(&self, operation: Operation) -> bool {
        operation == Operation::Decrypt && self.layout().enciphers
    }

    /// A session with keys of its own.
    pub(super) fn params(&self, random: &mut fastrand::Rng) -> SessionParams {
        match self.recipe {
            Recipe::Suite(suite) => sa_of(suite, random).session_params(),
            Recipe::Cipher { algorithm, key_len } => {
                Transform::cipher(algorithm, key(key_len, random)).into()
            }
            Recipe::Integrity { algorithm, key_len, tag_len } => {
                Transform::integrity(algorithm, key(key_len, random), tag_len).into()
            }
            Recipe::Digest { algorithm, digest_len } => Transform::digest(algorithm, digest_len).into(),
            Recipe::Aead { algorithm, key_len, tag_len } => {
                // Without a salt: the whole nonce is in the packet.
                Transform::aead(algorithm, key(key_len, random), Key::new(&[]), tag_len).into()
            }
        }
    }
}

/// A packet of which nothing is encrypted.
fn hashed(iv_len: usize, tag_len: usize, covered: Covered) -> Layout {
    Layout { header_len: 0, iv_len, tag_len, block_len: 1, enciphers: false, covered }
}

fn key(len: usize, random: &mut fastrand::Rng) -> Key {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    Key::new(&bytes)
}

fn sa_of(suite: Suite, random: &mut fastrand::Rng) -> SaParams {
    SaParams {
        spi: Spi(0x1000),
        suite,
        encryption_key: key(suite.encryption_key_len(), random),
        integrity_key: key(suite.integrity_key_len(), random),
        mode: Mode::Transport { destination: None },
        udp_encap: None,
        esn: false,
        replay_window: 0,
        sequence: 1,
        offload: Offload::default(),
    }
}

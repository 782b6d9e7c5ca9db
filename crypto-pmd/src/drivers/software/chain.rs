//! A session of the software driver: the chain of transforms, ready to run over the bytes of one packet.

use smallvec::SmallVec;

use crate::algorithm::AeadAlgorithm;
use crate::capability::Unsupported;
use crate::extension::MAX_IV;
use crate::job::{Operation, Shape, Status};
use crate::transform::{SessionParams, Transform};

use super::aead::Aead;
use super::cipher::Cipher;
use super::integrity::Integrity;

/// What may be chained: for encryption from left to right.
#[derive(Debug)]
pub(super) enum Chain {
    Separate { cipher: Option<Cipher>, integrity: Option<Integrity> },
    Aead { aead: Aead, salt: crate::key::Key, tag_len: usize },
}

impl Chain {
    pub(super) fn new(params: &SessionParams) -> Result<Self, Unsupported> {
        match params.transforms.as_slice() {
            [one] => Self::of_one(one),
            [Transform::Cipher { .. }, Transform::Integrity { .. }] => {
                let parts = params.transforms.iter().map(Self::of_one);
                parts.reduce(|chain, next| Ok(chain?.followed_by(next?))).unwrap_or(Err(Unsupported::Chain))
            }
            _ => Err(Unsupported::Chain),
        }
    }

    fn of_one(transform: &Transform) -> Result<Self, Unsupported> {
        match transform {
            Transform::Cipher { algorithm, key, .. } => {
                let bad = Unsupported::KeyLength { algorithm: algorithm.name(), len: key.len() };
                let cipher = Cipher::aes(key.bytes()).ok_or(bad)?;
                Ok(Self::Separate { cipher: Some(cipher), integrity: None })
            }
            Transform::Integrity { algorithm, key, tag_len, .. } => {
                let bad = Unsupported::KeyLength { algorithm: algorithm.name(), len: key.len() };
                let integrity = Integrity::new(*algorithm, key.bytes(), *tag_len).ok_or(bad)?;
                Ok(Self::Separate { cipher: None, integrity: Some(integrity) })
            }
            Transform::Aead { algorithm, key, salt, tag_len, .. } => {
                Self::of_aead(*algorithm, key, salt, *tag_len)
            }
            _ => Err(Unsupported::Algorithm(transform.algorithm().name())),
        }
    }

    fn of_aead(
        algorithm: AeadAlgorithm,
        key: &crate::key::Key,
        salt: &crate::key::Key,
        tag_len: usize,
    ) -> Result<Self, Unsupported> {
        let name = algorithm.name();
        let aead =
            Aead::aes_gcm(key.bytes()).ok_or(Unsupported::KeyLength { algorithm: name, len: key.len() })?;
        if salt.len() > algorithm.nonce_len() {
            return Err(Unsupported::SaltLength { algorithm: name, len: salt.len() });
        }
        Ok(Self::Aead { aead, salt: salt.clone(), tag_len })
    }

    fn followed_by(self, next: Self) -> Self {
        match (self, next) {
            (Self::Separate { cipher, .. }, Self::Separate { integrity, .. }) => {
                Self::Separate { cipher, integrity }
            }
            (chain, _) => chain,
        }
    }

    /// Does a job over the packet's bytes, which lie in one piece.
    pub(super) fn run(&self, job: &Shape<'_>, packet: &mut [u8]) -> Status {
        match self {
            Self::Separate { cipher, integrity } => {
                run_separate(cipher.as_ref(), integrity.as_ref(), job, packet)
            }
            Self::Aead { aead, salt, tag_len } => {
                let done = run_aead(aead, salt.bytes(), *tag_len, job, packet);
                done.unwrap_or(Status::BadRange)
            }
        }
    }
}

fn run_separate(
    cipher: Option<&Cipher>,
    integrity: Option<&Integrity>,
    job: &Shape<'_>,
    packet: &mut [u8],
) -> Status {
    // Every range is checked before a byte is changed, so a job that fails leaves its packet untouched.
    if !ranges_fit(cipher, integrity, job, packet.len()) {
        return Status::BadRange;
    }
    let cipher_step =
        |packet: &mut [u8]| cipher.is_none_or(|cipher| run_cipher(cipher, job, packet).is_some());
    let integrity_step =
        |packet: &mut [u8]| integrity.map_or(Some(true), |integrity| run_integrity(integrity, job, packet));
    match job.operation {
        Operation::Encrypt => match cipher_step(packet) && integrity_step(packet) == Some(true) {
            true => Status::Done,
            false => Status::BadRange,
        },
        Operation::Decrypt => match integrity_step(packet) {
            Some(true) if cipher_step(packet) => Status::Done,
            Some(false) => Status::IntegrityFailed,
            _ => Status::BadRange,
        },
    }
}

fn ranges_fit(cipher: Option<&Cipher>, integrity: Option<&Integrity>, job: &Shape<'_>, len: usize) -> bool {
    let within = |(offset, count): (usize, usize)| offset.checked_add(count).is_some_and(|end| end <= len);
    let cipher_fits = cipher.is_none_or(|_| {
        let explicit = job.extension.and_then(|extension| extension.iv()).map(<[u8]>::len);
        let iv_fits = explicit.map_or_else(|| within((job.iv_offset, 16)), |count| count == 16);
        within(job.cipher) && job.cipher.1.is_multiple_of(16) && iv_fits
    });
    cipher_fits
        && integrity
            .is_none_or(|integrity| within(job.integrity) && within((job.tag_offset, integrity.tag_len())))
}

fn run_cipher(cipher: &Cipher, job: &Shape<'_>, packet: &mut [u8]) -> Option<()> {
    let iv = nonce_of(job, &[], 16, packet)?;
    let (offset, len) = job.cipher;
    let data = packet.get_mut(offset..offset.checked_add(len)?)?;
    cipher.cbc(job.operation, &iv, data).then_some(())
}

/// Whether the tag was written or matches; `None` when a range lies outside the packet.
fn run_integrity(integrity: &Integrity, job: &Shape<'_>, packet: &mut [u8]) -> Option<bool> {
    let (offset, len) = job.integrity;
    let end = offset.checked_add(len)?;
    let tag_end = job.tag_offset.checked_add(integrity.tag_len())?;
    let mut tag: SmallVec<[u8; 64]> = SmallVec::from_slice(packet.get(job.tag_offset..tag_end)?);
    let high = job.esn_high.map(u32::to_be_bytes);
    let suffix = high.as_ref().map_or(&[][..], |high| high);
    let data = packet.get(offset..end)?;
    let matches = integrity.run(job.operation, data, suffix, &mut tag);
    if job.operation == Operation::Encrypt {
        packet.get_mut(job.tag_offset..tag_end)?.copy_from_slice(&tag);
    }
    Some(matches)
}

fn run_aead(aead: &Aead, salt: &[u8], tag_len: usize, job: &Shape<'_>, packet: &mut [u8]) -> Option<Status> {
    let nonce = nonce_of(job, salt, 12, packet)?;
    let tag_end = job.tag_offset.checked_add(tag_len)?;
    let mut tag: SmallVec<[u8; 16]> = SmallVec::from_slice(packet.get(job.tag_offset..tag_end)?);
    let explicit = job.extension.and_then(|extension| extension.associated_data());
    let aad_range = if explicit.is_some() { (0, 0) } else { job.integrity };
    let (range, data) = split(packet, aad_range, job.cipher)?;
    let extended: SmallVec<[u8; 16]>;
    let aad = match (explicit, job.esn_high) {
        (Some(explicit), _) => explicit,
        (None, None) => range,
        (None, Some(high)) => {
            extended = with_high_half(range, high)?;
            &extended
        }
    };
    if !aead.run(job.operation, &nonce, aad, data, &mut tag) {
        return Some(match job.operation {
            Operation::Encrypt => Status::BadRange,
            Operation::Decrypt => Status::IntegrityFailed,
        });
    }
    if job.operation == Operation::Encrypt {
        packet.get_mut(job.tag_offset..tag_end)?.copy_from_slice(&tag);
    }
    Some(Status::Done)
}

/// The explicit IV when there is one, else the salt and what the packet holds, `len` bytes in all.
fn nonce_of(job: &Shape<'_>, salt: &[u8], len: usize, packet: &[u8]) -> Option<SmallVec<[u8; MAX_IV]>> {
    if let Some(iv) = job.extension.and_then(|extension| extension.iv()) {
        return (iv.len() == len).then(|| SmallVec::from_slice(iv));
    }
    let from_packet = len.checked_sub(salt.len())?;
    let mut nonce = SmallVec::from_slice(salt);
    nonce.extend_from_slice(packet.get(job.iv_offset..job.iv_offset.checked_add(from_packet)?)?);
    Some(nonce)
}

/// Associated data and cipher range of a packet; `None` when one lies outside, or they share bytes.
fn split(packet: &mut [u8], aad: (usize, usize), cipher: (usize, usize)) -> Option<(&[u8], &mut [u8])> {
    let whole = packet.len();
    let within = |(offset, len): (usize, usize)| {
        let end = offset.checked_add(len).filter(|&end| end <= whole)?;
        Some(offset..end)
    };
    // An empty range shares no byte with the other, wherever it lies.
    let aad = Some(within(aad)?).filter(|range| !range.is_empty()).unwrap_or(0..0);
    let cipher = Some(within(cipher)?).filter(|range| !range.is_empty()).unwrap_or(whole..whole);
    if aad.end <= cipher.start {
        let (front, back) = packet.split_at_mut_checked(cipher.start)?;
        return Some((front.get(aad)?, back.get_mut(..cipher.len())?));
    }
    let (front, back) = packet.split_at_mut_checked(aad.start)?;
    Some((back.get(..aad.len())?, front.get_mut(cipher)?))
}

/// Associated data with the high half of an extended sequence number behind its first four bytes (RFC 4106
/// section 5); as short as a header, so that it does not reach the heap.
fn with_high_half(range: &[u8], high: u32) -> Option<SmallVec<[u8; 16]>> {
    let (spi, low) = range.split_at_checked(4)?;
    let mut data = SmallVec::from_slice(spi);
    data.extend_from_slice(&high.to_be_bytes());
    data.extend_from_slice(low);
    Some(data)
}

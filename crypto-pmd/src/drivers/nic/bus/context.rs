//! Control commands, and the session that one of them carries: as bytes, so that a card is told all that it needs and nothing else.
//!
//! A session is a count of transforms, and for each a family, a number within it, the length of the tag, and key and salt, each behind its
//! length in 16 bits. Whoever wrote keys into shared memory wipes them as soon as the card has answered.

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, DigestAlgorithm, IntegrityAlgorithm};
use crate::key::Key;
use crate::transform::{SessionParams, Transform};

/// What the card is to do, as the value of [`super::registers::ADMIN_COMMAND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take the session in, under the place in [`super::registers::ADMIN_SLOT`].
    Load = 1,
    /// Forget the session in that place.
    Forget = 2,
    /// Take in an SA for frames that pass, under the place in [`super::registers::ADMIN_SLOT`]; see [`super::association`].
    Install = 3,
    /// Stop with the SA in that place, and write its state where operands lie.
    Export = 4,
}

/// What the card answers in [`super::registers::ADMIN_STATUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done.
    Done = 1,
    /// No place is left.
    Full = 2,
    /// It cannot do this.
    Unsupported = 3,
    /// Not now: it is being reset, or hangs.
    Busy = 4,
}

impl Answer {
    pub(crate) fn of(value: u64) -> Self {
        match value {
            1 => Self::Done,
            2 => Self::Full,
            3 => Self::Unsupported,
            _ => Self::Busy,
        }
    }
}

/// The bytes of a session; `None` for one that cards do not take.
pub(crate) fn encode(params: &SessionParams) -> Option<Zeroizing<Vec<u8>>> {
    // Its full size at once: a vector that grows leaves keys behind.
    let len = params
        .transforms
        .iter()
        .map(|one| 16 + one.key().map_or(0, Key::len) + salt_of(one).map_or(0, Key::len));
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + len.sum::<usize>()));
    bytes.push(u8::try_from(params.transforms.len()).ok()?);
    for transform in &params.transforms {
        let (family, number) = number_of(transform)?;
        let tag = u16::try_from(transform.tag_len().unwrap_or(0)).ok()?;
        bytes.extend([family, number]);
        bytes.extend(tag.to_le_bytes());
        for part in [transform.key(), salt_of(transform)] {
            let part = part.map(Key::bytes).unwrap_or_default();
            bytes.extend(u16::try_from(part.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Some(bytes)
}

/// The session that these bytes are; `None` for bytes that are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<SessionParams> {
    let (count, mut rest) = bytes.split_first()?;
    let mut transforms = SmallVec::new();
    for _ in 0..*count {
        let ([family, number], after) = rest.split_first_chunk::<2>()?;
        let (tag, after) = after.split_first_chunk()?;
        let (key, after) = take(after)?;
        let (salt, after) = take(after)?;
        rest = after;
        transforms.push(transform(*family, *number, usize::from(u16::from_le_bytes(*tag)), (key, salt))?);
    }
    rest.is_empty().then_some(SessionParams { transforms })
}

fn take(bytes: &[u8]) -> Option<(Key, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some((Key::new(key), rest))
}

fn salt_of(transform: &Transform) -> Option<&Key> {
    match transform {
        Transform::Cipher { salt, .. } | Transform::Integrity { salt, .. } | Transform::Aead { salt, .. } => {
            Some(salt)
        }
        Transform::Digest { .. } | Transform::Compression { .. } => None,
    }
}

fn number_of(transform: &Transform) -> Option<(u8, u8)> {
    let place = |place: Option<usize>| u8::try_from(place?).ok();
    Some(match transform {
        Transform::Cipher { algorithm, .. } => {
            (1, place(CipherAlgorithm::ALL.iter().position(|one| one == algorithm))?)
        }
        Transform::Integrity { algorithm, .. } => {
            (2, place(IntegrityAlgorithm::ALL.iter().position(|one| one == algorithm))?)
        }
        Transform::Digest { algorithm, .. } => {
            (3, place(DigestAlgorithm::ALL.iter().position(|one| one == algorithm))?)
        }
        Transform::Aead { algorithm, .. } => {
            (4, place(AeadAlgorithm::ALL.iter().position(|one| one == algorithm))?)
        }
        Transform::Compression { .. } => return None,
    })
}

fn transform(family: u8, number: u8, tag_len: usize, (key, salt): (Key, Key)) -> Option<Transform> {
    let number = usize::from(number);
    let transform = match family {
        1 => Transform::cipher(*CipherAlgorithm::ALL.get(number)?, key),
        2 => Transform::integrity(*IntegrityAlgorithm::ALL.get(number)?, key, tag_len),
        3 => Transform::digest(*DigestAlgorithm::ALL.get(number)?, tag_len),
        4 => Transform::aead(*AeadAlgorithm::ALL.get(number)?, key, salt.clone(), tag_len),
        _ => return None,
    };
    Some(transform.with_salt(salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Vec<SessionParams> {
        let key = |len: u8| Key::new(&(0..len).collect::<Vec<_>>());
        vec![
            [
                Transform::cipher(CipherAlgorithm::AesCbc, key(16)),
                Transform::integrity(IntegrityAlgorithm::HmacSha1, key(20), 12),
            ]
            .into_iter()
            .collect(),
            Transform::aead(AeadAlgorithm::AesGcm, key(32), key(4), 16).into(),
            Transform::cipher(CipherAlgorithm::AesCtr, key(24)).with_salt(key(4)).into(),
            Transform::digest(DigestAlgorithm::Sha512, 32).into(),
            SessionParams::default(),
        ]
    }

    #[test]
    fn a_card_reads_the_session_that_was_written() {
        for params in sessions() {
            assert_eq!(decode(&encode(&params).unwrap()).unwrap(), params);
        }
    }

    #[test]
    fn bytes_that_are_cut_or_go_on_are_no_session() {
        for params in sessions() {
            let bytes = encode(&params).unwrap();
            assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_none()));
            assert!(decode(&[&bytes[..], &[0]].concat()).is_none());
        }
        assert!(decode(&[1, 9, 0, 0, 0, 0, 0, 0, 0]).is_none(), "a family that there is not");
        assert!(decode(&[1, 1, 250, 0, 0, 0, 0, 0, 0]).is_none(), "an algorithm that there is not");
    }
}

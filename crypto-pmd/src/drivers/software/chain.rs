//! A session of the software driver: the chain of transforms, ready to run.
//!
//! Chains of what nearly every job asks for have a variant each, and run straight (see `straight`); any other is run step by
//! step, as its jobs say (see `steps`).

use crate::algorithm::{Algorithm, CompressionAlgorithm};
use crate::capability::Unsupported;
use crate::extension::MAX_STEPS;
use crate::transform::{SessionParams, Transform};

use super::unit::{AeadUnit, CipherUnit, IntegrityUnit, Unit};

/// What may be chained: for encryption from left to right.
#[derive(Debug)]
pub(in crate::drivers) enum Chain {
    Separate { cipher: Option<CipherUnit>, integrity: Option<IntegrityUnit> },
    Aead(AeadUnit),
    Many(Vec<Unit>),
    Compression(CompressionAlgorithm),
}

impl AsRef<Self> for Chain {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A transform of a chain.
pub(super) enum Part<'a> {
    Cipher(&'a CipherUnit),
    Integrity(&'a IntegrityUnit),
    Aead(&'a AeadUnit),
}

impl Part<'_> {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Cipher(unit) => unit.algorithm.into(),
            Self::Integrity(unit) => unit.algorithm,
            Self::Aead(unit) => unit.algorithm.into(),
        }
    }
}

impl Chain {
    pub(in crate::drivers) fn new(params: &SessionParams) -> Result<Self, Unsupported> {
        match params.transforms.as_slice() {
            [Transform::Compression { algorithm }] => Ok(Self::Compression(*algorithm)),
            [one] => Unit::new(one).map(Self::of_one),
            [
                cipher @ Transform::Cipher { .. },
                hash @ (Transform::Integrity { .. } | Transform::Digest { .. }),
            ] => Ok(Self::of_two(Unit::new(cipher)?, Unit::new(hash)?)),
            [] => Err(Unsupported::Chain),
            many if many.len() > MAX_STEPS => Err(Unsupported::Chain),
            many => many.iter().map(Unit::new).collect::<Result<_, _>>().map(Self::Many),
        }
    }

    /// Asks for what the first transform needs that lies elsewhere, where that is known to be worth it.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Self::Aead(unit) = self {
            unit.aead.prefetch();
        }
    }

    fn of_one(unit: Unit) -> Self {
        match unit {
            Unit::Cipher(cipher) => Self::Separate { cipher: Some(cipher), integrity: None },
            Unit::Integrity(integrity) => Self::Separate { cipher: None, integrity: Some(integrity) },
            Unit::Aead(aead) => Self::Aead(aead),
        }
    }

    /// A job without steps names one IV, so not both may take one.
    fn of_two(cipher: Unit, integrity: Unit) -> Self {
        match (cipher, integrity) {
            (Unit::Cipher(cipher), Unit::Integrity(integrity))
                if cipher.nonce.is_none() || integrity.nonce.is_none() =>
            {
                Self::Separate { cipher: Some(cipher), integrity: Some(integrity) }
            }
            (cipher, integrity) => Self::Many(vec![cipher, integrity]),
        }
    }

    /// Transforms of the chain.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Separate { cipher, integrity } => {
                usize::from(cipher.is_some()) + usize::from(integrity.is_some())
            }
            Self::Aead(_) | Self::Compression(_) => 1,
            Self::Many(units) => units.len(),
        }
    }

    /// A transform by its number; `None` also for compression, which is run apart.
    pub(super) fn part(&self, number: usize) -> Option<Part<'_>> {
        match self {
            Self::Separate { cipher, integrity } => {
                let cipher = cipher.iter().map(Part::Cipher);
                cipher.chain(integrity.iter().map(Part::Integrity)).nth(number)
            }
            Self::Aead(unit) => (number == 0).then_some(Part::Aead(unit)),
            Self::Many(units) => units.get(number).map(|unit| match unit {
                Unit::Cipher(unit) => Part::Cipher(unit),
                Unit::Integrity(unit) => Part::Integrity(unit),
                Unit::Aead(unit) => Part::Aead(unit),
            }),
            Self::Compression(_) => None,
        }
    }
}

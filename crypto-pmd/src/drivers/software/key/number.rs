//! Long integers on the stack, of the fewest limbs that hold the operands, over `crypto-bigint`.
//!
//! Lengths are public; values are not, but where a name says `vartime`.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CtEq as _, CtLt as _, Limb, Uint, Word};

use crate::key_op::KeyError;

/// Longest operand, in bits.
pub(super) const MAX_BITS: u32 = 8192;
/// And in bytes.
pub(super) const MAX_BYTES: usize = MAX_BITS as usize / 8;

/// Calls a function for as many limbs as a number of so many bits needs, or a few more.
macro_rules! sized {
    ($bits:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        use crypto_bigint::{U256, U512, U1024, U1536, U2048, U3072, U4096, U8192};
        match $bits {
            ..=256 => $function::<{ U256::LIMBS }>($($argument),*),
            ..=512 => $function::<{ U512::LIMBS }>($($argument),*),
            ..=1024 => $function::<{ U1024::LIMBS }>($($argument),*),
            ..=1536 => $function::<{ U1536::LIMBS }>($($argument),*),
            ..=2048 => $function::<{ U2048::LIMBS }>($($argument),*),
            ..=3072 => $function::<{ U3072::LIMBS }>($($argument),*),
            ..=4096 => $function::<{ U4096::LIMBS }>($($argument),*),
            _ => $function::<{ U8192::LIMBS }>($($argument),*),
        }
    }};
}
pub(super) use sized;

/// Bits up to the first that is set.
pub(super) fn bits(bytes: &[u8]) -> u32 {
    let skipped = bytes.iter().take_while(|&&byte| byte == 0).count();
    let first = bytes.get(skipped).map_or(8, |first| first.leading_zeros());
    ((bytes.len() - skipped) as u32 * 8).saturating_sub(first)
}

/// A big-endian number, or what of it fits.
pub(super) fn load<const L: usize>(bytes: &[u8]) -> Uint<L> {
    let mut words = [0; L];
    for (word, chunk) in words.iter_mut().zip(bytes.rchunks(Limb::BYTES)) {
        *word = chunk.iter().fold(0, |high: Word, &byte| high << 8 | Word::from(byte));
    }
    Uint::from_words(words)
}

/// As [`load`]; `None` when it does not fit. Which of the two it is shows in the time.
pub(super) fn load_checked<const L: usize>(bytes: &[u8]) -> Option<Uint<L>> {
    let beyond = bytes.len().saturating_sub(L * Limb::BYTES);
    let rest = bytes.iter().take(beyond).fold(0, |all, &byte| all | byte);
    (rest == 0).then(|| load(bytes))
}

/// Writes the low bytes big-endian, with zeros in front.
pub(super) fn store<const L: usize>(value: &Uint<L>, out: &mut [u8]) {
    out.fill(0);
    for (chunk, word) in out.rchunks_mut(Limb::BYTES).zip(value.as_words()) {
        chunk.iter_mut().rev().zip(word.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    }
}

/// True when a number lies below a bound; which of the two it is shows.
pub(super) fn is_below<const L: usize>(value: &Uint<L>, bound: &Uint<L>) -> bool {
    value.ct_lt(bound).to_bool()
}

/// True when two numbers are the same.
pub(super) fn is_equal<const L: usize>(one: &Uint<L>, other: &Uint<L>) -> bool {
    one.ct_eq(other).to_bool()
}

/// Arithmetic modulo an odd number above one, which may be secret.
#[inline(never)]
pub(super) fn modulo<const L: usize>(
    modulus: &[u8],
    name: &'static str,
) -> Result<FixedMontyParams<L>, KeyError> {
    let modulus = load_checked::<L>(modulus).filter(|modulus| is_below(&Uint::ONE, modulus));
    let odd = modulus.and_then(|modulus| modulus.to_odd().into_option());
    odd.map(FixedMontyParams::new).ok_or(KeyError::Modulus(name))
}

/// As [`modulo`], for a number that everybody knows.
#[inline(never)]
pub(super) fn modulo_vartime<const L: usize>(
    modulus: &[u8],
    name: &'static str,
) -> Result<FixedMontyParams<L>, KeyError> {
    let modulus = load_checked::<L>(modulus).filter(|modulus| is_below(&Uint::ONE, modulus));
    let odd = modulus.and_then(|modulus| modulus.to_odd().into_option());
    odd.map(FixedMontyParams::new_vartime).ok_or(KeyError::Modulus(name))
}

/// A number of any length modulo another. Each piece is below `R = 2^bits` and needs not be below the modulus: a Montgomery
/// multiplication by `R^2 mod m` reduces it fully.
#[inline(never)]
pub(super) fn reduce<const L: usize>(bytes: &[u8], params: &FixedMontyParams<L>) -> FixedMontyForm<L> {
    let radix = FixedMontyForm::new(params.one(), params);
    let pieces = bytes.rchunks(L * Limb::BYTES).rev();
    pieces.fold(FixedMontyForm::zero(params), |high, piece| {
        high.mul(&radix).add(&FixedMontyForm::new(&load(piece), params))
    })
}

/// A power with a secret exponent of any length. One that is longer than the modulus is taken piece by piece.
#[inline(never)]
pub(super) fn power<const L: usize>(
    base: &FixedMontyForm<L>,
    exponent: &[u8],
    params: &FixedMontyParams<L>,
) -> FixedMontyForm<L> {
    let mut pieces = exponent.rchunks(L * Limb::BYTES).rev();
    let first = pieces.next().unwrap_or_default();
    let start = if first.is_empty() { FixedMontyForm::one(params) } else { piece_power(base, first) };
    pieces.fold(start, |high, piece| {
        let shifted = (0..8 * piece.len()).fold(high, |high, _| high.square());
        shifted.mul(&piece_power(base, piece))
    })
}

fn piece_power<const L: usize>(base: &FixedMontyForm<L>, piece: &[u8]) -> FixedMontyForm<L> {
    base.pow_bounded_exp(&load::<L>(piece), 8 * piece.len() as u32)
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;

    fn stored<const L: usize>(value: &Uint<L>) -> BigUint {
        let mut out = vec![0; L * Limb::BYTES];
        store(value, &mut out);
        BigUint::from_bytes_be(&out)
    }

    #[test]
    fn bits_count_from_the_first_that_is_set() {
        let cases: [(&[u8], u32); 6] =
            [(&[], 0), (&[0, 0], 0), (&[1], 1), (&[0, 1, 0], 9), (&[0x80], 8), (&[0xff, 0], 16)];
        for (bytes, expected) in cases {
            assert_eq!(bits(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_loaded_and_stored(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let value = BigUint::from_bytes_be(&bytes);
            prop_assert_eq!(bits(&bytes), value.bits() as u32);
            prop_assert_eq!(load_checked::<4>(&bytes).map(|loaded| stored(&loaded)), (value.bits() <= 256).then_some(value));
        }

        #[test]
        fn reduction_and_powers_are_those_of_another_implementation(
            mut modulus in proptest::collection::vec(any::<u8>(), 1..=32),
            number in proptest::collection::vec(any::<u8>(), 0..120),
            exponent in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            *modulus.last_mut().unwrap() |= 1;
            let big = BigUint::from_bytes_be(&modulus);
            prop_assume!(big > BigUint::from(1_u8));
            let params = modulo::<4>(&modulus, "modulus").unwrap();
            let base = reduce(&number, &params);
            let expected = BigUint::from_bytes_be(&number) % &big;
            prop_assert_eq!(stored(&base.retrieve()), expected.clone());
            let raised = power(&base, &exponent, &params);
            prop_assert_eq!(stored(&raised.retrieve()), expected.modpow(&BigUint::from_bytes_be(&exponent), &big));
        }
    }
}

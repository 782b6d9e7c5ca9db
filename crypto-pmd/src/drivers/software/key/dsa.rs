//! DSA, with the nonce of RFC 6979: made from key and digest, so that no bad source of chance can give the key away.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{U256, U512, Uint};
use hmac::digest::Digest;
use hmac::digest::block_api::BlockSizeUser;
use rfc6979::KGenerator;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::key_op::{KeyError, KeyRequest};

use super::input;
use super::number::{MAX_BYTES, bits, is_below, is_equal, load, load_checked, modulo_vartime, power, reduce};
use super::number::{sized, store};

/// Longest `q`, in bits; FIPS 186-4 has 256 at most.
const MAX_Q_BITS: u32 = 512;
const MAX_Q_BYTES: usize = MAX_Q_BITS as usize / 8;
/// Each is usable but for one chance in `q`: more would say that the domain is no DSA domain.
const NONCES: usize = 8;

/// What everybody knows.
struct Domain<'a> {
    p: &'a [u8],
    q: &'a [u8],
    g: &'a [u8],
}

impl<'a> Domain<'a> {
    /// Checks lengths and that `q` divides `p - 1`; whether both are primes is not looked at.
    fn of(request: &'a KeyRequest) -> Result<Self, KeyError> {
        let (p, q, g) = (input(request, 1), input(request, 2), input(request, 3));
        if bits(q) > MAX_Q_BITS {
            return Err(KeyError::OperandTooLong { bits: bits(q), limit: MAX_Q_BITS });
        }
        let domain = Self { p, q, g };
        let pairs = if bits(q) <= 256 {
            q_divides::<{ U256::LIMBS }>(&domain)?
        } else {
            q_divides::<{ U512::LIMBS }>(&domain)?
        };
        sized!(bits(p), between(g, "g", p))?;
        if pairs { Ok(domain) } else { Err(KeyError::OutOfRange { name: "q", range: "a divisor of p-1" }) }
    }

    /// Calls one of the two sizes of `q`'s arithmetic.
    fn is_short(&self) -> bool {
        bits(self.q) <= 256
    }
}

fn q_divides<const Q: usize>(domain: &Domain<'_>) -> Result<bool, KeyError> {
    let params = modulo_vartime::<Q>(domain.q, "q")?;
    Ok(bits(domain.p) > bits(domain.q) && is_equal(&reduce(domain.p, &params).retrieve(), &Uint::ONE))
}

/// Above one and below the modulus.
fn between<const L: usize>(value: &[u8], name: &'static str, p: &[u8]) -> Result<(), KeyError> {
    let params = modulo_vartime::<L>(p, "p")?;
    let value = load_checked::<L>(value);
    let inside =
        value.filter(|value| is_below(&Uint::ONE, value) && is_below(value, params.modulus().as_ref()));
    inside.map(|_| ()).ok_or(KeyError::OutOfRange { name, range: "above one and below p" })
}

/// From one to `q - 1`; which of the two it is shows.
fn scalar<const Q: usize>(bytes: &[u8], params: &FixedMontyParams<Q>) -> Option<Uint<Q>> {
    let value = load_checked::<Q>(bytes)?;
    (is_below(&Uint::ZERO, &value) && is_below(&value, params.modulus().as_ref())).then_some(value)
}

/// The leftmost bits of a digest, as many as `q` has (FIPS 186-4 section 4.6, RFC 6979 section 2.3.2).
fn leftmost<const Q: usize>(digest: &[u8], q: &[u8]) -> Uint<Q> {
    let kept = digest.get(..bits(q).div_ceil(8) as usize).unwrap_or(digest);
    let surplus = (8 * kept.len() as u32).saturating_sub(bits(q));
    load::<Q>(kept).wrapping_shr_vartime(surplus)
}

pub(super) fn sign(request: &mut KeyRequest) -> Result<(), KeyError> {
    let domain = Domain::of(request)?;
    let (digest, x) = (digest(request)?, input(request, 4));
    (0..2).try_for_each(|place| request.check_output(place, bits(domain.q)))?;
    let (mut r, mut s) = ([0; MAX_Q_BYTES], [0; MAX_Q_BYTES]);
    if domain.is_short() {
        sign_by_length::<{ U256::LIMBS }>(&domain, digest, x, &mut r, &mut s)?;
    } else {
        sign_by_length::<{ U512::LIMBS }>(&domain, digest, x, &mut r, &mut s)?;
    }
    request.write_output(0, &r);
    request.write_output(1, &s);
    Ok(())
}

fn digest(request: &KeyRequest) -> Result<&[u8], KeyError> {
    let digest = input(request, 0);
    if digest.is_empty() {
        return Err(KeyError::OutOfRange { name: "digest", range: "one byte or longer" });
    }
    Ok(digest)
}

/// The nonce is made with the hash that the digest's length tells, SHA-256 for a length that tells none.
fn sign_by_length<const Q: usize>(
    domain: &Domain<'_>,
    digest: &[u8],
    x: &[u8],
    r: &mut [u8],
    s: &mut [u8],
) -> Result<(), KeyError> {
    match digest.len() {
        20 => sign_with::<Sha1, Q>(domain, digest, x, r, s),
        28 => sign_with::<Sha224, Q>(domain, digest, x, r, s),
        48 => sign_with::<Sha384, Q>(domain, digest, x, r, s),
        64 => sign_with::<Sha512, Q>(domain, digest, x, r, s),
        _ => sign_with::<Sha256, Q>(domain, digest, x, r, s),
    }
}

fn sign_with<D: BlockSizeUser + Digest, const Q: usize>(
    domain: &Domain<'_>,
    digest: &[u8],
    x: &[u8],
    r: &mut [u8],
    s: &mut [u8],
) -> Result<(), KeyError> {
    let params = modulo_vartime::<Q>(domain.q, "q")?;
    let x = scalar(x, &params).ok_or(KeyError::OutOfRange { name: "x", range: "from one to q-1" })?;
    let z = leftmost::<Q>(digest, domain.q);
    let len = bits(domain.q).div_ceil(8) as usize;
    let (mut key, mut nonce) = ([0; MAX_Q_BYTES], [0; MAX_Q_BYTES]);
    let (Some(key), Some(nonce)) = (key.get_mut(..len), nonce.get_mut(..len)) else {
        return Err(KeyError::Failed);
    };
    store(&x, key);
    let mut nonces = KGenerator::<D, Uint<Q>>::new(key, digest, &[], params.modulus().as_ref());
    for _ in 0..NONCES {
        nonces.fill_next_k(nonce);
        if sign_with_nonce(domain, &params, (&z, &x), nonce, r, s)? {
            return Ok(());
        }
    }
    Err(KeyError::OutOfRange { name: "g", range: "of order q modulo p" })
}

/// `r = (g^k mod p) mod q`, `s = (z + x r) / k mod q`; false when one of them is zero and another nonce is needed.
fn sign_with_nonce<const Q: usize>(
    domain: &Domain<'_>,
    params: &FixedMontyParams<Q>,
    (z, x): (&Uint<Q>, &Uint<Q>),
    nonce: &[u8],
    r: &mut [u8],
    s: &mut [u8],
) -> Result<bool, KeyError> {
    let mut raised = [0; MAX_BYTES];
    sized!(bits(domain.p), raise_g(domain, nonce, &mut raised))?;
    let form = |value: &Uint<Q>| FixedMontyForm::new(value, params);
    let first = reduce(&raised, params);
    let inverse = form(&load(nonce)).invert().into_option().ok_or(KeyError::Modulus("q"))?;
    let second = form(z).add(&form(x).mul(&first)).mul(&inverse);
    store(&first.retrieve(), r);
    store(&second.retrieve(), s);
    Ok(!is_equal(&first.retrieve(), &Uint::ZERO) && !is_equal(&second.retrieve(), &Uint::ZERO))
}

fn raise_g<const L: usize>(domain: &Domain<'_>, nonce: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
    let params = modulo_vartime::<L>(domain.p, "p")?;
    store(&power(&FixedMontyForm::new(&load(domain.g), &params), nonce, &params).retrieve(), out);
    Ok(())
}

pub(super) fn verify(request: &mut KeyRequest) -> Result<(), KeyError> {
    let domain = Domain::of(request)?;
    let (digest, y, r, s) = (digest(request)?, input(request, 4), input(request, 5), input(request, 6));
    sized!(bits(domain.p), between(y, "y", domain.p))?;
    let matches = if domain.is_short() {
        verify_vartime::<{ U256::LIMBS }>(&domain, digest, y, (r, s))?
    } else {
        verify_vartime::<{ U512::LIMBS }>(&domain, digest, y, (r, s))?
    };
    if matches { Ok(()) } else { Err(KeyError::SignatureMismatch) }
}

/// Everything in it is public. A signature out of range is false before anything is computed.
fn verify_vartime<const Q: usize>(
    domain: &Domain<'_>,
    digest: &[u8],
    y: &[u8],
    (r, s): (&[u8], &[u8]),
) -> Result<bool, KeyError> {
    let params = modulo_vartime::<Q>(domain.q, "q")?;
    let (Some(r), Some(s)) = (scalar(r, &params), scalar(s, &params)) else { return Ok(false) };
    let form = |value: &Uint<Q>| FixedMontyForm::new(value, &params);
    let Some(w) = form(&s).invert_vartime().into_option() else { return Ok(false) };
    let by_g = form(&leftmost(digest, domain.q)).mul(&w).retrieve();
    let by_y = form(&r).mul(&w).retrieve();
    let mut raised = [0; MAX_BYTES];
    sized!(bits(domain.p), raise_both_vartime(domain, y, (by_g.as_words(), by_y.as_words()), &mut raised))?;
    Ok(is_equal(&reduce(&raised, &params).retrieve(), &r))
}

/// `g^a y^b mod p`.
fn raise_both_vartime<const L: usize>(
    domain: &Domain<'_>,
    y: &[u8],
    (a, b): (&[crypto_bigint::Word], &[crypto_bigint::Word]),
    out: &mut [u8],
) -> Result<(), KeyError> {
    let params = modulo_vartime::<L>(domain.p, "p")?;
    let raised = [(domain.g, a), (y, b)].map(|(base, exponent)| {
        let mut words = [0; MAX_Q_BYTES / crypto_bigint::Limb::BYTES];
        words.iter_mut().zip(exponent).for_each(|(to, word)| *to = *word);
        FixedMontyForm::new(&load(base), &params).pow_vartime(&Uint::from_words(words))
    });
    let [by_g, by_y] = raised;
    store(&by_g.mul(&by_y).retrieve(), out);
    Ok(())
}

//! Exponentiation: plain, by the halves of an RSA key, and for Diffie and Hellman.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, Uint};

use crate::key_op::{KeyError, KeyRequest};

use super::input;
use super::number::{
    MAX_BITS, MAX_BYTES, bits, is_below, is_equal, load, load_checked, modulo, power, reduce, sized, store,
};

/// The usual public exponent, by which the result of an RSA key's halves is checked.
const USUAL_EXPONENT: [u8; 3] = [1, 0, 1];
/// From here on nothing fits the usual exponent by chance.
const LONG_PRIME_BITS: u32 = 80;

pub(super) fn mod_exp(request: &mut KeyRequest) -> Result<(), KeyError> {
    let (base, exponent, modulus) = (input(request, 0), input(request, 1), input(request, 2));
    request.check_output(0, bits(modulus))?;
    let mut out = [0; MAX_BYTES];
    sized!(bits(modulus), raise(base, exponent, modulus, &mut out))?;
    request.write_output(0, &out);
    Ok(())
}

fn raise<const L: usize>(
    base: &[u8],
    exponent: &[u8],
    modulus: &[u8],
    out: &mut [u8],
) -> Result<(), KeyError> {
    let params = modulo::<L>(modulus, "modulus")?;
    let base = below::<L>(base, "base", &params)?;
    store(&power(&FixedMontyForm::new(&base, &params), exponent, &params).retrieve(), out);
    Ok(())
}

/// A number that must be less than the modulus.
fn below<const L: usize>(
    bytes: &[u8],
    name: &'static str,
    params: &FixedMontyParams<L>,
) -> Result<Uint<L>, KeyError> {
    let value = load_checked::<L>(bytes).filter(|value| is_below(value, params.modulus().as_ref()));
    value.ok_or(KeyError::OutOfRange { name, range: "below the modulus" })
}

pub(super) fn dh_compute_key(request: &mut KeyRequest) -> Result<(), KeyError> {
    let (private, public, modulus) = (input(request, 0), input(request, 1), input(request, 2));
    request.check_output(0, bits(modulus))?;
    let mut out = [0; MAX_BYTES];
    sized!(bits(modulus), agree(private, public, modulus, &mut out))?;
    request.write_output(0, &out);
    Ok(())
}

/// NIST SP 800-56A section 5.7.1.1: neither the public value nor the secret may be zero, one, or the modulus less one. What lies outside
/// of 1 to the modulus less one is refused as well.
fn agree<const L: usize>(
    private: &[u8],
    public: &[u8],
    modulus: &[u8],
    out: &mut [u8],
) -> Result<(), KeyError> {
    let params = modulo::<L>(modulus, "modulus")?;
    let public = load_checked::<L>(public).filter(|public| is_usual(public, &params));
    let public = public.ok_or(KeyError::PublicValue)?;
    let secret = power(&FixedMontyForm::new(&public, &params), private, &params).retrieve();
    if !is_usual(&secret, &params) {
        return Err(KeyError::PublicValue);
    }
    store(&secret, out);
    Ok(())
}

/// True from two to the modulus less two.
fn is_usual<const L: usize>(value: &Uint<L>, params: &FixedMontyParams<L>) -> bool {
    let last = params.modulus().as_ref().wrapping_sub(&Uint::ONE);
    is_below(&Uint::ONE, value) && is_below(value, &last)
}

/// An RSA key's halves, as they came, and the base.
struct Halves<'a> {
    p: &'a [u8],
    q: &'a [u8],
    base: &'a [u8],
    dp: &'a [u8],
    dq: &'a [u8],
    qinv: &'a [u8],
}

pub(super) fn mod_exp_crt(request: &mut KeyRequest) -> Result<(), KeyError> {
    let part = |place| input(request, place);
    let halves = Halves { p: part(0), q: part(1), base: part(2), dp: part(3), dq: part(4), qinv: part(5) };
    let (mut out, mut product) = ([0; MAX_BYTES], [0; MAX_BYTES]);
    let longer = bits(halves.p).max(bits(halves.q));
    sized!(longer, multiply(&halves, &mut product))?;
    request.check_output(0, bits(&product))?;
    sized!(bits(&product), base_is_below(halves.base, &product))?;
    sized!(longer, combine(&halves, &mut out))?;
    sized!(longer, verify(&halves, &product, &out))?;
    request.write_output(0, &out);
    Ok(())
}

fn multiply<const L: usize>(halves: &Halves<'_>, product: &mut [u8; MAX_BYTES]) -> Result<(), KeyError> {
    let total = bits(halves.p) + bits(halves.q);
    if total > MAX_BITS {
        return Err(KeyError::OperandTooLong { bits: total, limit: MAX_BITS });
    }
    store_wide(load::<L>(halves.p).widening_mul(&load::<L>(halves.q)), product);
    Ok(())
}

fn store_wide<const L: usize>((low, high): (Uint<L>, Uint<L>), out: &mut [u8; MAX_BYTES]) {
    let (front, back) = out.split_at_mut(MAX_BYTES - L * Limb::BYTES);
    store(&high, front);
    store(&low, back);
}

fn base_is_below<const L: usize>(base: &[u8], product: &[u8]) -> Result<(), KeyError> {
    let below = load_checked::<L>(base).filter(|base| is_below(base, &load(product)));
    below.map(|_| ()).ok_or(KeyError::OutOfRange { name: "base", range: "below p q" })
}

/// Garner's way, RFC 8017 section 5.1.2: `h = (m1 - m2) qinv mod p`, `m = m2 + q h`.
fn combine<const L: usize>(halves: &Halves<'_>, out: &mut [u8; MAX_BYTES]) -> Result<(), KeyError> {
    let (mod_p, mod_q) = (modulo::<L>(halves.p, "p")?, modulo::<L>(halves.q, "q")?);
    let by_p = power(&reduce(halves.base, &mod_p), halves.dp, &mod_p);
    let by_q = power(&reduce(halves.base, &mod_q), halves.dq, &mod_q).retrieve();
    let qinv = reduce(halves.qinv, &mod_p);
    if !is_equal(&reduce(halves.q, &mod_p).mul(&qinv).retrieve(), &Uint::ONE) {
        return Err(KeyError::Inconsistent);
    }
    let h = by_p.sub(&FixedMontyForm::new(&by_q, &mod_p)).mul(&qinv).retrieve();
    let (low, high) = h.widening_mul(mod_q.modulus().as_ref());
    let (low, carry) = low.carrying_add(&by_q, Limb::ZERO);
    let (high, _) = high.carrying_add(&Uint::ZERO, carry);
    store_wide((low, high), out);
    Ok(())
}

/// A result that is right modulo one prime and wrong modulo the other gives the key away to anybody who sees it (Boneh, DeMillo
/// and Lipton, 1997). Where either half says that the public exponent is the usual one, the result raised to it
/// must be the base again, so a damaged half is found too. Otherwise, and where primes are so short that a half may say so by chance,
/// both halves are computed once more.
fn verify<const L: usize>(halves: &Halves<'_>, product: &[u8], result: &[u8]) -> Result<(), KeyError> {
    let usual = [(halves.dp, halves.p), (halves.dq, halves.q)].map(|(d, prime)| is_usual_half::<L>(d, prime));
    let long = bits(halves.p).min(bits(halves.q)) > LONG_PRIME_BITS;
    let agrees = if long && usual.contains(&true) {
        sized!(bits(product), returns(result, product, halves.base))?
    } else {
        leaves::<L>(result, halves.base, halves.dp, halves.p)?
            && leaves::<L>(result, halves.base, halves.dq, halves.q)?
    };
    if agrees { Ok(()) } else { Err(KeyError::Inconsistent) }
}

/// Whether `e d = 1 mod prime-1` for the usual `e`.
fn is_usual_half<const L: usize>(d: &[u8], prime: &[u8]) -> bool {
    let order = load::<L>(prime).wrapping_sub(&Uint::ONE).to_nz().into_option();
    let (Some(order), Some(d)) = (order, load_checked::<L>(d)) else { return false };
    is_equal(&load::<L>(&USUAL_EXPONENT).mul_mod(&d, &order), &Uint::ONE)
}

/// Whether the result raised to the usual exponent is the base.
fn returns<const L: usize>(result: &[u8], product: &[u8], base: &[u8]) -> Result<bool, KeyError> {
    let params = modulo::<L>(product, "p q")?;
    let raised = reduce(result, &params).pow_vartime(&load::<L>(&USUAL_EXPONENT));
    Ok(is_equal(&raised.retrieve(), &load(base)))
}

/// Whether the result is `base ^ d` modulo one of the primes.
fn leaves<const L: usize>(result: &[u8], base: &[u8], d: &[u8], prime: &[u8]) -> Result<bool, KeyError> {
    let params = modulo::<L>(prime, "p and q")?;
    let again = power(&reduce(base, &params), d, &params).retrieve();
    Ok(is_equal(&reduce(result, &params).retrieve(), &again))
}

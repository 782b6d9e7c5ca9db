//! What the software driver computes for key operations, and what it refuses, by published vectors and by another
//! implementation of long integers. OpenSSL judges it in the tests across floors.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod key_common;

use std::collections::HashMap;

use crypto_pmd::key_op::{KeyError, KeyOperation};
use key_common::KeyBench;
use num_bigint::BigUint;
use proptest::prelude::*;
use sha2::Digest as _;

use KeyOperation::{DhComputeKey, DsaSign, DsaVerify, ModExp, ModExpCrt};

const RFC6979: &str = include_str!("data/rfc6979-dsa.txt");

fn hex(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

/// A number with zeros in front, as many bytes as so many bits need.
fn padded(number: &BigUint, bits: u32) -> Vec<u8> {
    let (bytes, len) = (number.to_bytes_be(), bits.div_ceil(8) as usize);
    [vec![0; len.saturating_sub(bytes.len())], bytes].concat()
}

fn out_of_range(name: &'static str, range: &'static str) -> KeyError {
    KeyError::OutOfRange { name, range }
}

/// A domain with a key, from RFC 6979.
struct Dsa {
    p: Vec<u8>,
    q: Vec<u8>,
    g: Vec<u8>,
    x: Vec<u8>,
    y: Vec<u8>,
}

impl Dsa {
    fn all() -> HashMap<String, Self> {
        let keys = RFC6979.lines().filter_map(|line| line.strip_prefix("key "));
        keys.map(|line| {
            let [bits, p, q, g, x, y] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            (bits.to_owned(), Self { p: hex(p), q: hex(q), g: hex(g), x: hex(x), y: hex(y) })
        })
        .collect()
    }

    fn short() -> Self {
        Self::all().remove("1024").unwrap()
    }

    fn sign(&self, bench: &mut KeyBench, digest: &[u8]) -> Result<Vec<Vec<u8>>, KeyError> {
        let bits = 8 * self.q.len() as u32;
        bench.run(DsaSign, &[digest, &self.p, &self.q, &self.g, &self.x], bits)
    }

    fn verify(&self, bench: &mut KeyBench, digest: &[u8], r: &[u8], s: &[u8]) -> Result<(), KeyError> {
        bench.run(DsaVerify, &[digest, &self.p, &self.q, &self.g, &self.y, r, s], 0).map(|_| ())
    }
}

fn digest(hash: &str, message: &str) -> Vec<u8> {
    match hash {
        "sha1" => sha1::Sha1::digest(message).to_vec(),
        "sha224" => sha2::Sha224::digest(message).to_vec(),
        "sha256" => sha2::Sha256::digest(message).to_vec(),
        "sha384" => sha2::Sha384::digest(message).to_vec(),
        "sha512" => sha2::Sha512::digest(message).to_vec(),
        _ => panic!("an unknown hash {hash}"),
    }
}

#[test]
fn every_dsa_signature_of_rfc_6979_is_made_and_accepted() {
    let (mut bench, keys, mut count) = (KeyBench::new(), Dsa::all(), 0);
    for line in RFC6979.lines().filter_map(|line| line.strip_prefix("sign ")) {
        let [bits, hash, message, r, s] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (key, digest) = (&keys[bits], digest(hash, message));
        assert_eq!(key.sign(&mut bench, &digest).unwrap(), [hex(r), hex(s)], "{line}");
        assert_eq!(key.verify(&mut bench, &digest, &hex(r), &hex(s)), Ok(()), "{line}");
        count += 1;
    }
    assert_eq!(count, 20);
}

#[test]
fn a_signature_with_any_part_changed_does_not_match() {
    let (mut bench, key) = (KeyBench::new(), Dsa::short());
    let hash = digest("sha1", "sample");
    let signature = key.sign(&mut bench, &hash).unwrap();
    let good = [&hash, &signature[0], &signature[1]].map(Vec::clone);
    for part in 0..3 {
        for bit in [0, 7, 80, 159] {
            let mut bad = good.clone();
            bad[part][bit / 8] ^= 1 << (bit % 8);
            let [hash, r, s] = &bad;
            assert_eq!(key.verify(&mut bench, hash, r, s), Err(KeyError::SignatureMismatch), "{part} {bit}");
        }
    }
}

#[test]
fn a_signature_out_of_range_does_not_match_even_where_its_residue_would() {
    let (mut bench, key) = (KeyBench::new(), Dsa::short());
    let hash = digest("sha1", "sample");
    let [r, s]: [Vec<u8>; 2] = key.sign(&mut bench, &hash).unwrap().try_into().unwrap();
    let q = BigUint::from_bytes_be(&key.q);
    let beyond = |part: &[u8]| padded(&(BigUint::from_bytes_be(part) + &q), 168);
    for (r, s) in [(&beyond(&r), &s), (&r, &beyond(&s)), (&vec![0; 20], &s), (&r, &vec![0; 20]), (&key.q, &s)]
    {
        assert_eq!(key.verify(&mut bench, &hash, r, s), Err(KeyError::SignatureMismatch));
    }
}

#[test]
fn a_dsa_domain_or_key_that_cannot_be_is_refused() {
    let (mut bench, hash) = (KeyBench::new(), digest("sha1", "sample"));
    let mut with = |change: fn(&mut Dsa)| {
        let mut key = Dsa::short();
        change(&mut key);
        key.sign(&mut bench, &hash).unwrap_err()
    };
    let g = out_of_range("g", "above one and below p");
    assert_eq!(with(|key| key.g = vec![1]), g);
    assert_eq!(with(|key| key.g = vec![]), g);
    assert_eq!(with(|key| key.g.clone_from(&key.p)), g);
    let x = out_of_range("x", "from one to q-1");
    assert_eq!(with(|key| key.x = vec![0]), x);
    assert_eq!(with(|key| key.x.clone_from(&key.q)), x);
    assert_eq!(with(|key| key.q[0] ^= 1), out_of_range("q", "a divisor of p-1"));
    assert_eq!(with(|key| key.q[19] ^= 1), KeyError::Modulus("q"));
    assert_eq!(with(|key| key.q = vec![0xff; 65]), KeyError::OperandTooLong { bits: 520, limit: 512 });
    // Even, and one modulo q all the same.
    assert_eq!(
        with(|key| key.p = padded(&(BigUint::from_bytes_be(&key.q) + 1_u8), 168)),
        KeyError::Modulus("p")
    );
    let (y, key) = (out_of_range("y", "above one and below p"), Dsa::short());
    for wrong in [vec![], vec![1], key.p.clone()] {
        let key = Dsa { y: wrong, ..Dsa::short() };
        assert_eq!(key.verify(&mut bench, &hash, &[1], &[1]), Err(y));
    }
    assert_eq!(key.sign(&mut bench, &[]), Err(out_of_range("digest", "one byte or longer")));
}

#[test]
fn a_digest_longer_than_q_counts_by_its_leftmost_bits() {
    let (mut bench, key) = (KeyBench::new(), Dsa::short());
    let hash = digest("sha512", "sample");
    let [r, s]: [Vec<u8>; 2] = key.sign(&mut bench, &hash).unwrap().try_into().unwrap();
    assert_eq!(key.verify(&mut bench, &hash[..20], &r, &s), Ok(()));
    assert_eq!(key.verify(&mut bench, &hash[..19], &r, &s), Err(KeyError::SignatureMismatch));
}

#[test]
fn a_modulus_that_is_no_odd_number_above_one_is_refused() {
    let mut bench = KeyBench::new();
    for modulus in [&[][..], &[0], &[0, 0], &[1], &[0, 1], &[2], &[0xff, 0xfe]] {
        let error = Err(KeyError::Modulus("modulus"));
        assert_eq!(bench.run_one(ModExp, &[&[0], &[1], modulus], 64), error, "{modulus:?}");
        assert_eq!(bench.run_one(DhComputeKey, &[&[5], &[2], modulus], 64), error, "{modulus:?}");
    }
}

#[test]
fn a_base_that_is_not_below_the_modulus_is_refused() {
    let mut bench = KeyBench::new();
    let error = Err(out_of_range("base", "below the modulus"));
    assert_eq!(bench.run_one(ModExp, &[&[7], &[2], &[7]], 8), error);
    assert_eq!(bench.run_one(ModExp, &[&[1; 100], &[2], &[7]], 8), error);
    assert_eq!(bench.run_one(ModExp, &[&[0, 0, 6], &[2], &[0, 7]], 8), Ok(vec![1]));
}

#[test]
fn exponents_zero_and_one_give_one_and_the_base() {
    let mut bench = KeyBench::new();
    for exponent in [&[][..], &[0], &[0; 40]] {
        assert_eq!(bench.run_one(ModExp, &[&[5], exponent, &[7]], 24), Ok(vec![0, 0, 1]));
        assert_eq!(bench.run_one(ModExp, &[&[0], exponent, &[7]], 3), Ok(vec![1]), "as everybody has it");
    }
    assert_eq!(bench.run_one(ModExp, &[&[5], &[0, 1], &[7]], 24), Ok(vec![0, 0, 5]));
    assert_eq!(bench.run_one(ModExp, &[&[], &[3], &[7]], 24), Ok(vec![0; 3]));
}

#[test]
fn an_output_that_is_too_short_is_refused_whatever_the_result_would_be() {
    let mut bench = KeyBench::new();
    let error = |name, bits, needed| Err(KeyError::OutputTooShort { name, bits, needed });
    assert_eq!(bench.run_one(ModExp, &[&[1], &[1], &[1, 1]], 8), error("result", 8, 9));
    assert_eq!(bench.run_one(ModExp, &[&[1], &[1], &[1, 1]], 9), Ok(vec![0, 1]));
    assert_eq!(bench.run_one(DhComputeKey, &[&[1], &[2], &[1, 1]], 8), error("shared", 8, 9));
    assert_eq!(bench.run_one(ModExpCrt, &[&[5], &[7], &[1], &[1], &[1], &[3]], 5), error("result", 5, 6));
    let key = Dsa::short();
    let inputs: [&[u8]; 5] = [&[1; 20], &key.p, &key.q, &key.g, &key.x];
    assert_eq!(bench.run(DsaSign, &inputs, 159).unwrap_err(), error("r", 159, 160).unwrap_err());
}

#[test]
fn degenerate_public_values_of_diffie_and_hellman_are_refused() {
    let mut bench = KeyBench::new();
    // 23 is a safe prime: 11 times 2 and one.
    for public in [0, 1, 22, 23, 24, 255] {
        let agreed = bench.run_one(DhComputeKey, &[&[5], &[public], &[23]], 8);
        assert_eq!(agreed, Err(KeyError::PublicValue), "{public}");
    }
    for public in 2..=21_u32 {
        let shared = (0..5).fold(1, |power, _| power * public % 23);
        assert_eq!(bench.run_one(DhComputeKey, &[&[5], &[public as u8], &[23]], 8), Ok(vec![shared as u8]));
    }
    // 2 is of order 11, and 5 to the eleventh is the modulus less one: secrets that anybody can guess.
    assert_eq!(bench.run_one(DhComputeKey, &[&[11], &[2], &[23]], 8), Err(KeyError::PublicValue));
    assert_eq!(bench.run_one(DhComputeKey, &[&[11], &[5], &[23]], 8), Err(KeyError::PublicValue));
    assert_eq!(bench.run_one(DhComputeKey, &[&[0], &[5], &[23]], 8), Err(KeyError::PublicValue));
}

/// The halves of a key with the exponent `d`, each with some damage, on the base; the result as a number.
fn crt(
    bench: &mut KeyBench,
    [p, q]: [&BigUint; 2],
    base: &BigUint,
    d: &BigUint,
    damage: [u8; 3],
) -> Result<BigUint, KeyError> {
    let halves = [d % (p - 1_u8) + damage[0], d % (q - 1_u8) + damage[1], q.modinv(p).unwrap() + damage[2]];
    let [dp, dq, qinv] = halves.map(|half| half.to_bytes_be());
    let [p, q, base] = [p, q, base].map(BigUint::to_bytes_be);
    let result = bench.run_one(ModExpCrt, &[&p, &q, &base, &dp, &dq, &qinv], 512)?;
    Ok(BigUint::from_bytes_be(&result))
}

fn mersenne(exponent: u32) -> BigUint {
    (BigUint::from(1_u8) << exponent) - 1_u8
}

#[test]
fn the_halves_of_a_key_give_what_the_whole_gives() {
    let (mut bench, long) = (KeyBench::new(), mersenne(127));
    let short = [3, 65539, 65543, 4_294_967_291_u64].map(BigUint::from);
    for p in short.iter().chain([&long]) {
        for q in short.iter().chain([&long]).filter(|q| *q != p) {
            let n = p * q;
            for d in [0_u32, 1, 3, 17, 65537, 123_456_789].map(BigUint::from) {
                for base in
                    [BigUint::ZERO, 1_u8.into(), 2_u8.into(), p.clone(), q.clone(), &n - 1_u8, &n / 3_u8]
                {
                    let result = crt(&mut bench, [p, q], &base, &d, [0; 3]);
                    assert_eq!(result, Ok(base.modpow(&d, &n)), "{p} {q} {base} {d}");
                }
            }
            let beyond = crt(&mut bench, [p, q], &n, &BigUint::from(3_u8), [0; 3]);
            assert_eq!(beyond, Err(out_of_range("base", "below p q")));
        }
    }
}

#[test]
fn damaged_parts_of_a_key_with_the_usual_exponent_give_nothing_away() {
    let (mut bench, p, q) = (KeyBench::new(), mersenne(127), mersenne(107));
    let order = (&p - 1_u8) * (&q - 1_u8);
    let (d, base) = (BigUint::from(65537_u32).modinv(&order).unwrap(), BigUint::from(123_456_789_u32));
    let whole = base.modpow(&d, &(&p * &q));
    assert_eq!(crt(&mut bench, [&p, &q], &base, &d, [0; 3]), Ok(whole));
    for damage in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
        let result = crt(&mut bench, [&p, &q], &base, &d, damage);
        assert_eq!(result, Err(KeyError::Inconsistent), "{damage:?}");
    }
    let same = p.to_bytes_be();
    let twice = bench.run_one(ModExpCrt, &[&same, &same, &[3], &[3], &[3], &[1]], 512);
    assert_eq!(twice, Err(KeyError::Inconsistent), "a prime has no inverse modulo itself");
    // Without a known exponent there is nothing to hold the halves against, but the way they are put together shows.
    let result = crt(&mut bench, [&p, &q], &base, &BigUint::from(12345_u16), [0, 0, 1]);
    assert_eq!(result, Err(KeyError::Inconsistent));
}

#[test]
fn operands_of_the_greatest_length_are_taken_and_no_longer_ones() {
    let mut bench = KeyBench::new();
    let mut longest = vec![0xff; 1024];
    let base = [vec![0x7f], vec![3; 1023]].concat();
    let expected = BigUint::from_bytes_be(&base).modpow(&257_u32.into(), &BigUint::from_bytes_be(&longest));
    let result = bench.run_one(ModExp, &[&base, &[1, 1], &longest], 8192);
    assert_eq!(result, Ok(padded(&expected, 8192)));
    longest.push(0xff);
    let error = Err(KeyError::OperandTooLong { bits: 8200, limit: 8192 });
    assert_eq!(bench.run_one(ModExp, &[&base, &[1, 1], &longest], 8192), error);
    assert_eq!(
        bench.run_one(ModExp, &[&base, &[1, 1], &longest[1..]], 8193),
        Err(KeyError::OperandTooLong { bits: 8193, limit: 8192 })
    );
    let p = vec![0xff; 513];
    let halves: [&[u8]; 6] = [&p, &p, &[1], &[1], &[1], &[1]];
    assert_eq!(
        bench.run_one(ModExpCrt, &halves, 8192),
        Err(KeyError::OperandTooLong { bits: 8208, limit: 8192 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn powers_are_those_of_another_implementation_at_any_length(
        modulus in proptest::collection::vec(any::<u8>(), 1..140),
        base in proptest::collection::vec(any::<u8>(), 0..140),
        exponent in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        let mut modulus = modulus;
        *modulus.last_mut().unwrap() |= 1;
        let big = BigUint::from_bytes_be(&modulus);
        prop_assume!(big > BigUint::from(1_u8));
        let base = BigUint::from_bytes_be(&base) % &big;
        let expected = base.modpow(&BigUint::from_bytes_be(&exponent), &big);
        let result = KeyBench::new().run_one(ModExp, &[&base.to_bytes_be(), &exponent, &modulus], 1200);
        prop_assert_eq!(result, Ok(padded(&expected, 1200)));
    }

    #[test]
    fn a_signature_verifies_for_its_digest_and_no_other(
        digest in proptest::collection::vec(any::<u8>(), 1..70), other in proptest::collection::vec(any::<u8>(), 20..70),
    ) {
        let (mut bench, key) = (KeyBench::new(), Dsa::short());
        let signature = key.sign(&mut bench, &digest).unwrap();
        prop_assert_eq!(key.verify(&mut bench, &digest, &signature[0], &signature[1]), Ok(()));
        let same = BigUint::from_bytes_be(&digest[..digest.len().min(20)]) == BigUint::from_bytes_be(&other[..20]);
        prop_assume!(!same);
        prop_assert!(key.verify(&mut bench, &other, &signature[0], &signature[1]).is_err());
    }
}

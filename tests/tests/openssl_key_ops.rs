//! OpenSSL judges the software driver's key operations: the same numbers go through both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

use crypto_pmd::drivers::Software;
use crypto_pmd::key_op::{KeyError, KeyOperation, KeyQueueConfig, KeyRequestPool};
use crypto_pmd::{KeyDispatcher, Placement, Registry};
use openssl::bn::{BigNum, BigNumContext, BigNumRef, MsbOption};
use openssl::dh::Dh;
use openssl::dsa::{Dsa, DsaSig};
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};

use KeyOperation::{DhComputeKey, DsaSign, DsaVerify, ModExp, ModExpCrt};

struct Ours {
    dispatcher: KeyDispatcher,
    pool: KeyRequestPool,
}

impl Ours {
    fn new() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
        Self { dispatcher, pool: KeyRequestPool::new(1, 8192) }
    }

    fn run(
        &mut self,
        operation: KeyOperation,
        inputs: &[&[u8]],
        bits: i32,
    ) -> Result<Vec<Vec<u8>>, KeyError> {
        let mut request = self.pool.alloc(operation).unwrap();
        inputs.iter().for_each(|input| request.add_input(input).unwrap());
        operation.outputs().iter().for_each(|_| request.add_output(bits as u32).unwrap());
        self.dispatcher.submit(request, Placement::Any).unwrap();
        let done = loop {
            match self.dispatcher.poll() {
                Some(done) => break done.request,
                None => std::thread::yield_now(),
            }
        };
        done.result().unwrap()?;
        Ok((0..operation.outputs().len()).map(|place| done.output(place).unwrap().to_vec()).collect())
    }
}

fn random(bits: i32) -> BigNum {
    let mut number = BigNum::new().unwrap();
    number.rand(bits, MsbOption::ONE, true).unwrap();
    number
}

fn padded(number: &BigNumRef, bits: i32) -> Vec<u8> {
    number.to_vec_padded((bits + 7) / 8).unwrap()
}

/// `base ^ exponent mod modulus`, as OpenSSL has it.
fn power(base: &BigNumRef, exponent: &BigNumRef, modulus: &BigNumRef) -> BigNum {
    let mut power = BigNum::new().unwrap();
    power.mod_exp(base, exponent, modulus, &mut BigNumContext::new().unwrap()).unwrap();
    power
}

/// What both have for a power; returns whether the result begins with a zero byte.
fn compare_power(ours: &mut Ours, base: &BigNumRef, exponent: &BigNumRef, modulus: &BigNumRef) -> bool {
    let bits = modulus.num_bits();
    let expected = padded(&power(base, exponent, modulus), bits);
    let result = ours.run(ModExp, &[&base.to_vec(), &exponent.to_vec(), &modulus.to_vec()], bits);
    assert_eq!(result.unwrap().remove(0), expected, "{base} {exponent} {modulus}");
    expected[0] == 0
}

#[test]
fn powers_of_512_to_4096_bits_are_those_of_openssl() {
    let (mut ours, mut rng) = (Ours::new(), fastrand::Rng::with_seed(1));
    for round in 0..24 {
        let bits = if round < 8 {
            [512, 768, 1024, 1536, 2048, 3072, 4096, 521][round]
        } else {
            rng.i32(512..=4096)
        };
        let (modulus, mut base) = (random(bits), BigNum::new().unwrap());
        modulus.rand_range(&mut base).unwrap();
        compare_power(&mut ours, &base, &random(rng.i32(2..=bits)), &modulus);
        for exponent in 0..=3 {
            compare_power(&mut ours, &base, &BigNum::from_u32(exponent).unwrap(), &modulus);
        }
    }
}

#[test]
fn results_with_leading_zeros_are_those_of_openssl() {
    let (mut ours, mut zeros) = (Ours::new(), 0);
    let modulus = random(512);
    for base in 2..1000 {
        let base = BigNum::from_u32(base).unwrap();
        // The first stays far below the modulus, the second goes around it: one in 256 of those begins with a zero byte.
        for exponent in [17, 65537].map(|exponent| BigNum::from_u32(exponent).unwrap()) {
            zeros += u32::from(compare_power(&mut ours, &base, &exponent, &modulus));
        }
    }
    assert!(zeros >= 998, "{zeros}");
}

/// The private operation of an RSA key on a base, by its halves.
fn private(ours: &mut Ours, key: &Rsa<Private>, base: &[u8]) -> Result<Vec<u8>, KeyError> {
    let parts = [key.p(), key.q(), None, key.dmp1(), key.dmq1(), key.iqmp()];
    let parts = parts.map(|part| part.map_or_else(|| base.to_vec(), BigNumRef::to_vec));
    let inputs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    ours.run(ModExpCrt, &inputs, key.n().num_bits()).map(|mut outputs| outputs.remove(0))
}

#[test]
fn rsa_keys_of_any_size_and_exponent_give_what_openssl_gives() {
    let mut ours = Ours::new();
    for (bits, e) in
        [(512, 65537), (1024, 65537), (1536, 3), (2048, 65537), (3072, 17), (4096, 65537), (1021, 5)]
    {
        let key = Rsa::generate_with_e(bits, &BigNum::from_u32(e).unwrap()).unwrap();
        for _ in 0..4 {
            let mut base = BigNum::new().unwrap();
            key.n().rand_range(&mut base).unwrap();
            let mut expected = vec![0; key.size() as usize];
            let padded = padded(&base, key.n().num_bits());
            key.private_encrypt(&padded, &mut expected, Padding::NONE).unwrap();
            assert_eq!(private(&mut ours, &key, &base.to_vec()).unwrap(), expected, "{bits} {e}");
        }
        // The whole exponent gives the same as its halves.
        let base = BigNum::from_u32(7).unwrap();
        compare_power(&mut ours, &base, key.d(), key.n());
    }
}

#[test]
fn primes_of_unequal_length_and_in_either_order_give_what_openssl_gives() {
    let (mut ours, mut context) = (Ours::new(), BigNumContext::new().unwrap());
    let primes = [300, 724].map(|bits| {
        let mut prime = BigNum::new().unwrap();
        prime.generate_prime(bits, false, None, None).unwrap();
        prime
    });
    for (p, q) in [(&primes[0], &primes[1]), (&primes[1], &primes[0])] {
        let (d, base, n) = (random(1000), random(900), p * q);
        let half = |prime: &BigNumRef| &d % &(prime - &BigNum::from_u32(1).unwrap());
        let mut qinv = BigNum::new().unwrap();
        qinv.mod_inverse(q, p, &mut context).unwrap();
        let parts = [p, q, &base, &half(p), &half(q), &qinv].map(|part| part.to_vec());
        let inputs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let expected = padded(&power(&base, &d, &n), n.num_bits());
        assert_eq!(ours.run(ModExpCrt, &inputs, n.num_bits()).unwrap(), [expected]);
    }
}

/// Ours of a shared secret against OpenSSL's, both ways, in one group.
fn compare_groups(ours: &mut Ours, p: &BigNumRef, g: &BigNumRef) {
    let group = || Dh::from_pqg(p.to_owned().unwrap(), None, g.to_owned().unwrap()).unwrap();
    let (one, other) = (group().generate_key().unwrap(), group().generate_key().unwrap());
    let expected = padded(&power(other.public_key(), one.private_key(), p), p.num_bits());
    let secret = one.compute_key(other.public_key()).unwrap();
    // OpenSSL leaves zeros in front out, and the wrapper fills up behind.
    let stripped = BigNum::from_slice(&expected).unwrap().to_vec();
    assert!(secret.starts_with(&stripped) && secret[stripped.len()..].iter().all(|&byte| byte == 0));
    for (private, public) in
        [(one.private_key(), other.public_key()), (other.private_key(), one.public_key())]
    {
        let inputs = [private, public, p].map(BigNumRef::to_vec);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        assert_eq!(ours.run(DhComputeKey, &inputs, p.num_bits()).unwrap().remove(0), expected);
    }
    for degenerate in
        [BigNum::new().unwrap(), BigNum::from_u32(1).unwrap(), p - &BigNum::from_u32(1).unwrap()]
    {
        let inputs = [one.private_key(), &degenerate, p].map(BigNumRef::to_vec);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        assert_eq!(ours.run(DhComputeKey, &inputs, p.num_bits()), Err(KeyError::PublicValue));
    }
}

#[test]
fn both_sides_agree_with_openssl_in_the_groups_of_rfc_2409_3526_and_5114() {
    let (mut ours, two) = (Ours::new(), BigNum::from_u32(2).unwrap());
    let primes = [
        BigNum::get_rfc2409_prime_768(),
        BigNum::get_rfc2409_prime_1024(),
        BigNum::get_rfc3526_prime_1536(),
        BigNum::get_rfc3526_prime_2048(),
        BigNum::get_rfc3526_prime_3072(),
        BigNum::get_rfc3526_prime_4096(),
        BigNum::get_rfc3526_prime_8192(),
    ];
    primes.into_iter().for_each(|prime| compare_groups(&mut ours, &prime.unwrap(), &two));
    for group in [Dh::get_1024_160(), Dh::get_2048_224(), Dh::get_2048_256()] {
        let group = group.unwrap();
        compare_groups(&mut ours, group.prime_p(), group.generator());
    }
}

#[test]
fn dsa_signatures_pass_from_one_to_the_other() {
    let mut ours = Ours::new();
    for bits in [1024, 2048, 3072] {
        let key = Dsa::generate(bits).unwrap();
        let pkey = PKey::from_dsa(key.clone()).unwrap();
        for digest in [MessageDigest::sha1(), MessageDigest::sha256(), MessageDigest::sha512()] {
            let digest = hash(digest, b"Sealane").unwrap();
            let domain = [key.p(), key.q(), key.g()].map(BigNumRef::to_vec);
            let [p, q, g] = [&domain[0][..], &domain[1], &domain[2]];
            let signature =
                ours.run(DsaSign, &[&digest, p, q, g, &key.priv_key().to_vec()], key.q().num_bits());
            let [r, s] = [0, 1].map(|n| BigNum::from_slice(&signature.as_ref().unwrap()[n]).unwrap());
            let signature = DsaSig::from_private_components(r, s).unwrap().to_der().unwrap();
            let mut judge = PkeyCtx::new(&pkey).unwrap();
            judge.verify_init().unwrap();
            assert!(judge.verify(&digest, &signature).unwrap());

            let mut theirs = Vec::new();
            judge.sign_init().unwrap();
            judge.sign_to_vec(&digest, &mut theirs).unwrap();
            let theirs = DsaSig::from_der(&theirs).unwrap();
            let (r, s, y) = (theirs.r().to_vec(), theirs.s().to_vec(), key.pub_key().to_vec());
            assert_eq!(ours.run(DsaVerify, &[&digest, p, q, g, &y, &r, &s], 0), Ok(vec![]));
            let mut other = digest.to_vec();
            other[0] ^= 1;
            let changed = ours.run(DsaVerify, &[&other, p, q, g, &y, &r, &s], 0);
            assert_eq!(changed, Err(KeyError::SignatureMismatch));
        }
    }
}

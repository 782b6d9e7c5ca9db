//! Bytes in, bytes out: what comes out is what the standards say, whatever the length; and what goes wrong is said.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::erratic::{Erratic, Temper};
use common::{hex, key, rows};
use crypto_pmd::completion::{RequestShape, Simple, SimpleError};
use crypto_pmd::drivers::Software;
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};
use proptest::prelude::*;

const CIPHERS: &str = include_str!("data/ciphers.txt");
const CBC: &str = include_str!("data/aes-cbc.txt");
const MACS: &str = include_str!("data/macs.txt");
const HMACS: &str = include_str!("data/hmac.txt");
const DIGESTS: &str = include_str!("data/digests.txt");
const AEADS: &str = include_str!("data/aeads.txt");

fn software() -> Registry {
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    registry
}

fn simple(bundle: impl Into<SessionParams>) -> Simple {
    Simple::open_session(&software(), bundle, Placement::Any).unwrap()
}

fn chain(transforms: impl IntoIterator<Item = Transform>) -> Simple {
    simple(SessionParams::from_iter(transforms))
}

fn gcm() -> Simple {
    simple(Transform::aead(AeadAlgorithm::AesGcm, key(16, 7), Key::default(), 16))
}

fn is_forged<T>(outcome: &Result<T, SimpleError>) -> bool {
    matches!(outcome, Err(SimpleError::Forged))
}

#[test]
fn ciphers_give_the_published_ciphertexts_and_take_them_back() {
    let cbc = rows::<5>(CBC)
        .into_iter()
        .map(|[case, key, iv, plain, sealed]| [case, "aes-cbc", key, "-", iv, plain, sealed]);
    let mut count = 0;
    for [case, name, key, salt, iv, plain, sealed] in rows::<7>(CIPHERS).into_iter().chain(cbc) {
        let Some(Algorithm::Cipher(algorithm)) = Algorithm::parse(name) else { panic!("{name}") };
        let transform = Transform::cipher(algorithm, Key::new(&hex(key))).with_salt(Key::new(&hex(salt)));
        let mut cipher = simple(transform);
        assert_eq!(cipher.encrypt(&hex(iv), &hex(plain)).unwrap(), hex(sealed), "{case}");
        assert_eq!(cipher.decrypt(&hex(iv), &hex(sealed)).unwrap(), hex(plain), "{case}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn keyed_hashes_give_the_published_tags_and_refuse_others() {
    let hmacs =
        rows::<5>(HMACS).into_iter().map(|[case, name, key, data, tag]| [case, name, key, "-", data, tag]);
    let mut count = 0;
    for [case, name, key, nonce, data, tag] in rows::<6>(MACS).into_iter().chain(hmacs) {
        let Some(Algorithm::Integrity(algorithm)) = Algorithm::parse(name) else { panic!("{name}") };
        let (nonce, mut data, tag) = (hex(nonce), hex(data), hex(tag));
        let transform = Transform::integrity(algorithm, Key::new(&hex(key)), tag.len());
        // RFC 4231 cuts one to a length that no driver offers.
        let Ok(mut mac) = Simple::open_session(&software(), transform, Placement::Any) else {
            assert!(case.starts_with("4231-5"), "{case}");
            continue;
        };
        assert_eq!(mac.mac(&nonce, &data).unwrap(), tag, "{case}");
        assert!(mac.check_mac(&nonce, &data, &tag).is_ok(), "{case}");
        assert!(is_forged(&mac.check_mac(&nonce, &data, &tag[1..])), "{case}");
        let mut other = tag.clone();
        other[0] ^= 0x80;
        assert!(is_forged(&mac.check_mac(&nonce, &data, &other)), "{case}");
        // The null hash tells nothing, nor does Poly1305 with a factor of zeros, which some of its vectors have.
        let blind = algorithm == IntegrityAlgorithm::Poly1305 && hex(key).starts_with(&[0; 16]);
        if blind || algorithm == IntegrityAlgorithm::Null {
            continue;
        }
        data.push(0);
        // Zeros behind the data are what GHASH pads with, but their number counts too.
        assert!(is_forged(&mac.check_mac(&nonce, &data, &tag)), "{case}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn hashes_give_the_published_digests() {
    for [case, name, data, digest] in rows::<4>(DIGESTS) {
        let Some(Algorithm::Digest(algorithm)) = Algorithm::parse(name) else { panic!("{name}") };
        let digest = hex(digest);
        let mut hash = simple(Transform::digest(algorithm, digest.len()));
        assert_eq!(hash.hash(&hex(data)).unwrap(), digest, "{case}");
    }
}

#[test]
fn aeads_give_the_published_texts_and_hand_out_nothing_of_a_forged_one() {
    for [case, name, key, nonce, aad, plain, sealed] in rows::<7>(AEADS) {
        let Some(Algorithm::Aead(algorithm)) = Algorithm::parse(name) else { panic!("{name}") };
        let (nonce, aad, plain, sealed) = (hex(nonce), hex(aad), hex(plain), hex(sealed));
        let tag_len = sealed.len() - plain.len();
        let mut aead = simple(Transform::aead(algorithm, Key::new(&hex(key)), Key::default(), tag_len));
        assert_eq!(aead.seal(&nonce, &aad, &plain).unwrap(), sealed, "{case}");
        assert_eq!(aead.open(&nonce, &aad, &sealed).unwrap(), plain, "{case}");
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert!(is_forged(&aead.open(&nonce, &aad, &forged)), "{case} byte {at}");
        }
        assert!(is_forged(&aead.open(&nonce, &[&aad[..], b"x"].concat(), &sealed)), "{case}");
        // What is salt and what is nonce makes no difference to the result; CCM has one length of salt.
        let salt = if algorithm == AeadAlgorithm::AesCcm { 3 } else { 4 };
        if nonce.len() == if salt == 3 { 11 } else { 12 } {
            let (salt, rest) = nonce.split_at(salt);
            let transform = Transform::aead(algorithm, Key::new(&hex(key)), Key::new(salt), tag_len);
            assert_eq!(simple(transform).seal(rest, &aad, &plain).unwrap(), sealed, "{case}");
        }
    }
}

#[test]
fn a_cipher_and_a_keyed_hash_seal_as_esp_does() {
    // RFC 4231 section 4.3 with the data as header and text, and no cipher between.
    let hash = |key: &[u8]| Transform::integrity(IntegrityAlgorithm::HmacSha256, Key::new(key), 32);
    let mut plain = chain([Transform::cipher(CipherAlgorithm::Null, Key::default()), hash(b"Jefe")]);
    let sealed = plain.seal(&[], b"what do ya ", b"want for nothing?").unwrap();
    let tag = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_eq!(sealed, [b"want for nothing?".to_vec(), tag].concat());

    let mut mac = simple(hash(&[9; 32]));
    for [case, key, iv, plain, cipher] in rows::<5>(CBC) {
        let (iv, plain, cipher) = (hex(iv), hex(plain), hex(cipher));
        let mut both =
            chain([Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&hex(key))), hash(&[9; 32])]);
        let sealed = both.seal(&iv, b"SPI&SEQ.", &plain).unwrap();
        let tag = mac.mac(&[], &[&b"SPI&SEQ."[..], &iv, &cipher].concat()).unwrap();
        assert_eq!(sealed, [&cipher[..], &tag].concat(), "{case}");
        assert_eq!(both.open(&iv, b"SPI&SEQ.", &sealed).unwrap(), plain, "{case}");
        let mut other = iv.clone();
        other[15] ^= 1;
        assert!(is_forged(&both.open(&other, b"SPI&SEQ.", &sealed)), "{case}: the IV is covered");
        assert!(is_forged(&both.open(&iv, b"SPI&SEQ,", &sealed)), "{case}: the header is covered");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_length_that_fits_the_buffers_goes_there_and_back(
        len in prop_oneof![0_usize..5000, 60_000_usize..66_000], aad_len in 0_usize..500, buffer in 0_usize..3,
    ) {
        // Buffers of 256, 768 and 2112 bytes, of which one packet has 64 at most.
        let stride = [512, 1024, 2368][buffer];
        let pool = Pool::new(PoolConfig { buffers: 64, stride }).unwrap();
        let transform = Transform::aead(AeadAlgorithm::AesGcm, key(32, 7), Key::default(), 16);
        let mut aead = Simple::with_pool(&software(), transform, Placement::Any, pool.clone()).unwrap();
        let plain: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let aad = vec![5; aad_len];
        let whole = aad_len + 12 + len + 16;
        match aead.seal(&[3; 12], &aad, &plain) {
            Ok(sealed) => {
                prop_assert_eq!(aead.open(&[3; 12], &aad, &sealed).unwrap(), plain);
                prop_assert!(whole <= 64 * (stride - 256));
            }
            Err(SimpleError::NoBuffer | SimpleError::TooLong { .. }) => {
                prop_assert!(whole > 64 * (stride - 256) || whole > 66_560);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        prop_assert_eq!(pool.available(), 64);
    }
}

#[test]
fn what_is_longer_than_the_driver_takes_is_said() {
    let pool = Pool::new(PoolConfig { buffers: 64, stride: 4160 }).unwrap();
    let transform = Transform::digest(DigestAlgorithm::Sha256, 32);
    let mut hash = Simple::with_pool(&software(), transform, Placement::Any, pool).unwrap();
    assert!(hash.hash(&vec![0; 66_000]).is_ok());
    assert!(matches!(hash.hash(&vec![0; 70_000]), Err(SimpleError::TooLong { len: 70_000 })));
    // What precedes the text has its own limit.
    let mut aead = gcm();
    assert!(matches!(aead.seal(&[1; 12], &vec![0; 65_530], b""), Err(SimpleError::TooLong { len: 65_530 })));
    assert!(aead.seal(&[1; 12], &vec![0; 65_523], b"").is_ok());
}

#[test]
fn a_call_that_the_bundle_is_not_for_is_refused_with_what_would_be_right() {
    let mut aead = gcm();
    let said = aead.hash(b"abc").unwrap_err().to_string();
    assert_eq!(said, "hash needs a session with one hash, and this one has aes-gcm");
    let cbc = || Transform::cipher(CipherAlgorithm::AesCbc, key(16, 3));
    let said = simple(cbc()).seal(&[0; 16], b"", b"").unwrap_err().to_string();
    let right = "seal needs a session with one AEAD, or a cipher and then a keyed hash that takes no nonce, and this one has aes-cbc";
    assert_eq!(said, right);
    let gmac = Transform::integrity(IntegrityAlgorithm::AesGmac, key(16, 3), 16);
    let said = chain([cbc(), gmac]).seal(&[0; 16], b"", b"").unwrap_err().to_string();
    assert!(said.ends_with("and this one has aes-cbc, aes-gmac"), "{said}");
    assert!(matches!(aead.encrypt(&[0; 12], b""), Err(SimpleError::Unfit { asked: "encrypt", .. })));
    assert!(matches!(aead.mac(&[0; 12], b""), Err(SimpleError::Unfit { asked: "mac", .. })));
    assert_eq!(RequestShape::of(&Transform::compression(CompressionAlgorithm::Deflate).into()), None);
}

#[test]
fn lengths_that_do_not_fit_are_refused_before_anything_is_done() {
    let mut cbc = simple(Transform::cipher(CipherAlgorithm::AesCbc, key(16, 3)));
    assert!(matches!(cbc.encrypt(&[0; 15], &[0; 16]), Err(SimpleError::NonceLength { len: 15, takes: 16 })));
    assert!(matches!(cbc.encrypt(&[0; 16], &[0; 17]), Err(SimpleError::NotWhole { len: 17, block: 16 })));
    let mut xts = simple(Transform::cipher(CipherAlgorithm::AesXts, key(32, 3)));
    assert!(matches!(xts.encrypt(&[0; 16], &[0; 15]), Err(SimpleError::TooShort { len: 15, least: 16 })));
    let mut aead = gcm();
    assert!(matches!(aead.seal(&[0; 13], b"", b""), Err(SimpleError::NonceLength { len: 13, takes: 12 })));
    assert!(matches!(aead.open(&[0; 12], b"", &[0; 15]), Err(SimpleError::TooShort { len: 15, least: 16 })));
    assert!(matches!(
        Simple::open_session(&software(), Transform::digest(DigestAlgorithm::Sha1, 19), Placement::Any),
        Err(SimpleError::Open(OpenError::Unsupported { .. }))
    ));
    let none = Simple::open_session(&Registry::new(), SessionParams::default(), Placement::Any);
    assert!(matches!(none, Err(SimpleError::Open(OpenError::NoDriver(_)))));
}

#[test]
fn a_driver_that_keeps_a_job_is_waited_for_so_long_and_its_late_answer_is_thrown_away() {
    let registry = Registry::new();
    let (driver, gate) = Erratic::new(0, Temper::CALM);
    registry.attach(driver).unwrap();
    let pool = Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap();
    let cipher = Transform::cipher(CipherAlgorithm::Null, Key::default());
    let simple = Simple::with_pool(&registry, cipher, Placement::Any, pool.clone()).unwrap();
    let mut simple = simple.with_turns(100);
    assert_eq!(simple.encrypt(&[], b"first").unwrap(), b"first", "this driver computes nothing");
    gate.set_open(false);
    assert!(matches!(simple.encrypt(&[], b"second"), Err(SimpleError::NotBack { turns: 100 })));
    assert_eq!(pool.available(), 7, "the driver has it");
    gate.set_open(true);
    assert_eq!(simple.encrypt(&[], b"third").unwrap(), b"third");
    assert_eq!(pool.available(), 8);
}

#[test]
fn a_moody_driver_is_asked_until_it_answers() {
    let (registry, _, _gate) = Erratic::alone(Temper::MOODY);
    let cipher = Transform::cipher(CipherAlgorithm::Null, Key::default());
    let mut simple = Simple::open_session(&registry, cipher, Placement::Any).unwrap();
    for number in 0..200_u32 {
        assert_eq!(simple.encrypt(&[], &number.to_be_bytes()).unwrap(), number.to_be_bytes());
    }
}

#[test]
fn dropping_it_closes_its_session_and_plaintext_does_not_stay_in_its_buffers() {
    let registry = software();
    let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() }).unwrap();
    let transform = Transform::aead(AeadAlgorithm::AesGcm, key(16, 7), Key::default(), 16);
    let mut aead = Simple::with_pool(&registry, transform, Placement::Any, pool.clone()).unwrap();
    let secret = [0x5e; 200];
    let sealed = aead.seal(&[1; 12], b"", &secret).unwrap();
    assert_eq!(aead.open(&[1; 12], b"", &sealed).unwrap(), secret);
    let mut buffer = pool.alloc().unwrap();
    let left = buffer.append(pool.buffer_len()).unwrap();
    assert!(!left.windows(8).any(|bytes| bytes == [0x5e; 8]));
    assert_eq!(registry.open_sessions(), 1);
    drop(aead);
    assert_eq!((registry.open_sessions(), registry.collect()), (0, 0));
}

//! What OpenSSL computes, with its legacy provider for what is broken; what it lacks is put together from its parts.

use std::sync::OnceLock;

use crypto_pmd::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::provider::Provider;
use openssl::sign::Signer;
use openssl::symm;

/// Loads the provider of broken algorithms beside the usual one, for good.
pub(crate) fn providers() {
    static LOADED: OnceLock<[Provider; 2]> = OnceLock::new();
    LOADED.get_or_init(|| ["default", "legacy"].map(|name| Provider::load(None, name).unwrap()));
}

/// OpenSSL's name of a cipher with a key of this length.
pub(crate) fn name_of(algorithm: CipherAlgorithm, key_len: usize) -> Option<String> {
    let bits = key_len * 8;
    Some(match algorithm {
        CipherAlgorithm::AesCbc => format!("AES-{bits}-CBC"),
        CipherAlgorithm::AesCtr => format!("AES-{bits}-CTR"),
        CipherAlgorithm::AesXts => format!("AES-{}-XTS", bits / 2),
        CipherAlgorithm::ChaCha20 => "ChaCha20".to_owned(),
        CipherAlgorithm::DesCbc => "DES-CBC".to_owned(),
        CipherAlgorithm::TripleDesCbc => "DES-EDE3-CBC".to_owned(),
        CipherAlgorithm::BlowfishCbc => "BF-CBC".to_owned(),
        CipherAlgorithm::CastCbc => "CAST5-CBC".to_owned(),
        CipherAlgorithm::CamelliaCbc => format!("CAMELLIA-{bits}-CBC"),
        CipherAlgorithm::Arc4 => "RC4".to_owned(),
        _ => return None,
    })
}

pub(crate) fn encrypt(name: &str, key: &[u8], iv: &[u8], text: &[u8]) -> Vec<u8> {
    let cipher = Cipher::fetch(None, name, None).unwrap();
    let mut context = CipherCtx::new().unwrap();
    context.encrypt_init(Some(&cipher), None, None).unwrap();
    if ["BF-CBC", "CAST5-CBC", "RC4"].contains(&name) {
        context.set_key_length(key.len()).unwrap();
    }
    context.encrypt_init(None, Some(key), (!iv.is_empty()).then_some(iv)).unwrap();
    context.set_padding(false);
    let mut sealed = Vec::new();
    context.cipher_update_vec(text, &mut sealed).unwrap();
    context.cipher_final_vec(&mut sealed).unwrap();
    sealed
}

pub(crate) fn digest(name: &str, data: &[u8]) -> Vec<u8> {
    openssl::hash::hash(MessageDigest::from_name(name).unwrap(), data).unwrap().to_vec()
}

fn sign(key: &PKey<Private>, hash: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut signer = match hash {
        Some(name) => Signer::new(MessageDigest::from_name(name).unwrap(), key).unwrap(),
        None => Signer::new_without_digest(key).unwrap(),
    };
    signer.sign_oneshot_to_vec(data).unwrap()
}

/// RFC 1828 and RFC 1852: the key, filled up as a message of its own would be, the data, the key.
fn kpdk(name: &str, length: [u8; 8], key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut padded = key.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    digest(name, &[&padded[..], &length, data, key].concat())
}

fn aes_block(key: &[u8], block: &[u8]) -> Vec<u8> {
    encrypt("AES-128-ECB", key, &[], block)
}

/// RFC 3566 section 4, over single blocks.
fn xcbc(key: &[u8], data: &[u8]) -> Vec<u8> {
    let keys = [1, 2, 3].map(|number| aes_block(key, &[number; 16]));
    let mut blocks: Vec<Vec<u8>> = data.chunks(16).map(<[u8]>::to_vec).collect();
    if blocks.is_empty() {
        blocks.push(Vec::new());
    }
    let last = blocks.last_mut().unwrap();
    let mask = if last.len() == 16 { &keys[1] } else { &keys[2] };
    if last.len() < 16 {
        last.push(0x80);
        last.resize(16, 0);
    }
    last.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    blocks.iter().fold(vec![0; 16], |chain, block| {
        let mixed: Vec<u8> = chain.iter().zip(block).map(|(one, other)| one ^ other).collect();
        aes_block(&keys[0], &mixed)
    })
}

/// OpenSSL's name of an AEAD with a key of this length.
fn aead_name(algorithm: AeadAlgorithm, key_len: usize) -> String {
    match algorithm {
        AeadAlgorithm::AesGcm => format!("AES-{}-GCM", key_len * 8),
        AeadAlgorithm::AesCcm => format!("AES-{}-CCM", key_len * 8),
        AeadAlgorithm::ChaCha20Poly1305 => "ChaCha20-Poly1305".to_owned(),
        other => panic!("{other} is not compared with anything"),
    }
}

/// Ciphertext and tag.
pub(crate) fn seal(
    algorithm: AeadAlgorithm,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    text: &[u8],
    tag_len: usize,
) -> Vec<u8> {
    let ccm = algorithm == AeadAlgorithm::AesCcm;
    let cipher = Cipher::fetch(None, &aead_name(algorithm, key.len()), None).unwrap();
    let mut context = CipherCtx::new().unwrap();
    context.encrypt_init(Some(&cipher), None, None).unwrap();
    context.set_iv_length(nonce.len()).unwrap();
    if ccm {
        context.set_tag_length(tag_len).unwrap();
    }
    context.encrypt_init(None, Some(key), Some(nonce)).unwrap();
    if ccm {
        context.set_data_len(text.len()).unwrap();
    }
    if !aad.is_empty() {
        context.cipher_update(aad, None).unwrap();
    }
    let mut sealed = Vec::new();
    context.cipher_update_vec(text, &mut sealed).unwrap();
    if !ccm {
        context.cipher_final_vec(&mut sealed).unwrap();
    }
    let mut tag = vec![0; tag_len];
    context.tag(&mut tag).unwrap();
    [sealed, tag].concat()
}

/// The tag as OpenSSL has it, or as it is made of OpenSSL's parts.
pub(crate) fn tag_of(
    algorithm: IntegrityAlgorithm,
    key: &[u8],
    nonce: &[u8],
    data: &[u8],
    tag_len: usize,
) -> Vec<u8> {
    let hmac = |name| sign(&PKey::hmac(key).unwrap(), Some(name), data);
    let bits = key.len() as u64 * 8;
    let whole = match algorithm {
        IntegrityAlgorithm::HmacMd5 => hmac("MD5"),
        IntegrityAlgorithm::HmacSha1 => hmac("SHA1"),
        IntegrityAlgorithm::HmacSha224 => hmac("SHA224"),
        IntegrityAlgorithm::HmacSha256 => hmac("SHA256"),
        IntegrityAlgorithm::HmacSha384 => hmac("SHA384"),
        IntegrityAlgorithm::HmacSha512 => hmac("SHA512"),
        IntegrityAlgorithm::HmacRipemd160 => hmac("RIPEMD160"),
        IntegrityAlgorithm::KpdkMd5 => kpdk("MD5", bits.to_le_bytes(), key, data),
        IntegrityAlgorithm::KpdkSha1 => kpdk("SHA1", bits.to_be_bytes(), key, data),
        IntegrityAlgorithm::AesGmac => seal(AeadAlgorithm::AesGcm, key, nonce, data, &[], tag_len),
        IntegrityAlgorithm::AesCbcMac => seal(AeadAlgorithm::AesCcm, key, nonce, data, &[], tag_len),
        IntegrityAlgorithm::Poly1305 => {
            sign(&PKey::private_key_from_raw_bytes(key, Id::POLY1305).unwrap(), None, data)
        }
        IntegrityAlgorithm::AesCmac => {
            let cipher = match key.len() {
                16 => symm::Cipher::aes_128_cbc(),
                24 => symm::Cipher::aes_192_cbc(),
                _ => symm::Cipher::aes_256_cbc(),
            };
            sign(&PKey::cmac(&cipher, key).unwrap(), None, data)
        }
        IntegrityAlgorithm::AesXcbcMac => xcbc(key, data),
        IntegrityAlgorithm::Null => vec![0; tag_len],
        other => panic!("{other} is not compared with anything"),
    };
    whole[..tag_len].to_vec()
}

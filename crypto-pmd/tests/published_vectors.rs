//! The vectors of the RFCs through registry, dispatcher and software driver, and through the scheduler, both ways. RFC 2404 and
//! RFC 4106 have none of their own; those of AES-GCM are in `wycheproof`.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HMACS, hex, rows};
use crypto_pmd::*;

const HMAC: &str = include_str!("data/hmac.txt");
const AES_CBC: &str = include_str!("data/aes-cbc.txt");

fn tag_of(bench: &mut Bench, params: Transform, data: &[u8], tag_len: usize) -> Vec<u8> {
    let session = bench.open(params);
    let bytes = [data, &vec![0; tag_len]].concat();
    let job = Job::new(bench.packet(&bytes), session, Operation::Encrypt)
        .with_integrity(0, data.len() as u32)
        .with_tag(data.len() as u32);
    let (status, bytes) = bench.finish(job);
    assert_eq!((status, &bytes[..data.len()]), (Status::Done, data));
    assert!(bench.registry.close(session));
    bytes[data.len()..].to_vec()
}

fn check(bench: &mut Bench, params: Transform, data: &[u8], tag: &[u8]) -> Status {
    let session = bench.open(params);
    let bytes = [data, tag].concat();
    let job = Job::new(bench.packet(&bytes), session, Operation::Decrypt)
        .with_integrity(0, data.len() as u32)
        .with_tag(data.len() as u32);
    let (status, after) = bench.finish(job);
    assert_eq!(after, bytes, "checking changes nothing");
    assert!(bench.registry.close(session));
    status
}

#[test]
fn every_hmac_of_rfc_2202_and_rfc_4231_and_rfc_4868_is_made_and_accepted() {
    for mut bench in Bench::each() {
        let mut cut_in_the_driver = 0;
        let table = rows::<5>(HMAC);
        for [case, name, key, data, tag] in &table {
            let algorithm =
                HMACS.into_iter().find(|algorithm| algorithm.name() == *name).expect("an unknown algorithm");
            let (key, data, tag) = (Key::new(&hex(key)), hex(data), hex(tag));
            let with_tag = |len| Transform::integrity(algorithm, key.clone(), len);
            let full = tag_of(&mut bench, with_tag(algorithm.digest_len()), &data, algorithm.digest_len());
            assert!(full.starts_with(&tag), "{case}");
            if bench.registry.open(with_tag(tag.len()).into(), Placement::Any).is_err() {
                assert!(case.starts_with("4231-5"), "{case}: a tag of {} is refused", tag.len());
                continue;
            }
            cut_in_the_driver += usize::from(tag.len() < algorithm.digest_len());
            assert_eq!(tag_of(&mut bench, with_tag(tag.len()), &data, tag.len()), tag, "{case}");
            assert_eq!(check(&mut bench, with_tag(tag.len()), &data, &tag), Status::Done, "{case}");
        }
        // 7 cases twice, 7 by 3, 6 by 3, and 12 twice; cut are the 7 and the 12, and of RFC 4231's case 5 the one
        // whose 128 bits are half of the hash.
        assert_eq!((table.len(), cut_in_the_driver), (14 + 21 + 18 + 24, 7 + 12 + 1));
    }
}

#[test]
fn every_packet_of_rfc_3602_is_encrypted_and_decrypted() {
    for mut bench in Bench::each() {
        let table = rows::<5>(AES_CBC);
        assert_eq!(table.len(), 8);
        for [case, key, iv, plain, sealed] in table {
            let session = bench.open(Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&hex(key))));
            let (plain, sealed) = ([hex(iv), hex(plain)].concat(), [hex(iv), hex(sealed)].concat());
            for (operation, from, to) in
                [(Operation::Encrypt, &plain, &sealed), (Operation::Decrypt, &sealed, &plain)]
            {
                let job =
                    Job::new(bench.packet(from), session, operation).with_cipher(16, from.len() as u32 - 16);
                assert_eq!(bench.finish(job), (Status::Done, to.clone()), "{case} {operation:?}");
            }
        }
    }
}

#[test]
fn every_hmac_with_a_bit_of_its_tag_flipped_is_refused() {
    for mut bench in Bench::each() {
        for [case, name, key, data, tag] in rows::<5>(HMAC) {
            let algorithm = HMACS.into_iter().find(|algorithm| algorithm.name() == name).unwrap();
            let (key, mut tag) = (Key::new(&hex(key)), hex(tag));
            if case.starts_with("4231-5") {
                continue;
            }
            *tag.last_mut().unwrap() ^= 1;
            let params = Transform::integrity(algorithm, key, tag.len());
            assert_eq!(check(&mut bench, params, &hex(data), &tag), Status::IntegrityFailed, "{case}");
        }
    }
}

//! The capability tables of the guide are those that the drivers give, and what they list is what can be opened.
//!
//! `SEALANE_BLESS=1 cargo test -p crypto-pmd --test capability_table` writes the tables anew.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test card may lock")]

#[path = "common/card.rs"]
#[allow(dead_code, reason = "nothing is done to the card here")]
mod card;

use std::fs;

use card::Card;
use crypto_pmd::capability::{self, Unsupported};
use crypto_pmd::drivers::{Multibuffer, Null, Software};
use crypto_pmd::*;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const END: &str = "<!-- end of table -->";

/// What stands in the guide between the markers of a driver: where, and what.
fn section<'a>(guide: &'a str, driver: &str) -> (std::ops::Range<usize>, &'a str) {
    let begin = format!("<!-- table: {driver} -->\n");
    let start = guide.find(&begin).unwrap_or_else(|| panic!("no line {begin:?} in {GUIDE}")) + begin.len();
    let end = start + guide[start..].find(END).unwrap_or_else(|| panic!("no line {END:?} behind {begin:?}"));
    (start..end, &guide[start..end])
}

fn drivers() -> [(&'static str, Box<dyn Driver>); 3] {
    [
        ("null", Box::new(Null::new())),
        ("software", Box::new(Software::new())),
        ("multibuffer", Box::new(Multibuffer::new())),
    ]
}

#[test]
fn the_tables_of_the_guide_are_those_of_the_drivers() {
    let mut guide = fs::read_to_string(GUIDE).unwrap();
    let bless = std::env::var_os("SEALANE_BLESS").is_some();
    for (name, driver) in drivers() {
        let table = format!("\n{}\n", capability::table(driver.capabilities()));
        let (place, written) = section(&guide, name);
        if bless {
            guide.replace_range(place, &table);
            continue;
        }
        assert!(
            written == table,
            "the table of the driver {name} in crypto-pmd/README.md is not what the code gives; write it anew with\n    \
             SEALANE_BLESS=1 cargo test -p crypto-pmd --test capability_table\n{table}"
        );
    }
    if bless {
        fs::write(GUIDE, guide).unwrap();
    }
}

/// A row as a reader takes it: name, lengths of keys in bits, of tags in bytes.
fn read_row(line: &str) -> Option<(Algorithm, Vec<usize>, Vec<usize>)> {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let algorithm = Algorithm::parse(cells.first()?)?;
    let numbers = |text: &str| -> Vec<usize> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty() && *part != "to");
        parts.map(|part| part.parse().unwrap()).collect()
    };
    Some((algorithm, numbers(cells[2]), numbers(cells[3])))
}

fn transform(algorithm: Algorithm, key_bits: usize, tag_len: usize) -> Transform {
    let key = Key::new(&vec![1; key_bits / 8]);
    match algorithm {
        Algorithm::Cipher(cipher) => Transform::cipher(cipher, key),
        Algorithm::Integrity(hash) => {
            let salt = Key::new(match hash {
                IntegrityAlgorithm::AesGmac => &[2; 4],
                IntegrityAlgorithm::AesCbcMac => &[2; 3],
                _ => &[][..],
            });
            Transform::integrity(hash, key, tag_len).with_salt(salt)
        }
        Algorithm::Digest(digest) => Transform::digest(digest, tag_len),
        Algorithm::Aead(aead) => {
            let salt = if aead == AeadAlgorithm::AesCcm { &[2; 3][..] } else { &[2; 4] };
            Transform::aead(aead, key, Key::new(salt), tag_len)
        }
        Algorithm::Compression(compression) => Transform::compression(compression),
        other => panic!("{other} is of an unknown family"),
    }
}

#[test]
fn each_row_can_be_opened_with_every_key_and_tag_it_lists_and_with_no_other() {
    let table = capability::table(Software::new().capabilities());
    let registry = Registry::new();
    registry.attach(Software::new()).unwrap();
    let open = |algorithm, key_bits, tag_len| {
        let opened = registry.open(transform(algorithm, key_bits, tag_len).into(), Placement::Any);
        opened.map(|session| assert!(registry.close(session))).is_ok()
    };
    let rows: Vec<_> = table.lines().filter_map(read_row).collect();
    assert!(rows.iter().map(|row| row.0).eq(Algorithm::all()));
    for (algorithm, keys, tags) in rows {
        // Where there is none, none is asked for.
        let (keys, tags) = (or_none(keys), or_none(tags));
        for &bits in &keys {
            assert!(
                tags.iter().all(|&tag| open(algorithm, bits, tag)),
                "{algorithm} with a key of {bits} bits"
            );
        }
        let (longest_key, longest_tag) = (keys.iter().max().unwrap(), tags.iter().max().unwrap());
        let takes_key = transform(algorithm, 0, *longest_tag).key().is_some();
        assert!(!takes_key || !open(algorithm, longest_key + 8, *longest_tag), "{algorithm}: a longer key");
        let has_tag = transform(algorithm, 0, 0).tag_len().is_some();
        assert!(!has_tag || !open(algorithm, *longest_key, longest_tag + 1), "{algorithm}: a longer tag");
    }
}

fn or_none(lengths: Vec<usize>) -> Vec<usize> {
    if lengths.is_empty() { vec![0] } else { lengths }
}

#[test]
fn each_card_gets_the_sessions_of_its_own_algorithms() {
    let registry = Registry::new();
    let card = |name, keep: CipherAlgorithm| {
        let card = Card::new(name).0.with(|capabilities| {
            *capabilities = Capabilities {
                hardware: true,
                ciphers: capabilities.ciphers.iter().filter(|one| one.algorithm == keep).cloned().collect(),
                ..Capabilities::default()
            };
        });
        let listed = capability::table(card.capabilities());
        assert_eq!(listed.lines().filter_map(read_row).map(|row| row.0).collect::<Vec<_>>(), [keep.into()]);
        registry.attach(card).unwrap()
    };
    let cbc = card("cbc0", CipherAlgorithm::AesCbc);
    let ctr = card("ctr0", CipherAlgorithm::AesCtr);
    let open = |algorithm| {
        let params = Transform::cipher(algorithm, Key::new(&[1; 16]));
        registry.open_with(params.into(), SessionOptions::default())
    };
    assert_eq!(open(CipherAlgorithm::AesCbc).unwrap().drivers, [cbc]);
    let opened = open(CipherAlgorithm::AesCtr).unwrap();
    assert_eq!(opened.drivers, [ctr]);
    let what = Unsupported::Algorithm("aes-ctr");
    assert_eq!(opened.passed_over, [(cbc, OpenError::Unsupported { driver: "cbc0".to_owned(), what })]);
    assert!(open(CipherAlgorithm::CamelliaCbc).is_err());
}

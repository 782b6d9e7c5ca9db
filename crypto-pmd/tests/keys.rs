//! Keys do not outlive their session: no block of the heap is given back with key bytes in it, and once a closed
//! session's queue pairs have polled, no block that is still in use has them either.
//!
//! An allocator looks into every block of the watched thread. Looked for are parts of the key itself, which is also the
//! front of an AES key schedule, of the key under HMAC's two pads, of HMAC's two states, and of what else a session makes of
//! its key. Copies on the stack and in registers are not seen.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit};
use common::{Bench, HMACS, Suite};
use crypto_pmd::capability::KeyLengths;
use crypto_pmd::drivers::Software;
use crypto_pmd::*;
use hmac::EagerHash;
use hmac::digest::block_api::{Block, UpdateCore as _};
use hmac::digest::common::hazmat::SerializableState;

/// Distinct bytes, so that no part of it occurs by chance.
const MARKER: [u8; 64] =
    *b"\x91kEy-mArKeR\xd4nEvEr*bY\xc3cHaNcE!\xe7\x8a\x01\xf2\x17nOt\xfehErE.nOr=tHeRe\x95bUt\xb2iN?pLaCe";
/// Bytes that are looked for at a time: the shortest key.
const NEEDLE: usize = 8;

struct Watch;

#[global_allocator]
static WATCH: Watch = Watch;

static NEEDLES: OnceLock<Vec<[u8; NEEDLE]>> = OnceLock::new();

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static HITS: Cell<usize> = const { Cell::new(0) };
    /// Blocks that found no place in the list of live ones.
    static LOST: Cell<usize> = const { Cell::new(0) };
    /// Blocks that this thread took while it was watched: address and bytes, zero for a free place.
    static LIVE: [Cell<(usize, usize)>; 4096] = const { [const { Cell::new((0, 0)) }; 4096] };
}

// SAFETY: every call is passed on to the system's allocator; looking at a block changes nothing.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that every byte may be looked at.
        // SAFETY: passed on from the caller.
        let block = unsafe { System.alloc_zeroed(layout) };
        if ARMED.get() {
            remember((0, 0), (block as usize, layout.size()));
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ARMED.get() {
            let found = holds_needle(block as usize, layout.size());
            HITS.set(HITS.get() + usize::from(found));
            remember((block as usize, layout.size()), (0, 0));
        }
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) };
    }
}

/// Replaces an entry of the list of live blocks; a block that was taken before the watch is not in it.
fn remember(old: (usize, usize), new: (usize, usize)) {
    LIVE.with(|live| match live.iter().find(|place| place.get() == old) {
        Some(place) => place.set(new),
        None => LOST.set(LOST.get() + usize::from(new != (0, 0))),
    });
}

/// Looks for the needles in a block that is allocated.
fn holds_needle(block: usize, len: usize) -> bool {
    // SAFETY: the block is allocated, was zeroed when it was, and is this thread's alone.
    let bytes = unsafe { std::slice::from_raw_parts(block as *const u8, len) };
    let needles = NEEDLES.get().map_or(&[][..], |needles| needles);
    bytes.windows(NEEDLE).any(|window| needles.iter().any(|needle| needle == window))
}

/// What a watch has seen: blocks with key bytes that were given back, and that are in use now.
#[derive(Debug, PartialEq)]
struct Seen {
    freed: usize,
    live: usize,
}

fn seen() -> Seen {
    assert_eq!(LOST.get(), 0, "the list of live blocks is too short");
    let live = LIVE
        .with(|live| live.iter().filter(|place| holds_needle(place.get().0.max(1), place.get().1)).count());
    Seen { freed: HITS.get(), live }
}

/// Overwrites what this program's own search words left on the stack, from where it would get into the padding of
/// blocks.
#[inline(never)]
fn scrub_stack() {
    std::hint::black_box(&mut [0x55_u8; 64 << 10]);
}

/// Runs `work` under watch on this thread; what it looks for is made before.
fn watched(work: impl FnOnce()) {
    NEEDLES.get_or_init(needles);
    scrub_stack();
    HITS.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
}

fn needles() -> Vec<[u8; NEEDLE]> {
    let mut needles = Vec::new();
    for pad in [0, 0x36, 0x5c] {
        let masked = MARKER.map(|byte| byte ^ pad);
        needles.extend((0..=56).step_by(8).map(|at| *masked[at..].first_chunk::<NEEDLE>().unwrap()));
    }
    for pad in [0x36, 0x5c] {
        let states = [
            state::<md5::Md5>,
            state::<ripemd::Ripemd160>,
            state::<sha1::Sha1>,
            state::<sha2::Sha224>,
            state::<sha2::Sha256>,
            state::<sha2::Sha384>,
            state::<sha2::Sha512>,
        ];
        needles.extend(states.map(|state| state(pad)));
    }
    needles.extend(schedules());
    needles.extend([1, 2, 3].map(xcbc_key));
    needles.extend([16, 24, 32].map(hash_key));
    needles.extend([kpdk_state::<md5::Md5>(u64::to_le_bytes), kpdk_state::<sha1::Sha1>(u64::to_be_bytes)]);
    needles
}

/// Fronts of key schedules that do not begin with the key as it is.
fn schedules() -> Vec<[u8; NEEDLE]> {
    fn front<C: KeyInit>(len: usize) -> [u8; NEEDLE] {
        let schedule = C::new_from_slice(&MARKER[..len]).unwrap();
        // SAFETY: each of the schedules below begins with an array of words.
        unsafe { (&raw const schedule).cast::<[u8; NEEDLE]>().read() }
    }
    vec![
        front::<camellia::Camellia128>(16),
        front::<camellia::Camellia192>(24),
        front::<camellia::Camellia256>(32),
        front::<des::Des>(8),
        front::<des::TdesEde3>(24),
        front::<blowfish::Blowfish>(32),
        front::<cast5::Cast5>(16),
    ]
}

fn aes_of(key_len: usize, block: [u8; 16]) -> [u8; 16] {
    fn encrypt<C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>>(
        key: &[u8],
        block: [u8; 16],
    ) -> [u8; 16] {
        let mut block = block.into();
        C::new_from_slice(key).unwrap().encrypt_block(&mut block);
        block.into()
    }
    match key_len {
        16 => encrypt::<aes::Aes128>(&MARKER[..16], block),
        24 => encrypt::<aes::Aes192>(&MARKER[..24], block),
        _ => encrypt::<aes::Aes256>(&MARKER[..32], block),
    }
}

/// One of the keys that XCBC makes of its own (RFC 3566 section 4.1).
fn xcbc_key(number: u8) -> [u8; NEEDLE] {
    *aes_of(16, [number; 16]).first_chunk().unwrap()
}

/// GCM's hash key in the form that it is computed with (RFC 8452 appendix A).
fn hash_key(key_len: usize) -> [u8; NEEDLE] {
    const FIELD: u128 = 1 << 127 | 1 << 126 | 1 << 121 | 1;
    let key = u128::from_be_bytes(aes_of(key_len, [0; 16]));
    let doubled = (key << 1) ^ ((key >> 127) * FIELD);
    *doubled.to_le_bytes().first_chunk().unwrap()
}

/// Front of a hash's state behind the key and its padding (RFC 1828), for a key of 32 bytes.
fn kpdk_state<D: EagerHash>(length: fn(u64) -> [u8; 8]) -> [u8; NEEDLE]
where
    D::Core: SerializableState,
{
    let mut block = Block::<D::Core>::default();
    block[..32].copy_from_slice(&MARKER[..32]);
    block[32] = 0x80;
    block[56..].copy_from_slice(&length(256));
    let mut core = D::Core::default();
    core.update_blocks(&[block]);
    *core.serialize().first_chunk().unwrap()
}

/// Front of a hash's state behind the padded key (RFC 2104 section 4), as a little-endian machine keeps it.
fn state<D: EagerHash>(pad: u8) -> [u8; NEEDLE]
where
    D::Core: SerializableState,
{
    let mut block = Block::<D::Core>::default();
    block
        .iter_mut()
        .zip(MARKER[..32].iter().chain(std::iter::repeat(&0)))
        .for_each(|(to, byte)| *to = byte ^ pad);
    let mut core = D::Core::default();
    core.update_blocks(&[block]);
    *core.serialize().first_chunk().unwrap()
}

fn marker(len: usize) -> Key {
    Key::new(&MARKER[..len])
}

/// Every algorithm with the marker as its key, alone and chained, with the shape of its jobs.
fn marked_suites() -> Vec<Suite> {
    let software = Software::new();
    let mut suites = Vec::new();
    for entry in software.capabilities().entries() {
        let lens = match entry.keys {
            KeyLengths::OneOf(lens) => lens.to_vec(),
            KeyLengths::Range(_, 0) => continue,
            KeyLengths::Range(_, most) => vec![*most.min(&32)],
        };
        let tag_len = entry.tags.last().copied().unwrap_or(0);
        suites.extend(lens.into_iter().filter_map(|len| Suite::of(entry.algorithm, marker(len), tag_len)));
    }
    for hmac in HMACS {
        let tag_len = common::esp_tag_len(hmac);
        let chain = [
            Transform::cipher(CipherAlgorithm::AesCbc, marker(32)),
            Transform::integrity(hmac, marker(32), tag_len),
        ];
        suites.push(Suite {
            params: chain.into_iter().collect(),
            aead: false,
            iv_len: 16,
            tag_len,
            block: 16,
        });
    }
    suites
}

fn run_one(bench: &mut Bench, suite: &Suite, session: SessionId) {
    let plain = suite.plain(&[1; 64], 1);
    let cuts: &[usize] = if session.index().is_multiple_of(2) { &[] } else { &[30, 70] };
    let job = suite.job(common::chained(&bench.pool, &plain, cuts), session, Operation::Encrypt, Some(1));
    assert_eq!(bench.run(job).status(), Status::Done);
}

#[test]
fn the_watch_sees_a_key_that_is_in_use_and_one_that_is_given_back() {
    watched(|| {
        let careless = MARKER[..24].to_vec();
        assert_eq!(seen(), Seen { freed: 0, live: 1 });
        drop(careless);
        assert_eq!(seen(), Seen { freed: 1, live: 0 });
        let state = state::<sha2::Sha384>(0x5c).to_vec();
        assert_eq!(seen().live, 1);
        drop(state);
        assert_eq!(seen(), Seen { freed: 2, live: 0 });
    });
}

#[test]
fn a_closed_session_leaves_no_key_behind_once_its_queue_pair_has_polled_and_the_control_side_collected() {
    for suite in 0..marked_suites().len() {
        watched(|| {
            let mut bench = Bench::new();
            let suite = marked_suites().swap_remove(suite);
            let session = bench.registry.open(suite.params.clone(), Placement::Any).unwrap();
            run_one(&mut bench, &suite, session);
            let name = suite.params.transforms[0].algorithm();
            drop(suite);
            // The registry's copy, and the driver's state.
            let Seen { freed, live } = seen();
            assert!(freed == 0 && live >= 2, "{name}: {freed} {live}");
            assert!(bench.registry.close(session));
            bench.dispatcher.poll(&mut job::JobBurst::new());
            assert_eq!(bench.registry.collect(), 0);
            assert_eq!(seen(), Seen { freed: 0, live: 0 });
            drop(bench);
            assert_eq!(seen(), Seen { freed: 0, live: 0 });
        });
    }
}

#[test]
fn a_driver_that_is_dropped_with_open_sessions_leaves_no_key_behind() {
    watched(|| {
        let mut bench = Bench::new();
        for suite in marked_suites() {
            let session = bench.open(suite.params.clone());
            run_one(&mut bench, &suite, session);
        }
        assert!(seen().live >= marked_suites().len());
        drop(bench);
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
    });
}

#[test]
fn a_session_that_cannot_be_opened_leaves_no_key_behind() {
    watched(|| {
        let bench = Bench::new();
        let refused = |transforms: &[Transform]| {
            let params = transforms.iter().cloned().collect();
            assert!(bench.registry.open(params, Placement::Any).is_err());
        };
        let cipher = |len| Transform::cipher(CipherAlgorithm::AesCbc, marker(len));
        let hmac = Transform::integrity(HMACS[0], marker(32), 12);
        refused(&[cipher(17)]);
        refused(&[cipher(32), hmac.clone(), cipher(17)]);
        refused(&[Transform::aead(AeadAlgorithm::AesGcm, marker(16), marker(17), 16)]);
        refused(&[cipher(32), cipher(16).with_salt(marker(4)), hmac.clone()]);
        refused(&vec![hmac.clone(); 9]);
        refused(&[hmac, Transform::compression(CompressionAlgorithm::Deflate)]);
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
    });
}

#[test]
fn keys_that_are_copied_and_split_are_wiped() {
    watched(|| {
        let key = marker(32);
        let (head, tail) = key.clone().split_at(16).unwrap();
        assert_eq!((head.bytes(), tail.bytes(), seen().live), (&MARKER[..16], &MARKER[16..32], 3));
        drop((key, head, tail));
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
    });
}

#[test]
fn an_extension_is_wiped_before_it_goes_back_to_its_pool() {
    watched(|| {
        let pool = ExtensionPool::new(2);
        let mut extension = pool.alloc().unwrap();
        assert!(extension.set_iv(&MARKER[..16]) && extension.set_associated_data(&MARKER));
        assert_eq!(seen(), Seen { freed: 0, live: 1 });
        assert!(extension.set_iv(&[0; 8]) && extension.set_associated_data(&[0; 8]));
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
        assert!(extension.set_iv(&MARKER[..16]) && extension.set_associated_data(&MARKER));
        drop(extension);
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
        let mut orphan = pool.alloc().unwrap();
        drop(pool);
        assert!(orphan.set_associated_data(&MARKER));
        drop(orphan);
        assert_eq!(seen(), Seen { freed: 0, live: 0 });
    });
}

#[test]
fn a_key_for_one_request_is_wiped_with_the_extension_that_brought_it_and_is_nowhere_else() {
    watched(|| {
        let mut bench = Bench::new();
        let pool = ExtensionPool::new(1);
        let software = Software::new();
        for entry in software.capabilities().entries() {
            let key_len = match entry.keys {
                KeyLengths::OneOf(lens) => lens[0],
                KeyLengths::Range(_, most) => *most.min(&32),
            };
            let tag_len = entry.tags.last().copied().unwrap_or(0);
            let Some(suite) = Suite::of(entry.algorithm, Key::new(&vec![1; key_len]), tag_len) else {
                continue;
            };
            let session = bench.open(suite.params.clone());
            let mut extension = pool.alloc().unwrap();
            let step = suite.step(suite.plain(&[1; 64], 1).len());
            assert!(extension.push_step(step));
            assert!(key_len == 0 || extension.set_step_key(0, &MARKER[..key_len]));
            let packet = bench.packet(&suite.plain(&[1; 64], 1));
            let done = bench.run(Job::new(packet, session, Operation::Encrypt).with_extension(extension));
            assert_eq!(done.status(), Status::Done, "{}", entry.algorithm);
            assert_eq!(seen(), Seen { freed: 0, live: usize::from(key_len > 0) }, "{}", entry.algorithm);
            drop(done);
            assert_eq!(seen(), Seen { freed: 0, live: 0 }, "{}", entry.algorithm);
        }
    });
}

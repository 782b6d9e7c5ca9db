//! How fast, in cycles of the time-stamp counter. Prints, and judges nothing.

use super::*;

const SIZES: [usize; 4] = [64, 256, 1408, 8192];
const BURSTS: [usize; 5] = [1, 2, 4, 8, 32];
const BUFFERS: usize = 64;
const STRIDE: usize = 2368;

fn ticks() -> u64 {
    // SAFETY: reads the time-stamp counter, and nothing else.
    #[allow(unused_unsafe)]
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
}

/// The least of several runs over all buffers, for one message.
fn least(mut run: impl FnMut(usize), burst: usize) -> u64 {
    let once = |run: &mut dyn FnMut(usize)| {
        let start = ticks();
        (0..BUFFERS).step_by(burst).for_each(run);
        (ticks() - start) / BUFFERS as u64
    };
    (0..200).map(|_| once(&mut run)).min().unwrap()
}

#[test]
#[ignore = "measures"]
fn speed() {
    let memory = vec![0x5a; BUFFERS * STRIDE + SIZES[3]];
    for hash in HASHES {
        let keys: Vec<_> = (0..BUFFERS).map(|place| HmacKey::new(hash, &[place as u8; 20])).collect();
        for level in levels() {
            for burst in BURSTS {
                let row = SIZES.map(|size| {
                    let lane = |place: usize| MacLane {
                        key: &keys[place],
                        data: &memory[place * STRIDE..][..size],
                        extra: None,
                        tag: [0; TAG],
                    };
                    let mut lanes: Vec<_> = (0..BUFFERS).map(lane).collect();
                    least(|from| run(level, hash, &mut lanes[from..from + burst]), burst)
                });
                println!("{hash:?} {level} burst {burst}: {row:?} for {SIZES:?} bytes");
            }
        }
        let row = SIZES.map(|size| {
            let run = |from: usize| crate_alone(hash, from as u8, &memory[from * STRIDE..][..size]);
            least(run, 1)
        });
        println!("{hash:?} the crate hmac, key set-up left out: {row:?}");
    }
}

fn crate_alone(hash: Hash, _: u8, data: &[u8]) {
    use std::sync::OnceLock;
    static SHA1: OnceLock<hmac::Hmac<sha1::Sha1>> = OnceLock::new();
    static SHA256: OnceLock<hmac::Hmac<sha2::Sha256>> = OnceLock::new();
    fn run<M: hmac::Mac + hmac::KeyInit + Clone>(cell: &OnceLock<M>, data: &[u8]) {
        let mac = cell.get_or_init(|| <M as hmac::KeyInit>::new_from_slice(&[1; 20]).unwrap());
        std::hint::black_box(mac.clone().chain_update(data).finalize().into_bytes());
    }
    match hash {
        Hash::Sha1 => run(&SHA1, data),
        Hash::Sha256 => run(&SHA256, data),
    }
}

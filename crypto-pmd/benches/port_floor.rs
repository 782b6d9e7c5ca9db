//! How near the kernels of the multi-buffer driver come to what the processor's execution ports allow: for each algorithm at 1408 and
//! 8192 bytes, core cycles a byte, the floor, and the share of it that is reached.
//!
//! `cargo bench -p crypto-pmd --bench port_floor`; with words behind `--`, the kernels whose name has one of them. Pin it (`taskset -c 1`).
//!
//! **Core cycles** are not cycles of the time-stamp counter. A chain of additions and rotations, each of which waits for the one before
//! and takes one cycle, tells how many of the one pass in one of the other; it runs before and behind every measurement.
//!
//! **Floors** come from what the processor does of each instruction in a cycle, measured here too: loops of independent
//! instructions, with nothing else to wait for. What an algorithm needs of them for so many bytes is its floor, and is told in the table's last
//! column; loads, stores, and what is around the algorithm are left out, but where loads bind (a key for each lane). The width is that
//! of the driver's level. Kernels run through a dispatcher, 32 packets a submit, 64 in memory, so the share has the driver's work in it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may fail loudly")]

#[cfg(target_arch = "x86_64")]
mod ports;

#[cfg(target_arch = "x86_64")]
fn main() {
    table::print();
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("the multi-buffer driver has kernels on x86-64 only");
}

#[cfg(target_arch = "x86_64")]
mod table {
    use std::hint::black_box;

    use crypto_pmd::drivers::Multibuffer;
    use crypto_pmd::drivers::multibuffer::Level;
    use crypto_pmd::job::JobBurst;
    use crypto_pmd::*;
    use pipeline::{Clock, Pool, PoolConfig};

    use super::ports::Ports;

    const BURST: usize = 32;
    const BURSTS: usize = 2;
    const SIZES: [usize; 2] = [1408, 8192];
    /// Measurements of a kernel, and rounds of each; the figure is the median.
    const RUNS: usize = 61;
    const ROUNDS: usize = 8;
    /// Steps of the chain that tells core cycles from ticks; two cycles each.
    const STEPS: u64 = 100_000;
    /// An IV in front of the payload, a tag behind it.
    const FRONT: usize = 16;
    const MOST_TAG: usize = 64;

    /// What is measured, and against what.
    struct Kernel {
        name: &'static str,
        params: SessionParams,
        operation: Operation,
        tag_len: usize,
        /// Core cycles for a number of bytes, and how they come about.
        floor: fn(&Ports) -> Floor,
        /// Share of the floor that is to be reached, in percent.
        bar: f64,
    }

    struct Floor {
        cycles: f64,
        bytes: f64,
        words: String,
    }

    impl Floor {
        fn a_byte(&self) -> f64 {
            self.cycles / self.bytes
        }
    }

    fn key(len: usize) -> Key {
        Key::new(&vec![0x5a; len])
    }

    fn cipher(algorithm: CipherAlgorithm) -> SessionParams {
        Transform::cipher(algorithm, key(16)).into()
    }

    fn mac(algorithm: IntegrityAlgorithm, len: usize) -> SessionParams {
        Transform::integrity(algorithm, key(len), len).into()
    }

    /// As ESP has it: four bytes of salt, eight of IV in the packet.
    fn aead(algorithm: AeadAlgorithm, key_len: usize) -> SessionParams {
        Transform::aead(algorithm, key(key_len), key(4), 16).into()
    }

    fn kernels() -> Vec<Kernel> {
        let kernel = |name, params, operation, tag_len, floor, bar| Kernel {
            name,
            params,
            operation,
            tag_len,
            floor,
            bar,
        };
        let (encrypt, decrypt) = (Operation::Encrypt, Operation::Decrypt);
        vec![
            kernel("aes-128-cbc encrypt", cipher(CipherAlgorithm::AesCbc), encrypt, 0, cbc_encrypt, 80.0),
            kernel("aes-128-cbc decrypt", cipher(CipherAlgorithm::AesCbc), decrypt, 0, ten_rounds, 97.0),
            kernel("aes-128-ctr", cipher(CipherAlgorithm::AesCtr), encrypt, 0, ten_rounds, 75.0),
            kernel("aes-128-gcm encrypt", aead(AeadAlgorithm::AesGcm, 16), encrypt, 16, gcm_128, 83.0),
            kernel("aes-256-gcm encrypt", aead(AeadAlgorithm::AesGcm, 32), encrypt, 16, gcm_256, 83.0),
            kernel("sha1-hmac", mac(IntegrityAlgorithm::HmacSha1, 20), encrypt, 20, sha1, 80.0),
            kernel("sha2-256-hmac", mac(IntegrityAlgorithm::HmacSha256, 32), encrypt, 32, sha256, 75.0),
            kernel("sha2-512-hmac", mac(IntegrityAlgorithm::HmacSha512, 64), encrypt, 64, sha512, 75.0),
            kernel(
                "chacha20-poly1305 encrypt",
                aead(AeadAlgorithm::ChaCha20Poly1305, 32),
                encrypt,
                16,
                chacha_poly,
                70.0,
            ),
        ]
    }

    /// Counter mode and CBC decryption: nothing but rounds.
    fn ten_rounds(ports: &Ports) -> Floor {
        let words = format!("10 AES rounds a {} B vector", ports.width);
        Floor { cycles: 10.0 * ports.aes, bytes: ports.width as f64, words }
    }

    /// Packets side by side with a key each: every round loads its key.
    fn cbc_encrypt(ports: &Ports) -> Floor {
        let (rounds, loads) = (10.0 * ports.aes, 12.0 * ports.load);
        let words =
            format!("the larger of 10 AES rounds and 12 loads (11 keys, 1 block) a {} B vector", ports.width);
        Floor { cycles: rounds.max(loads), bytes: ports.width as f64, words }
    }

    fn gcm_128(ports: &Ports) -> Floor {
        gcm(10, ports.gcm_10_rounds, ports.width)
    }

    fn gcm_256(ports: &Ports) -> Floor {
        gcm(14, ports.gcm_14_rounds, ports.width)
    }

    /// A product of 128 by 128 bits is four of 64, or three and some exclusive ors; which of the two is less work depends on the processor.
    fn gcm(rounds: u32, [three, four]: [f64; 2], width: usize) -> Floor {
        let products = if three < four { "3" } else { "4" };
        let words =
            format!("{rounds} AES rounds mixed with {products} carry-less products a {width} B vector");
        Floor { cycles: three.min(four), bytes: width as f64, words }
    }

    /// The lower of two ways: SHA-NI, or lanes of 32 bits. A step of a lane: two rotations, a choice of 3 operations, 4 additions, and a schedule of
    /// 3 exclusive ors and a rotation. A rotation is two shifts and an or, or one operation in AVX-512, which has logic of three operands
    /// too.
    fn sha1(ports: &Ports) -> Floor {
        let step = if ports.width == 64 {
            ports.mix(1.0 + 4.0 + 2.0, 3.0)
        } else {
            ports.mix(3.0 + 3.0 + 4.0 + 3.0, 6.0)
        };
        lower(20.0 * ports.sha1_rounds, "20 SHA1RNDS4", 80.0 * step, ports.width / 4)
    }

    fn sha256(ports: &Ports) -> Floor {
        lower(32.0 * ports.sha256_rounds, "32 SHA256RNDS2", 64.0 * sha2_step(ports), ports.width / 4)
    }

    fn sha512(ports: &Ports) -> Floor {
        let lanes = ports.width / 8;
        let words = format!("80 steps of additions, logic and shifts in {lanes} lanes");
        Floor { cycles: 80.0 * sha2_step(ports), bytes: (128 * lanes) as f64, words }
    }

    /// A step in every lane: 6 rotations in the two sums and 4 exclusive ors of them, choice and majority of 3 operations each, 7 additions; in
    /// four of five steps the schedule: 4 rotations, 2 shifts, 4 exclusive ors, 3 additions.
    fn sha2_step(ports: &Ports) -> f64 {
        if ports.width == 64 {
            ports.mix(2.0 + 1.0 + 1.0 + 7.0 + 0.8 * (2.0 + 3.0), 6.0 + 0.8 * 6.0)
        } else {
            ports.mix(6.0 + 4.0 + 3.0 + 3.0 + 7.0 + 0.8 * (4.0 + 4.0 + 3.0), 12.0 + 0.8 * 10.0)
        }
    }

    /// A block of 64 B by SHA-NI, or one in each of so many lanes.
    fn lower(instructions: f64, words: &str, steps: f64, lanes: usize) -> Floor {
        if instructions <= steps / lanes as f64 {
            return Floor { cycles: instructions, bytes: 64.0, words: format!("{words} a 64 B block") };
        }
        let words = format!("additions, logic and shifts in {lanes} lanes");
        Floor { cycles: steps, bytes: (64 * lanes) as f64, words }
    }

    /// ChaCha20 in lanes of 32 bits: 80 quarter rounds a block of 4 additions, 4 exclusive ors and 4 rotations, of which two are byte
    /// shuffles (in AVX-512 all are one operation), and 6 operations a word to finish. Poly1305 in limbs of 26 bits, four blocks at a time in 32 B: 25
    /// products, 20 additions, 27 for carries and for splitting.
    fn chacha_poly(ports: &Ports) -> Floor {
        let lanes = ports.width as f64 / 4.0;
        let quarter = if ports.width == 64 { ports.mix(8.0, 4.0) } else { ports.mix(12.0, 4.0) };
        let chacha = (80.0 * quarter + ports.mix(96.0, 0.0)) / (64.0 * lanes);
        let poly = (25.0 * ports.multiply).max(ports.mix(72.0, 0.0)) / (2.0 * ports.width as f64);
        let words =
            format!("ChaCha20 in {lanes} lanes ({chacha:.2}) and Poly1305 in limbs of 26 bits ({poly:.2})");
        Floor { cycles: chacha + poly, bytes: 1.0, words }
    }

    pub(super) fn print() {
        let level = Level::best();
        let clock = Clock::new();
        let Some(ports) = Ports::measure(level, &clock, || core_cycles_per_tick(&clock)) else {
            println!("this processor has no level with kernels");
            return;
        };
        println!(
            "level {}, {} B wide; core cycles in a TSC cycle: {:.3}",
            level.name(),
            ports.width,
            core_cycles_per_tick(&clock)
        );
        println!("core cycles an instruction: {ports}\n");
        println!(
            "{:<26} {:>5} {:>8} {:>9} {:>6} {:>7} {:>7} {:>6}   floor",
            "kernel", "size", "TSC c/B", "core c/B", "floor", "share", "best", "bar"
        );
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        for kernel in kernels() {
            if words.is_empty() || words.iter().any(|word| kernel.name.contains(word.as_str())) {
                SIZES.iter().for_each(|&size| row(&kernel, size, level, &clock, &ports));
            }
        }
    }

    fn row(kernel: &Kernel, size: usize, level: Level, clock: &Clock, ports: &Ports) {
        let floor = (kernel.floor)(ports);
        let Figures { ticks, core, best } = measure(kernel, size, level, clock);
        let share_of = |core| floor.a_byte() / core * 100.0;
        let (share, best) = (share_of(core), share_of(best));
        let below = if share < kernel.bar { "below" } else { "" };
        println!(
            "{:<26} {size:>5} {ticks:>8.3} {core:>9.3} {:>6.3} {share:>5.0} % {best:>5.0} % {:>4.0} %   {} {below}",
            kernel.name,
            floor.a_byte(),
            kernel.bar,
            floor.words
        );
    }

    /// Medians a byte, and the least of the core cycles: where other programs run too, the median tells of them as well.
    struct Figures {
        ticks: f64,
        core: f64,
        best: f64,
    }

    fn measure(kernel: &Kernel, size: usize, level: Level, clock: &Clock) -> Figures {
        let registry = Registry::new();
        registry.attach(Multibuffer::with_level(0, level).unwrap()).unwrap();
        let session = registry.open(kernel.params.clone(), Placement::Any).unwrap();
        let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let stride = ((256 + FRONT + size + MOST_TAG).div_ceil(64) | 1) * 64;
        let buffers =
            PoolConfig { buffers: BURST * BURSTS, stride: stride.max(PoolConfig::default().stride) };
        let pool = Pool::new(buffers).unwrap();
        let job = || {
            let packet = pool.alloc_copy(&vec![0x33; FRONT + size + kernel.tag_len]).unwrap();
            let (front, len) = (FRONT as u16, size as u32);
            let covered = match kernel.params.transforms.first() {
                Some(Transform::Aead { .. }) => (0, 8),
                _ => (front, len),
            };
            let job = Job::new(packet, session, kernel.operation).with_cipher(front, len);
            job.with_integrity(covered.0, covered.1).with_iv(0).with_tag(FRONT as u32 + len)
        };
        let mut bursts: Vec<JobBurst> = (0..BURSTS).map(|_| burst_of(&job)).collect();
        let mut done = JobBurst::new();
        let mut figures: Vec<(f64, f64)> = (0..RUNS)
            .map(|_| {
                let before = core_cycles_per_tick(clock);
                let start = clock.tick();
                for _ in 0..ROUNDS {
                    bursts.iter_mut().for_each(|burst| through(&mut dispatcher, burst, &mut done));
                }
                let ticks = (clock.tick() - start) as f64 / (ROUNDS * BURSTS * BURST * size) as f64;
                (ticks, ticks * before.max(core_cycles_per_tick(clock)))
            })
            .collect();
        let statuses = bursts.iter().flat_map(|burst| burst.iter().map(Job::status));
        statuses.for_each(|status| assert_eq!(status, Status::Done, "{}", kernel.name));
        figures.sort_by(|one, other| one.1.total_cmp(&other.1));
        let (ticks, core) = figures[RUNS / 2];
        Figures { ticks, core, best: figures[0].1 }
    }

    fn burst_of(job: &impl Fn() -> Job) -> JobBurst {
        let mut jobs = JobBurst::new();
        (0..BURST).for_each(|_| jobs.push(job()).unwrap());
        jobs
    }

    /// The burst's jobs once through the driver, and back into the burst.
    fn through(dispatcher: &mut Dispatcher, burst: &mut JobBurst, done: &mut JobBurst) {
        while !burst.is_empty() {
            dispatcher.submit(burst);
            dispatcher.poll(done);
        }
        while dispatcher.in_flight() > 0 {
            dispatcher.poll(done);
        }
        burst.take_from(done);
    }

    /// By a chain of additions and rotations. The best of some: a chain that was interrupted took more ticks.
    fn core_cycles_per_tick(clock: &Clock) -> f64 {
        let chain = || {
            let (mut value, constant) = black_box((1_u64, 3_u64));
            let start = clock.tick();
            for _ in 0..STEPS {
                value = value.wrapping_add(constant).rotate_left(7);
            }
            black_box(value);
            2.0 * STEPS as f64 / (clock.tick() - start) as f64
        };
        (0..3).map(|_| chain()).fold(0.0, f64::max)
    }
}

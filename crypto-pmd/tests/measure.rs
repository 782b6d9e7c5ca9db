//! What is measured is what drivers need, by size and burst, whatever else happens on the machine; and what was measured is
//! kept for this machine, program and set of drivers, and no other. All in virtual time, but for the real driver.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
#[path = "common/virtual_time.rs"]
mod virtual_time;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::measure::*;
use crypto_pmd::*;
use tempfile::TempDir;
use virtual_time::{Manner, Virtual, VirtualClock};

const BUDGET: Budget = Budget { milliseconds: 1, slices: 3 };

fn gcm() -> Bundle {
    Bundle::of(&common::Suite::gcm(16).params)
}

fn hmac() -> Bundle {
    let key = Key::new(&[1; 20]);
    Bundle::of(&Transform::integrity(IntegrityAlgorithm::HmacSha1, key, 12).into())
}

fn measure(clock: &VirtualClock, candidates: &[Candidate]) -> Measurements {
    calibrate(candidates, &[gcm()], BUDGET, clock)
}

fn cycles(table: &Measurements, driver: &str, size: usize, burst: usize) -> f64 {
    table.cycles("aes-128-gcm", driver, Load::of(size, burst)).unwrap()
}

#[test]
fn every_size_class_has_the_driver_that_is_faster_there() {
    let clock = VirtualClock::default();
    // They meet at 500 bytes.
    let small = Virtual::candidate("small0", &clock, Manner::per_job(|bytes, _| 100 + bytes as u64));
    let large = Virtual::candidate("large0", &clock, Manner::per_job(|bytes, _| 550 + bytes as u64 / 10));
    let table = measure(&clock, &[small, large]);
    for (size, expected) in [(64, "small0"), (256, "small0"), (1024, "large0"), (8192, "large0")] {
        for burst in [1, 32] {
            assert_eq!(
                table.best("aes-128-gcm", size, burst, &["small0", "large0"]),
                Some(expected),
                "{size}"
            );
            assert_eq!(cycles(&table, "small0", size, burst), 100.0 + size as f64);
        }
    }
    // 7 x 164 + 5 x 1124 cycles against 7 x 556.4 + 5 x 652.4.
    assert_eq!(table.best_overall("aes-128-gcm", &["small0", "large0"]), Some("small0"));
}

#[test]
fn a_driver_that_wants_company_is_best_where_it_has_some() {
    let clock = VirtualClock::default();
    let lanes = Manner { call: |_| 3200, ..Manner::per_job(|_, _| 50) };
    let lanes = Virtual::candidate("lanes0", &clock, lanes);
    let single = Virtual::candidate("single0", &clock, Manner::per_job(|_, _| 400));
    let table = measure(&clock, &[lanes, single]);
    let among = ["lanes0", "single0"];
    assert_eq!(table.best("aes-128-gcm", 64, 1, &among), Some("single0"));
    assert_eq!(table.best("aes-128-gcm", 64, 32, &among), Some("lanes0"));
    assert_eq!((cycles(&table, "lanes0", 64, 1), cycles(&table, "lanes0", 64, 32)), (3250.0, 150.0));
}

#[test]
fn a_job_that_comes_alone_waits_for_no_company_and_bursts_on_a_busy_core_have_that_of_the_next() {
    let clock = VirtualClock::default();
    // 64 jobs are started together, or what there is when the queue is flushed.
    let waits = Manner { batch: 64, call: |_| 6400, ..Manner::per_job(|_, _| 50) };
    let table = measure(&clock, &[Virtual::candidate("waits0", &clock, waits)]);
    assert_eq!((cycles(&table, "waits0", 64, 1), cycles(&table, "waits0", 64, 32)), (6450.0, 150.0));
}

/// One round of each of 16 figures is a slice.
const ROUNDS: Budget = Budget { milliseconds: 0, slices: 3 };
/// Operations of such a slice of one driver: both ways and both bursts of 128, 128, 128 and 32.
const SLICE: u64 = 4 * (3 * 128 + 32);
/// Operations that make the packets to be decrypted, one of each size.
const MAKING: u64 = 4;
/// Ticks of an operation in a slow time.
const SLOW: u64 = 1000;

/// Slow through the first `slices` slices of a driver that is alone.
fn slow_for<const SLICES: u64>(_: usize, now: u64) -> u64 {
    if now < (MAKING + SLICES * SLICE) * SLOW { SLOW } else { 100 }
}

#[test]
fn one_slow_slice_is_left_out_and_most_slow_slices_are_not() {
    let figures = |job: fn(usize, u64) -> u64| {
        let clock = VirtualClock::default();
        let one = [Virtual::candidate("one0", &clock, Manner::per_job(job))];
        let table = calibrate(&one, &[gcm()], ROUNDS, &clock);
        let mut seen: Vec<_> =
            table.rows().iter().map(|row| [row.least, row.cycles, row.most].map(|n| n as u64)).collect();
        seen.dedup();
        seen
    };
    assert_eq!(figures(slow_for::<0>), [[100, 100, 100]]);
    assert_eq!(figures(slow_for::<1>), [[100, 100, SLOW]]);
    assert_eq!(figures(slow_for::<2>), [[100, SLOW, SLOW]]);
    assert_eq!(figures(slow_for::<3>), [[SLOW, SLOW, SLOW]]);
}

#[test]
fn drivers_take_turns_so_that_a_slow_time_is_shared() {
    let clock = VirtualClock::default();
    // Slow through the first slice of both: were one measured after the other, that would be two of the first one's.
    let slow = |_: usize, now: u64| if now < 2 * (MAKING + SLICE) * SLOW { SLOW } else { 100 };
    let candidates = ["a0", "b0"].map(|name| Virtual::candidate(name, &clock, Manner::per_job(slow)));
    let table = calibrate(&candidates, &[gcm()], ROUNDS, &clock);
    assert_eq!(table.rows().len(), 32);
    assert!(table.rows().iter().all(|row| (row.cycles, row.most) == (100.0, SLOW as f64)));
}

#[test]
fn a_calibration_takes_about_its_budget_and_stamps_what_it_finds() {
    let clock = VirtualClock::default();
    let one = Virtual::candidate("one0", &clock, Manner::per_job(|_, _| 100));
    let budget = Budget { milliseconds: 100, slices: 5 };
    let table = calibrate(&[one], &[gcm()], budget, &clock);
    let taken = clock.tick();
    assert!((90_000_000..=110_000_000).contains(&taken), "{taken}");
    assert!(table.rows().iter().all(|row| row.slices == 5 && row.measured_at == 1_000));
    assert_eq!(table.tsc_hz, 1_000_000_000);
    let counted: u64 = table.rows().iter().map(|row| row.operations * 100).sum();
    assert_eq!(taken - counted, MAKING * 100, "only the packets to be decrypted are made besides");
}

#[test]
fn a_budget_of_nothing_measures_three_rounds_and_a_clock_that_stands_still_ends() {
    let clock = VirtualClock::default();
    let one = Virtual::candidate("one0", &clock, Manner::per_job(|_, _| 10));
    let table = calibrate(&[one], &[gcm()], Budget { milliseconds: 0, slices: 0 }, &clock);
    assert!(table.rows().iter().all(|row| row.cycles == 10.0 && row.slices == 3));
    assert_eq!(table.rows().iter().map(|row| row.operations).sum::<u64>(), 3 * SLICE);
    let free = Virtual::candidate("free0", &clock, Manner::per_job(|_, _| 0));
    let table = calibrate(&[free], &[gcm()], BUDGET, &clock);
    assert!(table.rows().len() == 16 && table.rows().iter().all(|row| row.cycles == 0.0));
}

fn why<'a>(table: &'a Measurements, driver: &str) -> Vec<&'a Skipped> {
    table.skipped().iter().filter(|skipped| skipped.driver == driver).collect()
}

#[test]
fn what_cannot_be_measured_is_left_out_and_said() {
    let clock = VirtualClock::default();
    let good = Virtual::candidate("good0", &clock, Manner::per_job(|_, _| 100));
    let fails = Manner { status: |_| Status::IntegrityFailed, ..Manner::per_job(|_, _| 1) };
    let fails = Virtual::candidate("fails0", &clock, fails);
    let loses = Virtual::candidate("loses0", &clock, Manner { loses: true, ..Manner::per_job(|_, _| 1) });
    let table = measure(&clock, &[fails, loses, Candidate::new(Null::new), good]);
    let among = ["fails0", "loses0", "null0", "good0"];
    assert_eq!(table.best_overall("aes-128-gcm", &among), Some("good0"));
    assert_eq!(table.drivers("aes-128-gcm"), ["good0"]);
    assert!(
        matches!(why(&table, "fails0")[..], [Skipped { why: Why::Failed(what), .. }] if what.contains("IntegrityFailed"))
    );
    assert!(matches!(why(&table, "loses0")[..], [Skipped { why: Why::Failed(_), size: None, .. }]));
    assert!(matches!(why(&table, "null0")[..], [Skipped { why: Why::ComputesNothing, .. }]));

    let chacha = Transform::aead(AeadAlgorithm::ChaCha20Poly1305, Key::new(&[1; 32]), Key::new(&[1; 4]), 16);
    let good = Virtual::candidate("good0", &clock, Manner::per_job(|_, _| 100));
    let table = calibrate(&[good], &[Bundle::of(&chacha.into())], BUDGET, &clock);
    assert!(
        matches!(why(&table, "good0")[..], [Skipped { why: Why::Unsupported(what), .. }] if what.contains("chacha20"))
    );
}

#[test]
fn a_driver_that_takes_no_long_packets_is_measured_with_short_ones() {
    fn short(job: &Job) -> Status {
        if job.cipher_range().1 > 2000 { Status::TooLong } else { Status::Done }
    }
    let clock = VirtualClock::default();
    let short = Virtual::candidate("short0", &clock, Manner { status: short, ..Manner::per_job(|_, _| 1) });
    let table = measure(&clock, &[short]);
    assert_eq!(table.best("aes-128-gcm", 1024, 32, &["short0"]), Some("short0"));
    assert_eq!(table.best("aes-128-gcm", 9000, 32, &["short0"]), None);
    assert!(matches!(why(&table, "short0")[..], [Skipped { size: Some(SizeClass::B8192), .. }]));
}

/// Each kind of chain, in real time with the least budget: what matters is that every tag is valid, or there would be no row.
#[test]
fn every_algorithm_of_the_software_driver_can_be_measured_both_ways() {
    let mut bundles: Vec<_> = common::Suite::alone().iter().map(|suite| Bundle::of(&suite.params)).collect();
    bundles.sort_by_key(|bundle| bundle.name().to_owned());
    bundles.dedup_by_key(|bundle| bundle.name().to_owned());
    let cbc = || Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[1; 16]));
    let gmac = || Transform::integrity(IntegrityAlgorithm::AesGmac, Key::new(&[2; 16]), 16);
    let sha1 = || Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[3; 20]), 12);
    let deflate = || Transform::compression(CompressionAlgorithm::Deflate);
    let aead = || common::Suite::gcm(16).params.transforms[0].clone();
    let chains: [&[Transform]; 7] = [
        &[cbc(), sha1()],
        &[cbc(), gmac()],
        &[sha1(), cbc()],
        &[cbc(), cbc(), sha1(), sha1()],
        &[aead(), sha1()],
        &[cbc(), Transform::digest(DigestAlgorithm::Sha1, 20)],
        &[deflate()],
    ];
    bundles.extend(chains.map(|chain| Bundle::of(&chain.iter().cloned().collect())));
    let table = calibrate(&[Candidate::new(Software::new)], &bundles, ROUNDS, &pipeline::Clock::new());
    assert_eq!(table.skipped(), []);
    assert!(bundles.len() > 40);
    for bundle in &bundles {
        let rows = table.rows().iter().filter(|row| row.bundle == bundle.name());
        assert_eq!(rows.count(), 16, "{}", bundle.name());
    }
}

// Kept measurements.

/// A folder, a clock, and how fast the one driver is.
struct Kept {
    folder: TempDir,
    clock: VirtualClock,
}

impl Kept {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), clock: VirtualClock::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("measured.json")
    }

    fn drivers(&self, names: &[&'static str]) -> Vec<Candidate> {
        let manner = Manner::per_job(|bytes, _| 100 + bytes as u64);
        names.iter().map(|name| Virtual::candidate(name, &self.clock, manner)).collect()
    }

    /// Loads or measures; the names of the bundles that were measured, and whether the clock moved at all.
    fn start_at(&self, path: &Path, names: &[&'static str], bundles: &[Bundle]) -> (Outcome, bool) {
        let before = self.clock.tick();
        let outcome = load_or_calibrate(path, &self.drivers(names), bundles, BUDGET, &self.clock);
        (outcome, self.clock.tick() > before)
    }

    fn start(&self) -> (Outcome, bool) {
        self.start_at(&self.path(), &["one0"], &[gcm()])
    }

    /// That it is measured anew, kept, and not measured a third time; the note.
    fn is_measured_anew(&self) -> CacheError {
        let (mut outcome, ran) = self.start();
        assert!(ran && outcome.measured == ["aes-128-gcm"]);
        assert_eq!(outcome.measurements.rows().len(), 16);
        let (again, ran) = self.start();
        assert!(!ran && again.measured.is_empty() && again.notes.is_empty());
        assert_eq!(again.measurements, outcome.measurements);
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 1, "nothing lies around");
        assert_eq!(outcome.notes.len(), 1);
        outcome.notes.pop().unwrap()
    }
}

#[test]
fn what_was_measured_is_kept_and_not_measured_again() {
    assert!(matches!(Kept::new().is_measured_anew(), CacheError::Missing(_)));
}

#[test]
fn a_file_says_again_what_was_saved() {
    let kept = Kept::new();
    let mut candidates = kept.drivers(&["one0"]);
    candidates.push(Candidate::new(Null::new));
    let table = calibrate(&candidates, &[gcm(), hmac()], BUDGET, &kept.clock);
    assert!(!table.rows().is_empty() && !table.skipped().is_empty());
    table.save(kept.path()).unwrap();
    assert_eq!(Measurements::load(kept.path()).unwrap(), table);
    let text = fs::read_to_string(kept.path()).unwrap();
    for words in [
        "\"schema\": \"sealane.measurements/1\"",
        "\"bundle\": \"aes-128-gcm\"",
        "\"operation\": \"decrypt\"",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_file_is_replaced_whole_so_that_who_reads_it_meanwhile_has_the_old_one() {
    let kept = Kept::new();
    kept.start();
    let old = fs::read_to_string(kept.path()).unwrap();
    let mut reader = fs::File::open(kept.path()).unwrap();
    kept.start_at(&kept.path(), &["two0"], &[gcm()]);
    assert_ne!(fs::read_to_string(kept.path()).unwrap(), old);
    let mut seen = String::new();
    reader.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, old);
}

#[test]
fn another_machine_version_or_set_of_drivers_measures_anew() {
    let kept = Kept::new();
    kept.start();
    type Change = fn(&mut Fingerprint);
    let changes: [(Change, &str); 6] = [
        (|print| print.processor.push('x'), "processor"),
        (|print| print.features.push("abacus".to_owned()), "processor"),
        (|print| print.version.push('1'), "version of the program"),
        (|print| print.build.push('x'), "version of the program"),
        (|print| print.drivers[0].name.push('1'), "set of drivers"),
        (|print| print.drivers[0].capabilities.push('1'), "set of drivers"),
    ];
    for (change, differs) in changes {
        let mut table = Measurements::load(kept.path()).unwrap();
        change(&mut table.fingerprint);
        table.save(kept.path()).unwrap();
        let note = kept.is_measured_anew();
        assert!(matches!(note, CacheError::Stale { what, .. } if what == differs), "{note}");
    }
}

#[test]
fn a_driver_more_measures_anew() {
    let kept = Kept::new();
    kept.start();
    let (outcome, ran) = kept.start_at(&kept.path(), &["one0", "two0"], &[gcm()]);
    assert!(ran && matches!(outcome.notes[..], [CacheError::Stale { what: "set of drivers", .. }]));
    assert_eq!(outcome.measurements.drivers("aes-128-gcm"), ["one0", "two0"]);
}

#[test]
fn a_damaged_file_is_measured_anew_and_replaced() {
    let kept = Kept::new();
    kept.start();
    let good = fs::read(kept.path()).unwrap();
    let damages: [&dyn Fn() -> Vec<u8>; 8] = [
        &Vec::new,
        &|| b"{}".to_vec(),
        &|| vec![0xff; 1000],
        &|| good[..good.len() / 2].to_vec(),
        &|| text(&good).replacen("sealane.measurements/1", "sealane.measurements/9", 1).into(),
        &|| text(&good).replacen("\"cycles\": ", "\"cycles\": -", 1).into(),
        &|| text(&good).replacen("\"size\": 64", "\"size\": 65", 1).into(),
        &|| text(&good).replacen("\"encrypt\"", "\"neither\"", 1).into(),
    ];
    for damage in damages {
        let damaged = damage();
        assert_ne!(damaged, good);
        fs::write(kept.path(), &damaged).unwrap();
        assert!(matches!(kept.is_measured_anew(), CacheError::Damaged { .. }), "{}", text(&damaged));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn only_the_bundles_that_are_new_are_measured() {
    let kept = Kept::new();
    kept.start();
    let both = |outcome: &Outcome| outcome.measurements.measured_bundles().join(" ");
    let (outcome, ran) = kept.start_at(&kept.path(), &["one0"], &[gcm(), hmac()]);
    assert!(ran && outcome.notes.is_empty() && outcome.measured == ["sha1-hmac"]);
    assert_eq!(both(&outcome), "aes-128-gcm sha1-hmac");
    let (outcome, ran) = kept.start_at(&kept.path(), &["one0"], &[hmac()]);
    assert!(!ran && both(&outcome) == "aes-128-gcm sha1-hmac");
}

#[test]
fn what_no_driver_can_do_is_not_tried_at_every_start_and_what_failed_is() {
    let kept = Kept::new();
    let chacha = Transform::aead(AeadAlgorithm::ChaCha20Poly1305, Key::new(&[1; 32]), Key::new(&[1; 4]), 16);
    let chacha = [Bundle::of(&chacha.into())];
    assert_eq!(kept.start_at(&kept.path(), &["one0"], &chacha).0.measured.len(), 1);
    assert_eq!(kept.start_at(&kept.path(), &["one0"], &chacha).0.measured.len(), 0);

    let start = |status: fn(&Job) -> Status| {
        let manner = Manner { status, ..Manner::per_job(|_, _| 1) };
        let drivers = [Virtual::candidate("moody0", &kept.clock, manner)];
        let path = kept.folder.path().join("moody.json");
        load_or_calibrate(path, &drivers, &[gcm()], BUDGET, &kept.clock)
    };
    assert_eq!(start(|_| Status::Retry).measurements.rows().len(), 0);
    let outcome = start(|_| Status::Done);
    assert_eq!((outcome.measured.len(), outcome.measurements.skipped().len()), (1, 0));
    assert_eq!(start(|_| Status::Retry).measurements.rows().len(), 16);
}

#[test]
fn a_place_that_cannot_be_read_or_written_is_said_and_stops_nothing() {
    let kept = Kept::new();
    let nowhere = kept.folder.path().join("no/such/folder/measured.json");
    let (outcome, _) = kept.start_at(&nowhere, &["one0"], &[gcm()]);
    assert!(matches!(outcome.notes[..], [CacheError::Missing(_), CacheError::Unwritable { .. }]));
    assert_eq!(outcome.measurements.rows().len(), 16);

    let (outcome, _) = kept.start_at(kept.folder.path(), &["one0"], &[gcm()]);
    assert!(matches!(outcome.notes[..], [CacheError::Unreadable { .. }, CacheError::Unwritable { .. }]));
    assert_eq!(outcome.measurements.rows().len(), 16);
    let said = outcome.notes[1].to_string();
    assert!(said.contains("cannot be written") && said.contains("name a file in a folder"), "{said}");
    assert_eq!(fs::read_dir(kept.folder.path()).unwrap().count(), 0, "nothing lies around");
    assert!(matches!(Measurements::load("/dev/zero"), Err(CacheError::Unreadable { .. })), "it has no end");
}

#[test]
fn a_measurement_that_has_changed_says_where_sessions_had_better_be() {
    let clock = VirtualClock::default();
    let at = |a: fn(usize, u64) -> u64, b: fn(usize, u64) -> u64| {
        let drivers = [("a0", a), ("b0", b)];
        measure(&clock, &drivers.map(|(name, job)| Virtual::candidate(name, &clock, Manner::per_job(job))))
    };
    let old = at(|_, _| 100, |_, _| 200);
    assert_eq!(changed(&old, &at(|_, _| 110, |_, _| 100), 0.1), [], "just 10 % is not above 10 %");
    let change = changed(&old, &at(|_, _| 150, |_, _| 100), 0.1);
    let (bundle, from, to) = ("aes-128-gcm".to_owned(), "a0".to_owned(), "b0".to_owned());
    assert_eq!(change, [Change { bundle, from, to, gain: Some(0.5) }]);
}

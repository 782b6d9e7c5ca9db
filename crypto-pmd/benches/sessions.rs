//! What sessions cost by the million: memory, time to open and to close, and the price of finding each job's own; and what a dispatcher
//! costs beside a queue pair that is used directly.
//!
//! `cargo bench -p crypto-pmd --bench sessions`; with words behind `--`, the cases whose name has them. Cases that are compared run in
//! turn; the figure is the median, with the least and the most. Memory is what the kernel counts as resident.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may fail loudly")]

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};

const MILLION: usize = 1_000_000;
const RUNS: usize = 101;
const BURST: usize = 32;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if words.is_empty() {
        // Each in a process of its own: memory that another one gave back would be used again, and not be counted.
        for name in ["close null", "close software", "look", "beside"] {
            let mut alone = Command::new(std::env::current_exe().unwrap());
            assert!(alone.args(name.split(' ')).status().unwrap().success());
        }
        return;
    }
    open_and_close("null", Named::new("null0", Null::new()));
    open_and_close("software", Named::new("software0", Software::new()));
    look_up();
    beside_a_queue_pair();
}

fn wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    words.all(|word| name.contains(word.as_str()))
}

/// A driver under another name, of which the bench keeps a handle.
#[derive(Clone, Debug)]
struct Named(&'static str, Arc<dyn Driver>);

impl Named {
    fn new(name: &'static str, driver: impl Driver + 'static) -> Self {
        Self(name, Arc::new(driver))
    }
}

impl Driver for Named {
    fn name(&self) -> &str {
        self.0
    }
    fn capabilities(&self) -> &Capabilities {
        self.1.capabilities()
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.1.open_session(id, params)
    }
    fn close_session(&self, id: SessionId) {
        self.1.close_session(id);
    }
    fn collect(&self) -> usize {
        self.1.collect()
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        self.1.queue_pair(config)
    }
}

/// AES-GCM with a key of 128 bits, of its own for each number.
fn gcm(number: usize) -> SessionParams {
    let mut key = [0x5a; 16];
    key[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Transform::aead(AeadAlgorithm::AesGcm, Key::new(&key), Key::new(&[7; 4]), 16).into()
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

/// Nanoseconds a step, for each tenth of the way.
fn tenths<T>(count: usize, mut step: impl FnMut(usize) -> T, mut keep: impl FnMut(T)) -> Vec<f64> {
    let part = count / 10;
    (0..10)
        .map(|tenth| {
            let start = Instant::now();
            (tenth * part..(tenth + 1) * part).for_each(|number| keep(step(number)));
            start.elapsed().as_nanos() as f64 / part as f64
        })
        .collect()
}

fn say(what: &str, times: &[f64]) {
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let (first, last) = (times.first().unwrap(), times.last().unwrap());
    println!("  {what}: {mean:.0} ns a session (first tenth {first:.0}, last tenth {last:.0})");
}

fn open_and_close(name: &str, driver: Named) {
    let name = format!("open and close {MILLION} sessions, {name} driver");
    if !wanted(&name) {
        return;
    }
    println!("{name}");
    let registry = Registry::new();
    registry.attach(driver).unwrap();
    let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let mut ids = vec![registry.open(gcm(0), Placement::Any).unwrap(); MILLION];
    registry.close(ids[0]);
    ids.clear();
    for turn in ["first", "second"] {
        let before = resident();
        let open = |number| registry.open(gcm(number), Placement::Any).unwrap();
        say(&format!("{turn} open"), &tenths(MILLION, open, |id| ids.push(id)));
        println!("  memory: {:.0} bytes a session", (resident() - before) / MILLION as f64);
        let close = |number: usize| {
            // As a core that goes on polling.
            if number.is_multiple_of(BURST) {
                dispatcher.poll(&mut JobBurst::new());
            }
            assert!(registry.close(ids[number]));
        };
        say(&format!("{turn} close"), &tenths(MILLION, close, drop));
        dispatcher.poll(&mut JobBurst::new());
        assert_eq!(registry.collect(), 0);
        ids.clear();
    }
}

/// Where jobs go: a dispatcher, or a queue pair itself.
trait Way {
    fn submit(&mut self, jobs: &mut JobBurst);
    fn poll(&mut self, jobs: &mut JobBurst);
}

impl Way for Dispatcher {
    fn submit(&mut self, jobs: &mut JobBurst) {
        Dispatcher::submit(self, jobs);
    }
    fn poll(&mut self, jobs: &mut JobBurst) {
        Dispatcher::poll(self, jobs);
    }
}

impl Way for Box<dyn QueuePair> {
    fn submit(&mut self, jobs: &mut JobBurst) {
        (**self).submit(jobs);
    }
    fn poll(&mut self, jobs: &mut JobBurst) {
        (**self).poll(jobs);
    }
}

/// One case of a comparison.
struct Case {
    name: String,
    way: Box<dyn Way>,
    /// The sessions of its jobs, in turn.
    order: Vec<SessionId>,
    at: usize,
    times: Vec<f64>,
    _registry: Registry,
}

impl Case {
    /// Jobs over `sessions`, at random where there are several.
    fn new(name: String, way: Box<dyn Way>, registry: &Registry, sessions: &[SessionId]) -> Self {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        let order = (0..1 << 20).map(|_| sessions[random() % sessions.len()]).collect();
        Self { name, way, order, at: 0, times: Vec::new(), _registry: registry.clone() }
    }

    fn run(&mut self, jobs: &mut JobBurst, rounds: usize) {
        let start = Instant::now();
        for _ in 0..rounds {
            let sessions = &self.order[self.at..self.at + BURST];
            self.at = (self.at + BURST) % self.order.len();
            jobs.iter_mut().zip(sessions).for_each(|(job, session)| job.set_session(*session));
            self.way.submit(jobs);
            self.way.poll(jobs);
        }
        self.times.push(start.elapsed().as_nanos() as f64 / (rounds * BURST) as f64);
        assert!(jobs.len() == BURST && jobs.iter().all(|job| job.status() == Status::Done));
    }
}

/// One in ten is less than the first, half are less than the second, and nine in ten than the third.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    [1, 5, 9].map(|tenth| figures[figures.len() * tenth / 10])
}

/// Runs the cases in turn, and compares each with the first.
fn compare(mut cases: Vec<Case>, rounds: usize) {
    let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() }).unwrap();
    let mut jobs = JobBurst::new();
    // ESP header, IV, text, room for the tag.
    let job = |_| {
        let packet = pool.alloc_copy(&[0x11; 8 + 8 + 64 + 16]).unwrap();
        let job = Job::new(packet, cases[0].order[0], Operation::Encrypt);
        job.with_integrity(0, 8).with_iv(8).with_cipher(16, 64).with_tag(80)
    };
    jobs.extend((0..BURST).map(job));
    for run in 0..=RUNS {
        cases.iter_mut().for_each(|case| case.run(&mut jobs, rounds));
        if run == 0 {
            cases.iter_mut().for_each(|case| case.times.clear());
        }
    }
    let first = cases[0].times.clone();
    for case in &cases {
        let ratios = case.times.iter().zip(&first).map(|(own, first)| own / first);
        let [_, more, _] = spread(ratios.collect());
        let [least, median, most] = spread(case.times.clone());
        let more = (more - 1.0) * 100.0;
        println!("  {}: {median:.2} ns a job ({least:.2} to {most:.2}), {more:+.1} %", case.name);
    }
}

/// A registry over so many null drivers, with sessions on them in turn.
fn nulls(drivers: &[&'static str], sessions: usize) -> (Registry, Vec<SessionId>) {
    let registry = Registry::new();
    let ids: Vec<_> =
        drivers.iter().map(|name| registry.attach(Named::new(name, Null::new())).unwrap()).collect();
    let open = |number: usize| {
        let placement = Placement::Driver(ids[number % ids.len()]);
        registry.open(SessionParams::default(), placement).unwrap()
    };
    let sessions = (0..sessions).map(open).collect();
    (registry, sessions)
}

fn dispatcher(registry: &Registry) -> Box<dyn Way> {
    Box::new(registry.dispatcher(&QueuePairConfig::default()).unwrap())
}

/// Jobs of sessions at random, over two null drivers: with one, the dispatcher looks nothing up.
fn look_up() {
    let name = "look sessions up";
    if !wanted(name) {
        return;
    }
    println!("{name}: two null drivers");
    let case = |count| {
        let (registry, sessions) = nulls(&["null0", "null1"], count);
        Case::new(format!("{count} sessions"), dispatcher(&registry), &registry, &sessions)
    };
    compare([1, 1000, 100_000, MILLION].map(case).into_iter().collect(), 4000);
    println!("{name}: software driver, aes128gcm16, 64 bytes");
    let case = |count| {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let sessions: Vec<_> =
            (0..count).map(|number| registry.open(gcm(number), Placement::Any).unwrap()).collect();
        Case::new(format!("{count} sessions"), dispatcher(&registry), &registry, &sessions)
    };
    compare([1, 1000, 100_000, MILLION].map(case).into_iter().collect(), 400);
}

fn beside_a_queue_pair() {
    let name = "dispatcher beside a queue pair";
    if !wanted(name) {
        return;
    }
    let direct = |driver: Named, params: SessionParams| {
        let registry = Registry::new();
        registry.attach(driver.clone()).unwrap();
        let session = registry.open(params, Placement::Any).unwrap();
        let queue: Box<dyn Way> = Box::new(driver.queue_pair(&QueuePairConfig::default()));
        [("queue pair", queue), ("dispatcher", dispatcher(&registry))]
            .map(|(name, way)| Case::new(name.to_owned(), way, &registry, &[session]))
    };
    println!("{name}: software driver, aes128gcm16, 64 bytes");
    compare(direct(Named::new("software0", Software::new()), gcm(1)).into_iter().collect(), 1000);
    println!("{name}: null drivers, sessions over all of them");
    let mut cases: Vec<_> =
        direct(Named::new("null0", Null::new()), SessionParams::default()).into_iter().collect();
    for count in [2, 4] {
        let (registry, sessions) = nulls(&["null0", "null1", "null2", "null3"][..count], count);
        let name = format!("dispatcher, {count} drivers");
        cases.push(Case::new(name, dispatcher(&registry), &registry, &sessions));
    }
    compare(cases, 5000);
}

//! What the integration tests share: one software driver behind a registry and a dispatcher, packets in one
//! segment or many, and the suites of ESP. It computes nothing that a test judges.

// Each test program uses a part of this; and a function that cannot set a test up may panic.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod erratic;
mod suites;
pub(crate) mod turned;

use crypto_pmd::drivers::multibuffer::Multibuffer;
use crypto_pmd::drivers::{Scheduler, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Mbuf, Pool, PoolConfig};

pub(crate) use suites::{HEADER, HMACS, Suite, esp_tag_len, key};

/// One driver, one dispatcher, one pool.
pub(crate) struct Bench {
    pub(crate) registry: Registry,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) pool: Pool,
}

impl Bench {
    /// Over the software driver, or the one that `SEALANE_LEVEL` names: the multi-buffer driver at that level, the scheduler, or
    /// the emulated card (`nic`, and `nic-apart` for one that does not write over its sources).
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        attach(&registry);
        Self::over(registry)
    }

    /// As above, and where none is named, over the scheduler as well.
    pub(crate) fn each() -> Vec<Self> {
        let scheduler = || {
            let registry = Registry::new();
            registry.attach(scheduler()).unwrap();
            Self::over(registry)
        };
        match std::env::var_os("SEALANE_LEVEL") {
            Some(_) => vec![Self::new()],
            None => vec![Self::new(), scheduler()],
        }
    }

    pub(crate) fn with_software() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        Self::over(registry)
    }

    pub(crate) fn over(registry: Registry) -> Self {
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 512, ..PoolConfig::default() }).unwrap();
        Self { registry, dispatcher, pool }
    }

    pub(crate) fn open(&self, params: impl Into<SessionParams>) -> SessionId {
        self.registry.open(params.into(), Placement::Any).unwrap()
    }

    pub(crate) fn packet(&self, bytes: &[u8]) -> Mbuf {
        self.pool.alloc_copy(bytes).unwrap()
    }

    /// Submits one job and polls it back.
    pub(crate) fn run(&mut self, job: Job) -> Job {
        let mut burst = JobBurst::new();
        burst.push(job).unwrap();
        assert_eq!(self.dispatcher.submit(&mut burst), 1);
        // A driver may wait for more.
        self.dispatcher.flush();
        let mut done = JobBurst::new();
        assert_eq!(self.dispatcher.poll(&mut done), 1);
        done.pop().unwrap()
    }

    /// Runs a job; its status and the bytes of the packet with the result.
    pub(crate) fn finish(&mut self, job: Job) -> (Status, Vec<u8>) {
        let done = self.run(job);
        (done.status(), bytes_of(&done.into_packet()))
    }
}

/// Attaches the software driver, or the one that `SEALANE_LEVEL` asks for.
pub(crate) fn attach(registry: &Registry) -> DriverId {
    match std::env::var("SEALANE_LEVEL") {
        Ok(level) if level == "scheduler" => registry.attach(scheduler()),
        Ok(level) if level.starts_with("nic") => {
            // What a card does not do, such as compression, software does.
            registry.attach(Software::new()).unwrap();
            let more = if level == "nic-apart" { "in_place = false" } else { "" };
            registry.attach(turned::Turned::new(turned::everything(more)))
        }
        Ok(level) => registry.attach(Multibuffer::with_level(0, level.parse().unwrap()).unwrap()),
        Err(_) => registry.attach(Software::new()),
    }
    .unwrap()
}

/// Over the multi-buffer and the software driver, in turn.
pub(crate) fn scheduler() -> Scheduler {
    let builder = Scheduler::builder().child(Box::new(Multibuffer::new())).child(Box::new(Software::new()));
    builder.build().unwrap()
}

/// The whole packet's bytes.
pub(crate) fn bytes_of(packet: &Mbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// `bytes` in segments that end at the given places (any order, those past the end count as the end; segments
/// may be empty).
pub(crate) fn chained(pool: &Pool, bytes: &[u8], cuts: &[usize]) -> Mbuf {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut segments = ends.into_iter().map(|end| {
        let part = &bytes[start..end];
        start = end;
        let mut segment = pool.alloc().unwrap();
        segment.append(part.len()).unwrap().copy_from_slice(part);
        segment
    });
    let mut packet = segments.next().unwrap();
    segments.for_each(|segment| packet.chain(segment).unwrap());
    packet
}

/// Rows of `N` columns of a table of vectors; a line that begins with `#` is a remark.
pub(crate) fn rows<const N: usize>(table: &str) -> Vec<[&str; N]> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(' ').collect::<Vec<_>>().try_into().expect("a row of another length"))
        .collect()
}

/// Bytes of a column; `-` stands for none.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    if digits == "-" { Vec::new() } else { hex::decode(digits).unwrap() }
}

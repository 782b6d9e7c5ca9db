//! Options of `esp-replay`. What a later version brings is known by name and refused by name.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use pipeline::MAX_BURST;
use pipeline::lcore::{Idle, LcoreId};
use pipeline::port::Sizes;

use crate::children::{Family, SchedulerOptions};
use crate::cores;
use crate::failure::Failure;
use crate::kernels::Kernels;
use crate::values::{known, parse_seconds};

/// Most cores of a run: what a pool has stacks of free buffers for, less the thread that watches.
const MAX_CORES: usize = 63;

/// Packets a second: one in an hour and a half, and more than memory can bring.
const MIN_RATE: f64 = 0.0002;
const MAX_RATE: f64 = 1e12;

/// Replay a capture through ESP and back on a pinned polling core; report throughput and latency.
///
/// Without arguments, the bundled capture goes out and back in under the bundled configuration.
#[derive(Clone, Debug, Parser)]
#[command(name = "esp-replay", version, after_help = EXAMPLES)]
pub struct Options {
    /// Capture to replay, pcap or pcapng; without it, the bundled one.
    pub capture: Option<PathBuf>,
    /// Configuration with SAs and policies; without it, the bundled one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Replay made-up UDP packets instead of a capture: IP sizes or "imix", then flows and packets, as in
    /// "64", "imix,flows=16" or "64,flows=16,packets=1024".
    #[arg(long, value_name = "SPEC", value_parser = parse_generate, conflicts_with = "capture")]
    pub generate: Option<Generate>,
    /// Which way.
    #[arg(long, value_enum, default_value_t = Direction::Roundtrip)]
    pub direction: Direction,
    /// Write the packets that come out, as pcap or pcapng by the file's ending.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Crypto driver; "null" does everything but the cipher, and "auto" never picks it.
    #[arg(long, value_enum, default_value_t = DriverName::Auto)]
    pub driver: DriverName,
    /// Instruction-set level of the driver "multibuffer": avx512, avx2, sse or portable; without it, the best that the processor has.
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,

    /// Jobs for which the driver "multibuffer" waits over bursts, so that more are done side by side: 0 for the shortest latency, up to
    /// 64; without it, twice as many as its level does at once. None waits longer than ten microseconds, or when no others come.
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u8).range(0..=64))]
    pub hold: Option<u8>,
    /// What the driver "scheduler" is made of.
    #[command(flatten)]
    pub scheduler: SchedulerOptions,
    /// Card profile of the "nic" driver (not implemented yet).
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Who does what: only "lookaside" so far.
    #[arg(long, value_name = "OFFLOAD")]
    pub offload: Option<String>,
    /// Processors to poll on, as in "0,1"; without it, the first that this process may use. Where more are listed than
    /// there are, those that are missing run unpinned.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// How the stages are spread: every core does everything for its flows, or the first receives, keeps the order and
    /// sends while the others do crypto.
    #[arg(long, value_enum, value_name = "LAYOUT", default_value_t = LayoutName::RunToCompletion)]
    pub layout: LayoutName,
    /// What a core does when it has nothing to do; without it, "pause", or "sleep" where cores are not pinned.
    #[arg(long, value_enum, value_name = "IDLE")]
    pub idle: Option<IdleName>,
    /// Packets taken in one turn.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=MAX_BURST as i64))]
    pub burst: u8,
    /// After one pass that is verified and written, time this many more from memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: Option<u64>,
    /// After one pass that is verified and written, time passes from memory for so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, conflicts_with = "repeat")]
    pub duration: Option<f64>,
    /// When packets are let in: as fast as they go, so many a second over all cores, or as they were captured. With a
    /// schedule, latency counts from when a packet was due.
    #[arg(long, value_name = "max|PPS|recorded", default_value = "max", value_parser = parse_rate)]
    pub rate: Rate,
    /// Say what happens to packet N (from 1, as Wireshark counts) and why.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["out", "json", "histogram", "repeat", "duration"])]
    pub explain: Option<u32>,
    /// Write the report as JSON; "-" for standard output instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latency histogram in HdrHistogram's log format.
    #[arg(long, value_name = "FILE")]
    pub histogram: Option<PathBuf>,
    /// Write the report as a page (not implemented yet).
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Lines of at most 80 columns, so that no terminal breaks a command.
const EXAMPLES: &str = "\
Examples:
  esp-replay                    the bundled capture, out and back
  esp-replay a.pcap --config east.toml --direction outbound --out esp.pcap
  esp-replay esp.pcap --config west.toml --direction inbound --out b.pcap
  esp-replay --repeat 1000      the same packets from memory, timed
  esp-replay --driver null --generate 64 --duration 2    without the cipher
  esp-replay a.pcap --explain 7    what happens to the seventh packet, and why

Exit codes:
  0  done
  1  not verified, or an inbound packet failed
  2  bad usage, configuration or input
  3  the machine lacks what was asked for";

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Plain packets become ESP.
    Outbound,
    /// ESP becomes plain packets.
    Inbound,
    /// Out, and back in by mirrored SAs and policies.
    Roundtrip,
}

impl Direction {
    /// Whether SAs of this direction are used.
    #[must_use]
    pub fn uses(self, direction: ipsec_esp::spd::Direction) -> bool {
        match direction {
            ipsec_esp::spd::Direction::Outbound => self != Self::Inbound,
            ipsec_esp::spd::Direction::Inbound => self != Self::Outbound,
        }
    }

    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Roundtrip => "roundtrip",
        }
    }
}

/// Drivers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DriverName {
    /// Computes nothing: what everything else costs.
    Null,
    /// RustCrypto, one packet at a time.
    Software,
    /// Many packets side by side.
    Multibuffer,
    /// The emulated card (not implemented yet).
    Nic,
    /// Several drivers as one.
    Scheduler,
    /// The fastest that is built.
    Auto,
}

/// How the stages are spread over cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutName {
    /// Each core does everything for its flows and its SAs.
    RunToCompletion,
    /// One core keeps the order, the others do crypto for it.
    Pipelined,
}

impl LayoutName {
    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunToCompletion => "run-to-completion",
            Self::Pipelined => "pipelined",
        }
    }
}

/// What a core does when it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IdleName {
    /// Polls again at once.
    Spin,
    /// Tells the processor that it waits.
    Pause,
    /// Sleeps, a tenth of a millisecond at most.
    Sleep,
}

/// When packets are let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as they go.
    Max,
    /// So many in a second, over all cores.
    PacketsPerSecond(f64),
    /// As they were captured.
    Recorded,
}

/// Made-up packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generate {
    /// Their sizes.
    pub sizes: Sizes,
    /// Their flows.
    pub flows: u32,
    /// How many make one pass.
    pub packets: u32,
}

impl Options {
    /// Refuses what is not built yet, and what does not go together.
    ///
    /// # Errors
    /// A [`Failure`] that names the option.
    pub fn check(&self) -> Result<(), Failure> {
        self.check_built()?;
        cores::check(&self.cores, MAX_CORES)?;
        let null = self.driver == DriverName::Null;
        if null && self.out.is_some() {
            return Err(Failure::usage(
                "--driver null computes nothing worth keeping; leave out --out or use --driver software",
            ));
        }
        if null && self.direction == Direction::Inbound {
            return Err(Failure::usage(
                "--driver null cannot decrypt; use --driver software with --direction inbound",
            ));
        }
        Ok(())
    }

    fn check_built(&self) -> Result<(), Failure> {
        match self.driver {
            DriverName::Nic => return Err(Failure::not_yet("--driver nic")),
            DriverName::Null
            | DriverName::Software
            | DriverName::Multibuffer
            | DriverName::Scheduler
            | DriverName::Auto => {}
        }
        self.family()?;
        self.kernels()?;
        known(self.offload.as_deref(), "--offload", "lookaside", &["inline-crypto", "inline-protocol"])?;
        match (&self.html, &self.profile) {
            (Some(_), _) => Err(Failure::not_yet("--html")),
            (_, Some(_)) => Err(Failure::not_yet("--profile")),
            _ => Ok(()),
        }
    }

    /// How the multi-buffer driver works.
    ///
    /// # Errors
    /// As for the options.
    pub(crate) fn kernels(&self) -> Result<Kernels, Failure> {
        let has_kernels = match self.driver {
            DriverName::Multibuffer | DriverName::Auto => true,
            DriverName::Scheduler => self.family()?.has_kernels(),
            _ => false,
        };
        Kernels::of(self.level.as_deref(), self.hold, has_kernels)
    }

    /// What the scheduler is made of.
    ///
    /// # Errors
    /// As for the options.
    pub(crate) fn family(&self) -> Result<Family, Failure> {
        self.scheduler.family(self.driver == DriverName::Scheduler)
    }

    /// How cores wait that are pinned, or not, as `ids` says.
    #[must_use]
    pub fn idle_on(&self, ids: &[Option<LcoreId>]) -> Idle {
        match self.idle {
            Some(IdleName::Spin) => Idle::Spin,
            Some(IdleName::Pause) => Idle::Pause,
            Some(IdleName::Sleep) => Idle::SLEEP,
            // Whoever shares a processor must let go of it.
            None if ids.len() > 1 && ids.iter().any(Option::is_none) => Idle::SLEEP,
            None => Idle::Pause,
        }
    }
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Rate::Max),
        ("recorded", _) => Ok(Rate::Recorded),
        (_, Ok(rate)) if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(Rate::PacketsPerSecond(rate)),
        _ => Err(format!("give \"max\", \"recorded\", or packets a second from {MIN_RATE} to {MAX_RATE:e}")),
    }
}

fn parse_generate(text: &str) -> Result<Generate, String> {
    let mut parts = text.split(',');
    let sizes = match parts.next().unwrap_or_default() {
        "imix" => Sizes::Imix,
        size => match size.parse::<u16>() {
            Ok(size) if size >= 28 => Sizes::Fixed(size),
            _ => {
                return Err(format!(
                    "\"{size}\" is no size; give \"imix\" or bytes of an IP packet, 28 to 65535"
                ));
            }
        },
    };
    let mut generate = Generate { sizes, flows: 1, packets: 1024 };
    for part in parts {
        let number = |value: &str| match value.parse::<u32>() {
            Ok(number) if number > 0 && number <= 1 << 24 => Ok(number),
            _ => Err(format!("\"{value}\" is no number from 1 to 16777216")),
        };
        match part.split_once('=') {
            Some(("flows", value)) => generate.flows = number(value)?,
            Some(("packets", value)) => generate.packets = number(value)?,
            _ => return Err(format!("\"{part}\" is unknown; use flows=N or packets=N")),
        }
    }
    Ok(generate)
}

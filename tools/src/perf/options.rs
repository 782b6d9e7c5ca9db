//! Options of `crypto-perf`. What a later version brings is known by name and refused by name.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use crypto_pmd::Operation;
use pipeline::MAX_BURST;
use pipeline::port::Sizes;

use crate::cards::{CardOptions, CardPlan, Wanted};
use crate::children::{Family, SchedulerOptions};
use crate::failure::Failure;
use crate::kernels::Kernels;
use crate::values::parse_seconds;
use crate::{cores, outputs};

/// Longest cipher range, in bytes: what a buffer holds with header, IV and tag around it, in whole blocks.
const MAX_SIZE: u32 = 63 << 10;

/// Most buffers of a pool, and most sessions.
const MAX_POOL: i64 = 1 << 20;

/// Measure a crypto driver by itself: bursts of jobs through a dispatcher's submit and poll, on one pinned core.
///
/// What is timed: for each burst one submit of jobs that are ready and one poll, more of either only where the driver
/// does not take or finish everything at once, and putting the finished jobs back. Building jobs and packets, restoring
/// what was decrypted, and looking at results are not timed. The clock is read about every 100 microseconds, and around
/// every round over the pool where packets must be put back. "--test cycles" also says what the same loop costs without
/// submit and poll.
///
/// "--test latency" takes the time of every job, from the submit that offered its burst first until the poll that gave it
/// back. The clock is read once a burst and once a poll, and one reading is part of what it finds.
///
/// Packets have the layout of ESP: SPI and sequence number, IV, payload, tag. They lie in a pool of which the whole is
/// worked through in turn. Encryption works in place on its own output; before every round of decryption the sealed
/// packets are put back.
#[derive(Clone, Debug, Parser)]
#[command(name = "crypto-perf", version, after_help = EXAMPLES)]
pub struct Options {
    /// What to find out.
    #[arg(long, value_enum, default_value_t = Test::Throughput)]
    pub test: Test,
    /// Crypto drivers, as in "null,software"; "null" computes nothing.
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_value = "software")]
    pub driver: Vec<DriverName>,
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
    /// What the driver "nic" drives.
    #[command(flatten)]
    pub card: CardOptions,
    /// Suites of ESP, as in "aes128-sha1,aes128gcm16", or "all"; without it and --algorithm, these two.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "algorithm")]
    pub suite: Vec<String>,
    /// Single algorithms instead of a suite, by the names that DPDK has for them, with the bits of the key where there
    /// are several lengths, as in "aes-128-cbc,sha1-hmac"; or "all".
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub algorithm: Vec<String>,
    /// What to do with them; without it, everything that goes: encrypt and decrypt, or generate and verify.
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    pub operation: Vec<OperationName>,
    /// Bytes to encrypt (or to authenticate, where nothing is encrypted), as in "64,1408", whole blocks of the cipher; or
    /// "imix", the mix of 40, 576 and 1500 with its packets padded to blocks as ESP does it.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "64,1408", value_parser = parse_size)]
    pub size: Vec<Size>,
    /// Jobs of one submit, as in "1,32".
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "32",
          value_parser = clap::value_parser!(u8).range(1..=MAX_BURST as i64))]
    pub burst: Vec<u8>,
    /// Sessions, each with its own keys, spread evenly over the packets in random order.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_POOL))]
    pub sessions: u32,
    /// Packets in memory, worked through in turn; as many whole bursts as fit into the number are used.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=MAX_POOL))]
    pub pool: u32,
    /// Length of a row's measurement, in nine slices; "--test verify" does every packet once instead.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub seconds: f64,
    /// Processors to run on, as in "0,1"; without it, the first that this process may use. Several work at the same time,
    /// each with a queue pair on the one driver, and with sessions and packets of its own: operations and bits a second are
    /// those of all, cycles those of one, and times are taken together.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Write the report as JSON; "-" for standard output instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Lines of at most 80 columns, so that no terminal breaks a command.
const EXAMPLES: &str = "\
Examples:
  crypto-perf                   two suites, both ways, at 64 and 1408 bytes
  crypto-perf --suite aes128-sha1 --operation encrypt --size 64 --burst 1,32
  crypto-perf --algorithm aes-128-cbc,sha1-hmac --size imix --seconds 2
  crypto-perf --test cycles --driver null --sessions 1000    the framework alone
  crypto-perf --test latency --driver multibuffer --burst 1,32
  crypto-perf --driver nic --profile inline-25g --size 1408    an emulated card
  crypto-perf --test verify --suite all    every suite against its reference
  crypto-perf --test verify --algorithm all --json -         for scripts

Exit codes:
  0  done
  1  a result is wrong, or a job came back undone
  2  bad usage
  3  the machine lacks what was asked for";

/// What to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Test {
    /// Operations and bits a second.
    Throughput,
    /// How long jobs stay, from submit to poll.
    Latency,
    /// Whether results are right.
    Verify,
    /// TSC cycles of an operation and of a byte, and of the loop around them.
    Cycles,
}

impl Test {
    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Verify => "verify",
            Self::Cycles => "cycles",
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
    /// Emulated cards, each with an engine on a core of its own, and nothing that stands by.
    Nic,
    /// Several drivers as one.
    Scheduler,
    /// Every driver that is built, but not the scheduler, which is made of them.
    All,
}

/// What is done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OperationName {
    /// Encrypt, and make the tag where there is one.
    Encrypt,
    /// Check the tag where there is one, and decrypt.
    Decrypt,
    /// Make the tag of a keyed hash.
    Generate,
    /// Check the tag of a keyed hash.
    Verify,
    /// Make an unkeyed digest.
    Digest,
}

impl OperationName {
    /// Name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Generate => "generate",
            Self::Verify => "verify",
            Self::Digest => "digest",
        }
    }

    /// Which way its jobs walk the session's chain.
    #[must_use]
    pub fn direction(self) -> Operation {
        match self {
            Self::Encrypt | Self::Generate | Self::Digest => Operation::Encrypt,
            Self::Decrypt | Self::Verify => Operation::Decrypt,
        }
    }
}

/// Sizes of the packets of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All alike, in bytes.
    Fixed(u32),
    /// The mix of the generator port, rounded up to whole blocks.
    Imix,
}

impl Size {
    /// The sizes in the order in which packets have them, over and over, in bytes.
    #[must_use]
    pub fn round(self, block: usize) -> Vec<usize> {
        match self {
            Self::Fixed(size) => vec![size as usize],
            Self::Imix => {
                let sizes = Sizes::Imix.round().into_iter();
                sizes.map(|size| usize::from(size).next_multiple_of(block)).collect()
            }
        }
    }
}

impl Options {
    /// Refuses what is not built yet, and what does not go together.
    ///
    /// # Errors
    /// A [`Failure`] that names the option.
    pub fn check(&self) -> Result<(), Failure> {
        self.check_built()?;
        self.check_pool()?;
        cores::check(&self.cores, usize::MAX)?;
        let null_alone = self.driver.iter().all(|&driver| driver == DriverName::Null);
        if self.test == Test::Verify && null_alone {
            return Err(Failure::usage(
                "--driver null computes nothing to verify; use --driver software or another test",
            ));
        }
        let json = self.json.as_deref().filter(|path| !outputs::is_standard(path));
        outputs::check(&[], &[("--json", json)])
    }

    fn check_built(&self) -> Result<(), Failure> {
        self.family()?;
        self.card.check(self.wants_cards()?)?;
        self.kernels().map(drop)
    }

    /// What the scheduler is made of.
    ///
    /// # Errors
    /// As for the options.
    pub(crate) fn family(&self) -> Result<Family, Failure> {
        let named = |driver| self.driver.contains(&driver);
        self.scheduler.family(named(DriverName::Scheduler), named(DriverName::Nic))
    }

    fn wants_cards(&self) -> Result<Wanted, Failure> {
        let scheduler = self.driver.contains(&DriverName::Scheduler) && self.family()?.has_cards();
        Ok(match (self.driver.contains(&DriverName::Nic), scheduler) {
            (true, _) => Wanted::Driver,
            (false, true) => Wanted::Children,
            (false, false) => Wanted::No,
        })
    }

    /// Cards that are to be made.
    ///
    /// # Errors
    /// As [`CardOptions::plan`].
    pub(crate) fn card_plan(&self) -> Result<Option<Arc<CardPlan>>, Failure> {
        let first = || cores::available().iter().take(1).map(|core| core.0).collect();
        let polled: Vec<_> = if self.cores.is_empty() { first() } else { self.cores.clone() };
        Ok(self.card.plan(self.wants_cards()?, &polled)?.map(Arc::new))
    }

    /// How the multi-buffer driver works.
    ///
    /// # Errors
    /// As for the options.
    pub(crate) fn kernels(&self) -> Result<Kernels, Failure> {
        let kernels = [DriverName::Multibuffer, DriverName::All];
        let in_family = self.driver.contains(&DriverName::Scheduler) && self.family()?.has_kernels();
        let has_kernels = in_family || self.driver.iter().any(|driver| kernels.contains(driver));
        Kernels::of(self.level.as_deref(), self.hold, has_kernels)
    }

    fn check_pool(&self) -> Result<(), Failure> {
        if let Some(burst) = self.burst.iter().find(|&&burst| u32::from(burst) > self.pool) {
            let pool = self.pool;
            return Err(Failure::usage(format_args!(
                "--pool {pool} does not hold a burst of {burst}; use --pool {burst} or more"
            )));
        }
        let least = self.burst.iter().map(|&burst| self.pool - self.pool % u32::from(burst)).min();
        match least {
            Some(packets) if packets < self.sessions => Err(Failure::usage(format_args!(
                "--sessions {} needs a packet for each; the whole bursts of --pool {} are {packets} packets, use a larger one",
                self.sessions, self.pool
            ))),
            _ => Ok(()),
        }
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    match (text, text.parse::<u32>()) {
        ("imix", _) => Ok(Size::Imix),
        (_, Ok(size)) if (1..=MAX_SIZE).contains(&size) => Ok(Size::Fixed(size)),
        _ => Err(format!("give bytes from 1 to {MAX_SIZE}, or \"imix\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(arguments: &[&str]) -> Result<(), String> {
        let options = Options::try_parse_from(["crypto-perf"].iter().chain(arguments));
        options.map_err(|error| error.to_string())?.check().map_err(|failure| failure.to_string())
    }

    #[test]
    fn cards_go_with_the_driver_that_has_them_and_with_a_scheduler_over_it() {
        let profile = ["--profile", "inline-25g"];
        assert_eq!(checked(&[&["--driver", "nic"][..], &profile].concat()), Ok(()));
        assert_eq!(
            checked(&[&["--driver", "scheduler", "--children", "nic"][..], &profile].concat()),
            Ok(())
        );
        for without in [&["--driver", "software"][..], &["--driver", "scheduler"]] {
            let error = checked(&[without, &profile].concat()).unwrap_err();
            assert!(error.starts_with("--profile: only --driver nic has cards"), "{error}");
        }
    }

    #[test]
    fn a_level_goes_with_a_scheduler_that_has_kernels_in_it() {
        let leveled = |children| {
            let family = ["--driver", "scheduler", "--children", children];
            checked(&[&family[..], &["--level", "portable", "--hold", "0"]].concat())
        };
        assert_eq!(leveled("software,multibuffer"), Ok(()));
        assert!(leveled("software").unwrap_err().contains("--hold 0: only --driver multibuffer"));
    }

    #[test]
    fn a_pool_holds_every_burst_and_a_packet_for_each_session() {
        assert_eq!(checked(&["--pool", "32", "--burst", "1,32", "--sessions", "32"]), Ok(()));
        assert!(checked(&["--pool", "31", "--burst", "1,32"]).unwrap_err().contains("--pool 32 or more"));
        let error = checked(&["--pool", "63", "--burst", "1,32", "--sessions", "33"]).unwrap_err();
        assert!(error.contains("--sessions 33") && error.contains("are 32 packets"), "{error}");
    }

    #[test]
    fn sizes_are_bytes_or_the_mix() {
        for good in ["1", "64,imix,1408", "64512"] {
            assert_eq!(checked(&["--size", good]), Ok(()), "{good}");
        }
        for bad in ["0", "64513", "-1", "1e3", "", "64,", "IMIX"] {
            assert!(checked(&["--size", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_mix_is_padded_to_blocks_and_a_size_that_was_given_is_not() {
        let mix = |block| Size::Imix.round(block);
        assert_eq!(mix(1), [40, 576, 40, 576, 40, 1500, 40, 576, 40, 576, 40, 40]);
        assert_eq!(mix(16), [48, 576, 48, 576, 48, 1504, 48, 576, 48, 576, 48, 48]);
        assert_eq!(Size::Fixed(40).round(16), [40]);
    }
}

//! Card models as data: what a card can do and how fast it is, read from TOML. A user adds a card by writing a file.
//!
//! Times are in nanoseconds unless a name says otherwise, sizes in bytes, keys and tags in bits, bandwidth in Mbit/s of the bytes that a
//! command names. `docs` of the fields are those of [`Profile`].

mod error;
mod file;

use std::path::Path;

use crate::capability::Capabilities;
use crate::key_op::KeyOperation;

pub use error::ProfileError;

/// What a card offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Bytes in, bytes out.
    pub lookaside: bool,
    /// ESP frames that software has built are encrypted as they leave, and decrypted as they arrive.
    pub inline_crypto: bool,
    /// The card builds and strips ESP itself.
    pub inline_protocol: bool,
}

/// How long a command takes from when an engine has begun it until its result is there, besides its share of the bandwidth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The least.
    pub ns: u64,
    /// As much more at most, evenly spread.
    pub jitter_ns: u64,
    /// One command in so many takes longer; 0 for none.
    pub tail_one_in: u64,
    /// By so much.
    pub tail_ns: u64,
}

/// A key operation of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTiming {
    /// Which.
    pub operation: KeyOperation,
    /// Longest operand in bits.
    pub max_bits: u32,
    /// What it takes at that length.
    pub operation_us: u64,
}

/// One model of card.
///
/// ```
/// use crypto_pmd::drivers::nic::Profile;
/// let card = Profile::named("inline-100g").unwrap();
/// assert_eq!((card.bandwidth_mbps, card.engines), (100_000, 4));
/// let mine = "name = \"mine\"\nbandwidth_mbps = 1000\n[[algorithm]]\nname = \"aes-gcm\"\n";
/// assert_eq!(Profile::parse("mine.toml", mine).unwrap().ring_depth, 256);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Name in reports.
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// What it offers; `["lookaside"]` where the file says nothing.
    pub services: Services,
    /// Engines, each of which does one command after the other.
    pub engines: usize,
    /// Mbit/s of all engines together; 0 for no limit.
    pub bandwidth_mbps: u64,
    /// The least that an engine is busy with a command.
    pub operation_ns: u64,
    /// What a command takes on top of that.
    pub latency: Latency,
    /// Queue pairs.
    pub queues: usize,
    /// Commands that a queue pair holds, a power of two.
    pub ring_depth: usize,
    /// Commands that it takes at once.
    pub burst: usize,
    /// Sessions that it holds.
    pub sa_slots: usize,
    /// Pieces of memory of a source or destination; 1 for a card without scatter/gather.
    pub segments: usize,
    /// What addresses must be multiples of; others are copied for it.
    pub alignment: usize,
    /// Longest packet.
    pub max_packet: usize,
    /// It writes results over sources. If not, the driver keeps a source whole until its result is there.
    pub in_place: bool,
    /// How long a reset takes.
    pub reset_us: u64,
    /// It keeps its sessions over a reset.
    pub keeps_sessions: bool,
    /// It is known to reject good tags now and then: the driver has software look at what it rejects.
    pub doubtful_tags: bool,
    /// What it computes.
    pub capabilities: Capabilities,
    /// Key operations.
    pub key_operations: Vec<KeyTiming>,
}

/// The cards that come with Sealane: name and file.
const BUNDLED: [(&str, &str); 5] = [
    ("hifn-7751-like", include_str!("../profiles/hifn-7751-like.toml")),
    ("lookaside-accelerator", include_str!("../profiles/lookaside-accelerator.toml")),
    ("inline-25g", include_str!("../profiles/inline-25g.toml")),
    ("inline-100g", include_str!("../profiles/inline-100g.toml")),
    ("inline-200g", include_str!("../profiles/inline-200g.toml")),
];

impl Profile {
    /// Names of the cards that come with Sealane.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUNDLED.iter().map(|(name, _)| *name)
    }

    /// A card that comes with Sealane.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (name, text) = BUNDLED.iter().find(|(known, _)| *known == name)?;
        Self::parse(name, text).ok()
    }

    /// The card that a file describes.
    ///
    /// # Errors
    /// The file cannot be read, or what it says is wrong, with the place.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ProfileError::unreadable(&file, &error))?;
        Self::parse(&file, &text)
    }

    /// A bundled card by its name, or else the one that the file of that name describes.
    ///
    /// # Errors
    /// As [`Profile::read`]; a name that is neither lists those that there are.
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        match Self::named(name) {
            Some(profile) => Ok(profile),
            None if Path::new(name).is_file() => Self::read(Path::new(name)),
            None => Err(ProfileError::unknown(name, Self::names())),
        }
    }

    /// The card that `text` describes; `file` is for messages.
    ///
    /// # Errors
    /// What is wrong, with its line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        file::parse(file, text)
    }

    /// Whether anything takes time besides what it costs to compute.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.bandwidth_mbps > 0 || self.operation_ns > 0 || self.latency != Latency::default()
    }

    /// Nanoseconds that an engine is busy with `bytes` bytes.
    #[must_use]
    pub fn busy_ns(&self, bytes: usize) -> f64 {
        let by_bandwidth = match self.bandwidth_mbps {
            0 => 0.0,
            // A bit takes 1000 ns at 1 Mbit/s; each engine has its share.
            mbps => bytes as f64 * 8.0 * 1000.0 * self.engines as f64 / mbps as f64,
        };
        by_bandwidth.max(self.operation_ns as f64)
    }
}

#[cfg(test)]
mod tests;

//! What is replayed: a capture file, the bundled capture, or made-up packets; in memory before the clock starts.

use std::path::Path;
use std::sync::Arc;

use pipeline::capture::{Capture, LinkType};
use pipeline::port::{Generator, GeneratorConfig, Receive, RxPort as _};
use pipeline::{Burst, Pool, PoolConfig};

use crate::config::Config;
use crate::failure::Failure;

use super::options::{Generate, Options};

/// Name of the bundled capture in reports.
pub const BUNDLED_CAPTURE: &str = "bundled:mixed.pcap";
/// Name of the bundled configuration in messages.
pub const BUNDLED_CONFIG: &str = "bundled:default.toml";

static CAPTURE: &[u8] = include_bytes!("../../../pcaps/mixed.pcap");
static CONFIG: &str = include_str!("../../../pcaps/default.toml");

/// A capture in memory, with its name.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name in reports.
    pub name: String,
    /// The packets.
    pub capture: Arc<Capture>,
}

impl Source {
    /// Reads or makes what the options ask for.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn of(options: &Options) -> Result<Self, Failure> {
        if let Some(generate) = &options.generate {
            return Ok(Self { name: "generated".to_owned(), capture: Arc::new(generated(generate)?) });
        }
        let (name, capture) = match &options.capture {
            Some(path) => (path.display().to_string(), Capture::read(path)),
            None => (BUNDLED_CAPTURE.to_owned(), Capture::from_bytes(BUNDLED_CAPTURE, CAPTURE)),
        };
        Ok(Self { name, capture: Arc::new(capture.map_err(Failure::usage)?) })
    }
}

/// Reads the configuration that the options name.
///
/// # Errors
/// What is wrong with it.
pub(super) fn config(path: Option<&Path>) -> Result<Config, Failure> {
    match path {
        Some(path) => Config::read(path),
        None => Config::from_text(BUNDLED_CONFIG, CONFIG, Path::new(".")),
    }
    .map_err(Failure::usage)
}

/// Runs the generator port once and keeps its packets as a capture in the classic format.
fn generated(generate: &Generate) -> Result<Capture, Failure> {
    let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).map_err(Failure::machine)?;
    let config = GeneratorConfig {
        sizes: generate.sizes,
        flows: generate.flows,
        packets: u64::from(generate.packets),
    };
    let mut port = Generator::new(&config, pool).map_err(Failure::usage)?;
    let mut bytes = file_header();
    let mut burst = Burst::new();
    // One packet a turn: a burst of the longest packets would need a larger pool.
    while port.receive(&mut burst, 1) == Receive::Packets {
        for packet in burst.drain() {
            let len = (packet.packet_len() as u32).to_le_bytes();
            bytes.extend([0; 8]);
            bytes.extend(len);
            bytes.extend(len);
            packet.segments().for_each(|segment| bytes.extend_from_slice(segment));
        }
    }
    Capture::from_bytes("generated", bytes).map_err(Failure::usage)
}

/// A pcap file header: little-endian, microseconds, Ethernet.
fn file_header() -> Vec<u8> {
    let words: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 1 << 18, u32::from(LinkType::Ethernet.number())];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

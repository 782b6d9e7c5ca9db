//! What figures depend on: the machine, the program, and the drivers with what they can do.

use std::fmt::Write as _;
use std::io::Read as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::capability::Capabilities;

use super::candidate::Candidate;

/// Where the kernel describes the processors.
const CPUINFO: &str = "/proc/cpuinfo";
/// More than enough for the first processor, which stands for all.
const CPUINFO_BYTES: u64 = 64 << 10;
/// Lines that tell the model: x86, then those of Arm.
const MODEL: [&str; 3] = ["model name", "CPU implementer", "CPU part"];
/// Lines with instruction-set extensions: x86, Arm.
const FLAGS: [&str; 2] = ["flags", "Features"];
/// The extensions that kernels for ciphers and hashes are written for.
const MATTERS: [&str; 26] = [
    "adx",
    "aes",
    "asimd",
    "avx",
    "avx2",
    "avx512_vbmi",
    "avx512bw",
    "avx512f",
    "avx512ifma",
    "avx512vl",
    "bmi2",
    "gfni",
    "pclmulqdq",
    "pmull",
    "sha1",
    "sha2",
    "sha3",
    "sha512",
    "sha_ni",
    "sse4_1",
    "ssse3",
    "sve",
    "sve2",
    "sveaes",
    "vaes",
    "vpclmulqdq",
];

/// One driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriverPrint {
    /// Name with unit.
    pub name: String,
    /// Digest of what it can do.
    pub capabilities: String,
}

/// Figures of one fingerprint are good for the same one only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Model of the processor.
    pub processor: String,
    /// Its extensions that matter, by name.
    pub features: Vec<String>,
    /// Version of this crate.
    pub version: String,
    /// `release`, or `debug` for a program that is built with its checks.
    pub build: String,
    /// The drivers, by name.
    pub drivers: Vec<DriverPrint>,
}

impl Fingerprint {
    /// This machine and program, with these drivers.
    #[must_use]
    pub fn here(candidates: &[Candidate]) -> Self {
        let (processor, features) = describe(&cpuinfo());
        let mut drivers: Vec<_> = candidates.iter().map(print).collect();
        drivers.sort_unstable();
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { processor, features, version, build: build.to_owned(), drivers }
    }

    /// What is not the same in `other`, in words; `None` when all is.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        if (&self.processor, &self.features) != (&other.processor, &other.features) {
            Some("processor")
        } else if (&self.version, &self.build) != (&other.version, &other.build) {
            Some("version of the program")
        } else if self.drivers != other.drivers {
            Some("set of drivers")
        } else {
            None
        }
    }
}

fn print(candidate: &Candidate) -> DriverPrint {
    DriverPrint { name: candidate.name().to_owned(), capabilities: digest(candidate.capabilities()) }
}

/// Over the whole text of the table, so that nothing new in it is forgotten.
fn digest(capabilities: &Capabilities) -> String {
    let whole = Sha256::digest(format!("{capabilities:?}"));
    whole.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Nothing where the kernel does not tell.
fn cpuinfo() -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(CPUINFO) {
        // What could be read is as good as it gets.
        let _ = file.take(CPUINFO_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Model and extensions of the first processor.
fn describe(cpuinfo: &str) -> (String, Vec<String>) {
    let first = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let fields: Vec<_> = first.filter_map(|line| line.split_once(':')).collect();
    let values = |names: &[&str]| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| names.contains(&name.trim()));
        named.map(|(_, value)| value.trim()).collect()
    };
    let model = values(&MODEL).join(" ");
    let flags = values(&FLAGS).join(" ");
    let mut features: Vec<_> = flags.split_whitespace().filter(|flag| MATTERS.contains(flag)).collect();
    features.sort_unstable();
    let processor = if model.is_empty() { std::env::consts::ARCH.to_owned() } else { model };
    (processor, features.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Driver as _;
    use crate::drivers::{Null, Software};

    const X86: &str = "processor\t: 0\nmodel name\t: Example 9000 @ 3:00 GHz\nflags\t\t: fpu vaes aes rdtscp avx2\n\n\
                       processor\t: 1\nmodel name\t: Another\nflags\t\t: gfni\n";
    const ARM: &str =
        "processor\t: 0\nFeatures\t: fp asimd aes\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";

    #[test]
    fn the_first_processor_is_described_by_its_model_and_what_matters_of_its_flags() {
        let (model, features) = describe(X86);
        assert_eq!(model, "Example 9000 @ 3:00 GHz");
        assert_eq!(features, ["aes", "avx2", "vaes"]);
        let (model, features) = describe(ARM);
        assert_eq!((model.as_str(), features), ("0x41 0xd0c", vec!["aes".to_owned(), "asimd".to_owned()]));
        assert_eq!(describe(""), (std::env::consts::ARCH.to_owned(), Vec::new()));
    }

    #[test]
    fn what_is_not_the_same_is_named() {
        let here = Fingerprint::here(&[]);
        assert_eq!(here.difference(&here.clone()), None);
        let other = |change: fn(&mut Fingerprint)| {
            let mut other = here.clone();
            change(&mut other);
            here.difference(&other)
        };
        assert_eq!(other(|other| other.processor.push('x')), Some("processor"));
        assert_eq!(other(|other| other.features.push("x".to_owned())), Some("processor"));
        assert_eq!(other(|other| other.version.push('x')), Some("version of the program"));
        assert_eq!(other(|other| other.build.push('x')), Some("version of the program"));
        let with = Fingerprint::here(&[Candidate::new(Software::new)]);
        assert_eq!(here.difference(&with), Some("set of drivers"));
    }

    #[test]
    fn drivers_count_by_what_they_can_do_and_not_by_their_order() {
        let software = || Candidate::new(Software::new);
        let null = || Candidate::new(Null::new);
        assert_eq!(Fingerprint::here(&[software(), null()]), Fingerprint::here(&[null(), software()]));
        let mut less = Software::new().capabilities().clone();
        let whole = digest(&less);
        assert_eq!(digest(&less), whole);
        less.ciphers.pop();
        assert_ne!(digest(&less), whole);
    }
}

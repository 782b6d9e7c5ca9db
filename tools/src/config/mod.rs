//! The configuration that `esp-replay` and `esp-gateway` share: TOML to checked SAs and policies.
//!
//! Invariants: a [`Config`] that [`Config::read`] gives holds only SAs that pass their own check and policies that
//! name SAs of their own direction; no key is shown in an error or note, and the text is wiped after reading. It
//! builds no tables of the data path, and tables that belong to the gateway alone are left out with a note.

mod document;
mod error;
mod fields;
mod file;
mod key;
mod mirror;
mod policy;
mod sa;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use ipsec_esp::spd::Direction;

pub use error::{ConfigError, Position};
pub use policy::{PolicyAction, PolicyConfig};
pub use sa::SaConfig;

use document::Document;
use source::Source;

/// Bytes of the largest configuration: some millions of SAs.
const CONFIG_LIMIT: usize = 1 << 30;

/// A configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the file, as errors show it.
    pub file: String,
    /// All SAs, in file order.
    pub sas: Vec<SaConfig>,
    /// All policies, in file order.
    pub policies: Vec<PolicyConfig>,
    /// What people should know, one line each: what was ignored, and keys that everybody can read.
    pub notes: Vec<String>,
}

/// What is to be done with a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum ReplayDirection {
    /// Seal it.
    Outbound,
    /// Open it.
    Inbound,
    /// Seal it, open that, and compare.
    Roundtrip,
}

impl fmt::Display for ReplayDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Roundtrip => "roundtrip",
        })
    }
}

impl Config {
    /// Reads a file. Key files are looked for from its folder on.
    ///
    /// # Errors
    /// The file cannot be read or is no text, or as [`Config::from_text`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let secret = file::read(path, CONFIG_LIMIT).map_err(|error| {
            let message = format!("the configuration {error}; name a TOML file");
            ConfigError::new(&name, None, &message)
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut config, has_inline_keys) = Self::parse(&name, &secret.text, folder)?;
        if has_inline_keys && secret.is_world_readable {
            let note =
                format!("{name}: every user can read this file, and it holds keys; run: chmod 600 {name}");
            config.notes.push(error::one_line(&note));
        }
        Ok(config)
    }

    /// Reads a text; `name` is what errors call it, `folder` is where key files are looked for.
    ///
    /// # Errors
    /// The first thing that is wrong: broken TOML; a table or field that is not known, or not implemented yet; a field
    /// that is missing, of the wrong type or out of range; fields that do not fit each other; a key that is not hex,
    /// of the wrong length, or in a file that cannot be read; an SA name given twice, or not at all; two inbound SAs
    /// that no packet can tell apart.
    ///
    /// ```
    /// use std::path::Path;
    /// use tools::config::{Config, PolicyAction};
    ///
    /// let text = r#"
    ///     [[sa]]
    ///     name = "east"
    ///     direction = "outbound"
    ///     spi = 0x1001
    ///     suite = "aes128gcm16"
    ///     encryption_key = "101112131415161718191a1b1c1d1e1f7e57a001"
    ///     tunnel = { src = "192.0.2.1", dst = "192.0.2.2" }
    ///
    ///     [[policy]]
    ///     direction = "outbound"
    ///     action = "protect"
    ///     sa = "east"
    /// "#;
    /// let config = Config::from_text("example.toml", text, Path::new("."))?;
    /// assert_eq!(config.policies[0].action, PolicyAction::Protect(vec![0]));
    ///
    /// let wrong = text.replace("0x1001", "7");
    /// let error = Config::from_text("example.toml", &wrong, Path::new(".")).unwrap_err();
    /// assert!(error.to_string().starts_with("example.toml:5:11: SPI 0x7 is reserved; "));
    /// # Ok::<(), tools::config::ConfigError>(())
    /// ```
    pub fn from_text(name: &str, text: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::parse(name, text, folder).map(|(config, _)| config)
    }

    /// The configuration, and whether keys stand in the text itself.
    fn parse(name: &str, text: &str, folder: &Path) -> Result<(Self, bool), ConfigError> {
        let source = Source::new(name, text, folder);
        let Document { sas, policies, notes, has_inline_keys } = document::read(&source, text)?;
        Ok((Self { file: name.to_owned(), sas, policies, notes }, has_inline_keys))
    }

    /// Whether there is something to do in this direction, before any mirroring.
    ///
    /// # Errors
    /// No policy of the direction, so that every packet would be discarded; inbound also no SA, so that nothing
    /// could be opened. A round trip is judged by its outbound half.
    pub fn check_for(&self, direction: ReplayDirection) -> Result<(), ConfigError> {
        let wanted = match direction {
            ReplayDirection::Outbound | ReplayDirection::Roundtrip => Direction::Outbound,
            ReplayDirection::Inbound => Direction::Inbound,
        };
        let has_sa = self.sas.iter().any(|sa| sa.direction == wanted);
        let has_policy = self.policies.iter().any(|policy| policy.direction == wanted);
        if wanted == Direction::Inbound && !has_sa {
            return Err(self.nothing_to_do("SA", "one", wanted));
        }
        if has_policy { Ok(()) } else { Err(self.nothing_to_do("policy", "a [[policy]]", wanted)) }
    }

    /// An error about an SA of this configuration, for one who finds out later that it cannot be run.
    #[must_use]
    pub fn error_at(&self, sa: &SaConfig, message: &str) -> ConfigError {
        ConfigError::new(&self.file, Some(sa.position()), message)
    }

    fn nothing_to_do(&self, what: &str, one: &str, direction: Direction) -> ConfigError {
        let message = format!("no {direction} {what}; add {one} with direction = \"{direction}\"");
        ConfigError::new(&self.file, None, &message)
    }
}

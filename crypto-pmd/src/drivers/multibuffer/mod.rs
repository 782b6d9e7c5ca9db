//! The multi-buffer driver: many packets side by side, with the widest instructions that the processor has.
//!
//! AES-CBC and AES-CTR, HMAC with SHA-1 and SHA-2, AES-XCBC-MAC, AES-CMAC and GMAC (chained as ESP does, or alone), AES-GCM and
//! ChaCha20-Poly1305 run in kernels (`kernels`), one file for an algorithm at a level; the level is found when the driver is made, or forced. All other
//! algorithms, and every job that is out of the ordinary, are done as
//! the software driver does them, so that a session never has to know.
//!
//! ```
//! use crypto_pmd::Registry;
//! use crypto_pmd::drivers::multibuffer::{Level, Multibuffer};
//!
//! let registry = Registry::new();
//! registry.attach(Multibuffer::new()).unwrap();
//! // The level can be forced, down to one that every processor has.
//! registry.attach(Multibuffer::with_level(1, Level::Portable).unwrap()).unwrap();
//! ```

mod hold;
mod kernels;
mod level;
mod queue;
mod session;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::sessions::Sessions;
use crate::drivers::software::{self, Chain};
use crate::key::wipe_stack;
use crate::session::SessionId;
use crate::transform::SessionParams;

pub use hold::Hold;
pub use level::{Level, LevelError};

use queue::Queue;
use session::{Fast, Session};

/// The driver.
#[derive(Debug)]
pub struct Multibuffer {
    name: String,
    level: Level,
    hold: Hold,
    capabilities: Capabilities,
    sessions: Sessions<Session>,
}

impl Default for Multibuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Multibuffer {
    /// The driver as `multibuffer0`, at the best level that the processor has.
    #[must_use]
    pub fn new() -> Self {
        Self::at(0, Level::best())
    }

    /// The driver with another unit number, at a level.
    ///
    /// # Errors
    /// [`LevelError::Missing`] where the processor does not have it.
    pub fn with_level(unit: u16, level: Level) -> Result<Self, LevelError> {
        Ok(Self::at(unit, level.checked()?))
    }

    fn at(unit: u16, level: Level) -> Self {
        // Key operations have no kernels: that driver's workers do them.
        let capabilities = Capabilities { key_operations: Default::default(), ..software::capabilities() };
        let name = format!("multibuffer{unit}");
        Self { name, level, hold: Hold::of(level), capabilities, sessions: Sessions::new() }
    }

    /// With another rule for how long jobs wait for company; for queue pairs made from then on.
    #[must_use]
    pub fn with_hold(self, hold: Hold) -> Self {
        Self { hold, ..self }
    }

    /// How long jobs may wait for company.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// The level that it works at.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }
}

impl Driver for Multibuffer {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let unsupported = |what| OpenError::Unsupported { driver: self.name.clone(), what };
        self.capabilities.check(params).map_err(unsupported)?;
        let chain = Chain::new(params).map_err(unsupported);
        let opened = chain.map(|chain| {
            let fast = if self.level > Level::Portable { Fast::new(params) } else { None };
            self.sessions.open(id, Session { chain, fast });
        });
        wipe_stack();
        opened
    }
    fn close_session(&self, id: SessionId) {
        self.sessions.close(id);
    }
    fn collect(&self) -> usize {
        self.sessions.collect()
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(Queue::new(self.sessions.view(), self.level, self.hold, config))
    }
}

//! The card: what lies on the other side of the register page. It reads commands from rings in memory, has its engines do them, writes
//! results and completions, and fails when it is told to.
//!
//! [`Card`] is the device as it sits in its slot; [`Engine`] is what turns in it. In real time an engine turns on a thread of its own
//! ([`Card::start`]); in virtual time a test turns it ([`Engine::step`]) and moves the clock by hand, so that a run with one seed is the same to the
//! last packet. What the engines compute, the software or multi-buffer driver computes for them, on memory that belongs to the card.

mod associations;
mod control;
mod counters;
mod engine;
mod esp;
mod fault;
mod flight;
mod ivs;
mod port;
mod queue;
mod runner;
mod wire;

use std::io;
use std::sync::Arc;

use pipeline::{Clock, Pool, PoolConfig, Tick};

use crate::device::Driver;
use crate::drivers::multibuffer::Hold;
use crate::drivers::{Multibuffer, Null, Software};

use super::bus::iommu::Iommu;
use super::bus::registers::{self, Registers};
use super::profile::Profile;

pub use engine::Engine;
pub use fault::{Fault, FaultError, Faults};
pub use runner::Runner;
pub use wire::{WireRx, WireTx};

use control::Control;
use counters::Counters;
use port::Port;
use wire::Wire;

/// Most bytes in front of and behind a packet's own in the card's memory.
const AROUND: usize = 320;

/// Who computes in the engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engines {
    /// The multi-buffer driver at its best level.
    #[default]
    Multibuffer,
    /// The software driver.
    Software,
    /// Nobody: commands are carried and nothing is computed, to see what the rest costs.
    Null,
}

impl Engines {
    fn driver(self) -> Arc<dyn Driver> {
        match self {
            Self::Multibuffer => Arc::new(Multibuffer::new().with_hold(Hold::NEVER)),
            Self::Software => Arc::new(Software::new()),
            Self::Null => Arc::new(Null::new()),
        }
    }
}

/// How a card is made.
#[derive(Clone, Debug, Default)]
pub struct CardConfig {
    /// Who computes.
    pub engines: Engines,
    /// What goes wrong.
    pub faults: Faults,
    /// Its clock; with one that is moved by hand, time is virtual.
    pub clock: Clock,
}

/// A card; clones are the same one.
#[derive(Clone, Debug)]
pub struct Card {
    device: Arc<Device>,
}

/// What both threads of a card see of it: the driver's, when it writes a control register, and the engine's.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) profile: Profile,
    pub(super) clock: Clock,
    pub(super) registers: Registers,
    pub(super) iommu: Iommu,
    pub(super) control: Control,
    pub(super) counters: Counters,
    wire: Arc<Wire>,
    /// When it was made.
    start: Tick,
}

impl Card {
    /// A card of this model, and what turns in it.
    ///
    /// # Errors
    /// No memory, or no random bytes.
    pub fn new(profile: Profile, config: CardConfig) -> io::Result<(Self, Engine)> {
        let CardConfig { engines, faults, clock } = config;
        let device = Arc::new(Device {
            control: Control::new(engines.driver(), &faults),
            registers: Registers::new(),
            iommu: Iommu::new(),
            counters: Counters::default(),
            wire: Arc::new(Wire::new()),
            start: clock.tick(),
            clock,
            profile,
        });
        device.present();
        let memory = device.memory()?;
        let has_port = device.profile.services.inline_crypto || device.profile.services.inline_protocol;
        let port = if has_port { Some(Box::new(Port::new(&device)?)) } else { None };
        let engine = Engine::new(Arc::clone(&device), memory, &faults, port);
        Ok((Self { device }, engine))
    }

    /// A card whose engine turns on a thread of its own until the [`Runner`] is dropped: pinned to a processor where one is named.
    ///
    /// # Errors
    /// No memory, or no thread.
    pub fn start(profile: Profile, config: CardConfig, core: Option<usize>) -> io::Result<(Self, Runner)> {
        let (card, engine) = Self::new(profile, config)?;
        Ok((card, Runner::start(engine, core)?))
    }

    /// Its model.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.device.profile
    }

    /// What the card did so far, by name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.device.counters.list()
    }

    /// Whether it is in its slot.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.device.registers.is_present()
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Device {
    /// The registers as they are after power came on.
    fn present(&self) {
        self.registers.clear();
        let profile = &self.profile;
        let services = u64::from(profile.services.lookaside)
            | u64::from(profile.services.inline_crypto) << 1
            | u64::from(profile.services.inline_protocol) << 2;
        let shape = [profile.queues, profile.ring_depth, profile.segments, profile.burst];
        let shape = shape.iter().rev().fold(0, |word, &part| word << 16 | part as u64);
        for (register, value) in [
            (registers::ID, registers::IDENTITY << 32 | 1),
            (registers::SERVICES, services),
            (registers::SHAPE, shape),
            (registers::SA_SLOTS, profile.sa_slots as u64),
            (registers::LINK, 1),
            (registers::STATE, registers::READY),
        ] {
            self.registers.poke(register, value);
        }
    }

    /// The card's own memory, for what its engines have in work.
    fn memory(&self) -> io::Result<Pool> {
        self.frame_memory(engine::capacity(&self.profile) + 64)
    }

    /// Memory of the card for so many packets, with room for ESP around each.
    fn frame_memory(&self, buffers: usize) -> io::Result<Pool> {
        let bytes = self.profile.max_packet + AROUND;
        let stride = bytes.next_multiple_of(64).clamp(512, 65_472);
        Pool::new(PoolConfig { buffers, stride: (stride | 64).min(65_472) })
    }

    /// Nanoseconds since the card was made.
    pub(super) fn now(&self) -> u64 {
        self.clock.nanoseconds(self.start, self.clock.tick())
    }
}

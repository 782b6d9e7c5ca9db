//! The card's control side: what a write to a control register makes it do, on the thread of who writes.

#![allow(
    clippy::disallowed_types,
    reason = "the control side of the card; its engines take the locks in a reset, and once for a batch of frames that pass"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::device::Driver;
use crate::drivers::nic::bus::SLOT_BITS;
use crate::drivers::nic::bus::context::{self, Answer, Order};
use crate::drivers::nic::bus::iommu::cells;
use crate::drivers::nic::bus::registers::{self, Act, Register};
use crate::session::SessionId;

use super::Device;
use super::esp::SaTable;
use super::fault::{Dice, Fault, Faults};

/// Longest session or SA in shared memory, in bytes: an SA brings its replay window along.
const LONGEST: usize = 15_000;

#[derive(Debug)]
pub(in crate::drivers::nic) struct Control {
    /// Computes for the engines.
    pub(super) compute: Arc<dyn Driver>,
    sessions: Mutex<HashMap<u32, u32>>,
    /// For frames that pass; the engine takes the lock once for a batch of frames.
    sas: Mutex<SaTable>,
    dice: Mutex<Dice>,
    /// The engines stand still.
    pub(super) hung: AtomicBool,
    /// Until then, in nanoseconds, no session is taken.
    pub(super) full_until: AtomicU64,
}

impl Control {
    pub(super) fn new(compute: Arc<dyn Driver>, faults: &Faults) -> Self {
        Self {
            compute,
            sessions: Mutex::new(HashMap::new()),
            sas: Mutex::new(SaTable::default()),
            dice: Mutex::new(Dice::new(faults, 1)),
            hung: AtomicBool::new(false),
            full_until: AtomicU64::new(0),
        }
    }

    pub(super) fn set_faults(&self, faults: &Faults) {
        *self.dice.lock().unwrap_or_else(PoisonError::into_inner) = Dice::new(faults, 1);
        self.full_until.store(0, Ordering::Release);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sas(&self) -> MutexGuard<'_, SaTable> {
        self.sas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every session and SA.
    pub(super) fn forget_all(&self) {
        self.sas().clear();
        let mut sessions = self.sessions();
        sessions.drain().for_each(|(slot, generation)| {
            self.compute.close_session(SessionId::new(slot, generation));
        });
        self.compute.collect();
    }

    /// How many sessions there are.
    pub(super) fn session_count(&self) -> usize {
        self.sessions().len()
    }

    fn is_full(&self, device: &Device, count: usize) -> bool {
        let struck = self.dice.lock().unwrap_or_else(PoisonError::into_inner).strikes(Fault::SaTableFull);
        let by_fault = struck.is_some() || device.now() < self.full_until.load(Ordering::Acquire);
        if by_fault {
            device.counters.struck(Fault::SaTableFull);
        }
        by_fault || count >= device.profile.sa_slots
    }
}

impl Device {
    /// The session in shared memory.
    fn order(&self, order: u64) -> Answer {
        let state = self.registers.peek(registers::STATE);
        if state != registers::READY || self.control.hung.load(Ordering::Acquire) {
            return Answer::Busy;
        }
        let handle = self.registers.peek(registers::ADMIN_SLOT) as u32;
        let (slot, generation) = split(handle);
        let mut sessions = self.control.sessions();
        if order == Order::Forget as u64 {
            if sessions.get(&slot) == Some(&generation) {
                sessions.remove(&slot);
                drop(self.control.sas().remove(handle));
                self.control.compute.close_session(SessionId::new(slot, generation));
                self.control.compute.collect();
            }
            return Answer::Done;
        }
        if order == Order::Export as u64 {
            return self.export(handle);
        }
        if order != Order::Load as u64 && order != Order::Install as u64 {
            return Answer::Unsupported;
        }
        let is_new = !sessions.contains_key(&slot);
        if slot as usize >= self.profile.sa_slots || is_new && self.control.is_full(self, sessions.len()) {
            return Answer::Full;
        }
        if order == Order::Install as u64 {
            return self.install(&mut sessions, handle);
        }
        let Some(params) = self.operand().and_then(|bytes| context::decode(&bytes)) else {
            return Answer::Unsupported;
        };
        if self.profile.capabilities.check(&params).is_err() {
            return Answer::Unsupported;
        }
        match self.control.compute.open_session(SessionId::new(slot, generation), &params) {
            Ok(()) => {
                sessions.insert(slot, generation);
                Answer::Done
            }
            Err(_) => Answer::Unsupported,
        }
    }

    /// What the driver has laid ready: a length, then so many bytes.
    pub(super) fn operand(&self) -> Option<Zeroizing<Vec<u8>>> {
        let words = self.iommu.words(self.registers.peek(registers::ADMIN_ADDRESS)).ok()?;
        let (len, words) = cells(&words).split_first()?;
        let len = usize::try_from(len.load(pipeline::sync::Ordering::Acquire)).ok()?;
        let words = words.get(..len.div_ceil(8)).filter(|_| len <= LONGEST)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(words.len() * 8));
        for word in words {
            bytes.extend(word.load(pipeline::sync::Ordering::Acquire).to_le_bytes());
        }
        bytes.truncate(len);
        Some(bytes)
    }
}

/// Place, and how often the place was used.
pub(super) const fn split(handle: u32) -> (u32, u32) {
    (handle & ((1 << SLOT_BITS) - 1), handle >> SLOT_BITS)
}

impl Act for Device {
    fn written(&self, register: Register, value: u64) {
        if register == registers::ADMIN_COMMAND {
            let answer = self.order(value);
            self.registers.poke(registers::ADMIN_STATUS, answer as u64);
        } else if register == registers::RESET {
            // The engine gives everything up at its next turn, and says so when it is done.
            self.registers.poke(registers::STATE, registers::RESETTING);
        }
    }
}

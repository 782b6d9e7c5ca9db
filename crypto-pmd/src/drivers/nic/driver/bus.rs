//! All that the driver has of its card: registers to read and write, and windows to open.

use std::sync::Arc;

use crate::drivers::nic::bus::iommu::Iommu;
use crate::drivers::nic::bus::registers::{ABSENT, ID, IDENTITY, Register};
use crate::drivers::nic::card::{Card, Device};

#[derive(Debug)]
pub(super) struct Bus(Arc<Device>);

impl Bus {
    pub(super) fn of(card: &Card) -> Self {
        Self(Arc::clone(card.device()))
    }

    #[inline]
    pub(super) fn read(&self, register: Register) -> u64 {
        self.0.registers.read(register)
    }

    #[inline]
    pub(super) fn write(&self, register: Register, value: u64) {
        self.0.registers.write(register, value, &*self.0);
    }

    pub(super) fn iommu(&self) -> &Iommu {
        &self.0.iommu
    }

    /// Whether a card answers.
    pub(super) fn is_there(&self) -> bool {
        self.read(ID) != ABSENT
    }

    /// Whether it is one that this driver knows.
    pub(super) fn is_known(&self) -> bool {
        self.read(ID) >> 32 == IDENTITY
    }
}

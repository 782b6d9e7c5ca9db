//! SAs for frames that pass, as the card's control side takes them in and gives their state.

use std::collections::HashMap;

use pipeline::sync::Ordering;

use crate::drivers::nic::bus::association;
use crate::drivers::nic::bus::context::Answer;
use crate::drivers::nic::bus::iommu::cells;
use crate::drivers::nic::bus::registers;
use crate::inline::Service;
use crate::session::SessionId;

use super::Device;
use super::control::split;
use super::esp::CardSa;

impl Device {
    /// Takes the SA in shared memory in, with the session of its algorithms.
    pub(super) fn install(&self, sessions: &mut HashMap<u32, u32>, handle: u32) -> Answer {
        let Some((service, sa)) = self.operand().and_then(|bytes| association::decode(&bytes)) else {
            return Answer::Unsupported;
        };
        let services = self.profile.services;
        let is_offered = match service {
            Service::Crypto => services.inline_crypto,
            Service::Protocol => services.inline_protocol,
        };
        if !is_offered || self.profile.capabilities.check(&sa.session).is_err() {
            return Answer::Unsupported;
        }
        let (slot, generation) = split(handle);
        let session = SessionId::new(slot, generation);
        let Some(on_card) = CardSa::new(service, &sa, session) else { return Answer::Unsupported };
        if self.control.compute.open_session(session, &sa.session).is_err() {
            return Answer::Unsupported;
        }
        sessions.insert(slot, generation);
        self.control.sas().insert(handle, on_card);
        Answer::Done
    }

    /// Stops with an SA and writes its state where operands lie: its length, then so many bytes.
    pub(super) fn export(&self, handle: u32) -> Answer {
        let Some(sa) = self.control.sas().remove(handle) else { return Answer::Unsupported };
        let write = || -> Option<()> {
            let bytes = association::encode_state(&sa.export())?;
            let words = self.iommu.words(self.registers.peek(registers::ADMIN_ADDRESS)).ok()?;
            let (len, words) = cells(&words).split_first()?;
            let words = words.get(..bytes.len().div_ceil(8))?;
            for (cell, chunk) in words.iter().zip(bytes.chunks(8)) {
                let mut word = [0; 8];
                word.iter_mut().zip(chunk).for_each(|(to, byte)| *to = *byte);
                cell.store(u64::from_le_bytes(word), Ordering::Release);
            }
            len.store(bytes.len() as u64, Ordering::Release);
            Some(())
        };
        if write().is_some() { Answer::Done } else { Answer::Unsupported }
    }
}

//! The SAs on a card, by their places, and those that receive by their SPIs.

use std::collections::HashMap;

use crate::drivers::nic::bus::SLOT_BITS;

use super::find::Arrived;
use super::{CardSa, Direction};

#[derive(Debug, Default)]
pub(in crate::drivers::nic::card) struct SaTable {
    /// With how often the place was used.
    sas: HashMap<u32, (u32, CardSa)>,
    /// Places of those that receive.
    by_spi: HashMap<u32, Vec<u32>>,
    /// Ports on which ESP arrives over UDP, each as often as there is an SA.
    ports: Vec<u16>,
}

const fn place_of(handle: u32) -> u32 {
    handle & ((1 << SLOT_BITS) - 1)
}

impl SaTable {
    /// Puts an SA under a handle, in the place of what was there.
    pub(in crate::drivers::nic::card) fn insert(&mut self, handle: u32, sa: CardSa) {
        let place = place_of(handle);
        drop(self.remove_place(place));
        if matches!(sa.way, Direction::In(_)) {
            self.by_spi.entry(sa.spi).or_default().push(place);
            self.ports.extend(sa.udp.map(|ports| ports.dst));
        }
        self.sas.insert(place, (handle >> SLOT_BITS, sa));
    }

    /// Takes the SA of this handle out.
    pub(in crate::drivers::nic::card) fn remove(&mut self, handle: u32) -> Option<CardSa> {
        self.get_mut(handle)?;
        self.remove_place(place_of(handle))
    }

    fn remove_place(&mut self, place: u32) -> Option<CardSa> {
        let (_, sa) = self.sas.remove(&place)?;
        if matches!(sa.way, Direction::In(_)) {
            if let Some(places) = self.by_spi.get_mut(&sa.spi) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.by_spi.remove(&sa.spi);
                }
            }
            let port = sa.udp.and_then(|ports| self.ports.iter().position(|port| *port == ports.dst));
            port.map(|at| self.ports.swap_remove(at));
        }
        Some(sa)
    }

    pub(in crate::drivers::nic::card) fn get_mut(&mut self, handle: u32) -> Option<&mut CardSa> {
        let (used, sa) = self.sas.get_mut(&place_of(handle))?;
        (*used == handle >> SLOT_BITS).then_some(sa)
    }

    /// Whether ESP arrives over UDP on a port.
    pub(in crate::drivers::nic::card) fn is_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// The handle of the SA of a packet: by SPI, and by destination where the SA names one, which goes before those that name none.
    pub(in crate::drivers::nic::card) fn find(&self, arrived: &Arrived) -> Option<u32> {
        let places = self.by_spi.get(&arrived.spi)?;
        let found = places.iter().filter_map(|place| Some((*place, self.sas.get(place)?)));
        let fitting = found.filter(|(_, (_, sa))| {
            sa.udp.is_some() == arrived.over_udp && sa.destination.is_none_or(|dst| dst == arrived.dst())
        });
        let best = fitting.max_by_key(|(_, (_, sa))| sa.destination.is_some());
        best.map(|(place, (used, _))| used << SLOT_BITS | place)
    }

    pub(in crate::drivers::nic::card) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sas.len()
    }
}

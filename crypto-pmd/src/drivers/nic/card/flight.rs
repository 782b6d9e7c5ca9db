//! Commands that are in an engine or on their way back, each with the time at which its completion is due.

use std::collections::VecDeque;

use pipeline::Mbuf;

use crate::drivers::nic::bus::command::{Command, Outcome};

/// A command under way, with its packet in the card's own memory.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) queue: u8,
    pub(super) command: Command,
    pub(super) packet: Option<Mbuf>,
    pub(super) outcome: Outcome,
    /// When an engine began it, and when its completion is due.
    pub(super) began: u64,
    pub(super) due: u64,
    /// Its completion comes twice.
    pub(super) twice: bool,
    /// Its completion comes very late, also after a reset.
    pub(super) late: bool,
}

/// Flights by when they are due; those of one time in the order in which they began.
#[derive(Debug)]
pub(super) struct Flights {
    /// Nearly sorted as they come: most are due behind all others.
    waiting: VecDeque<Flight>,
}

impl Flights {
    pub(super) fn with_capacity(flights: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(flights) }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    pub(super) fn add(&mut self, flight: Flight) {
        let later = self.waiting.iter().rev().take_while(|other| other.due > flight.due).count();
        match later {
            0 => self.waiting.push_back(flight),
            _ => self.waiting.insert(self.waiting.len() - later, flight),
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.waiting.front().map(|flight| flight.due)
    }

    /// The next one that is due.
    #[inline]
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Flight> {
        if self.next_due()? <= now { self.waiting.pop_front() } else { None }
    }

    /// It could not be brought back yet: first again.
    pub(super) fn put_back(&mut self, flight: Flight) {
        self.waiting.push_front(flight);
    }

    /// All of a queue pair, or all there are.
    pub(super) fn give_up(&mut self, queue: Option<u8>, mut to: impl FnMut(Flight)) {
        for _ in 0..self.waiting.len() {
            let Some(flight) = self.waiting.pop_front() else { return };
            match queue {
                Some(queue) if queue != flight.queue => self.waiting.push_back(flight),
                _ => to(flight),
            }
        }
    }
}

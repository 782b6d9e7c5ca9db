//! Commands that are in an engine or on their way back, each with the time at which its completion is due.
//!
//! A flight has its place in the card for as long as it lasts, and keeps its packet buffer there for the next one; what is sorted by time are
//! places.

use std::collections::VecDeque;

use pipeline::{Mbuf, Pool};

use crate::drivers::nic::bus::command::{Command, Outcome};

/// Place of a flight.
pub(super) type Seat = u16;

/// A command under way, with its packet in the card's own memory.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) command: Command,
    /// `None` while it is being computed.
    pub(super) packet: Option<Mbuf>,
    /// When an engine began it, and when its completion is due.
    pub(super) began: u64,
    pub(super) due: u64,
    pub(super) queue: u8,
    pub(super) outcome: Outcome,
    /// Its completion comes twice.
    pub(super) twice: bool,
    /// Its completion comes very late, also after a reset.
    pub(super) late: bool,
}

/// All flights, and those that are on their way by when they are due.
#[derive(Debug)]
pub(super) struct Flights {
    seats: Vec<Flight>,
    free: Vec<Seat>,
    /// Nearly sorted as they come: most are due behind all others.
    waiting: VecDeque<(u64, Seat)>,
    /// Last, so that all of its packets are home when it goes: otherwise its memory would stay.
    _memory: Pool,
}

impl Flights {
    /// So many at once, each with a buffer of the card's memory.
    pub(super) fn new(seats: usize, memory: &Pool) -> Self {
        let flight = |_| Flight {
            command: Command::NOTHING,
            packet: memory.alloc(),
            began: 0,
            due: 0,
            queue: 0,
            outcome: Outcome::Done,
            twice: false,
            late: false,
        };
        Self {
            seats: (0..seats).map(flight).collect(),
            free: (0..seats as Seat).rev().collect(),
            waiting: VecDeque::with_capacity(seats),
            _memory: memory.clone(),
        }
    }

    /// Flights that can begin.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// Flights that have begun.
    pub(super) fn len(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// Gives a command a seat.
    #[inline]
    pub(super) fn begin(&mut self, queue: u8, command: Command, outcome: Outcome, now: u64) -> Option<Seat> {
        let seat = self.free.pop()?;
        let flight = self.seats.get_mut(usize::from(seat))?;
        (flight.queue, flight.command, flight.outcome, flight.began) = (queue, command, outcome, now);
        (flight.twice, flight.late) = (false, false);
        Some(seat)
    }

    #[inline(always)]
    pub(super) fn get(&self, seat: Seat) -> Option<&Flight> {
        self.seats.get(usize::from(seat))
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut Flight> {
        self.seats.get_mut(usize::from(seat))
    }

    /// It is due then.
    #[inline]
    pub(super) fn send(&mut self, seat: Seat, due: u64) {
        let later = self.waiting.iter().rev().take_while(|(other, _)| *other > due).count();
        match later {
            0 => self.waiting.push_back((due, seat)),
            _ => self.waiting.insert(self.waiting.len() - later, (due, seat)),
        }
    }

    #[inline(always)]
    pub(super) fn next_due(&self) -> Option<u64> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// The next one that is due; it keeps its seat.
    #[inline]
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Seat> {
        if self.next_due()? <= now { self.waiting.pop_front().map(|(_, seat)| seat) } else { None }
    }

    /// It could not be brought back yet: first again.
    pub(super) fn put_back(&mut self, seat: Seat) {
        let due = self.get(seat).map_or(0, |flight| flight.due);
        self.waiting.push_front((due, seat));
    }

    /// It is over.
    #[inline(always)]
    pub(super) fn end(&mut self, seat: Seat) {
        self.free.push(seat);
    }

    /// All of a queue pair, or all there are.
    pub(super) fn give_up(&mut self, queue: Option<u8>, mut to: impl FnMut(&Flight)) {
        let Self { seats, free, waiting, .. } = self;
        waiting.retain(|&(_, seat)| {
            let Some(flight) = seats.get(usize::from(seat)) else { return false };
            let is_other = queue.is_some_and(|queue| queue != flight.queue);
            if !is_other {
                to(flight);
                free.push(seat);
            }
            is_other
        });
    }
}

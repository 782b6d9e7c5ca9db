//! Looks at the threads that are inside a driver.

use std::collections::HashMap;
use std::sync::Arc;
use std::{fmt, io};

use super::EntryPoint;
use super::station::{Board, Station, Visit};
use super::thread::{self, Doing};

/// Processor time in one entry, in ticks of 10 ms, from which on it goes round in circles.
const CIRCLES: u64 = 10;

/// How a driver keeps a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manner {
    /// The thread sleeps until somebody wakes it.
    Sleeps,
    /// The thread has been put to sleep for a device or for memory, and was again at the next look.
    WaitsForDevice,
    /// The thread has computed for a tenth of a second or longer without coming out.
    Circles,
}

/// A driver that blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The driver's name with its unit.
    pub driver: String,
    /// Into which of its functions the thread went.
    pub entry: EntryPoint,
    /// The kernel's number of the thread.
    pub thread: u32,
    /// What it does there.
    pub manner: Manner,
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = match self.manner {
            Manner::Sleeps => "sleeps there",
            Manner::WaitsForDevice => "waits there for a device or for memory",
            Manner::Circles => "goes round in circles there",
        };
        let (driver, entry, thread) = (&self.driver, self.entry.name(), self.thread);
        write!(
            f,
            "driver {driver} blocks in {entry}: thread {thread} {does}; an entry point takes what it can and returns"
        )
    }
}

/// What is remembered of an entry from look to look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    visit: Visit,
    ticks: u64,
    waited: bool,
    told: bool,
}

/// The watcher's end of a [`Watched`](super::Watched) driver.
#[derive(Debug)]
pub struct Watch {
    driver: String,
    board: Arc<Board>,
    /// By the station's address, which stays as long as the station.
    seen: HashMap<usize, Seen>,
}

impl Watch {
    pub(super) fn new(driver: String, board: Arc<Board>) -> Self {
        Self { driver, board, seen: HashMap::new() }
    }

    /// Entries in which the driver is found to block now, each told once.
    ///
    /// # Errors
    /// The kernel does not say what threads do.
    pub fn look(&mut self) -> io::Result<Vec<Caught>> {
        let Self { driver, board, seen } = self;
        let mut result = Ok(Vec::new());
        let mut now = HashMap::new();
        board.each(|station| {
            let key = std::ptr::from_ref(station).addr();
            match look_at(station, seen.get(&key)) {
                Ok(Some((one, manner))) => {
                    now.insert(key, one);
                    if let (Some(manner), Ok(caught)) = (manner, &mut result) {
                        let Visit { entry, thread, .. } = one.visit;
                        caught.push(Caught { driver: driver.clone(), entry, thread, manner });
                    }
                }
                Ok(None) => {}
                Err(error) => result = Err(error),
            }
        });
        *seen = now;
        result
    }
}

/// Who is inside and, when that is to be told now, how the driver keeps it there.
fn look_at(station: &Station, before: Option<&Seen>) -> io::Result<Option<(Seen, Option<Manner>)>> {
    let Some(visit) = station.visit() else { return Ok(None) };
    let Some(Doing { state, ticks }) = thread::doing(visit.thread)? else { return Ok(None) };
    if !station.is_still(&visit) {
        // It may have slept outside.
        return Ok(None);
    }
    let first = Seen { visit, ticks, waited: false, told: false };
    let before = before.filter(|seen| seen.visit == visit).unwrap_or(&first);
    let manner = match state {
        'S' => Some(Manner::Sleeps),
        // Memory that is touched for the first time may make a thread wait, shortly.
        'D' if before.waited => Some(Manner::WaitsForDevice),
        _ if ticks - before.ticks >= CIRCLES => Some(Manner::Circles),
        _ => None,
    };
    let now = Seen { waited: state == 'D', told: before.told || manner.is_some(), ..*before };
    Ok(Some((now, manner.filter(|_| !before.told))))
}

//! What clients and the service share: the ring, and the cells in which results wait.
//!
//! A cell's state goes from free to waiting when a client takes it, then twice by an exchange: the service says that the job
//! is there, or the future that it is not wanted any more. Whoever comes second frees the cell.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use event_listener::{Event, EventListener, IntoNotification as _};

use crate::job::Job;

/// The service has not answered, and the future waits.
const WAITING: u8 = 0;
/// The service has put the job in.
const DONE: u8 = 1;
/// The service has stopped; the job is in the cell, or with a driver for good.
const STOPPED: u8 = 2;
/// The future is gone.
const ABANDONED: u8 = 3;

/// A job on its way to the service.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) job: Job,
    pub(super) cell: usize,
}

/// What a future finds in its cell.
#[derive(Debug)]
pub(super) enum Answer {
    Waiting,
    Done(Job),
    Stopped(Option<Job>),
}

#[derive(Debug)]
struct Cell {
    state: AtomicU8,
    waker: AtomicWaker,
    /// One place.
    job: ArrayQueue<Job>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// With a place for each cell.
    requests: ArrayQueue<Request>,
    cells: Box<[Cell]>,
    free: ArrayQueue<usize>,
    /// A cell was freed, or the service has stopped.
    room: Event,
    stopped: AtomicBool,
    reaped: AtomicU64,
}

impl Shared {
    pub(super) fn new(cells: usize) -> Self {
        let free = ArrayQueue::new(cells);
        for cell in 0..cells {
            // There is a place for each.
            let _ = free.push(cell);
        }
        let cell =
            |_| Cell { state: AtomicU8::new(WAITING), waker: AtomicWaker::new(), job: ArrayQueue::new(1) };
        Self {
            requests: ArrayQueue::new(cells),
            cells: (0..cells).map(cell).collect(),
            free,
            room: Event::new(),
            stopped: AtomicBool::new(false),
            reaped: AtomicU64::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn reaped(&self) -> u64 {
        self.reaped.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// To be told when a cell is freed; it is to be asked for once more afterwards.
    pub(super) fn listen(&self) -> EventListener {
        self.room.listen()
    }

    /// Hands a job over; its cell.
    ///
    /// Without a free cell the job comes back.
    pub(super) fn send(&self, job: Job) -> Result<usize, Job> {
        let Some(cell) = self.free.pop() else { return Err(job) };
        if let Some(place) = self.cells.get(cell) {
            place.state.store(WAITING, Ordering::Release);
        }
        match self.requests.push(Request { job, cell }) {
            Ok(()) => Ok(cell),
            // There is a place for each cell, so this does not happen.
            Err(request) => {
                self.release(cell);
                Err(request.job)
            }
        }
    }

    pub(super) fn pop(&self) -> Option<Request> {
        self.requests.pop()
    }

    /// The service's last word on a job.
    fn answer(&self, number: usize, job: Option<Job>, state: u8) {
        let Some(cell) = self.cells.get(number) else { return };
        if let Some(job) = job {
            // The place is empty: a cell has one job at a time.
            drop(cell.job.push(job));
        }
        match cell.state.swap(state, Ordering::AcqRel) {
            ABANDONED => {
                drop(cell.job.pop());
                self.reaped.fetch_add(1, Ordering::Relaxed);
                self.release(number);
            }
            _ => cell.waker.wake(),
        }
    }

    pub(super) fn deliver(&self, cell: usize, job: Job) {
        self.answer(cell, Some(job), DONE);
    }

    pub(super) fn give_back(&self, cell: usize, job: Option<Job>) {
        self.answer(cell, job, STOPPED);
    }

    /// Looks into a cell, and frees it when it has an answer.
    pub(super) fn take(&self, number: usize) -> Answer {
        let Some(cell) = self.cells.get(number) else { return Answer::Stopped(None) };
        let state = cell.state.load(Ordering::Acquire);
        if state == WAITING {
            return Answer::Waiting;
        }
        let job = cell.job.pop();
        // A waker keeps its task alive.
        drop(cell.waker.take());
        self.release(number);
        match (state, job) {
            (DONE, Some(job)) => Answer::Done(job),
            (_, job) => Answer::Stopped(job),
        }
    }

    pub(super) fn register(&self, number: usize, waker: &std::task::Waker) {
        if let Some(cell) = self.cells.get(number) {
            cell.waker.register(waker);
        }
    }

    /// The future of a cell is gone.
    pub(super) fn abandon(&self, number: usize) {
        let Some(cell) = self.cells.get(number) else { return };
        drop(cell.waker.take());
        if cell.state.swap(ABANDONED, Ordering::AcqRel) != WAITING {
            drop(cell.job.pop());
            self.release(number);
        } else if self.is_stopped() {
            self.drain();
        }
    }

    fn release(&self, number: usize) {
        // There is a place for each.
        let _ = self.free.push(number);
        // One more for each cell: those that were told before may not have come yet. Who was told and goes passes it on.
        self.room.notify(1.additional());
    }

    /// Nothing is taken from the ring any more. Jobs that are in it go back to their futures, and those that wait for a cell
    /// are told.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.drain();
        self.room.notify(usize::MAX);
    }

    /// Gives back what is in the ring of a service that has stopped: also the business of a client that pushed too late.
    pub(super) fn drain(&self) {
        fence(Ordering::SeqCst);
        while let Some(Request { job, cell }) = self.requests.pop() {
            self.give_back(cell, Some(job));
        }
    }
}

//! The control side of the framework: attached drivers, open sessions, where each session lies.
//!
//! The registry keeps the parameters of every open session, so that any driver can set it up again; they are
//! wiped when the session is closed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::replica::Table;

use crate::device::{Driver, DriverId, OpenError, QueuePairConfig};
use crate::dispatcher::Dispatcher;
use crate::session::SessionId;
use crate::transform::SessionParams;

/// Where a session may be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// On the first attached driver that can do it, hardware before software.
    #[default]
    Any,
    /// On this one.
    Driver(DriverId),
    /// On hardware only.
    Hardware,
    /// On software only.
    Software,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any driver"),
            Self::Driver(DriverId(number)) => write!(f, "driver number {number}"),
            Self::Hardware => f.write_str("hardware"),
            Self::Software => f.write_str("software"),
        }
    }
}

/// The framework's control side; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
    routes: Table<DriverId>,
}

#[derive(Debug, Default)]
struct Inner {
    drivers: Vec<Arc<dyn Driver>>,
    sessions: Vec<Record>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Record {
    generation: u32,
    open: Option<(DriverId, Arc<SessionParams>)>,
}

/// A driver could not be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The name is taken.
    #[error("a driver named {0} is attached already; give this one another unit number")]
    NameTaken(String),
    /// No number left.
    #[error("no driver number left")]
    TooMany,
}

impl Registry {
    /// A registry without drivers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Attaches a driver.
    ///
    /// # Errors
    /// Another driver has this name.
    pub fn attach(&self, driver: impl Driver + 'static) -> Result<DriverId, AttachError> {
        let mut inner = self.lock();
        if inner.drivers.iter().any(|other| other.name() == driver.name()) {
            return Err(AttachError::NameTaken(driver.name().to_owned()));
        }
        let id = u16::try_from(inner.drivers.len()).map_err(|_| AttachError::TooMany)?;
        inner.drivers.push(Arc::new(driver));
        Ok(DriverId(id))
    }

    /// Finds a driver by name and unit (`software0`), or by name alone (`software`, the first of them).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<DriverId> {
        let inner = self.lock();
        let exact = inner.drivers.iter().position(|driver| driver.name() == name);
        let unitless =
            |driver: &Arc<dyn Driver>| driver.name().trim_end_matches(|c: char| c.is_ascii_digit()) == name;
        let place = exact.or_else(|| inner.drivers.iter().position(unitless))?;
        u16::try_from(place).ok().map(DriverId)
    }

    /// Opens a session; the handle stays the same until it is closed.
    ///
    /// # Errors
    /// Why the last driver that was allowed could not.
    pub fn open(&self, params: SessionParams, placement: Placement) -> Result<SessionId, OpenError> {
        let mut inner = self.lock();
        let id = inner.reserve().ok_or(OpenError::TooMany)?;
        match inner.place(id, &params, placement) {
            Ok(driver) => {
                self.routes.set(id.index(), driver);
                inner.record(id, Some((driver, Arc::new(params))));
                Ok(id)
            }
            Err(error) => {
                inner.release(id);
                Err(error)
            }
        }
    }

    /// Closes a session: its keys are wiped here, and in the driver as soon as no queue pair uses them. False
    /// when the handle is not that of an open session.
    pub fn close(&self, id: SessionId) -> bool {
        let mut inner = self.lock();
        let Some((driver, _)) = inner.take(id) else { return false };
        if let Some(driver) = inner.drivers.get(usize::from(driver.0)) {
            driver.close_session(id);
        }
        self.routes.remove(id.index());
        inner.release(id);
        true
    }

    /// Sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.lock().sessions.iter().filter(|record| record.open.is_some()).count()
    }

    /// A dispatcher for one core, with a queue pair on every attached driver.
    ///
    /// # Errors
    /// No driver is attached.
    pub fn dispatcher(&self, config: &QueuePairConfig) -> Result<Dispatcher, OpenError> {
        let inner = self.lock();
        if inner.drivers.is_empty() {
            return Err(OpenError::NoDriver(Placement::Any.to_string()));
        }
        let queues = inner.drivers.iter().map(|driver| driver.queue_pair(config)).collect();
        Ok(Dispatcher::new(queues, self.routes.replica()))
    }

    /// Every change leaves the tables whole before it can fail, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn reserve(&mut self) -> Option<SessionId> {
        if let Some(index) = self.free.pop() {
            let generation = self.sessions.get(index as usize)?.generation;
            return Some(SessionId::new(index, generation));
        }
        let index = u32::try_from(self.sessions.len()).ok()?;
        self.sessions.push(Record { generation: 0, open: None });
        Some(SessionId::new(index, 0))
    }

    fn release(&mut self, id: SessionId) {
        if let Some(record) = self.sessions.get_mut(id.index()) {
            record.generation = record.generation.wrapping_add(1);
            self.free.push(id.index() as u32);
        }
    }

    fn record(&mut self, id: SessionId, open: Option<(DriverId, Arc<SessionParams>)>) {
        if let Some(record) = self.sessions.get_mut(id.index()) {
            record.open = open;
        }
    }

    fn take(&mut self, id: SessionId) -> Option<(DriverId, Arc<SessionParams>)> {
        let record = self.sessions.get_mut(id.index())?;
        if record.generation == id.generation() { record.open.take() } else { None }
    }

    /// Asks the allowed drivers in order of preference.
    fn place(
        &self,
        id: SessionId,
        params: &SessionParams,
        placement: Placement,
    ) -> Result<DriverId, OpenError> {
        let mut last = OpenError::NoDriver(placement.to_string());
        for hardware in [true, false] {
            for (number, driver) in (0_u16..).zip(&self.drivers) {
                let matches = driver.capabilities().hardware == hardware;
                if !matches || !allowed(placement, DriverId(number), hardware) {
                    continue;
                }
                match driver.open_session(id, params) {
                    Ok(()) => return Ok(DriverId(number)),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }
}

fn allowed(placement: Placement, driver: DriverId, hardware: bool) -> bool {
    match placement {
        Placement::Any => true,
        Placement::Driver(wanted) => wanted == driver,
        Placement::Hardware => hardware,
        Placement::Software => !hardware,
    }
}

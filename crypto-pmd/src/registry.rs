//! The control side of the framework: attached drivers, open sessions, where each session lies.
//!
//! The registry keeps the parameters of every open session, so that any driver can set it up again; they are
//! wiped when the session is closed.

#![allow(clippy::disallowed_types, reason = "the control side of the framework; dispatchers need no lock")]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::publish::Table;

use crate::device::{Driver, DriverId, OpenError, QueuePairConfig};
use crate::dispatcher::{Dispatcher, Route};
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
    routes: Table<Route>,
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
                self.routes.set(id.index(), (id.generation(), driver));
                inner.record(id, Some((driver, Arc::new(params))));
                Ok(id)
            }
            Err(error) => {
                inner.release(id);
                Err(error)
            }
        }
    }

    /// Closes a session: its keys are wiped here, and in the driver by the first [`Registry::collect`] after every queue pair has
    /// stopped using them. False when the handle is not that of an open session.
    pub fn close(&self, id: SessionId) -> bool {
        let mut inner = self.lock();
        let Some((driver, _)) = inner.take(id) else { return false };
        if let Some(driver) = inner.drivers.get(usize::from(driver.0)) {
            driver.close_session(id);
        }
        self.routes.remove(id.index());
        inner.release(id);
        drop(inner);
        self.collect();
        true
    }

    /// Wipes and frees what belonged to closed sessions, as far as every core has passed a burst boundary since; how many entries, of
    /// the registry and of drivers, still wait. Closing a session does it too, so only the last ones closed need it.
    pub fn collect(&self) -> usize {
        let inner = self.lock();
        let with_drivers: usize = inner.drivers.iter().map(|driver| driver.collect()).sum();
        with_drivers + self.routes.collect()
    }

    /// What an open session was opened for.
    #[must_use]
    pub fn params(&self, id: SessionId) -> Option<Arc<SessionParams>> {
        let inner = self.lock();
        let record = inner.sessions.get(id.index()).filter(|record| record.generation == id.generation())?;
        record.open.as_ref().map(|(_, params)| Arc::clone(params))
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
        Ok(Dispatcher::new(queues, self.routes.reader()))
    }

    /// Every attached driver with its number.
    pub(crate) fn drivers(&self) -> Vec<(DriverId, Arc<dyn Driver>)> {
        (0_u16..).map(DriverId).zip(self.lock().drivers.iter().cloned()).collect()
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

pub(crate) fn allowed(placement: Placement, driver: DriverId, hardware: bool) -> bool {
    match placement {
        Placement::Any => true,
        Placement::Driver(wanted) => wanted == driver,
        Placement::Hardware => hardware,
        Placement::Software => !hardware,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{Capabilities, Unsupported};
    use crate::device::QueuePair;
    use crate::drivers::{Null, Software};
    use crate::{AeadAlgorithm, IntegrityAlgorithm, Key, Transform};

    /// The sessions that a driver has.
    type Open = Arc<Mutex<Vec<SessionId>>>;

    /// Knows how many sessions it has, and has room for a few.
    #[derive(Debug)]
    struct Small {
        name: &'static str,
        capabilities: Capabilities,
        open: Open,
    }

    impl Small {
        fn new(name: &'static str, hardware: bool, room: usize) -> Self {
            let capabilities = Capabilities { hardware, max_sessions: Some(room), ..Capabilities::default() };
            Self { name, capabilities, open: Arc::default() }
        }
    }

    impl Driver for Small {
        fn name(&self) -> &str {
            self.name
        }
        fn capabilities(&self) -> &Capabilities {
            &self.capabilities
        }
        fn open_session(&self, id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
            let mut open = self.open.lock().unwrap();
            if Some(open.len()) == self.capabilities.max_sessions {
                return Err(OpenError::Full { driver: self.name.to_owned() });
            }
            open.push(id);
            Ok(())
        }
        fn close_session(&self, id: SessionId) {
            self.open.lock().unwrap().retain(|&other| other != id);
        }
        fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
            Null::new().queue_pair(config)
        }
    }

    fn params() -> SessionParams {
        Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[1; 20]), 12).into()
    }

    /// Software first, then a card with room for one session.
    fn two() -> (Registry, [DriverId; 2], [Open; 2]) {
        let registry = Registry::new();
        let (software, card) = (Small::new("soft0", false, 2), Small::new("card0", true, 1));
        let open = [Arc::clone(&software.open), Arc::clone(&card.open)];
        let ids = [registry.attach(software).unwrap(), registry.attach(card).unwrap()];
        (registry, ids, open)
    }

    fn lengths(open: &[Open; 2]) -> [usize; 2] {
        [0, 1].map(|n| open[n].lock().unwrap().len())
    }

    #[test]
    fn a_name_is_taken_once_and_found_with_and_without_its_unit() {
        let registry = Registry::new();
        let null = registry.attach(Null::new()).unwrap();
        let first = registry.attach(Software::with_unit(1)).unwrap();
        let second = registry.attach(Software::with_unit(0)).unwrap();
        assert_eq!(registry.attach(Null::new()), Err(AttachError::NameTaken("null0".to_owned())));
        assert_eq!((registry.find("software1"), registry.find("software0")), (Some(first), Some(second)));
        assert_eq!((registry.find("software"), registry.find("null")), (Some(first), Some(null)));
        assert_eq!(
            (registry.find("software2"), registry.find("soft"), registry.find("")),
            (None, None, None)
        );
    }

    #[test]
    fn hardware_goes_before_software_until_it_is_full() {
        let (registry, _, open) = two();
        registry.open(params(), Placement::Any).unwrap();
        assert_eq!(lengths(&open), [0, 1]);
        registry.open(params(), Placement::Any).unwrap();
        assert_eq!(lengths(&open), [1, 1]);
    }

    #[test]
    fn a_placement_is_kept_to_even_when_another_driver_has_room() {
        let (registry, [software, card], open) = two();
        registry.open(params(), Placement::Software).unwrap();
        registry.open(params(), Placement::Driver(software)).unwrap();
        assert_eq!(lengths(&open), [2, 0]);
        let full = |driver: &str| Err(OpenError::Full { driver: driver.to_owned() });
        assert_eq!(registry.open(params(), Placement::Software), full("soft0"));
        registry.open(params(), Placement::Hardware).unwrap();
        assert_eq!(registry.open(params(), Placement::Driver(card)), full("card0"));
        assert_eq!(registry.open(params(), Placement::Hardware), full("card0"));
        assert_eq!(registry.open_sessions(), 3);
    }

    #[test]
    fn a_placement_that_no_driver_fits_is_named() {
        let registry = Registry::new();
        let open = |placement| registry.open(params(), placement).unwrap_err();
        assert_eq!(open(Placement::Any), OpenError::NoDriver("any driver".to_owned()));
        registry.attach(Null::new()).unwrap();
        assert_eq!(open(Placement::Hardware), OpenError::NoDriver("hardware".to_owned()));
        assert_eq!(open(Placement::Driver(DriverId(7))), OpenError::NoDriver("driver number 7".to_owned()));
    }

    #[test]
    fn a_dispatcher_needs_a_driver() {
        let none = Registry::new().dispatcher(&QueuePairConfig::default()).map(|_| ());
        assert_eq!(none, Err(OpenError::NoDriver("any driver".to_owned())));
    }

    #[test]
    fn a_session_that_was_refused_uses_no_place_up() {
        let (registry, [_, card], open) = two();
        let held = registry.open(params(), Placement::Driver(card)).unwrap();
        assert!(registry.open(params(), Placement::Driver(card)).is_err());
        let next = registry.open(params(), Placement::Software).unwrap();
        assert_eq!((held.index(), next.index(), registry.open_sessions()), (0, 1, 2));
        assert_eq!(lengths(&open), [1, 1]);
    }

    #[test]
    fn closing_gives_the_place_back_under_another_generation() {
        let (registry, [_, card], open) = two();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let id = registry.open(params(), Placement::Driver(card)).unwrap();
            assert!(!seen.contains(&id));
            assert_eq!((id.index(), lengths(&open)), (0, [0, 1]));
            assert!(registry.close(id) && !registry.close(id));
            assert!(seen.iter().all(|&old| !registry.close(old)));
            assert_eq!((registry.open_sessions(), lengths(&open)), (0, [0, 0]));
            seen.push(id);
        }
    }

    #[test]
    fn closing_lets_the_parameters_go() {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let id = registry.open(params(), Placement::Any).unwrap();
        let kept = Arc::downgrade(&registry.lock().sessions[0].open.as_ref().unwrap().1);
        assert_eq!(kept.upgrade().as_deref(), Some(&params()));
        assert!(registry.close(id));
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn what_the_software_driver_lacks_is_said() {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let unsupported = |what| Err(OpenError::Unsupported { driver: "software0".to_owned(), what });
        let gcm = |key, salt, tag| Transform::aead(AeadAlgorithm::AesGcm, Key::new(key), Key::new(salt), tag);
        let open =
            |transforms: &[Transform]| registry.open(transforms.iter().cloned().collect(), Placement::Any);
        let algorithm = "aes-gcm";
        assert_eq!(open(&[]), unsupported(Unsupported::Chain));
        assert_eq!(
            open(&[gcm(&[0; 17], &[], 16)]),
            unsupported(Unsupported::KeyLength { algorithm, len: 17 })
        );
        assert_eq!(
            open(&[gcm(&[0; 16], &[], 13)]),
            unsupported(Unsupported::TagLength { algorithm, len: 13 })
        );
        let long = unsupported(Unsupported::SaltLength { algorithm, len: 13 });
        assert_eq!(open(&[gcm(&[0; 16], &[0; 13], 16)]), long);
        let nine = [(); 9].map(|()| gcm(&[0; 16], &[0; 4], 16));
        assert_eq!(open(&nine), unsupported(Unsupported::Chain));
    }
}

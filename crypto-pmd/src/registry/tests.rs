//! Where sessions are placed, and what is said when they cannot be.

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
    assert_eq!((registry.find("software2"), registry.find("soft"), registry.find("")), (None, None, None));
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
    let kept = Arc::downgrade(&registry.lock().sessions.get(id).unwrap().params);
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
    let open = |transforms: &[Transform]| registry.open(transforms.iter().cloned().collect(), Placement::Any);
    let algorithm = "aes-gcm";
    assert_eq!(open(&[]), unsupported(Unsupported::Chain));
    assert_eq!(open(&[gcm(&[0; 17], &[], 16)]), unsupported(Unsupported::KeyLength { algorithm, len: 17 }));
    assert_eq!(open(&[gcm(&[0; 16], &[], 13)]), unsupported(Unsupported::TagLength { algorithm, len: 13 }));
    let long = unsupported(Unsupported::SaltLength { algorithm, len: 13 });
    assert_eq!(open(&[gcm(&[0; 16], &[0; 13], 16)]), long);
    let nine = [(); 9].map(|()| gcm(&[0; 16], &[0; 4], 16));
    assert_eq!(open(&nine), unsupported(Unsupported::Chain));
}

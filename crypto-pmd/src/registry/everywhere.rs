//! Sessions on every driver that can do them, hardware and software alike: what a driver that is made of several needs of a registry.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::device::{Driver, DriverId, OpenError, QueuePairConfig};
use crate::dispatcher::{Dispatcher, Slot};
use crate::session::SessionId;
use crate::transform::SessionParams;

use super::attached::Attached;
use super::placement::{Placement, SessionOptions};
use super::sessions::{Open, Place};
use super::{AttachError, Inner, MAX_SPREAD, Registry};

impl Registry {
    /// As [`Registry::attach`], for a driver of any kind.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn attach_any(&self, driver: Arc<dyn Driver>) -> Result<DriverId, AttachError> {
        let mut inner = self.lock();
        if inner.drivers.all().any(|(_, other)| other.driver.name() == driver.name()) {
            return Err(AttachError::NameTaken(driver.name().to_owned()));
        }
        let (slot, id) = inner.drivers.attach(Arc::clone(&driver)).ok_or(AttachError::TooMany)?;
        inner.keys.came(id, &*driver);
        for session in inner.sessions.handles(|open| matches!(open.place, Place::Nowhere)) {
            self.replace(&mut inner, session, None);
        }
        for session in inner.sessions.handles(|open| open.wants(slot)) {
            self.extend(&mut inner, session, slot);
        }
        self.spread_to(&mut inner, slot);
        // Whoever reads routes looks for news when they have changed.
        let _news = self.routes.grace();
        self.move_to_fastest(&mut inner);
        Ok(id)
    }

    /// Reserves on a driver that came the sessions that are to be on all of them.
    fn spread_to(&self, inner: &mut Inner, slot: Slot) {
        let is_spread = |open: &Open| {
            matches!((&open.place, open.options.placement), (Place::Many { .. }, Placement::All(_)))
        };
        for id in inner.sessions.handles(is_spread) {
            let Some(open) = inner.sessions.get(id) else { continue };
            let Place::Many { slots, fallback } = &open.place else { continue };
            let (mut slots, mut fallback) = (slots.clone(), *fallback);
            let (params, options) = (Arc::clone(&open.params), open.options);
            let is_hardware = |slot: Slot| inner.get(slot).is_some_and(Attached::is_hardware);
            let stood_in = is_hardware(slot) && !slots.iter().any(|&slot| is_hardware(slot));
            if slots.contains(&slot)
                || slots.len() >= MAX_SPREAD
                || !is_hardware(slot) && slots.iter().any(|&slot| is_hardware(slot))
                || inner.try_open(slot, id, &params, options, &mut Vec::new()).is_none()
            {
                continue;
            }
            if stood_in {
                // Software did it because there was no hardware: now it stands by, where that is wanted.
                fallback = fallback.or(slots.first().copied()).filter(|_| options.fallback);
                slots.clear();
            }
            slots.push(slot);
            self.put_at(inner, id, Place::Many { slots, fallback });
        }
    }

    /// Opens a session that wants every driver on one more, if that can do it.
    fn extend(&self, inner: &mut Inner, id: SessionId, slot: Slot) {
        let Some(open) = inner.sessions.get(id) else { return };
        let (params, options, mut place) = (Arc::clone(&open.params), open.options, open.place.clone());
        let Place::Many { slots, .. } = &mut place else { return };
        if slots.len() < MAX_SPREAD && inner.try_open(slot, id, &params, options, &mut Vec::new()).is_some() {
            slots.push(slot);
            self.put_at(inner, id, place);
        }
    }

    /// The drivers that are there to stay, in the order in which they came.
    pub(crate) fn present(&self) -> Vec<Arc<dyn Driver>> {
        let inner = self.lock();
        let driver = |slot: Slot| inner.get(slot).map(|attached| Arc::clone(&attached.driver));
        inner.in_order_of_attachment().filter_map(driver).collect()
    }

    /// A dispatcher for inside a driver; there may be no driver attached yet.
    pub(crate) fn dispatcher_inside(&self, config: &QueuePairConfig) -> Dispatcher {
        let mut inner = self.lock();
        let clock = inner.drivers.clock.clone();
        let (lanes, mail) = inner.drivers.subscribe(config);
        Dispatcher::new(lanes, self.routes.reader(), mail, false, clock).inside_a_driver()
    }
}

impl Open {
    /// Whether it would lie on one more driver, if that can do it.
    fn wants(&self, slot: Slot) -> bool {
        matches!(self.options.placement, Placement::Everywhere(_))
            && matches!(&self.place, Place::Many { .. })
            && !self.place.slots().contains(&slot)
    }
}

impl Inner {
    /// A place on every driver that can do it.
    pub(super) fn place_everywhere(
        &self,
        id: SessionId,
        params: &SessionParams,
        options: SessionOptions,
        passed_over: &mut Vec<(DriverId, OpenError)>,
    ) -> Option<Place> {
        let opened = self
            .in_order_of_attachment()
            .filter_map(|slot| self.try_open(slot, id, params, options, passed_over));
        let slots: SmallVec<[Slot; 8]> = opened.take(MAX_SPREAD).collect();
        (!slots.is_empty())
            .then(|| Place::Many { fallback: self.fallback(id, params, options, &slots), slots })
    }

    /// A place that was free is taken by one that comes later; numbers go on rising.
    fn in_order_of_attachment(&self) -> impl Iterator<Item = Slot> {
        let present = self.drivers.present().map(|(slot, attached)| (attached.id, slot));
        let mut slots: SmallVec<[(DriverId, Slot); 8]> = present.collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, slot)| slot)
    }
}

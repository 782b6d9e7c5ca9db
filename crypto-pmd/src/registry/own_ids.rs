//! Under which ids a driver itself keeps its sessions.

use std::collections::HashMap;

use crate::capability::SessionIdFormat;
use crate::device::{Driver, OpenError, SessionIdFault};
use crate::session::SessionId;

/// Both ways. Invariant: no two sessions have one id.
#[derive(Debug, Default)]
pub(super) struct OwnIds {
    by_session: HashMap<SessionId, u64>,
    by_id: HashMap<u64, SessionId>,
}

impl OwnIds {
    /// Asks the driver for the id of a session that it has just opened, and keeps it.
    ///
    /// # Errors
    /// There is none, it has another format, or another session has it.
    pub(super) fn learn(&mut self, driver: &dyn Driver, session: SessionId) -> Result<(), OpenError> {
        let format = driver.capabilities().session_ids;
        if format == SessionIdFormat::Handle {
            return Ok(());
        }
        let name = || driver.name().to_owned();
        let id = driver.own_session_id(session).ok_or_else(|| OpenError::NoSessionId { driver: name() })?;
        let wrong = |fault| Err(OpenError::SessionId { driver: name(), id, fault });
        if !format.fits(id) {
            return wrong(SessionIdFault::Format(format));
        }
        if self.by_id.get(&id).is_some_and(|other| *other != session) {
            return wrong(SessionIdFault::Taken);
        }
        self.forget(session);
        self.by_session.insert(session, id);
        self.by_id.insert(id, session);
        Ok(())
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        if let Some(id) = self.by_session.remove(&session) {
            self.by_id.remove(&id);
        }
    }

    pub(super) fn of(&self, session: SessionId) -> Option<u64> {
        self.by_session.get(&session).copied()
    }
}

//! Packets that came in at one core and belong to another: the rings between cores that run to completion.
//!
//! Each core has an inbox into which every other core pushes. A packet is handed on at most once: the core that gets it
//! owns it. So a core may always empty its inbox, however full those of the others are, and no circle of waiting cores
//! can close.
//!
//! Invariant: nothing is lost; what a full inbox does not take waits here, and holds up the core that handed it on.

use std::sync::Arc;

use crate::burst::{Burst, MAX_BURST};
use crate::mbuf::Mbuf;
use crate::ring::Ring;

/// Bursts that an inbox takes from each other core.
const DEPTH: usize = 16;

/// One core's ends of the rings to all others; alone, it has none and costs nothing.
///
/// ```
/// use pipeline::{Burst, Pool, PoolConfig, handoff::Peers};
/// let pool = Pool::new(PoolConfig { buffers: 2, ..PoolConfig::default() })?;
/// let mut cores = Peers::mesh(2);
/// cores[0].hand(1, pool.alloc().unwrap()).unwrap();
/// cores[0].push();
/// let mut arrived = Burst::new();
/// cores[1].arrived(&mut arrived);
/// assert_eq!(arrived.len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Peers {
    me: u8,
    inbox: Option<Arc<Ring>>,
    /// One for each core, in order; the place of this core stays empty.
    others: Vec<Outgoing>,
    /// Packets waiting in `others`.
    waiting: usize,
    open: bool,
}

/// What goes to one other core.
#[derive(Debug)]
struct Outgoing {
    inbox: Arc<Ring>,
    waiting: Burst,
}

impl Default for Peers {
    fn default() -> Self {
        Self::alone()
    }
}

impl Peers {
    /// Core 0, without others.
    #[must_use]
    pub fn alone() -> Self {
        Self { me: 0, inbox: None, others: Vec::new(), waiting: 0, open: false }
    }

    /// The same core, for packets that came from another one: they are handed to nobody.
    #[must_use]
    pub fn without_others(&self) -> Self {
        Self { me: self.me, ..Self::alone() }
    }

    /// Whether there are others.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Ends for so many cores (at most 127), each joined to each.
    #[must_use]
    pub fn mesh(cores: u8) -> Vec<Self> {
        if cores < 2 {
            return vec![Self::alone()];
        }
        let ring = |_| Arc::new(Ring::with_capacity(DEPTH * usize::from(cores)));
        let inboxes: Vec<_> = (0..cores).map(ring).collect();
        let outgoing = |inbox: &Arc<Ring>| Outgoing { inbox: Arc::clone(inbox), waiting: Burst::new() };
        let ends = |(me, inbox): (u8, &Arc<Ring>)| Self {
            me,
            inbox: Some(Arc::clone(inbox)),
            others: inboxes.iter().map(outgoing).collect(),
            waiting: 0,
            open: false,
        };
        (0..cores).zip(&inboxes).map(ends).collect()
    }

    /// Number of this core among its peers.
    #[inline(always)]
    #[must_use]
    pub fn me(&self) -> u8 {
        self.me
    }

    /// Packets that may be handed on, whoever is to get them.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> usize {
        if self.waiting == 0 { MAX_BURST } else { self.least_room() }
    }

    fn least_room(&self) -> usize {
        self.others.iter().map(|other| other.waiting.room()).min().unwrap_or(MAX_BURST)
    }

    /// Hands a packet to core `to`; the caller saw to [`Peers::room`].
    ///
    /// # Errors
    /// There is no such core, or no room: the packet comes back.
    #[inline]
    pub fn hand(&mut self, to: u8, packet: Mbuf) -> Result<(), Mbuf> {
        let Some(other) = self.others.get_mut(usize::from(to)) else { return Err(packet) };
        other.waiting.push(packet)?;
        self.waiting += 1;
        Ok(())
    }

    /// Pushes what waits into the inboxes, as far as they take it.
    #[inline(always)]
    pub fn push(&mut self) {
        if self.waiting > 0 {
            self.push_waiting();
        }
    }

    #[inline(never)]
    fn push_waiting(&mut self) {
        for other in self.others.iter_mut().filter(|other| !other.waiting.is_empty()) {
            if let Err(back) = other.inbox.push(std::mem::take(&mut other.waiting)) {
                other.waiting = back;
            }
        }
        self.waiting = self.others.iter().map(|other| other.waiting.len()).sum();
    }

    /// Takes a burst that another core handed over, when `burst` is empty.
    #[inline(always)]
    pub fn arrived(&mut self, burst: &mut Burst) {
        if let Some(inbox) = &self.inbox
            && burst.is_empty()
            && let Some(arrived) = inbox.pop()
        {
            *burst = arrived;
        }
    }

    /// Packets that wait to be pushed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Packets in this core's inbox; right only while no core runs.
    #[must_use]
    pub fn in_inbox(&self) -> usize {
        self.inbox.as_ref().map_or(0, |inbox| inbox.count_items())
    }

    /// Begins a run: packets may be handed on. For every core, before the first one starts.
    pub fn open(&mut self) {
        if !std::mem::replace(&mut self.open, true) {
            self.other_inboxes().for_each(|inbox| inbox.open());
        }
    }

    /// This core hands nothing on any more in this run.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.other_inboxes().for_each(|inbox| inbox.close());
        }
    }

    /// True while another core may still hand something over.
    #[must_use]
    pub fn may_bring(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| !inbox.is_finished())
    }

    fn other_inboxes(&self) -> impl Iterator<Item = &Arc<Ring>> {
        let me = usize::from(self.me);
        self.others.iter().enumerate().filter(move |(core, _)| *core != me).map(|(_, other)| &other.inbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};

    #[test]
    fn a_full_inbox_makes_packets_wait_and_loses_none() {
        let pool = Pool::new(PoolConfig { buffers: 4096, stride: 512 }).unwrap();
        let mut cores = Peers::mesh(2);
        let mut handed = 0;
        while cores[0].room() > 0 {
            cores[0].hand(1, pool.alloc().unwrap()).unwrap();
            handed += 1;
            if handed % 64 == 0 {
                cores[0].push();
            }
        }
        assert_eq!(cores[0].waiting(), MAX_BURST);
        assert!(cores[0].hand(1, pool.alloc().unwrap()).is_err());
        let mut came = 0;
        let mut burst = Burst::new();
        while came < handed {
            cores[0].push();
            cores[1].arrived(&mut burst);
            came += burst.len();
            burst.clear();
        }
        assert_eq!((cores[0].waiting(), cores[1].in_inbox()), (0, 0));
    }

    #[test]
    fn a_core_awaits_others_until_each_has_closed() {
        let mut cores = Peers::mesh(3);
        cores.iter_mut().for_each(Peers::open);
        assert!(cores[0].may_bring());
        cores[1].close();
        cores[1].close();
        assert!(cores[0].may_bring());
        cores[2].close();
        assert!(!cores[0].may_bring());
        assert!(!Peers::alone().may_bring());
    }

    #[test]
    fn there_is_nobody_to_hand_to_when_alone() {
        let pool = Pool::new(PoolConfig { buffers: 1, stride: 512 }).unwrap();
        assert!(Peers::alone().hand(0, pool.alloc().unwrap()).is_err());
    }
}

//! The policies as polling cores read them: nodes in slots, linked in the order in which they are tried, changed one by one
//! while cores walk along them.
//!
//! A node is published before it is linked. A node that is taken out is unlinked first, and stays in its slot until every core has
//! passed a burst boundary: a core that stands on it still finds its way on, and so does one whose next node it is. Only then is the slot
//! given out again. The epoch is raised after a change was linked, and read by a core before it walks, so what a core remembers under an epoch is
//! never newer than the epoch says; and it is raised before a slot's grace begins, so what a core remembers of a slot counts no more when another
//! policy gets it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pipeline::publish::{Grace, Reader, Table};

use crate::flow_key::FlowKey;
use crate::spd::{Policy, PolicyId};

/// The end of the list; other links are slots, plus one.
const END: u32 = 0;

#[derive(Debug)]
struct Node {
    policy: Policy,
    next: AtomicU32,
}

#[derive(Debug)]
struct Shared {
    nodes: Table<Node>,
    head: AtomicU32,
    epoch: AtomicU64,
}

/// The control side.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    slots: HashMap<PolicyId, u32>,
    /// Slots that nobody can be looking at.
    free: Vec<u32>,
    /// Slots of unlinked nodes, and when they are free.
    leaving: VecDeque<(Grace, u32)>,
    next_slot: u32,
}

impl Publisher {
    /// No policies yet.
    pub(crate) fn new(epoch: u64) -> Self {
        let shared = Shared { nodes: Table::new(), head: AtomicU32::new(END), epoch: AtomicU64::new(epoch) };
        Self {
            shared: Arc::new(shared),
            slots: HashMap::new(),
            free: Vec::new(),
            leaving: VecDeque::new(),
            next_slot: 0,
        }
    }

    /// A view for one core.
    pub(crate) fn view(&self) -> SpdView {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        SpdView { reader: self.shared.nodes.reader(), shared: Arc::clone(&self.shared), epoch }
    }

    /// Adds a policy between two others, or at an end.
    pub(crate) fn insert(
        &mut self,
        id: PolicyId,
        policy: Policy,
        between: (Option<PolicyId>, Option<PolicyId>),
    ) {
        self.collect();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        });
        let next = AtomicU32::new(self.link_to(between.1));
        self.shared.nodes.set(slot as usize, Node { policy, next });
        self.slots.insert(id, slot);
        self.link(between.0, slot + 1);
    }

    /// Unlinks a policy that stands between two others, or at an end. [`Publisher::set_epoch`] comes next, then [`Publisher::retire`].
    pub(crate) fn unlink(&mut self, id: PolicyId, between: (Option<PolicyId>, Option<PolicyId>)) {
        self.collect();
        if self.slots.contains_key(&id) {
            self.link(between.0, self.link_to(between.1));
        }
    }

    /// Gives the slot of an unlinked policy back, once every core has passed a burst boundary. Only behind the rise of the epoch: a core
    /// that passes its boundary between the two would trust what it remembers of the slot.
    pub(crate) fn retire(&mut self, id: PolicyId) {
        if let Some(slot) = self.slots.remove(&id) {
            self.leaving.push_back((self.shared.nodes.grace(), slot));
        }
    }

    /// Puts a policy in the place of the one of this id.
    pub(crate) fn replace(&mut self, id: PolicyId, policy: Policy) {
        let Some(&slot) = self.slots.get(&id) else { return };
        let nodes = &self.shared.nodes;
        let next =
            nodes.with(slot as usize, |node| node.map_or(END, |node| node.next.load(Ordering::Relaxed)));
        nodes.set(slot as usize, Node { policy, next: AtomicU32::new(next) });
        self.collect();
    }

    /// Says that the list has changed; what was remembered before counts no more.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.shared.epoch.store(epoch, Ordering::Release);
    }

    /// Frees what no core can be looking at; how many nodes still wait.
    pub(crate) fn collect(&mut self) -> usize {
        let nodes = &self.shared.nodes;
        while let Some(&(grace, slot)) = self.leaving.front()
            && nodes.is_over(grace)
        {
            nodes.remove(slot as usize);
            self.free.push(slot);
            self.leaving.pop_front();
        }
        nodes.collect() + self.leaving.len()
    }

    fn link_to(&self, id: Option<PolicyId>) -> u32 {
        id.and_then(|id| self.slots.get(&id)).map_or(END, |slot| slot + 1)
    }

    /// Lets what stands behind `after`, or at the head, be `link`.
    fn link(&self, after: Option<PolicyId>, link: u32) {
        match after.and_then(|id| self.slots.get(&id)) {
            None => self.shared.head.store(link, Ordering::Release),
            Some(&slot) => self.shared.nodes.with(slot as usize, |node| {
                if let Some(node) = node {
                    node.next.store(link, Ordering::Release);
                }
            }),
        }
    }
}

/// A core's side.
#[derive(Debug)]
pub struct SpdView {
    reader: Reader<Node>,
    shared: Arc<Shared>,
    epoch: u64,
}

impl SpdView {
    /// A burst boundary: the changes made so far are seen from here on.
    #[inline(always)]
    pub fn refresh(&mut self) {
        self.reader.refresh();
        self.epoch = self.shared.epoch.load(Ordering::Acquire);
    }

    /// The epoch at the last burst boundary.
    #[inline(always)]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The first policy that matches, with its slot, which names it until the epoch changes.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey) -> Option<(u32, &Policy)> {
        let mut link = self.shared.head.load(Ordering::Acquire);
        while link != END {
            let node = self.reader.find(link as usize - 1)?;
            if node.policy.selector.matches(key) {
                return Some((link - 1, &node.policy));
            }
            link = node.next.load(Ordering::Acquire);
        }
        None
    }

    /// The policy in a slot.
    #[inline(always)]
    #[must_use]
    pub fn policy(&self, slot: u32) -> Option<&Policy> {
        self.reader.find(slot as usize).map(|node| &node.policy)
    }

    /// The core goes to sleep or stops: it looks at nothing until the next burst boundary.
    pub fn offline(&mut self) {
        self.reader.offline();
    }
}

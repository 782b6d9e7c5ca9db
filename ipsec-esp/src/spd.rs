//! The security policy database (RFC 4301 section 4.4.1): of the policies of one direction, the first that matches.
//!
//! Invariants: policies are tried by priority, lowest number first, ties in the order in which they were added; an id
//! names one policy for good; the epoch rises with every change, so that what was looked up before can be told to be
//! stale. A lookup goes through the list; [`crate::flow_cache`] keeps it off the hot path. Policies change one by one while
//! cores look them up, each by a [`SpdView`]. What happens to a packet
//! that no policy matches is decided by the caller: it is discarded.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use thiserror::Error;

use crate::flow_key::FlowKey;
use crate::published_spd::Publisher;
use crate::sa::SaSlot;
use crate::selector::Selector;

pub use crate::published_spd::SpdView;

/// Most SAs of one policy: while keys change, old and new live together.
pub const MAX_SAS: usize = 4;

/// Name of a policy in its database, never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the protected side out.
    Outbound,
    /// From the unprotected side in.
    Inbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        })
    }
}

/// What a policy does with the packets it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// ESP with one of these SAs: outbound they are the ones that may send, inbound the ones it may have come by.
    Protect(SmallVec<[SaSlot; MAX_SAS]>),
    /// Pass unchanged.
    Bypass,
    /// Drop.
    Discard,
}

impl Action {
    /// Whether it protects with this SA: the inbound check of RFC 4301 section 5.2, step 4.
    #[must_use]
    pub fn lists(&self, sa: SaSlot) -> bool {
        match self {
            Self::Protect(sas) => sas.contains(&sa),
            Self::Bypass | Self::Discard => false,
        }
    }
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of which direction's database it is.
    pub direction: Direction,
    /// Lowest first.
    pub priority: u32,
    /// Which packets it speaks of.
    pub selector: Selector,
    /// What happens to them.
    pub action: Action,
}

/// Why a policy is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpdError {
    /// It belongs to the other direction.
    #[error("an {policy} policy does not belong into the {database} database")]
    WrongDirection {
        /// The policy's direction.
        policy: Direction,
        /// The database's direction.
        database: Direction,
    },
    /// It protects without an SA, or with too many.
    #[error("a protect policy names {0} SAs: name 1 to {MAX_SAS}")]
    SaCount(usize),
    /// Every id was given to some policy.
    #[error("the database has given out all its policy ids")]
    NoIdLeft,
    /// No policy has this id.
    #[error("there is no policy {}", .0.0)]
    NoSuchPolicy(PolicyId),
}

/// Place in the order in which policies are tried: by priority, then by age.
type Place = (u32, PolicyId);

/// The policies of one direction. Control code changes it, and each polling core reads it by a view of its own. A clone is a copy of the
/// policies that nobody views.
#[derive(Debug)]
pub struct Spd {
    direction: Direction,
    policies: BTreeMap<Place, Policy>,
    priorities: HashMap<PolicyId, u32, RandomState>,
    next_id: u32,
    epoch: u64,
    publisher: Option<Publisher>,
}

impl Clone for Spd {
    fn clone(&self) -> Self {
        Self {
            direction: self.direction,
            policies: self.policies.clone(),
            priorities: self.priorities.clone(),
            next_id: self.next_id,
            epoch: self.epoch,
            publisher: None,
        }
    }
}

impl Spd {
    /// No policies, epoch 1.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        let (policies, priorities) = (BTreeMap::new(), HashMap::default());
        Self { direction, policies, priorities, next_id: 0, epoch: 1, publisher: None }
    }

    /// A view for one polling core.
    pub fn view(&mut self) -> SpdView {
        let publisher = self.publisher.get_or_insert_with(|| {
            let mut publisher = Publisher::new(self.epoch);
            let mut last = None;
            for (&(_, id), policy) in &self.policies {
                publisher.insert(id, policy.clone(), (last, None));
                last = Some(id);
            }
            publisher
        });
        publisher.view()
    }

    /// The first policy that matches.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey) -> Option<(PolicyId, &Policy)> {
        self.iter().find(|(_, policy)| policy.selector.matches(key))
    }

    /// The policy of this id.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> Option<&Policy> {
        self.policies.get(&self.place(id)?)
    }

    /// A number, never 0, that rises with every change.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Direction of all its policies.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// All policies, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = (PolicyId, &Policy)> {
        self.policies.iter().map(|(&(_, id), policy)| (id, policy))
    }

    /// Adds a policy behind those of the same priority.
    ///
    /// # Errors
    ///
    /// [`SpdError`], with nothing changed.
    pub fn add(&mut self, policy: Policy) -> Result<PolicyId, SpdError> {
        if policy.direction != self.direction {
            return Err(SpdError::WrongDirection { policy: policy.direction, database: self.direction });
        }
        check_action(&policy.action)?;
        let id = PolicyId(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(SpdError::NoIdLeft)?;
        let place = (policy.priority, id);
        let between = self.neighbours(place);
        if let Some(publisher) = &mut self.publisher {
            publisher.insert(id, policy.clone(), between);
        }
        self.priorities.insert(id, policy.priority);
        self.policies.insert(place, policy);
        self.changed();
        Ok(id)
    }

    /// Adds many policies as [`Spd::add`] would one after the other.
    ///
    /// # Errors
    ///
    /// [`SpdError`] for the first that is not taken; those before it were added.
    pub fn load(&mut self, policies: impl IntoIterator<Item = Policy>) -> Result<(), SpdError> {
        policies.into_iter().try_for_each(|policy| self.add(policy).map(|_| ()))
    }

    /// Takes a policy out and gives it back.
    ///
    /// # Errors
    ///
    /// [`SpdError::NoSuchPolicy`], with nothing changed.
    pub fn remove(&mut self, id: PolicyId) -> Result<Policy, SpdError> {
        let missing = SpdError::NoSuchPolicy(id);
        let place = self.place(id).ok_or_else(|| missing.clone())?;
        let policy = self.policies.remove(&place).ok_or(missing)?;
        self.priorities.remove(&id);
        let between = self.neighbours(place);
        if let Some(publisher) = &mut self.publisher {
            publisher.unlink(id, between);
        }
        self.changed();
        if let Some(publisher) = &mut self.publisher {
            publisher.retire(id);
        }
        Ok(policy)
    }

    /// Gives a policy another action, as when new keys bring a new SA; the old action comes back.
    ///
    /// # Errors
    ///
    /// [`SpdError::NoSuchPolicy`] or [`SpdError::SaCount`], with nothing changed.
    pub fn replace_action(&mut self, id: PolicyId, action: Action) -> Result<Action, SpdError> {
        check_action(&action)?;
        let missing = SpdError::NoSuchPolicy(id);
        let place = self.place(id).ok_or_else(|| missing.clone())?;
        let policy = self.policies.get_mut(&place).ok_or(missing)?;
        let old = std::mem::replace(&mut policy.action, action);
        if let Some(publisher) = &mut self.publisher {
            publisher.replace(id, policy.clone());
        }
        self.changed();
        Ok(old)
    }

    /// Frees what was removed, as far as every core has passed a burst boundary since; how much still waits. Each change does it
    /// too, so only the last ones need it.
    pub fn collect(&mut self) -> usize {
        self.publisher.as_mut().map_or(0, Publisher::collect)
    }

    fn place(&self, id: PolicyId) -> Option<Place> {
        self.priorities.get(&id).map(|&priority| (priority, id))
    }

    /// The policies before and behind a place.
    fn neighbours(&self, place: Place) -> (Option<PolicyId>, Option<PolicyId>) {
        let before = self.policies.range(..place).next_back();
        let behind = self.policies.range((Bound::Excluded(place), Bound::Unbounded)).next();
        (before.map(|(&(_, id), _)| id), behind.map(|(&(_, id), _)| id))
    }

    fn changed(&mut self) {
        self.epoch += 1;
        if let Some(publisher) = &self.publisher {
            publisher.set_epoch(self.epoch);
        }
    }
}

fn check_action(action: &Action) -> Result<(), SpdError> {
    match action {
        Action::Protect(sas) if sas.is_empty() || sas.len() > MAX_SAS => Err(SpdError::SaCount(sas.len())),
        Action::Protect(_) | Action::Bypass | Action::Discard => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that passes a burst boundary while a policy is being removed remembers slots under the epoch that it has read then.
    #[test]
    fn a_slot_is_not_given_out_again_while_a_core_trusts_what_it_remembers_of_it() {
        let mut spd = Spd::new(Direction::Outbound);
        let id = spd.add(policy(1, "10.0.1.0/24", Action::Bypass)).unwrap();
        let mut view = spd.view();
        view.refresh();
        let (slot, epoch) = (view.lookup(&from("10.0.1.1")).unwrap().0, view.epoch());
        // The steps of `remove`, with the core's boundary between any two of them.
        for boundary in 0..3 {
            let mut publisher = spd.publisher.take().unwrap();
            let steps: [&mut dyn FnMut(&mut Publisher); 3] = [
                &mut |publisher| publisher.unlink(id, (None, None)),
                &mut |publisher| publisher.set_epoch(epoch + 1),
                &mut |publisher| publisher.retire(id),
            ];
            for (number, step) in steps.into_iter().enumerate() {
                step(&mut publisher);
                if number == boundary {
                    view.refresh();
                }
            }
            publisher.collect();
            publisher.insert(PolicyId(77), policy(1, "10.0.2.0/24", Action::Discard), (None, None));
            let remembered = view.epoch() == epoch;
            let is_other = view.policy(slot).is_some_and(|policy| policy.action == Action::Discard);
            assert!(!(remembered && is_other), "boundary after step {boundary}");
            // As it was.
            spd = Spd::new(Direction::Outbound);
            assert_eq!(spd.add(policy(1, "10.0.1.0/24", Action::Bypass)), Ok(id));
            view = spd.view();
            view.refresh();
        }
    }

    #[test]
    fn loading_many_is_adding_one_after_the_other() {
        let policy = |number: u32| Policy {
            direction: Direction::Outbound,
            priority: number * 7 % 5,
            selector: Selector::ANY,
            action: if number.is_multiple_of(2) { Action::Bypass } else { Action::Discard },
        };
        let (mut loaded, mut added) = (Spd::new(Direction::Outbound), Spd::new(Direction::Outbound));
        for spd in [&mut loaded, &mut added] {
            spd.add(policy(100)).unwrap();
        }
        loaded.load((0..40).map(policy)).unwrap();
        for number in 0..40 {
            added.add(policy(number)).unwrap();
        }
        assert!(loaded.iter().eq(added.iter()));
        assert_eq!(loaded.epoch(), added.epoch());
        let wrong = Policy { direction: Direction::Inbound, ..policy(1) };
        assert!(loaded.load([wrong]).is_err());
    }
    use crate::flow_key::{Upper, V4Key};

    fn policy(priority: u32, src: &str, action: Action) -> Policy {
        let selector = Selector::parse(src, "any", "any", "any", "any").unwrap();
        Policy { direction: Direction::Outbound, priority, selector, action }
    }

    fn from(src: &str) -> FlowKey {
        FlowKey::V4(V4Key::new(src.parse().unwrap(), [192, 0, 2, 1].into(), Upper::with_ports(17, 1, 2)))
    }

    fn protect(slots: &[u32]) -> Action {
        Action::Protect(slots.iter().map(|slot| SaSlot(*slot)).collect())
    }

    fn found(spd: &Spd, src: &str) -> Option<PolicyId> {
        spd.lookup(&from(src)).map(|(id, _)| id)
    }

    #[test]
    fn the_lowest_priority_number_wins_and_among_equals_the_one_added_first() {
        let mut spd = Spd::new(Direction::Outbound);
        let late = spd.add(policy(200, "any", Action::Discard)).unwrap();
        let first = spd.add(policy(100, "10.0.0.0/8", Action::Bypass)).unwrap();
        let second = spd.add(policy(100, "10.0.1.0/24", protect(&[7]))).unwrap();
        let early = spd.add(policy(50, "10.0.9.0/24", Action::Discard)).unwrap();
        assert_eq!(found(&spd, "10.0.1.1"), Some(first));
        assert_eq!(found(&spd, "10.0.9.1"), Some(early));
        assert_eq!(found(&spd, "172.16.0.1"), Some(late));
        spd.remove(first).unwrap();
        assert_eq!(found(&spd, "10.0.1.1"), Some(second));
        assert_eq!(spd.iter().map(|(id, _)| id).collect::<Vec<_>>(), [early, second, late]);
    }

    #[test]
    fn without_a_match_there_is_no_policy() {
        let mut spd = Spd::new(Direction::Outbound);
        assert_eq!(found(&spd, "10.0.1.1"), None);
        spd.add(policy(1, "10.0.2.0/24", Action::Bypass)).unwrap();
        assert_eq!(found(&spd, "10.0.1.1"), None);
    }

    #[test]
    fn an_id_stays_with_its_policy_and_is_not_given_again() {
        let mut spd = Spd::new(Direction::Outbound);
        let kept = spd.add(policy(9, "10.0.1.0/24", protect(&[1]))).unwrap();
        let gone = spd.add(policy(1, "any", Action::Bypass)).unwrap();
        assert_eq!(spd.remove(gone).map(|policy| policy.action), Ok(Action::Bypass));
        let new = spd.add(policy(1, "any", Action::Discard)).unwrap();
        assert_ne!(new, gone);
        assert_eq!(spd.policy(kept).map(|policy| &policy.action), Some(&protect(&[1])));
        assert_eq!(spd.policy(gone), None);
        assert_eq!(spd.remove(gone), Err(SpdError::NoSuchPolicy(gone)));
        assert_eq!(spd.len(), 2);
    }

    #[test]
    fn the_epoch_rises_with_every_change_and_only_then() {
        let mut spd = Spd::new(Direction::Outbound);
        let mut last = spd.epoch();
        assert_ne!(last, 0);
        let mut has_risen = |spd: &Spd| std::mem::replace(&mut last, spd.epoch()) < spd.epoch();
        let id = spd.add(policy(1, "any", Action::Bypass)).unwrap();
        assert!(has_risen(&spd));
        assert_eq!(spd.replace_action(id, protect(&[3, 4])), Ok(Action::Bypass));
        assert!(has_risen(&spd));
        assert!(spd.replace_action(id, protect(&[])).is_err());
        assert!(spd.remove(PolicyId(99)).is_err());
        assert!(!has_risen(&spd));
        spd.remove(id).unwrap();
        assert!(has_risen(&spd));
    }

    #[test]
    fn a_policy_of_the_other_direction_or_with_no_or_too_many_sas_is_refused() {
        let mut spd = Spd::new(Direction::Inbound);
        let outbound = policy(1, "any", Action::Bypass);
        let error = SpdError::WrongDirection { policy: Direction::Outbound, database: Direction::Inbound };
        assert_eq!(spd.add(outbound), Err(error));
        for slots in [&[][..], &[1, 2, 3, 4, 5]] {
            let inbound = Policy { direction: Direction::Inbound, ..policy(1, "any", protect(slots)) };
            assert_eq!(spd.add(inbound), Err(SpdError::SaCount(slots.len())));
        }
        assert!(spd.is_empty() && spd.epoch() == 1);
        let four = Policy { direction: Direction::Inbound, ..policy(1, "any", protect(&[1, 2, 3, 4])) };
        assert!(spd.add(four).is_ok());
    }

    #[test]
    fn an_action_lists_the_sas_it_protects_with() {
        assert!(protect(&[1, 2]).lists(SaSlot(2)) && !protect(&[1, 2]).lists(SaSlot(3)));
        assert!(!Action::Bypass.lists(SaSlot(1)) && !Action::Discard.lists(SaSlot(1)));
    }
}

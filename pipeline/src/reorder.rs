//! A bounded window that puts back in order what several cores finish in any order.
//!
//! The core that owns the order gives each item a place ([`Reorder::reserve`]) before it sends the item away, and takes
//! items out in the order of their places. Places are 32-bit numbers that wrap. An item that came back is held for
//! those before it, but not for ever: when one has been held for the deadline, the places still empty before it are given up, and
//! what comes back for them later is refused, because handing it on would break the order.
//!
//! Invariants: items leave in rising order of their places; no more places are out than the window has; nothing that
//! was put in is lost. Used by one core; the cores that do the work never touch it.

use crate::clock::Tick;

/// The window.
///
/// ```
/// use pipeline::reorder::Reorder;
/// let mut window = Reorder::with_capacity(4);
/// let (a, b) = (window.reserve(), window.reserve());
/// assert!(window.put(b, "second", 0).is_ok());
/// assert_eq!(window.take(), None, "the first is still away");
/// assert!(window.put(a, "first", 0).is_ok());
/// assert_eq!((window.take(), window.take()), (Some("first"), Some("second")));
/// ```
#[derive(Debug)]
pub struct Reorder<T> {
    slots: Box<[Slot<T>]>,
    mask: u32,
    /// The oldest place that is neither taken nor given up.
    head: u32,
    /// The next place to be given out.
    next: u32,
    /// Items inside.
    held: usize,
    given_up: u64,
    /// When items were last looked at for their deadlines.
    looked: Tick,
}

#[derive(Debug)]
struct Slot<T> {
    item: Option<T>,
    /// When it was put in.
    since: Tick,
}

impl<T> Reorder<T> {
    /// A window of so many places, rounded up to a power of two, at most 2^30.
    #[must_use]
    pub fn with_capacity(places: usize) -> Self {
        let places = places.clamp(1, 1 << 30).next_power_of_two();
        Self {
            slots: (0..places).map(|_| Slot { item: None, since: 0 }).collect(),
            mask: places as u32 - 1,
            head: 0,
            next: 0,
            held: 0,
            given_up: 0,
            looked: 0,
        }
    }

    /// Places that can be given out now.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> usize {
        self.slots.len() - self.outstanding()
    }

    /// Places given out, and neither taken nor given up.
    #[inline(always)]
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.next.wrapping_sub(self.head) as usize
    }

    /// Items inside.
    #[inline(always)]
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Places that were given up so far.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The next place; the caller saw to [`Reorder::room`].
    #[inline(always)]
    #[must_use = "a place that is not used is waited for"]
    pub fn reserve(&mut self) -> u32 {
        let place = self.next;
        self.next = place.wrapping_add(1);
        place
    }

    /// Takes back the last `count` places, which were not used.
    #[inline]
    pub fn unreserve(&mut self, count: usize) {
        let count = count.min(self.outstanding());
        self.next = self.next.wrapping_sub(count as u32);
    }

    /// Puts an item that came back at `now` into its place.
    ///
    /// # Errors
    /// The place was given up, or never given out, or is filled: the item comes back.
    #[inline(always)]
    pub fn put(&mut self, place: u32, item: T, now: Tick) -> Result<(), T> {
        if place.wrapping_sub(self.head) >= self.next.wrapping_sub(self.head) {
            return Err(item);
        }
        match self.slots.get_mut((place & self.mask) as usize) {
            Some(slot) if slot.item.is_none() => {
                *slot = Slot { item: Some(item), since: now };
                self.held += 1;
                Ok(())
            }
            _ => Err(item),
        }
    }

    /// True when `place` is the one that leaves next, so that its item need not be put in at all: see
    /// [`Reorder::pass`].
    #[inline(always)]
    #[must_use]
    pub fn is_next(&self, place: u32) -> bool {
        place == self.head && self.head != self.next && (self.held == 0 || self.is_empty_at(place))
    }

    /// Where places were given up, another item may have moved to this one.
    #[inline]
    fn is_empty_at(&self, place: u32) -> bool {
        self.slots.get((place & self.mask) as usize).is_some_and(|slot| slot.item.is_none())
    }

    /// The item of the next place leaves without having been put in. Only after [`Reorder::is_next`].
    #[inline(always)]
    pub fn pass(&mut self) {
        self.head = self.head.wrapping_add(1);
    }

    /// The next item in order, when it is there.
    #[inline(always)]
    pub fn take(&mut self) -> Option<T> {
        let item = self.slots.get_mut((self.head & self.mask) as usize)?.item.take()?;
        self.head = self.head.wrapping_add(1);
        self.held -= 1;
        Some(item)
    }

    /// Gives up empty places that keep an item waiting for `deadline` ticks or longer; returns how many. Looks
    /// at the items eight times in a deadline at most, so an item waits an eighth longer at most.
    #[inline]
    pub fn expire(&mut self, now: Tick, deadline: Tick) -> usize {
        if self.held == 0 || now.saturating_sub(self.looked) < deadline / 8 {
            return 0;
        }
        self.looked = now;
        self.give_up_before_old(now, deadline)
    }

    /// Gives up every place that is out, when none of them holds an item: nobody waits behind them, and none may ever come. How many
    /// that were.
    pub fn give_up_rest(&mut self) -> usize {
        let lost = if self.held == 0 { self.outstanding() } else { 0 };
        self.head = self.head.wrapping_add(lost as u32);
        self.given_up += lost as u64;
        lost
    }

    #[cold]
    fn give_up_before_old(&mut self, now: Tick, deadline: Tick) -> usize {
        let is_old = |slot: &Slot<T>| slot.item.is_some() && now.saturating_sub(slot.since) >= deadline;
        let slot_of = |place: u32| self.slots.get((self.head.wrapping_add(place) & self.mask) as usize);
        let oldest = (0..self.outstanding() as u32).rev().find(|&place| slot_of(place).is_some_and(is_old));
        let Some(end) = oldest else { return 0 };
        let empty = (0..end).filter(|&place| slot_of(place).is_some_and(|slot| slot.item.is_none())).count();
        self.close_up(end);
        self.given_up += empty as u64;
        empty
    }

    /// Moves the items of the first `end` places up to the place behind them, in order, and gives the rest up.
    fn close_up(&mut self, end: u32) {
        let mut to = end;
        for from in (0..end).rev() {
            let index = |place: u32| (self.head.wrapping_add(place) & self.mask) as usize;
            let (from, target) = (index(from), index(to.wrapping_sub(1)));
            if self.slots.get(from).is_some_and(|slot| slot.item.is_some()) {
                self.slots.swap(from, target);
                to -= 1;
            }
        }
        self.head = self.head.wrapping_add(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drained(window: &mut Reorder<u32>) -> Vec<u32> {
        std::iter::from_fn(|| window.take()).collect()
    }

    #[test]
    fn a_hole_is_given_up_when_what_it_holds_up_reaches_its_deadline() {
        let mut window = Reorder::with_capacity(8);
        let places: Vec<u32> = (0..6).map(|_| window.reserve()).collect();
        for place in [1, 3, 4] {
            window.put(places[place], place as u32, 100).unwrap();
        }
        assert_eq!(window.expire(199, 100), 0);
        assert!(drained(&mut window).is_empty());
        assert_eq!(window.expire(220, 100), 2);
        assert_eq!(drained(&mut window), [1, 3, 4]);
        assert_eq!(window.put(places[0], 0, 230), Err(0), "its place is gone");
        assert_eq!(window.put(places[2], 2, 230), Err(2));
        window.put(places[5], 5, 230).unwrap();
        assert_eq!(drained(&mut window), [5]);
        assert_eq!((window.room(), window.held(), window.given_up()), (8, 0, 2));
    }

    #[test]
    fn only_what_is_old_is_waited_for_no_longer() {
        let mut window = Reorder::with_capacity(8);
        let places: Vec<u32> = (0..4).map(|_| window.reserve()).collect();
        window.put(places[1], 1, 100).unwrap();
        window.put(places[3], 3, 190).unwrap();
        assert_eq!(window.expire(200, 100), 1);
        assert_eq!(drained(&mut window), [1], "place 2 may still come");
        window.put(places[2], 2, 201).unwrap();
        assert_eq!(drained(&mut window), [2, 3]);
    }

    #[test]
    fn places_behind_which_nothing_waits_can_be_given_up_too() {
        let mut window = Reorder::with_capacity(4);
        let places: Vec<u32> = (0..4).map(|_| window.reserve()).collect();
        window.put(places[1], 1, 0).unwrap();
        assert_eq!(window.give_up_rest(), 0, "something waits");
        window.put(places[0], 0, 0).unwrap();
        assert_eq!(drained(&mut window), [0, 1]);
        assert_eq!((window.give_up_rest(), window.given_up(), window.room()), (2, 2, 4));
        assert_eq!(window.put(places[2], 2, 0), Err(2));
        let next = window.reserve();
        assert!(window.is_next(next));
    }

    #[test]
    fn a_place_is_filled_once() {
        let mut window = Reorder::with_capacity(2);
        let place = window.reserve();
        window.put(place, 1, 0).unwrap();
        assert_eq!(window.put(place, 2, 0), Err(2));
        assert_eq!(window.put(place.wrapping_add(1), 3, 0), Err(3), "not given out");
    }

    #[test]
    fn places_that_were_not_used_are_given_out_again() {
        let mut window = Reorder::with_capacity(4);
        let first = window.reserve();
        let second = window.reserve();
        window.unreserve(1);
        assert_eq!(window.reserve(), second);
        window.put(second, 2, 0).unwrap();
        window.put(first, 1, 0).unwrap();
        assert_eq!(drained(&mut window), [1, 2]);
    }

    proptest! {
        /// Items come back in any order, or not before their deadline: those that are taken rise, and each item is
        /// taken or refused, once.
        #[test]
        fn items_leave_in_order_and_none_is_lost(
            steps in proptest::collection::vec((0_u8..10, any::<prop::sample::Index>()), 1..400),
        ) {
            let mut window = Reorder::with_capacity(16);
            // Near the end of the numbers, so that they wrap.
            (window.head, window.next) = (u32::MAX - 40, u32::MAX - 40);
            let (mut away, mut taken, mut refused, mut now) = (Vec::new(), Vec::new(), 0, 0);
            let mut serial = 0_u64;
            for (what, index) in steps {
                now += 10;
                match what {
                    0..=3 if window.room() > 0 => {
                        away.push((window.reserve(), serial));
                        serial += 1;
                    }
                    4..=7 if !away.is_empty() => {
                        let (place, item) = away.swap_remove(index.index(away.len()));
                        if window.is_next(place) {
                            window.pass();
                            taken.push(item);
                        } else if window.put(place, item, now).is_err() {
                            refused += 1;
                        }
                    }
                    8 => { window.expire(now, 200); }
                    _ => taken.extend(std::iter::from_fn(|| window.take())),
                }
            }
            for (place, item) in away.drain(..) {
                if window.put(place, item, now).is_err() {
                    refused += 1;
                }
            }
            taken.extend(std::iter::from_fn(|| window.take()));
            prop_assert!(taken.is_sorted(), "{taken:?}");
            prop_assert_eq!(taken.len() + refused, serial as usize);
            prop_assert_eq!(window.given_up(), refused as u64);
            prop_assert_eq!((window.held(), window.outstanding()), (0, 0));
        }
    }
}

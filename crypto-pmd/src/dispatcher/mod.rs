//! The data side of the framework, one per core: hands each job to the driver that its session lies on.
//!
//! Invariants: jobs of one session are offered to its driver in the order in which they were submitted; what is not taken stays in the
//! caller's burst, in order; what is taken comes out of `poll` once, whatever becomes of its driver meanwhile.
//!
//! With one driver and nothing special, a burst goes straight through. Otherwise each job gets a target: a driver's lane; or several drivers of
//! which a policy chooses one, and a place in the order that is restored behind them; or two drivers one after the other. Jobs that cannot go
//! now although they were taken (refused by a chosen card, on their way to a second driver, given back by a driver that goes) wait in one
//! queue, before everything newer.

mod lane;
mod mail;
#[cfg(all(test, model))]
mod models;
mod nested;
mod order;
mod pace;
mod route;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use pipeline::clock::Tick;
use pipeline::publish::Reader;
use pipeline::{Clock, MAX_BURST};
use smallvec::SmallVec;

use crate::balance::{Balancer, Load};
use crate::device::DriverId;
use crate::job::{Job, JobBurst, Operation, Status};
use crate::session::SessionId;

pub(crate) use lane::{Lane, Manners};
pub(crate) use mail::{MAX_DRIVERS, Mail, News, Slot};
pub(crate) use route::{Departure, Route, Spread, Way};

use nested::Nested;
use order::Order;

/// Jobs that may be under way in a special manner: with a place in the order, or at the first of two drivers.
pub(crate) const SPECIAL: usize = if cfg!(model) { 4 } else { 1024 };

/// How long a job that may be held waits at most for others, in nanoseconds.
const BATCH_WAIT_NS: u64 = 20_000;

/// Where a job of a burst goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// To this lane.
    Lane(Slot),
    /// Back to the caller: there is no room, or it would overtake.
    Stay,
    /// It is finished, with a status.
    Finished,
}

/// What a dispatcher has done besides handing jobs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatcherCounters {
    /// Jobs that a fallback took because the drivers before it had no room.
    pub fell_back: u64,
    /// Jobs that another driver did because theirs went.
    pub redriven: u64,
    /// Jobs in several segments that went to another driver, because one before it takes packets in one piece only. Which one:
    /// [`Dispatcher::passed_over`].
    pub segmented: u64,
    /// Jobs that were told that their session has another handle.
    pub moved: u64,
    /// Jobs that went on to a second driver.
    pub split: u64,
    /// Jobs that came back after their place in the order had been given up.
    pub late: u64,
}

/// Queue pairs of one core.
#[derive(Debug)]
pub struct Dispatcher {
    lanes: Vec<Option<Box<Lane>>>,
    /// Lanes up to the last that there is.
    used: usize,
    /// The only lane, where bursts go straight through.
    only: Option<Slot>,
    /// Every session lies where its handle says: no driver has gone yet.
    settled: bool,
    routes: Reader<Route>,
    mail: Mail,
    clock: Clock,
    batch_wait: Tick,
    balancer: Balancer,
    order: Order,
    in_flight: usize,
    next_poll: usize,
    /// Jobs that are finished without a driver.
    refused: JobBurst,
    /// Jobs that were taken and wait for a driver, oldest first.
    again: VecDeque<Again>,
    /// Jobs on their way over two drivers.
    halfway: usize,
    /// Results on their way, their lane, and whether its driver goes; `None` only inside a call.
    results: Option<JobBurst>,
    results_of: Slot,
    from_leaving: bool,
    /// For one job; `None` only inside a call.
    one: Option<JobBurst>,
    /// Jobs not taken in this call; empty between calls.
    rest: JobBurst,
    nested: Option<Nested>,
    counters: DispatcherCounters,
}

/// A job that was taken and waits for a driver.
#[derive(Debug)]
struct Again {
    job: Job,
    /// The lane that gave it back, and everything older of its session before it.
    from: Option<Slot>,
}

/// What a job's route says, in short.
#[derive(Clone, Copy)]
enum Next {
    To(Slot),
    Spread { slot: Slot, fallback: Option<Slot> },
    Split { slot: Slot, part: (usize, usize), all: usize },
    Moved(SessionId),
    Nowhere,
    Unknown,
}

impl Dispatcher {
    /// With these lanes; `settled` when no session has another handle or no driver.
    pub(crate) fn new(
        lanes: Vec<(Slot, Box<Lane>)>,
        routes: Reader<Route>,
        mail: Mail,
        settled: bool,
        clock: Clock,
    ) -> Self {
        let mut dispatcher = Self {
            lanes: (0..MAX_DRIVERS).map(|_| None).collect(),
            used: 0,
            only: None,
            settled,
            routes,
            mail,
            batch_wait: clock.ticks(BATCH_WAIT_NS),
            order: Order::new(SPECIAL, clock.clone()),
            clock,
            balancer: Balancer::default(),
            in_flight: 0,
            next_poll: 0,
            refused: JobBurst::new(),
            again: VecDeque::with_capacity(4 * SPECIAL),
            halfway: 0,
            results: Some(JobBurst::new()),
            results_of: 0,
            from_leaving: false,
            one: Some(JobBurst::new()),
            rest: JobBurst::new(),
            nested: None,
            counters: DispatcherCounters::default(),
        };
        lanes.into_iter().for_each(|(slot, lane)| dispatcher.set_lane(slot, Some(lane)));
        dispatcher
    }

    /// Hands jobs on and returns how many were taken; the rest stays in `jobs`, in order, and may be submitted
    /// again after a poll.
    #[inline]
    pub fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.refresh();
        let taken = match self.only_lane() {
            Some(lane) if lane.is_clear() => lane.submit(jobs),
            _ => self.submit_each(jobs),
        };
        self.in_flight += taken;
        taken
    }

    /// Adds finished jobs to `done` while it has room and returns how many.
    #[inline]
    pub fn poll(&mut self, done: &mut JobBurst) -> usize {
        // Also where there is nothing to submit, or what was retired would wait for this core.
        self.refresh();
        let finished = match self.only_lane() {
            Some(lane) if lane.is_clear() => lane.poll(done),
            _ => self.poll_each(done),
        };
        self.in_flight -= finished.min(self.in_flight);
        finished
    }

    /// Starts whatever is held back to fill a batch, here and in the drivers.
    pub fn flush(&mut self) {
        self.lanes().for_each(Lane::flush);
    }

    /// The core goes to sleep or stops: no claim is held on anything shared until the next call.
    pub fn offline(&mut self) {
        self.routes.offline();
        self.lanes().for_each(Lane::offline);
    }

    /// Jobs submitted and not polled yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What it has done besides handing jobs on.
    #[must_use]
    pub fn counters(&self) -> DispatcherCounters {
        DispatcherCounters { late: self.order.late(), ..self.counters }
    }

    /// Drivers that were passed over by jobs in several segments because they take packets in one piece only, and by how many; those of
    /// which there is a queue pair here.
    pub fn passed_over(&self) -> impl Iterator<Item = (DriverId, u64)> {
        let lanes = self.lanes.iter().take(self.used).flatten();
        lanes.filter_map(|lane| lane.passed_over()).filter(|(_, jobs)| *jobs > 0)
    }

    /// A burst boundary. Whoever changes drivers changes routes behind it, so that there is one thing to look at.
    #[inline(always)]
    fn refresh(&mut self) {
        if self.routes.refresh() {
            self.read_mail();
        }
    }

    #[inline(always)]
    fn only_lane(&mut self) -> Option<&mut Lane> {
        let slot = self.only?;
        self.lane(slot)
    }

    #[inline(always)]
    fn lane(&mut self, slot: Slot) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(slot))?.as_deref_mut()
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.iter_mut().take(self.used).filter_map(Option::as_deref_mut)
    }

    fn set_lane(&mut self, slot: Slot, lane: Option<Box<Lane>>) {
        if let Some(place) = self.lanes.get_mut(usize::from(slot)) {
            *place = lane;
        }
        self.used = self.lanes.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.look_for_one();
    }

    /// Whether bursts can go straight to one driver.
    fn look_for_one(&mut self) {
        let idle =
            self.again.is_empty() && self.refused.is_empty() && self.order.is_empty() && self.halfway == 0;
        let mut slots =
            (0..).zip(&self.lanes).filter_map(|(slot, lane)| lane.as_ref().map(|lane| (slot, lane)));
        self.only = match (slots.next(), slots.next()) {
            (Some((slot, lane)), None) if self.settled && idle && !lane.holds() => Some(slot),
            _ => None,
        };
    }

    #[cold]
    fn read_mail(&mut self) {
        while let Some(news) = self.mail.receive() {
            self.tell_outer(&news);
            match news {
                News::Came(slot, lane) => self.set_lane(slot, Some(lane)),
                News::Goes(slot) => {
                    (self.settled, self.only) = (false, None);
                    if let Some(lane) = self.lane(slot) {
                        lane.leave();
                    }
                    self.take_over(slot);
                }
            }
        }
    }

    /// What waits in front of a driver that goes, others are to do: when the driver has given back what is older, or now where jobs have
    /// places in the order.
    fn take_over(&mut self, slot: Slot) {
        let has_results = self.results.as_ref().is_some_and(|results| !results.is_empty());
        let Self { lanes, again, counters, .. } = self;
        let Some(lane) = lanes.get_mut(usize::from(slot)).and_then(Option::as_deref_mut) else { return };
        let all = lane.is_empty_handed() && !has_results;
        let before = again.len();
        lane.hand_over(all, |job| again.push_back(Again { job, from: Some(slot) }));
        counters.redriven += (again.len() - before) as u64;
    }

    /// Whether a job of a session on several drivers can be done by another one than this, which does not take it.
    fn has_other_way(&self, job: &Job, slot: Slot) -> bool {
        let Some(Way::Many(spread)) = route_of(&self.routes, job).map(|route| &route.way) else {
            return false;
        };
        let mut others = spread.slots.iter().chain(&spread.fallback).filter(|&&other| other != slot);
        let open = |other: &Slot| {
            let lane = self.lanes.get(usize::from(*other)).and_then(Option::as_deref);
            lane.is_some_and(|lane| !lane.is_blocked())
        };
        job.is_ordered() && others.any(open)
    }

    /// Jobs that wait for a driver that is blocked go to another one, where their session has one that is not.
    fn relieve(&mut self, slot: usize) {
        let Some(lane) = self.lanes.get(slot).and_then(Option::as_deref) else { return };
        let first = lane.is_blocked().then(|| lane.waiting().iter().find(|job| job.is_ordered())).flatten();
        if !first.is_some_and(|job| self.has_other_way(job, slot as Slot)) {
            return;
        }
        let Self { lanes, again, counters, .. } = self;
        let Some(lane) = lanes.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        let before = again.len();
        lane.hand_over(false, |job| again.push_back(Again { job, from: None }));
        counters.redriven += (again.len() - before) as u64;
    }

    /// Gives lanes back whose driver goes and that are empty; not while jobs wait that may be of one of them.
    fn let_go(&mut self) {
        if !self.again.is_empty() || self.has_untouched_results() {
            return;
        }
        for slot in 0..self.used as Slot {
            let place = self.lanes.get_mut(usize::from(slot));
            let gone = place.and_then(|place| place.take_if(|lane| lane.is_leaving() && lane.load() == 0));
            if let Some(lane) = gone {
                let kept = self.mail.give_back(slot, lane).err();
                self.set_lane(slot, kept);
            }
        }
    }

    /// Each job to its own target, lane by lane.
    #[inline(never)]
    fn submit_each(&mut self, jobs: &mut JobBurst) -> usize {
        self.order.begin_call();
        self.drive_again();
        let offered = jobs.len();
        if !self.again.is_empty() || self.has_untouched_results() || offered == 0 {
            // Nothing may overtake what was taken before.
            return 0;
        }
        self.balancer.next_burst();
        self.fetch_routes(jobs);
        let mut targets = [Target::Stay; MAX_BURST];
        for (target, mut job) in targets.iter_mut().zip(jobs.drain()) {
            *target = self.target(&mut job);
            // All that was offered fits any of the three.
            drop(match *target {
                Target::Lane(slot) => match self.lane(slot) {
                    Some(lane) => lane.batch.push(job),
                    None => self.rest.push(job),
                },
                Target::Stay => self.rest.push(job),
                Target::Finished if job.is_ordered() => {
                    self.order.put(job);
                    Ok(())
                }
                Target::Finished => self.refused.push(job),
            });
        }
        let Self { lanes, used, clock, .. } = self;
        let lanes = lanes.iter_mut().take(*used).flatten();
        lanes.filter(|lane| !lane.batch.is_empty()).for_each(|lane| lane.submit_batch(clock));
        self.gather_rest(&targets, offered, jobs);
        self.drive_again();
        self.only = self.only.filter(|_| self.refused.is_empty() && self.again.is_empty());
        offered - jobs.len()
    }

    /// Asks for the routes of a burst's sessions at once: with many sessions each is far away, and they would be waited for one by one.
    #[inline]
    fn fetch_routes(&self, jobs: &JobBurst) {
        let Some(first) = jobs.as_slice().first().map(Job::session) else { return };
        if jobs.iter().all(|job| job.session() == first) {
            return;
        }
        jobs.iter().for_each(|job| self.routes.prefetch_slot(job.session().index()));
        jobs.iter().for_each(|job| self.routes.prefetch_entry(job.session().index()));
    }

    /// Whether a driver that goes has given jobs back for which the last poll had no room, and which others may have to do.
    fn has_untouched_results(&self) -> bool {
        self.from_leaving && self.results.as_ref().is_some_and(|results| !results.is_empty())
    }

    /// Brings what stays together again, in its order. What has a place in the order, or is on its way over two drivers, counts as taken and
    /// waits.
    fn gather_rest(&mut self, targets: &[Target; MAX_BURST], offered: usize, jobs: &mut JobBurst) {
        if self.rest.is_empty() && self.lanes().all(|lane| lane.batch.is_empty()) {
            return;
        }
        // A driver left the last of those that it was given.
        let mut taken = [0_u8; MAX_DRIVERS];
        let targets = targets.get(..offered).unwrap_or_default();
        for target in targets {
            if let Target::Lane(slot) = target
                && let Some(count) = taken.get_mut(usize::from(*slot))
            {
                *count += 1;
            }
        }
        for (count, lane) in taken.iter_mut().zip(&self.lanes) {
            *count -= lane.as_ref().map_or(0, |lane| lane.batch.len() as u8).min(*count);
        }
        for target in targets {
            let left = match target {
                Target::Finished => None,
                Target::Stay => self.rest.drain_front(1).next(),
                Target::Lane(slot) => match taken.get_mut(usize::from(*slot)) {
                    Some(count) if *count > 0 => {
                        *count -= 1;
                        None
                    }
                    _ => self.lane(*slot).and_then(|lane| lane.batch.drain_front(1).next()),
                },
            };
            match left {
                Some(job) if job.is_ordered() || job.leg() > 0 => {
                    self.again.push_back(Again { job, from: None });
                }
                // Room is where it came from.
                Some(job) => drop(jobs.push(job)),
                None => {}
            }
        }
    }

    /// What the published route says of a job, and which lane that is now.
    fn next(&self, job: &Job) -> Next {
        self.next_by(route_of(&self.routes, job), job)
    }

    fn next_by(&self, route: Option<&Route>, job: &Job) -> Next {
        let Some(route) = route else { return Next::Unknown };
        match &route.way {
            Way::One(slot) => Next::To(*slot),
            Way::Many(spread) => Next::Spread { slot: self.choose(spread, job), fallback: spread.fallback },
            Way::Split { slots: [a, b], first, second } => {
                let (first, second) = (usize::from(*first), usize::from(*second));
                let is_first = (job.operation() == Operation::Encrypt) == (job.leg() < 2);
                let (slot, part) = if is_first { (*a, (0, first)) } else { (*b, (first, second)) };
                Next::Split { slot, part, all: first + second }
            }
            Way::Moved(handle) => Next::Moved(*handle),
            Way::Nowhere => Next::Nowhere,
        }
    }

    /// The lane that a session's policy chooses.
    fn choose(&self, spread: &Spread, job: &Job) -> Slot {
        let mut loads = [Load { jobs: 0, blocked: true }; 8];
        for (load, slot) in loads.iter_mut().zip(&spread.slots) {
            if let Some(lane) = self.lanes.get(usize::from(*slot)).and_then(Option::as_deref) {
                *load = Load { jobs: lane.load(), blocked: lane.is_blocked() || !lane.takes(job) };
            }
        }
        let loads = loads.get(..spread.slots.len().min(8)).unwrap_or_default();
        let place = self.balancer.choose(spread.policy, job.source().packet_len(), loads);
        let slot = spread.slots.get(place).copied().unwrap_or_default();
        // Where all are blocked, it is for one that takes it all the same.
        match self.takes(slot, job) {
            true => slot,
            false => spread.slots.iter().copied().find(|&slot| self.takes(slot, job)).unwrap_or(slot),
        }
    }

    /// Whether the driver of a lane takes a packet as it lies in memory; one that is gone takes none.
    fn takes(&self, slot: Slot, job: &Job) -> bool {
        let lane = self.lanes.get(usize::from(slot)).and_then(Option::as_deref);
        lane.is_some_and(|lane| lane.takes(job))
    }

    /// Where a job that is submitted goes.
    fn target(&mut self, job: &mut Job) -> Target {
        // Once: it may change at any moment, and who waited by the old one may not go by the new one.
        let route = route_of(&self.routes, job);
        if waits(route, &mut self.lanes, None) || self.follows_one_that_stays(job) {
            return Target::Stay;
        }
        match self.next_by(route, job) {
            Next::Unknown => self.finish(job, Status::UnknownSession),
            Next::Nowhere => self.finish(job, Status::Retry),
            Next::Moved(handle) => {
                let target = self.finish(job, Status::Moved);
                if target == Target::Finished {
                    job.set_session(handle);
                    self.counters.moved += 1;
                }
                target
            }
            Next::To(slot) if self.is_open(slot) => Target::Lane(slot),
            Next::To(_) => Target::Stay,
            Next::Spread { slot, fallback } => {
                let takes = self.lane(slot).is_none_or(|lane| lane.takes(job));
                let is_blocked = self.lane(slot).is_none_or(|lane| lane.is_blocked());
                let falls = (is_blocked || !takes) && fallback.is_some();
                let slot = fallback.filter(|_| falls).unwrap_or(slot);
                if self.order.room() == 0 || !self.is_open(slot) {
                    return Target::Stay;
                }
                if !takes && !falls && self.nested.is_some() {
                    return self.finish(job, Status::Retry);
                }
                self.counters.fell_back += u64::from(falls && takes);
                if job.is_in_pieces() {
                    self.note_in_pieces(job);
                }
                self.order.reserve(job);
                Target::Lane(slot)
            }
            Next::Split { slot, part, all } => {
                if self.halfway >= SPECIAL || !self.is_open(slot) {
                    return Target::Stay;
                }
                if !show_part(job, part, all) {
                    return self.finish(job, Status::BadSteps);
                }
                job.set_leg(1);
                self.halfway += 1;
                Target::Lane(slot)
            }
        }
    }

    /// Counts for drivers that take packets in one piece only that this one went by.
    #[cold]
    fn note_in_pieces(&mut self, job: &Job) {
        let Self { routes, lanes, counters, .. } = self;
        let Some(Way::Many(spread)) = routes.find(job.session().index()).map(|route| &route.way) else {
            return;
        };
        let mut went_by = false;
        for slot in &spread.slots {
            let lane = lanes.get_mut(usize::from(*slot)).and_then(Option::as_deref_mut);
            if let Some(lane) = lane.filter(|lane| !lane.takes(job)) {
                lane.pass_over();
                went_by = true;
            }
        }
        counters.segmented += u64::from(went_by);
    }

    /// Whether an earlier job of its session in the same burst stays. Its route may have changed in between.
    #[inline]
    fn follows_one_that_stays(&self, job: &Job) -> bool {
        if self.nested.is_some() {
            // A driver takes from the front.
            return !self.rest.is_empty();
        }
        self.rest.iter().any(|other| other.session() == job.session())
    }

    fn is_open(&mut self, slot: Slot) -> bool {
        self.lane(slot).is_some_and(|lane| !lane.is_leaving())
    }

    fn finish(&mut self, job: &mut Job, status: Status) -> Target {
        if self.refused.room() == 0 || self.nested.is_some() && self.order.room() == 0 {
            return Target::Stay;
        }
        job.set_status(status);
        if self.nested.is_some() {
            self.order.reserve(job);
        }
        Target::Finished
    }

    /// Tries again what was taken and has no driver yet, oldest first; stops where one finds none.
    fn drive_again(&mut self) {
        if self.again.is_empty() {
            return;
        }
        let Some(mut one) = self.one.take() else { return };
        while let Some(Again { job, from }) = self.again.pop_front() {
            drop(one.push(job));
            if !self.drive_one(&mut one, from) {
                one.drain().for_each(|job| self.again.push_front(Again { job, from }));
                break;
            }
        }
        self.one = Some(one);
    }

    /// Gives one job to a driver that takes it, or finishes it when there is no way any more.
    fn drive_one(&mut self, one: &mut JobBurst, from: Option<Slot>) -> bool {
        let Some(job) = one.as_slice().first() else { return true };
        if self.is_closing() {
            return self.give_up(one, Status::Retry, None);
        }
        let route = route_of(&self.routes, job);
        if waits(route, &mut self.lanes, from) {
            return false;
        }
        // What the one that is chosen has no room for, another one may have.
        let others = match route.map(|route| &route.way) {
            Some(Way::Many(spread)) => spread.slots.clone(),
            _ => SmallVec::new(),
        };
        let (slot, fallback) = match self.next_by(route, job) {
            // No driver does the second half alone any more.
            Next::To(_) | Next::Spread { .. } if job.leg() == 2 => {
                return self.give_up(one, Status::Indeterminate, None);
            }
            Next::To(slot) | Next::Split { slot, .. } => (slot, None),
            Next::Spread { slot, fallback } => (slot, fallback),
            Next::Unknown => return self.give_up(one, Status::UnknownSession, None),
            Next::Moved(handle) => return self.give_up(one, Status::Moved, Some(handle)),
            Next::Nowhere => return self.give_up(one, Status::Retry, None),
        };
        let takes =
            self.lanes.get(usize::from(slot)).and_then(Option::as_deref).is_none_or(|lane| lane.takes(job));
        if !takes && fallback.is_none() && self.nested.is_some() {
            return self.give_up(one, Status::Retry, None);
        }
        let may = takes || fallback.is_none();
        if may && self.lane(slot).is_some_and(|lane| lane.is_clear() && lane.submit(one) > 0) {
            return true;
        }
        if others.into_iter().any(|other| other != slot && self.is_given(other, one)) {
            return true;
        }
        let Some(lane) = fallback.and_then(|slot| self.lane(slot)) else { return false };
        let fell = lane.is_clear() && lane.submit(one) > 0;
        self.counters.fell_back += u64::from(fell && takes);
        fell
    }

    /// Whether a driver that takes such a job, and before which nothing waits, took this one.
    fn is_given(&mut self, slot: Slot, one: &mut JobBurst) -> bool {
        let fits = one.as_slice().first().is_some_and(|job| self.takes(slot, job));
        fits && self.lane(slot).is_some_and(|lane| lane.is_clear() && lane.submit(one) > 0)
    }

    /// The session of a job that was taken has another handle, no driver, or is closed.
    fn give_up(&mut self, one: &mut JobBurst, status: Status, handle: Option<SessionId>) -> bool {
        if self.refused.room() == 0 {
            return false;
        }
        let Some(mut job) = one.drain_front(1).next() else { return true };
        if let Some(handle) = handle {
            job.set_session(handle);
            self.counters.moved += 1;
        }
        // Half of the work is done: nobody could begin anew.
        job.set_status(if job.leg() == 2 { Status::Indeterminate } else { status });
        self.halfway -= usize::from(job.leg() > 0).min(self.halfway);
        job.set_leg(0);
        match job.is_ordered() {
            true => self.order.put(job),
            false => drop(self.refused.push(job)),
        }
        true
    }

    /// Begins with another lane each time, so that no driver starves the others.
    #[inline(never)]
    fn poll_each(&mut self, done: &mut JobBurst) -> usize {
        self.order.begin_call();
        self.drive_again();
        if done.room() == 0 {
            // Nobody's turn was used.
            return 0;
        }
        let before = done.len();
        done.take_from(&mut self.refused);
        self.settle(done);
        for turn in 0..self.used {
            self.poll_lane((self.next_poll + turn) % self.used, done);
        }
        self.order.release(done);
        self.next_poll = self.next_poll.wrapping_add(1);
        self.drive_again();
        self.let_go();
        if self.only.is_none() {
            self.look_for_one();
        }
        done.len() - before
    }

    fn poll_lane(&mut self, slot: usize, done: &mut JobBurst) {
        let is_plain = self.order.is_empty() && self.halfway == 0;
        let Some(lane) = self.lanes.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        lane.resume(&self.clock, self.batch_wait);
        if !is_plain && lane.load() > 0 {
            self.relieve(slot);
        }
        let Some(lane) = self.lanes.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        if is_plain && !lane.is_leaving() {
            lane.poll(done);
            return;
        }
        let Some(results) = self.results.as_mut().filter(|results| results.is_empty()) else { return };
        (self.from_leaving, self.results_of) = (lane.is_leaving(), slot as Slot);
        lane.poll(results);
        self.settle(done);
        if self.from_leaving {
            self.take_over(slot as Slot);
        }
    }

    /// Each result to its place: the caller, the order, the second driver, or another one; what finds no room stays.
    fn settle(&mut self, done: &mut JobBurst) {
        let Some(mut results) = self.results.take() else { return };
        let count = results.len().min(done.room());
        for mut job in results.drain_front(count) {
            if self.goes_on(&mut job) {
                job.set_status(Status::Pending);
                let from = self.from_leaving.then_some(self.results_of);
                self.again.push_back(Again { job, from });
            } else if job.is_ordered() {
                self.order.put(job);
            } else {
                // Room was seen to above.
                drop(done.push(job));
            }
        }
        self.results = Some(results);
    }

    /// Whether a result is to be worked on again: by a second driver, or by another one because its own goes and has not touched it. One that failed
    /// at the second after the first has changed the packet is indeterminate.
    fn goes_on(&mut self, job: &mut Job) -> bool {
        if job.status() == Status::Retry
            && (self.from_leaving || self.has_other_way(job, self.results_of))
            && self.again.len() < self.again.capacity()
        {
            self.counters.redriven += 1;
            return true;
        }
        match job.leg() {
            0 => return false,
            1 if job.status() == Status::Done => {
                job.set_leg(2);
                if let Next::Split { part, all, .. } = self.next(job)
                    && show_part(job, part, all)
                {
                    self.counters.split += 1;
                    return true;
                }
                job.set_status(Status::Indeterminate);
            }
            2 if !matches!(job.status(), Status::Done | Status::IntegrityFailed) => {
                job.set_status(Status::Indeterminate);
            }
            _ => {}
        }
        self.halfway = self.halfway.saturating_sub(1);
        job.set_leg(0);
        false
    }
}

/// What is published of a job's session.
#[inline]
fn route_of<'a>(routes: &'a Reader<Route>, job: &Job) -> Option<&'a Route> {
    let session = job.session();
    routes.find(session.index()).filter(|route| route.generation == session.generation())
}

/// Whether drivers that a session had before may still have jobs of it; one that gave this job back has none that are older.
#[inline]
fn waits(route: Option<&Route>, lanes: &mut [Option<Box<Lane>>], but: Option<Slot>) -> bool {
    route.is_some_and(|route| {
        route.from.iter().filter(|from| Some(from.slot) != but).any(|from| {
            let lane = lanes.get_mut(usize::from(from.slot)).and_then(Option::as_deref_mut);
            lane.is_some_and(|lane| lane.may_have_jobs_from_before(from.number))
        })
    })
}

/// Lets a job's steps show those of the driver to which it goes next; false when there are more or fewer than the chain has.
fn show_part(job: &mut Job, (first, count): (usize, usize), all: usize) -> bool {
    match job.extension_mut() {
        Some(extension) if !extension.all_steps().is_empty() => {
            extension.all_steps().len() == all && extension.set_part(first, count)
        }
        _ => true,
    }
}

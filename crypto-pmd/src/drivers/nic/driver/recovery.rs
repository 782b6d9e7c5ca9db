//! When a card does not do what it should: what a queue pair notices, and how it goes on afterwards.

use crate::drivers::nic::bus::registers::{self, OfQueue as QueueRegister};
use crate::job::Status;

use super::queue::Queue;
use super::state::Health;

impl Queue {
    /// Whether the card works and has this queue pair's rings.
    #[inline(always)]
    pub(super) fn is_ready(&mut self) -> bool {
        self.shared.shift.now() == self.phase && self.is_enabled || self.find_way()
    }

    /// The card is being reset, is gone, or was and is back.
    #[cold]
    fn find_way(&mut self) -> bool {
        let phase = self.shared.shift.now();
        match phase.health {
            Health::Working => return self.come_back(),
            Health::Resetting => {
                if self.shared.see_reset_through(phase) {
                    return self.come_back();
                }
            }
            Health::Gone => {
                self.park();
                if self.shared.bus.is_there() && self.shared.begin_reset(phase) {
                    self.place.counters.returns.add(1);
                }
            }
            Health::Failed => {
                // Until then its jobs stay where they are.
                if self.shared.has_stopped(phase) {
                    self.park();
                }
            }
        }
        // What those before a reset had finished may leave all the same.
        self.is_enabled = false;
        false
    }

    /// The card is as new: it gets rings with all that is still to be done.
    fn come_back(&mut self) -> bool {
        let phase = self.shared.shift.now();
        if phase.health != Health::Working {
            return false;
        }
        self.triage();
        self.phase = phase;
        let (head, tail) = (self.window.head, self.window.tail);
        let mut number = head;
        while number != tail {
            self.write_again(number);
            number = number.wrapping_add(1);
        }
        self.parked_at = None;
        self.quiet_since = None;
        self.was_nudged = false;
        if !self.enable() {
            return false;
        }
        if head != tail {
            self.ring_doorbell(tail);
        }
        true
    }

    /// Writes a job's command again, or one that says that there is nothing to do.
    fn write_again(&mut self, number: u32) {
        if self.window.is_issued(number) {
            drop(self.window.take_copy(number));
            match self.handle_of(number) {
                Some(handle) if self.write(number, handle) => {
                    self.place.counters.redriven.add(1);
                    return;
                }
                Some(_) => {
                    self.place.counters.by_host.add(1);
                    self.do_here(number);
                }
                None => self.window.finish(number, Status::UnknownSession),
            }
        }
        if let Some(rings) = self.rings() {
            rings.write_command(number, [0; 8]);
        }
    }

    /// The card touches nothing any more. What it completed is complete; what it had begun to write over is lost; the rest is as it was.
    fn triage(&mut self) {
        self.is_enabled = false;
        if !std::mem::take(&mut self.had_rings) {
            return;
        }
        self.read_completions();
        let Some(begun) = self.rings().map(|rings| rings.begun()) else { return };
        let (head, tail) = (self.window.head, self.window.tail);
        // A card that says that it has begun what was never there is not to be believed: all of it may be begun.
        let begun = begun.wrapping_sub(head).min(tail.wrapping_sub(head));
        for step in 0..begun {
            let number = head.wrapping_add(step);
            if self.window.is_issued(number) && self.window.is_written_over(number) {
                self.place.counters.indeterminate.add(1);
                self.window.finish(number, Status::Indeterminate);
            }
        }
    }

    /// The card is gone: what it had waits for its return, or is handed back.
    fn park(&mut self) {
        let now = self.shared.clock.tick();
        if self.parked_at.is_none() {
            self.place.counters.removals.add(1);
            self.triage();
            self.parked_at = Some(now);
        }
        let since = self.parked_at.unwrap_or(now);
        if !self.is_leaving && now.saturating_sub(since) < self.patience {
            return;
        }
        let (head, tail) = (self.window.head, self.window.tail);
        for step in 0..tail.wrapping_sub(head) {
            let number = head.wrapping_add(step);
            if self.window.is_issued(number) {
                self.place.counters.handed_back.add(1);
                self.window.finish(number, Status::Retry);
            }
        }
    }

    /// The oldest job came back.
    #[inline(always)]
    pub(super) fn is_moving(&mut self) {
        (self.quiet_since, self.was_nudged) = (None, false);
        if self.shared.resets_in_a_row.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            self.shared.resets_in_a_row.store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The oldest job is still away: for how long may that be?
    #[cold]
    pub(super) fn watch(&mut self) {
        let phase = self.shared.shift.now();
        if phase.health != Health::Working || self.window.len() == 0 {
            return;
        }
        let now = self.shared.clock.tick();
        let quiet = now.saturating_sub(*self.quiet_since.get_or_insert(now));
        if quiet < self.quarter || quiet < self.watchdog && self.was_nudged {
            return;
        }
        if !self.shared.bus.is_there() {
            self.shared.shift.change(phase, Health::Gone, phase.epoch);
            return;
        }
        let is_forgotten = self.shared.bus.read(QueueRegister::Enable.of(self.place.number)) & 1 == 0;
        let resets_itself = is_forgotten || self.shared.bus.read(registers::STATE) != registers::READY;
        if resets_itself || quiet >= self.watchdog {
            if self.shared.begin_reset(phase) {
                self.place.counters.watchdog_resets.add(1);
            }
            return;
        }
        self.was_nudged = true;
        self.place.counters.nudges.add(1);
        self.ring_doorbell(self.window.tail);
    }
}

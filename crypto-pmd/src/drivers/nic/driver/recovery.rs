//! When a card does not do what it should: what a queue pair notices, and how it goes on afterwards.

use crate::job::Status;

use super::queue::Queue;
use super::state::Health;

impl Queue {
    /// Whether the card works and has this queue pair's rings.
    #[inline(always)]
    pub(super) fn is_ready(&mut self) -> bool {
        self.channel.is_current() || self.find_way()
    }

    /// The card is being reset, is gone, or was and is back.
    #[cold]
    fn find_way(&mut self) -> bool {
        let phase = self.channel.shared.shift.now();
        match phase.health {
            Health::Working => return self.come_back(),
            Health::Resetting => {
                if self.channel.shared.see_reset_through(phase) {
                    return self.come_back();
                }
            }
            Health::Gone => {
                self.park();
                if self.channel.shared.bus.is_there() && self.channel.shared.begin_reset(phase) {
                    self.channel.place.counters.returns.add(1);
                }
            }
            Health::Failed => {
                // Until then its jobs stay where they are.
                if self.channel.shared.has_stopped(phase) {
                    self.park();
                }
            }
        }
        // What those before a reset had finished may leave all the same.
        self.channel.is_enabled = false;
        false
    }

    /// The card is as new: it gets rings with all that is still to be done.
    fn come_back(&mut self) -> bool {
        let phase = self.channel.shared.shift.now();
        if phase.health != Health::Working {
            return false;
        }
        self.triage();
        self.channel.begin_anew(phase);
        let (head, tail) = (self.window.head, self.window.tail);
        let mut number = head;
        while number != tail {
            self.write_again(number);
            number = number.wrapping_add(1);
        }
        if !self.channel.enable(self.window.head) {
            return false;
        }
        if head != tail {
            self.channel.ring_doorbell(tail);
        }
        true
    }

    /// Writes a job's command again, or one that says that there is nothing to do.
    fn write_again(&mut self, number: u32) {
        if self.window.is_issued(number) {
            drop(self.window.take_copy(number));
            match self.handle_of(number) {
                Some(handle) if self.write(number, handle) => {
                    self.channel.place.counters.redriven.add(1);
                    return;
                }
                Some(_) => {
                    self.channel.place.counters.by_host.add(1);
                    self.do_here(number);
                }
                None => self.window.finish(number, Status::UnknownSession),
            }
        }
        if let Some(rings) = self.channel.rings() {
            rings.write_command(number, [0; 8]);
        }
    }

    /// The card touches nothing any more. What it completed is complete; what it had begun to write over is lost; the rest is as it was.
    fn triage(&mut self) {
        if !self.channel.take_rings() {
            return;
        }
        self.read_completions();
        let head = self.window.head;
        let begun = self.channel.begun(head, self.window.tail);
        for step in 0..begun {
            let number = head.wrapping_add(step);
            if self.window.is_issued(number) && self.window.is_written_over(number) {
                self.channel.place.counters.indeterminate.add(1);
                self.window.finish(number, Status::Indeterminate);
            }
        }
    }

    /// The card is gone: what it had waits for its return, or is handed back.
    fn park(&mut self) {
        let now = self.channel.shared.clock.tick();
        if self.channel.parked_at.is_none() {
            self.channel.place.counters.removals.add(1);
            self.triage();
            self.channel.parked_at = Some(now);
        }
        let since = self.channel.parked_at.unwrap_or(now);
        if !self.is_leaving && now.saturating_sub(since) < self.channel.patience {
            return;
        }
        let (head, tail) = (self.window.head, self.window.tail);
        for step in 0..tail.wrapping_sub(head) {
            let number = head.wrapping_add(step);
            if self.window.is_issued(number) {
                self.channel.place.counters.handed_back.add(1);
                self.window.finish(number, Status::Retry);
            }
        }
    }
}

//! Which of several drivers gets the next jobs: one file for each policy, all of them used by the dispatcher.
//!
//! A policy chooses among the drivers on which a session is open, from how much each has to do and how long the packet is. It chooses for
//! a job, and remembers for a dispatcher; it moves no jobs and knows no drivers. What is chosen may still refuse.

mod failover;
mod packet_size;
mod queue_depth;
mod round_robin;

/// How jobs are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// A burst to each in turn.
    #[default]
    RoundRobin,
    /// Packets of fewer bytes than this to the first half of the drivers, the others to the second half.
    PacketSize(usize),
    /// To the one with the least to do.
    QueueDepth,
    /// To the first that is not blocked.
    Failover,
}

/// What a policy knows of a driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that it has, and that wait for it.
    pub jobs: usize,
    /// It takes nothing now.
    pub blocked: bool,
}

/// What the policies of one dispatcher remember.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balancer {
    turn: usize,
}

impl Balancer {
    /// A new burst begins.
    pub fn next_burst(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// The place of the driver for a packet of `len` bytes among those of `loads`; 0 where there is none.
    ///
    /// ```
    /// use crypto_pmd::balance::{Balancer, Load, Policy};
    /// let loads = [Load { jobs: 9, blocked: false }, Load { jobs: 2, blocked: false }];
    /// assert_eq!(Balancer::default().choose(Policy::QueueDepth, 64, &loads), 1);
    /// ```
    #[must_use]
    pub fn choose(&self, policy: Policy, len: usize, loads: &[Load]) -> usize {
        match policy {
            Policy::RoundRobin => round_robin::choose(self.turn, loads),
            Policy::PacketSize(threshold) => packet_size::choose(len < threshold, self.turn, loads),
            Policy::QueueDepth => queue_depth::choose(loads),
            Policy::Failover => failover::choose(loads),
        }
    }
}

/// The first from `start` on, going round, that is not blocked; `start` itself when all are.
fn next_open(start: usize, loads: &[Load]) -> usize {
    let count = loads.len().max(1);
    let start = start % count;
    let order = (0..count).map(|step| (start + step) % count);
    order.into_iter().find(|&place| loads.get(place).is_some_and(|load| !load.blocked)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(jobs: &[usize], blocked: &[usize]) -> Vec<Load> {
        (0..jobs.len()).map(|place| Load { jobs: jobs[place], blocked: blocked.contains(&place) }).collect()
    }

    /// What is chosen for packets of `len` bytes over six bursts.
    fn six(policy: Policy, len: usize, loads: &[Load]) -> Vec<usize> {
        let mut balancer = Balancer::default();
        (0..6)
            .map(|_| {
                balancer.next_burst();
                balancer.choose(policy, len, loads)
            })
            .collect()
    }

    #[test]
    fn round_robin_goes_round_and_steps_over_who_is_blocked() {
        assert_eq!(six(Policy::RoundRobin, 64, &loads(&[0; 3], &[])), [1, 2, 0, 1, 2, 0]);
        assert_eq!(six(Policy::RoundRobin, 64, &loads(&[0; 3], &[1])), [2, 2, 0, 2, 2, 0]);
        assert_eq!(
            six(Policy::RoundRobin, 64, &loads(&[0; 2], &[0, 1])),
            [1, 0, 1, 0, 1, 0],
            "somebody must"
        );
    }

    #[test]
    fn packet_size_parts_the_drivers_in_two() {
        let four = loads(&[0; 4], &[]);
        assert_eq!(six(Policy::PacketSize(512), 511, &four), [1, 0, 1, 0, 1, 0]);
        assert_eq!(six(Policy::PacketSize(512), 512, &four), [3, 2, 3, 2, 3, 2]);
        let two = loads(&[0; 2], &[]);
        assert!(six(Policy::PacketSize(512), 64, &two).iter().all(|&place| place == 0));
        assert!(six(Policy::PacketSize(512), 1400, &two).iter().all(|&place| place == 1));
        assert!(six(Policy::PacketSize(512), 64, &loads(&[0], &[])).iter().all(|&place| place == 0));
        assert!(
            six(Policy::PacketSize(512), 64, &loads(&[0; 2], &[0])).iter().all(|&place| place == 1),
            "a way out"
        );
    }

    #[test]
    fn queue_depth_takes_the_least_loaded_that_is_not_blocked() {
        assert_eq!(six(Policy::QueueDepth, 64, &loads(&[5, 3, 4], &[])), [1; 6]);
        assert_eq!(six(Policy::QueueDepth, 64, &loads(&[5, 3, 4], &[1])), [2; 6]);
        assert_eq!(six(Policy::QueueDepth, 64, &loads(&[3, 3], &[])), [0; 6], "the first of equals");
    }

    #[test]
    fn failover_stays_with_the_first_as_long_as_it_works() {
        assert_eq!(six(Policy::Failover, 64, &loads(&[90, 0, 0], &[])), [0; 6]);
        assert_eq!(six(Policy::Failover, 64, &loads(&[90, 0, 0], &[0])), [1; 6]);
        assert_eq!(six(Policy::Failover, 64, &loads(&[90, 0], &[0, 1])), [0; 6]);
        assert_eq!(six(Policy::Failover, 64, &[]), [0; 6]);
    }
}

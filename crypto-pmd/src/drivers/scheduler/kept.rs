//! What is the outer side's on jobs that are inside.
//!
//! The dispatcher inside goes by a handle of its own, gives jobs places in its own order, and puts its own marks on them. So while a job is
//! inside, its cookie is the number of a record here, and the record has what the job came with. Invariant: a record belongs to one job.

use crate::job::Job;
use crate::session::SessionId;

#[derive(Clone, Copy, Debug)]
struct Record {
    session: SessionId,
    cookie: u64,
    order: u32,
    marks: u8,
}

/// The records of a queue pair, as many as it has room for jobs.
#[derive(Debug)]
pub(super) struct Kept {
    records: Box<[Option<Record>]>,
    free: Vec<u32>,
}

impl Kept {
    pub(super) fn new(jobs: u32) -> Self {
        Self { records: vec![None; jobs as usize].into_boxed_slice(), free: (0..jobs).rev().collect() }
    }

    /// Jobs that may still go inside.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// A job goes inside, under this handle; the caller saw to room.
    #[inline(always)]
    pub(super) fn put_aside(&mut self, job: &mut Job, inside: SessionId) {
        let Some(number) = self.free.pop() else { return };
        if let Some(record) = self.records.get_mut(number as usize) {
            let (session, cookie, order) = (job.session(), job.cookie(), job.order());
            *record = Some(Record { session, cookie, order, marks: job.take_marks() });
            job.set_session(inside);
            job.set_cookie(number.into());
        }
    }

    /// A job leaves as it came.
    #[inline(always)]
    pub(super) fn give_back(&mut self, job: &mut Job) {
        let number = job.cookie();
        // A child that changes cookies gives none of this: nothing would be right then.
        let Some(record) = self.records.get_mut(number as usize).and_then(Option::take) else { return };
        self.free.push(number as u32);
        job.set_session(record.session);
        job.set_cookie(record.cookie);
        job.set_order(record.order);
        job.put_marks(record.marks);
    }
}

#[cfg(test)]
mod tests {
    use pipeline::{Pool, PoolConfig};

    use super::*;
    use crate::job::Operation;

    #[test]
    fn a_job_leaves_as_it_came_whatever_was_changed_inside() {
        let pool = Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap();
        let (outside, inside) = (SessionId::new(3, 1), SessionId::new(7, 9));
        let mut kept = Kept::new(2);
        let mut jobs = [0, 1].map(|n| {
            let mut job = Job::new(pool.alloc().unwrap(), outside, Operation::Decrypt)
                .with_cookie(100 + n)
                .with_batch();
            job.set_order(50 + n as u32);
            job.set_ordered(n == 0);
            job.set_leg(2 - n as u8);
            job
        });
        for job in &mut jobs {
            kept.put_aside(job, inside);
            assert_eq!((job.session(), job.is_ordered(), job.leg()), (inside, false, 0));
            assert!(job.may_be_batched() && job.operation() == Operation::Decrypt);
            job.set_order(9);
            job.set_ordered(true);
            job.set_leg(3);
        }
        assert_eq!(kept.room(), 0);
        // In another order than they came.
        jobs.iter_mut().rev().for_each(|job| kept.give_back(job));
        assert_eq!(kept.room(), 2);
        for (n, job) in (0..).zip(&jobs) {
            assert_eq!((job.session(), job.cookie(), job.order()), (outside, 100 + n, 50 + n as u32));
            assert_eq!((job.is_ordered(), job.leg()), (n == 0, 2 - n as u8));
            assert!(job.may_be_batched() && job.operation() == Operation::Decrypt);
        }
    }

    #[test]
    fn a_job_that_was_never_put_aside_takes_no_other_s_record() {
        let pool = Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap();
        let mut kept = Kept::new(2);
        let session = SessionId::new(0, 0);
        for cookie in [0, 1, 2, u64::MAX] {
            let mut job = Job::new(pool.alloc().unwrap(), session, Operation::Encrypt).with_cookie(cookie);
            kept.give_back(&mut job);
            assert_eq!((job.cookie(), kept.room()), (cookie, 2));
        }
    }
}

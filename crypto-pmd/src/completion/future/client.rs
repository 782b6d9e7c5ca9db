//! The client's side: handles for any thread, and the futures that they give.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use event_listener::EventListener;

use crate::job::Job;

use super::cells::{Answer, Shared};

/// A handle by which any thread submits to a [`Service`](super::Service); clones share it. The service ends when the last one and the
/// last future are gone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

/// The service has gone.
#[derive(Debug, thiserror::Error)]
#[error("the service has stopped; submit to another one what came back")]
pub struct ServiceStopped {
    /// The job as it was, where no driver had taken it; a job that a driver had was dropped with the driver's queue pair.
    pub job: Option<Job>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Submits a job when the future is polled first, or, when all cells are taken, as soon as one is free.
    #[must_use = "a job is submitted when its future is polled"]
    pub fn submit(&self, job: Job) -> JobFuture {
        JobFuture { shared: Arc::clone(&self.0), state: State::Unsent { job: Some(job), room: None } }
    }

    /// Submits a job now.
    ///
    /// # Errors
    /// The job comes back when all cells are taken, or the service has gone.
    pub fn try_submit(&self, job: Job) -> Result<JobFuture, Job> {
        if self.is_stopped() {
            return Err(job);
        }
        let cell = self.0.send(job)?;
        Ok(JobFuture { shared: Arc::clone(&self.0), state: State::Sent(cell) })
    }

    /// True when the service has gone.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}

/// A job that will be done. Dropping the future drops the job: at once where it was not handed over or is done, else when its
/// driver has given it back.
#[must_use = "a future does nothing unless it is polled"]
pub struct JobFuture {
    shared: Arc<Shared>,
    state: State,
}

enum State {
    /// With what tells that there is room, once there was none.
    Unsent {
        job: Option<Job>,
        room: Option<EventListener>,
    },
    Sent(usize),
    Over,
}

/// What a job came to.
type Outcome = Result<Job, ServiceStopped>;

impl JobFuture {
    /// Tries to hand the job over; pending while there is no cell.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ServiceStopped>> {
        let State::Unsent { job, room } = &mut self.state else { return Poll::Ready(Ok(())) };
        loop {
            let Some(mine) = job.take() else { return Poll::Ready(Err(ServiceStopped { job: None })) };
            if self.shared.is_stopped() {
                self.state = State::Over;
                return Poll::Ready(Err(ServiceStopped { job: Some(mine) }));
            }
            match self.shared.send(mine) {
                Ok(cell) => {
                    self.state = State::Sent(cell);
                    return Poll::Ready(Ok(()));
                }
                Err(back) => *job = Some(back),
            }
            match room {
                // Once more after having asked to be told.
                None => *room = Some(self.shared.listen()),
                Some(told) => {
                    if Pin::new(told).poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    *room = None;
                }
            }
        }
    }

    fn poll_cell(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let State::Sent(cell) = self.state else { return Poll::Ready(Err(ServiceStopped { job: None })) };
        let mut answer = self.shared.take(cell);
        if matches!(answer, Answer::Waiting) {
            self.shared.register(cell, context.waker());
            if self.shared.is_stopped() {
                self.shared.drain();
            }
            // Once more, in case it came before the waker.
            answer = self.shared.take(cell);
        }
        let outcome = match answer {
            Answer::Waiting => return Poll::Pending,
            Answer::Done(job) => Ok(job),
            Answer::Stopped(job) => Err(ServiceStopped { job }),
        };
        self.state = State::Over;
        Poll::Ready(outcome)
    }
}

impl Future for JobFuture {
    type Output = Outcome;

    /// A future that is polled again after its end says that there is nothing more.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match self.poll_send(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(stopped)) => Poll::Ready(Err(stopped)),
            Poll::Ready(Ok(())) => self.poll_cell(context),
        }
    }
}

impl Drop for JobFuture {
    fn drop(&mut self) {
        if let State::Sent(cell) = self.state {
            self.shared.abandon(cell);
        }
    }
}

impl fmt::Debug for JobFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Unsent { .. } => "JobFuture(not submitted)",
            State::Sent(_) => "JobFuture(submitted)",
            State::Over => "JobFuture(over)",
        })
    }
}

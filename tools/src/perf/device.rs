//! A driver under test, alone behind a registry and a dispatcher, so that nothing else has a share in what is measured.

use crypto_pmd::device::{Driver, OpenError};
use crypto_pmd::drivers::{Multibuffer, Null, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::{
    Capabilities, Dispatcher, Job, Placement, QueuePairConfig, Registry, SessionId, SessionParams,
};

use crate::children::Family;
use crate::failure::Failure;
use crate::kernels::Kernels;

use super::rounds::{Patience, Stuck};

/// Drivers that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Built {
    Null,
    Software,
    Multibuffer(Kernels),
    Scheduler(Family, Kernels),
}

impl Built {
    /// All of them that are made of no others, those first that do less; `kernels` says how the one works that has them.
    pub(super) fn all(kernels: Kernels) -> [Self; 3] {
        [Self::Null, Self::Software, Self::Multibuffer(kernels)]
    }

    /// Name on the command line and in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Software => "software",
            Self::Multibuffer(_) => "multibuffer",
            Self::Scheduler(..) => "scheduler",
        }
    }

    /// Its instruction-set level.
    pub(super) fn level(self) -> &'static str {
        match self {
            Self::Null => "none",
            Self::Software => "portable",
            Self::Multibuffer(kernels) => kernels.level.name(),
            Self::Scheduler(family, kernels) => family.level(kernels),
        }
    }

    pub(super) fn capabilities(self) -> Capabilities {
        match self {
            Self::Null => Null::new().capabilities().clone(),
            Self::Software => Software::new().capabilities().clone(),
            // What the scheduler can do, one of its children can.
            Self::Multibuffer(_) | Self::Scheduler(..) => Multibuffer::new().capabilities().clone(),
        }
    }

    pub(super) fn device(self) -> Result<Device, Failure> {
        Device::on(&self.registry()?)
    }

    /// The driver alone in a registry.
    pub(super) fn registry(self) -> Result<Registry, Failure> {
        match self {
            Self::Null => alone(Null::new()),
            Self::Software => alone(Software::new()),
            Self::Multibuffer(kernels) => alone(kernels.driver()?),
            Self::Scheduler(family, kernels) => alone(family.driver(kernels)?),
        }
    }
}

fn alone(driver: impl Driver + 'static) -> Result<Registry, Failure> {
    let registry = Registry::new();
    registry.attach(driver).map_err(Failure::usage)?;
    Ok(registry)
}

/// The driver with its registry and one queue pair on it.
#[derive(Debug)]
pub(super) struct Device {
    registry: Registry,
    pub(super) dispatcher: Dispatcher,
}

impl Device {
    /// One more queue pair.
    pub(super) fn on(registry: &Registry) -> Result<Self, Failure> {
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).map_err(Failure::usage)?;
        Ok(Self { registry: registry.clone(), dispatcher })
    }

    #[cfg(test)]
    pub(super) fn over(driver: impl Driver + 'static) -> Result<Self, Failure> {
        Self::on(&alone(driver)?)
    }

    pub(super) fn open(&self, params: SessionParams) -> Result<SessionId, OpenError> {
        self.registry.open(params, Placement::Any)
    }

    /// Has all jobs done in bursts and gives them back by their cookies.
    pub(super) fn process(&mut self, jobs: Vec<Job>, burst: usize) -> Result<Vec<Job>, Stuck> {
        let total = jobs.len();
        let mut source = jobs.into_iter().peekable();
        let (mut waiting, mut done, mut all) = (JobBurst::new(), JobBurst::new(), Vec::new());
        let mut patience = Patience::new();
        while all.len() < total {
            if waiting.is_empty() {
                source.by_ref().take(burst).for_each(|job| waiting.push_with(|| job));
            }
            let taken = self.dispatcher.submit(&mut waiting);
            let finished = self.dispatcher.poll(&mut done);
            all.extend(done.drain());
            patience.look(taken + finished)?;
        }
        all.sort_by_key(Job::cookie);
        Ok(all)
    }
}

/// A driver that does not finish.
pub(super) fn stuck(driver: &str) -> Failure {
    Failure::bad_result(format_args!(
        "driver {driver} takes and finishes no job any more; jobs are lost in it"
    ))
}

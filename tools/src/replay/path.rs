//! Builds the path that packets take, out of the floors below: drivers, sessions, SAs, policies, stages.

use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::{Dispatcher, Placement, QueuePairConfig, Registry};
use ipsec_esp::counters::Counters;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::SaSlot;
use ipsec_esp::spd::{self, Action, Policy};
use ipsec_esp::stage::EspStage;
use pipeline::stage::{Chain, Stage, StageCost};
use pipeline::{Burst, Clock, Ledger, Pool};

use crate::config::{Config, PolicyAction};
use crate::failure::Failure;

use super::options::{Direction, DriverName};

/// The stages of a run.
#[derive(Debug)]
pub enum Path {
    /// Out.
    Outbound(Box<EspStage<Outbound>>),
    /// In.
    Inbound(Box<EspStage<Inbound>>),
    /// Out, then in.
    Roundtrip(Box<Chain<EspStage<Outbound>, EspStage<Inbound>>>),
}

/// What a path is built from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// SAs and policies; for a round trip the mirrored ones too.
    pub config: &'a Config,
    /// Which way.
    pub direction: Direction,
    /// Whose cryptography.
    pub driver: DriverName,
    /// Link layer of the packets.
    pub link: Link,
    /// Where further segments come from.
    pub pool: Pool,
    /// The clock for step costs.
    pub clock: Clock,
}

impl Parts<'_> {
    /// Builds a path in its first state.
    ///
    /// # Errors
    /// A driver that lacks something, or a system without random numbers.
    pub fn build(&self) -> Result<Path, Failure> {
        let registry = Registry::new();
        let attached = match self.driver {
            DriverName::Null => registry.attach(Null::new()),
            _ => registry.attach(Software::new()),
        };
        attached.map_err(Failure::usage)?;
        let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).map_err(Failure::usage);
        Ok(match self.direction {
            Direction::Outbound => {
                Path::Outbound(Box::new(self.stage(self.outbound(&registry)?, dispatcher()?)))
            }
            Direction::Inbound => {
                Path::Inbound(Box::new(self.stage(self.inbound(&registry)?, dispatcher()?)))
            }
            Direction::Roundtrip => Path::Roundtrip(Box::new(Chain::new(
                self.stage(self.outbound(&registry)?, dispatcher()?),
                self.stage(self.inbound(&registry)?, dispatcher()?),
            ))),
        })
    }

    fn stage<H: ipsec_esp::stage::Half>(&self, half: H, dispatcher: Dispatcher) -> EspStage<H> {
        EspStage::new(half, dispatcher, self.clock.clone())
    }

    fn outbound(&self, registry: &Registry) -> Result<Outbound, Failure> {
        let mut outbound = Outbound::new(self.link, self.pool.clone()).map_err(Failure::machine)?;
        let slots = self.open_sas(registry, spd::Direction::Outbound, |params, session| {
            Ok(outbound.add_sa(params, session))
        })?;
        self.add_policies(outbound.spd_mut(), spd::Direction::Outbound, &slots)?;
        Ok(outbound)
    }

    fn inbound(&self, registry: &Registry) -> Result<Inbound, Failure> {
        let mut inbound = Inbound::new(self.link).map_err(Failure::machine)?;
        let slots = self.open_sas(registry, spd::Direction::Inbound, |params, session| {
            inbound.add_sa(params, session).map_err(Failure::usage)
        })?;
        self.add_policies(inbound.spd_mut(), spd::Direction::Inbound, &slots)?;
        Ok(inbound)
    }

    /// Opens a session for each SA of a direction and adds the SA; its slot by its place in the configuration.
    fn open_sas(
        &self,
        registry: &Registry,
        direction: spd::Direction,
        mut add: impl FnMut(&ipsec_esp::sa::SaParams, crypto_pmd::SessionId) -> Result<SaSlot, Failure>,
    ) -> Result<Vec<Option<SaSlot>>, Failure> {
        let mut open = |sa: &crate::config::SaConfig| {
            let about =
                |error: &dyn std::fmt::Display| Failure::usage(format_args!("SA \"{}\": {error}", sa.name));
            if sa.direction != direction {
                return Ok(None);
            }
            if let Some(version) = sa.params.outer_version().filter(|&version| !self.link.carries(version)) {
                return Err(about(&format_args!(
                    "the capture's link type cannot carry the outer {version:?} header; use a capture of raw IP or Ethernet"
                )));
            }
            let session =
                registry.open(sa.params.session_params(), Placement::Any).map_err(|error| about(&error))?;
            add(&sa.params, session).map(Some)
        };
        self.config.sas.iter().map(&mut open).collect()
    }

    fn add_policies(
        &self,
        spd: &mut spd::Spd,
        direction: spd::Direction,
        slots: &[Option<SaSlot>],
    ) -> Result<(), Failure> {
        let policies = self.config.policies.iter().filter(|policy| policy.direction == direction);
        spd.load(policies.map(|policy| {
            let action = match &policy.action {
                PolicyAction::Protect(sas) => {
                    Action::Protect(sas.iter().filter_map(|&sa| slots.get(sa).copied().flatten()).collect())
                }
                PolicyAction::Bypass => Action::Bypass,
                PolicyAction::Discard => Action::Discard,
            };
            Policy { direction, priority: policy.priority, selector: policy.selector, action }
        }))
        .map_err(Failure::usage)
    }
}

impl Path {
    /// The outbound half, where there is one.
    #[must_use]
    pub fn outbound(&mut self) -> Option<&mut Outbound> {
        match self {
            Self::Outbound(stage) => Some(stage.half_mut()),
            Self::Inbound(_) => None,
            Self::Roundtrip(chain) => Some(chain.parts_mut().0.half_mut()),
        }
    }

    /// The inbound half, where there is one.
    #[must_use]
    pub fn inbound(&mut self) -> Option<&mut Inbound> {
        match self {
            Self::Outbound(_) => None,
            Self::Inbound(stage) => Some(stage.half_mut()),
            Self::Roundtrip(chain) => Some(chain.parts_mut().1.half_mut()),
        }
    }

    /// Counters of the half that packets enter, and of the one that they leave.
    #[must_use]
    pub fn counters(&self) -> (&Counters, &Counters) {
        match self {
            Self::Outbound(stage) => (stage.half().counters(), stage.half().counters()),
            Self::Inbound(stage) => (stage.half().counters(), stage.half().counters()),
            Self::Roundtrip(chain) => {
                let (out, back) = chain.parts();
                (out.half().counters(), back.half().counters())
            }
        }
    }
}

impl Stage for Path {
    fn name(&self) -> &'static str {
        "path"
    }

    #[inline]
    fn process(&mut self, input: &mut Burst, output: &mut Burst) {
        match self {
            Self::Outbound(stage) => stage.process(input, output),
            Self::Inbound(stage) => stage.process(input, output),
            Self::Roundtrip(chain) => chain.process(input, output),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Outbound(stage) => stage.held(),
            Self::Inbound(stage) => stage.held(),
            Self::Roundtrip(chain) => chain.held(),
        }
    }

    fn flush(&mut self) {
        match self {
            Self::Outbound(stage) => stage.flush(),
            Self::Inbound(stage) => stage.flush(),
            Self::Roundtrip(chain) => chain.flush(),
        }
    }

    /// On a round trip, how packets left is what the second half says; the first half's leave by the second.
    fn account(&self, ledger: &mut Ledger) {
        match self {
            Self::Outbound(stage) => stage.account(ledger),
            Self::Inbound(stage) => stage.account(ledger),
            Self::Roundtrip(chain) => {
                chain.account(ledger);
                ledger.sent_by.clear();
                Ledger::merge(&mut ledger.sent_by, &chain.parts().1.half().counters().sent);
            }
        }
    }

    fn costs(&self, costs: &mut Vec<StageCost>) {
        match self {
            Self::Outbound(stage) => stage.costs(costs),
            Self::Inbound(stage) => stage.costs(costs),
            Self::Roundtrip(chain) => chain.costs(costs),
        }
    }
}

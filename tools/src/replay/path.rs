//! Builds the paths that packets take, out of the floors below: drivers, sessions, SAs, policies, stages. One path for each core
//! that runs to completion, or one path whose crypto is spread over workers.

use std::collections::HashMap;

use crypto_pmd::crew::{CrewConfig, Crypto, Owner, Worker, crew};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::{
    Dispatcher, DispatcherCounters, Placement, QueuePairConfig, Registry, SessionId, SessionOptions,
};
use ipsec_esp::counters::Counters;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Offload, SaSlot};
use ipsec_esp::spd::{self, Action, Policy, Spd};
use ipsec_esp::stage::EspStage;
use pipeline::handoff::Peers;
use pipeline::stage::{Chain, Residence, Stage, StageCost};
use pipeline::{Burst, Clock, Ledger, Pool};

use crate::cards::{CardPlan, Seat};
use crate::children::Family;
use crate::config::{Config, PolicyAction, SaConfig};
use crate::failure::Failure;
use crate::kernels::Kernels;

use super::cards::Rack;
use super::options::{Direction, DriverName};

/// The stages of one core.
#[derive(Debug)]
pub enum Path<C = Dispatcher> {
    /// Out.
    Outbound(Box<EspStage<Outbound, C>>),
    /// In.
    Inbound(Box<EspStage<Inbound, C>>),
    /// Out, then in.
    Roundtrip(Box<Chain<EspStage<Outbound, C>, EspStage<Inbound, C>>>),
}

/// What paths are built from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// SAs and policies; for a round trip the mirrored ones too.
    pub config: &'a Config,
    /// Which way.
    pub direction: Direction,
    /// Whose cryptography.
    pub driver: DriverName,
    /// How the multi-buffer driver works.
    pub kernels: Kernels,
    /// What the scheduler is made of, and how jobs are spread over cards.
    pub family: Family,
    /// Cards that are to be made.
    pub cards: Option<CardPlan>,
    /// Link layer of the packets.
    pub link: Link,
    /// Where packets lie.
    pub packets: Pool,
    /// Where further segments come from.
    pub pool: Pool,
    /// The clock for step costs.
    pub clock: Clock,
}

/// The workers of each core.
pub type Workers = Vec<Vec<Worker>>;

/// What must be there as long as packets take a path: drivers, and the cards behind them.
#[derive(Debug)]
pub struct Held {
    _registry: Registry,
    pub(super) rack: Option<Rack>,
    _children: Vec<Seat>,
}

impl Parts<'_> {
    /// A path for each of `cores` cores that run to completion, in its first state. Each SA belongs to one of them.
    ///
    /// # Errors
    /// A driver that lacks something, or a system without random numbers.
    pub fn for_cores(&self, cores: u8) -> Result<(Vec<Path>, Held), Failure> {
        let opened = Opened::new(self, cores)?;
        let meshes = Peers::mesh(cores).into_iter().zip(Peers::mesh(cores));
        let path = |(core, (out, back)): (u8, (Peers, Peers))| {
            let dispatcher = || opened.dispatcher();
            self.path(&opened, core, [out, back], [dispatcher()?, dispatcher()?])
        };
        let paths = (0..cores).zip(meshes).map(path).collect::<Result<_, Failure>>()?;
        Ok((paths, opened.held()))
    }

    /// One path whose crypto `workers` cores share with it, and for each of them its workers: one for each direction.
    ///
    /// # Errors
    /// As [`Parts::for_cores`].
    pub fn for_crew(&self, workers: u8) -> Result<(Path<Owner>, Workers, Held), Failure> {
        let opened = Opened::new(self, 1)?;
        let make = || -> Result<_, Failure> {
            let theirs: Result<Vec<_>, _> = (0..workers).map(|_| opened.far_dispatcher()).collect();
            Ok(crew(opened.dispatcher()?, theirs?, CrewConfig::default(), &self.clock))
        };
        let ((out, first), (back, second)) = (make()?, make()?);
        let path = self.path(&opened, 0, [Peers::alone(), Peers::alone()], [out, back])?;
        // A path in one direction drops the other crew: its owner is gone, and its workers never get anything.
        let of_core = |(a, b)| match self.direction {
            Direction::Outbound => vec![a],
            Direction::Inbound => vec![b],
            Direction::Roundtrip => vec![a, b],
        };
        Ok((path, first.into_iter().zip(second).map(of_core).collect(), opened.held()))
    }

    /// The place of each SA of the configuration, where its direction is run: its owner is one of `cores` cores.
    #[must_use]
    pub fn places(&self, cores: u8) -> Vec<Option<SaSlot>> {
        let mut owners = Owners { cores: cores.max(1), of_spi: HashMap::new(), taken: HashMap::new() };
        let place = |sa: &SaConfig| self.direction.uses(sa.direction).then(|| owners.place(sa));
        self.config.sas.iter().map(place).collect()
    }

    fn path<C: Crypto>(
        &self,
        opened: &Opened,
        core: u8,
        [out_peers, in_peers]: [Peers; 2],
        [out_crypto, in_crypto]: [C; 2],
    ) -> Result<Path<C>, Failure> {
        let clock = || self.clock.clone();
        let out = || Ok(EspStage::among(self.outbound(opened, core)?, out_crypto, out_peers, clock()));
        let back = || Ok(EspStage::among(self.inbound(opened, core)?, in_crypto, in_peers, clock()));
        Ok(match self.direction {
            Direction::Outbound => Path::Outbound(Box::new(out()?)),
            Direction::Inbound => Path::Inbound(Box::new(back()?)),
            Direction::Roundtrip => Path::Roundtrip(Box::new(Chain::new(out()?, back()?))),
        })
    }

    fn outbound(&self, opened: &Opened, core: u8) -> Result<Outbound, Failure> {
        let link = self.link;
        let mut outbound = Outbound::on_core(core, link, self.pool.clone()).map_err(Failure::machine)?;
        for (sa, &(slot, session)) in opened.of(self.config, spd::Direction::Outbound) {
            if slot.owner() == core {
                let given = outbound.add_sa(&sa.params, session);
                debug_assert_eq!(given, slot);
            }
        }
        self.add_policies(outbound.spd_mut(), spd::Direction::Outbound, opened)?;
        Ok(outbound)
    }

    fn inbound(&self, opened: &Opened, core: u8) -> Result<Inbound, Failure> {
        let mut inbound = Inbound::on_core(core, self.link).map_err(Failure::machine)?;
        for (sa, &(slot, session)) in opened.of(self.config, spd::Direction::Inbound) {
            if slot.owner() == core {
                let given = inbound.add_sa(&sa.params, session).map_err(Failure::usage)?;
                debug_assert_eq!(given, slot);
            } else {
                inbound.add_sa_of_other(&sa.params, slot);
            }
        }
        self.add_policies(inbound.spd_mut(), spd::Direction::Inbound, opened)?;
        Ok(inbound)
    }

    fn add_policies(&self, spd: &mut Spd, direction: spd::Direction, opened: &Opened) -> Result<(), Failure> {
        let slot = |&sa: &usize| opened.sas.get(sa).copied().flatten().map(|(slot, _)| slot);
        let policies = self.config.policies.iter().filter(|policy| policy.direction == direction);
        spd.load(policies.map(|policy| {
            let action = match &policy.action {
                PolicyAction::Protect(sas) => Action::Protect(sas.iter().filter_map(slot).collect()),
                PolicyAction::Bypass => Action::Bypass,
                PolicyAction::Discard => Action::Discard,
            };
            Policy { direction, priority: policy.priority, selector: policy.selector, action }
        }))
        .map_err(Failure::usage)
    }
}

/// Drivers, and the SAs of the directions that are run: each has a session and a place.
struct Opened {
    registry: Registry,
    rack: Option<Rack>,
    /// Cards of the scheduler.
    children: Vec<Seat>,
    /// By place in the configuration.
    sas: Vec<Option<(SaSlot, SessionId)>>,
}

impl Opened {
    fn new(parts: &Parts<'_>, cores: u8) -> Result<Self, Failure> {
        let registry = Registry::new();
        // So that cards reach packets where they are.
        [&parts.packets, &parts.pool].iter().for_each(|pool| registry.map_memory(pool));
        let mut rack = match (parts.driver, &parts.cards) {
            (DriverName::Nic, Some(plan)) => Some(Rack::new(registry.clone(), plan.start_all()?)?),
            _ => None,
        };
        let mut children = Vec::new();
        let attached = match parts.driver {
            DriverName::Null => registry.attach(Null::new()),
            DriverName::Software => registry.attach(Software::new()),
            DriverName::Scheduler => {
                let (scheduler, cards) = parts.family.driver(parts.kernels, parts.cards.as_ref())?;
                children = cards;
                registry.attach(scheduler)
            }
            // With cards, it stands by.
            _ => registry.attach(parts.kernels.driver()?),
        };
        attached.map_err(Failure::usage)?;
        let options = SessionOptions {
            placement: rack.as_ref().map_or(Placement::Any, |_| Placement::All(parts.family.policy())),
            fallback: rack.is_some(),
            ..SessionOptions::default()
        };
        let mut open = |(sa, place): (&SaConfig, Option<SaSlot>)| {
            let Some(place) = place else { return Ok(None) };
            check_offload(parts.config, sa)?;
            Ok(Some((place, open_session(&registry, parts.link, sa, options, rack.as_mut())?)))
        };
        let places = parts.config.sas.iter().zip(parts.places(cores));
        let sas = places.map(&mut open).collect::<Result<_, Failure>>()?;
        Ok(Self { registry, rack, children, sas })
    }

    fn held(self) -> Held {
        Held { _registry: self.registry, rack: self.rack, _children: self.children }
    }

    fn dispatcher(&self) -> Result<Dispatcher, Failure> {
        self.registry.dispatcher(&QueuePairConfig::default()).map_err(Failure::usage)
    }

    /// For a core that gets its packets from another one.
    fn far_dispatcher(&self) -> Result<Dispatcher, Failure> {
        let config = QueuePairConfig { far: true, ..QueuePairConfig::default() };
        self.registry.dispatcher(&config).map_err(Failure::usage)
    }

    /// The SAs of a direction, with what was opened for them.
    fn of<'a>(
        &'a self,
        config: &'a Config,
        direction: spd::Direction,
    ) -> impl Iterator<Item = (&'a SaConfig, &'a (SaSlot, SessionId))> {
        let both = config.sas.iter().zip(&self.sas).filter(move |(sa, _)| sa.direction == direction);
        both.filter_map(|(sa, opened)| Some((sa, opened.as_ref()?)))
    }
}

/// Who owns which SA: SPIs go round the cores in the order of the configuration. What is sealed under an SPI and what opens it belong to
/// one core, and so do all SAs of an SPI.
struct Owners {
    cores: u8,
    of_spi: HashMap<u32, u8>,
    /// SAs that a core owns in a direction.
    taken: HashMap<(u8, spd::Direction), u32>,
}

impl Owners {
    fn place(&mut self, sa: &SaConfig) -> SaSlot {
        let next = (self.of_spi.len() % usize::from(self.cores)) as u8;
        let owner = *self.of_spi.entry(sa.params.spi.0).or_insert(next);
        let taken = self.taken.entry((owner, sa.direction)).or_default();
        let slot = SaSlot::of(owner, *taken);
        *taken += 1;
        slot
    }
}

/// An SA that asks for a card is refused as long as no port here is one: its packets would be dropped, or worse, leave in the clear.
fn check_offload(config: &Config, sa: &SaConfig) -> Result<(), Failure> {
    match sa.params.offload {
        Offload::Lookaside => Ok(()),
        inline => Err(Failure::usage(config.error_at(
            sa,
            &format!(
                "offload = \"{}\" needs a card by which packets come and go, and here cards get jobs only; write \"lookaside\" or leave it out",
                inline.name()
            ),
        ))),
    }
}

fn open_session(
    registry: &Registry,
    link: Link,
    sa: &SaConfig,
    options: SessionOptions,
    rack: Option<&mut Rack>,
) -> Result<SessionId, Failure> {
    let about = |error: &dyn std::fmt::Display| Failure::usage(format_args!("SA \"{}\": {error}", sa.name));
    if let Some(version) = sa.params.outer_version().filter(|&version| !link.carries(version)) {
        return Err(about(&format_args!(
            "the capture's link type cannot carry the outer {version:?} header; use a capture of raw IP or Ethernet"
        )));
    }
    let opened = registry.open_with(sa.params.session_params(), options).map_err(|error| about(&error))?;
    if let Some(rack) = rack
        && let Some((_, why)) = opened.passed_over.first()
        && !opened.drivers.iter().any(|&driver| rack.has(driver))
    {
        rack.passes_over(&sa.name, why.to_string());
    }
    Ok(opened.id)
}

impl<C: Crypto> Path<C> {
    fn as_stage(&self) -> &dyn Stage {
        match self {
            Self::Outbound(stage) => stage.as_ref(),
            Self::Inbound(stage) => stage.as_ref(),
            Self::Roundtrip(chain) => chain.as_ref(),
        }
    }

    fn as_stage_mut(&mut self) -> &mut dyn Stage {
        match self {
            Self::Outbound(stage) => stage.as_mut(),
            Self::Inbound(stage) => stage.as_mut(),
            Self::Roundtrip(chain) => chain.as_mut(),
        }
    }

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

    /// Starts every replay window anew.
    pub fn reset_windows(&mut self) {
        if let Some(inbound) = self.inbound() {
            inbound.reset_windows();
        }
    }

    /// What the dispatchers of this core did besides handing jobs on.
    #[must_use]
    pub fn dispatched(&self) -> Vec<DispatcherCounters> {
        match self {
            Self::Outbound(stage) => vec![stage.crypto().counters()],
            Self::Inbound(stage) => vec![stage.crypto().counters()],
            Self::Roundtrip(chain) => {
                let (out, back) = chain.parts();
                vec![out.crypto().counters(), back.crypto().counters()]
            }
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

impl<C: Crypto> Stage for Path<C> {
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
        self.as_stage_mut().flush();
    }

    fn merges(&self) -> bool {
        self.as_stage().merges()
    }

    fn open(&mut self) {
        self.as_stage_mut().open();
    }

    fn input_ended(&mut self) {
        self.as_stage_mut().input_ended();
    }

    fn close(&mut self) {
        self.as_stage_mut().close();
    }

    fn awaits(&self) -> bool {
        self.as_stage().awaits()
    }

    fn offline(&mut self) {
        self.as_stage_mut().offline();
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

    fn residences(&self, residences: &mut Vec<Residence>) {
        self.as_stage().residences(residences);
    }

    fn costs(&self, costs: &mut Vec<StageCost>) {
        match self {
            Self::Outbound(stage) => stage.costs(costs),
            Self::Inbound(stage) => stage.costs(costs),
            Self::Roundtrip(chain) => chain.costs(costs),
        }
    }
}

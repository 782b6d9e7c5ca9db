//! The inbound half of a round trip, made from the outbound half.
//!
//! Invariant: after it, no two inbound SAs share SPI and destination, and the rest of the configuration is unchanged.

use std::collections::{HashMap, HashSet};

use ipsec_esp::header::esp::Spi;
use ipsec_esp::spd::{Direction, MAX_SAS};

use super::document::shares_destination;
use super::error::ConfigError;
use super::policy::{PolicyAction, PolicyConfig};
use super::sa::{DEFAULT_WINDOW, SaConfig};
use super::{Config, Position};

impl Config {
    /// The configuration with an inbound twin for each outbound SA and policy, behind those of the file.
    ///
    /// The twin of an SA has its SPI, keys, addresses, UDP ports and `sequence` (the next number expected). Its
    /// `replay_window` is 64 where that of the outbound SA would be refused inbound (0 with `esn`). Inbound SAs of
    /// the file with that SPI, and a destination in common, take the twin's place. The twin of a policy has its
    /// priority, selector and action, and lists the twins of its SAs.
    ///
    /// # Errors
    /// Two outbound SAs with the same SPI and destination, whose twins could not be told apart, and a policy whose
    /// twin would list more than [`MAX_SAS`].
    pub fn mirrored(&self) -> Result<Self, ConfigError> {
        let mut mirror = Mirror::new(self);
        for sa in self.sas.iter() {
            let twins = if sa.direction == Direction::Outbound { mirror.twins_of(sa)? } else { Vec::new() };
            mirror.twins.push(twins);
        }
        for policy in self.policies.iter().filter(|policy| policy.direction == Direction::Outbound) {
            let twin = mirror.policy_twin(policy)?;
            mirror.config.policies.push(twin);
        }
        Ok(mirror.config)
    }
}

struct Mirror<'a> {
    config: Config,
    names: HashSet<String>,
    /// Inbound SAs of the file.
    explicit: HashMap<Spi, Vec<usize>>,
    /// The outbound SAs that twins were made of so far.
    made: HashMap<Spi, Vec<&'a SaConfig>>,
    /// For each SA of the file, those that open what it seals.
    twins: Vec<Vec<usize>>,
}

impl<'a> Mirror<'a> {
    fn new(config: &'a Config) -> Self {
        let mut explicit: HashMap<Spi, Vec<usize>> = HashMap::new();
        for (index, sa) in config.sas.iter().enumerate().filter(|(_, sa)| sa.direction == Direction::Inbound)
        {
            explicit.entry(sa.params.spi).or_default().push(index);
        }
        Self {
            names: config.sas.iter().map(|sa| sa.name.clone()).collect(),
            config: config.clone(),
            explicit,
            made: HashMap::new(),
            twins: Vec::with_capacity(config.sas.len()),
        }
    }

    fn twins_of(&mut self, sa: &'a SaConfig) -> Result<Vec<usize>, ConfigError> {
        let explicit = self.explicit_twins(sa);
        if !explicit.is_empty() {
            return Ok(explicit);
        }
        let made = self.made.entry(sa.params.spi).or_default();
        if let Some(other) = made.iter().find(|other| shares_destination(other, sa)) {
            let message = format!(
                "the outbound SAs of lines {} and {} have SPI {} and destination in common, \
                 a round trip cannot tell their inbound halves apart; give one another spi",
                other.line, sa.line, sa.params.spi
            );
            return Err(self.error(sa.position(), &message));
        }
        made.push(sa);
        let index = self.config.sas.len();
        let twin = self.sa_twin(sa);
        self.config.sas.push(twin);
        Ok(vec![index])
    }

    fn explicit_twins(&self, sa: &SaConfig) -> Vec<usize> {
        let same_spi = self.explicit.get(&sa.params.spi).into_iter().flatten().copied();
        same_spi
            .filter(|index| self.config.sas.get(*index).is_some_and(|other| shares_destination(other, sa)))
            .collect()
    }

    fn sa_twin(&mut self, sa: &SaConfig) -> SaConfig {
        let mut twin =
            SaConfig { direction: Direction::Inbound, name: self.new_name(&sa.name), ..sa.clone() };
        if twin.params.check(true).is_err() {
            twin.params.replay_window = DEFAULT_WINDOW;
        }
        twin
    }

    fn new_name(&mut self, name: &str) -> String {
        let mut name = format!("{name} (mirrored)");
        while !self.names.insert(name.clone()) {
            name.push('\'');
        }
        name
    }

    fn policy_twin(&self, policy: &PolicyConfig) -> Result<PolicyConfig, ConfigError> {
        let mut twin = PolicyConfig { direction: Direction::Inbound, ..policy.clone() };
        if let PolicyAction::Protect(sas) = &mut twin.action {
            *sas = self.all_twins(sas);
            if sas.len() > MAX_SAS {
                let message = format!(
                    "the inbound half of this policy would list {} SAs; name SAs that have at most {MAX_SAS} inbound ones",
                    sas.len()
                );
                return Err(self.error(policy.position(), &message));
            }
        }
        Ok(twin)
    }

    /// Each once, in the order in which the policy names its SAs.
    fn all_twins(&self, sas: &[usize]) -> Vec<usize> {
        let mut seen = HashSet::new();
        let twins = sas.iter().filter_map(|index| self.twins.get(*index)).flatten().copied();
        twins.filter(|twin| seen.insert(*twin)).collect()
    }

    fn error(&self, position: Position, message: &str) -> ConfigError {
        ConfigError::new(&self.config.file, Some(position), message)
    }
}

//! What the scheduler is made of: what its options say, the same for all programs.

use std::fmt;

use clap::{Args, ValueEnum};
use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::scheduler::MAX_CHILDREN;
use crypto_pmd::drivers::{Scheduler, Software};

use crate::cards::{CardPlan, Seat};
use crate::failure::Failure;
use crate::kernels::Kernels;

/// The children where none are named.
const USUAL: [ChildName; 2] = [ChildName::Multibuffer, ChildName::Software];

/// Longest packet that may be called short, in bytes.
const MAX_SHORT: usize = 65535;

/// Drivers below the scheduler, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChildName {
    /// RustCrypto, one packet at a time.
    Software,
    /// Many packets side by side.
    Multibuffer,
    /// An emulated card.
    Nic,
}

/// Options of the driver "scheduler".
#[derive(Clone, Debug, Default, Args)]
pub struct SchedulerOptions {
    /// Drivers below the driver "scheduler", in the order of its policy; a name may occur twice. Without it, "multibuffer,software".
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    pub children: Vec<ChildName>,
    /// How the driver "scheduler" spreads jobs over them, and the driver "nic" over its cards: "round-robin" (a burst to each in turn),
    /// "packet-size:BYTES" (packets shorter than that to the first half of them), "queue-depth" (to the one with the least to do), or
    /// "failover" (to the first that takes any). Without it, "round-robin"; with cards, "queue-depth".
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    pub policy: Option<Policy>,
}

impl SchedulerOptions {
    /// What is to be made; `scheduler` where that driver is named, `cards` where the driver "nic" is.
    ///
    /// # Errors
    /// An option without such a driver, a child that is not built yet, or too many.
    pub(crate) fn family(&self, scheduler: bool, cards: bool) -> Result<Family, Failure> {
        if !self.children.is_empty() && !scheduler {
            return Err(Failure::usage(
                "--children: only --driver scheduler has children; name that, or leave --children out",
            ));
        }
        if self.policy.is_some() && !scheduler && !cards {
            return Err(Failure::usage(
                "--policy: only --driver scheduler has children and only --driver nic has cards to choose from; name one of them, or leave --policy out",
            ));
        }
        let listed = match self.children.as_slice() {
            [] => &USUAL,
            children => children,
        };
        if listed.len() > MAX_CHILDREN {
            return Err(Failure::usage(format_args!(
                "--children: {} are listed, and a scheduler has {MAX_CHILDREN} at most",
                listed.len()
            )));
        }
        let usual = if cards && !scheduler { Policy::QueueDepth } else { Policy::default() };
        let mut children = [None; MAX_CHILDREN];
        children.iter_mut().zip(listed).for_each(|(place, name)| *place = Some(*name));
        Ok(Family { children, policy: self.policy.unwrap_or(usual) })
    }
}

/// A scheduler's children and its policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family {
    children: [Option<ChildName>; MAX_CHILDREN],
    policy: Policy,
}

impl Family {
    /// How jobs are spread.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether a child is a card.
    pub(crate) fn has_cards(&self) -> bool {
        self.children.contains(&Some(ChildName::Nic))
    }

    /// Whether a child has kernels.
    pub(crate) fn has_kernels(&self) -> bool {
        self.children.contains(&Some(ChildName::Multibuffer))
    }

    /// The instruction-set level in reports.
    pub(crate) fn level(&self, kernels: Kernels) -> &'static str {
        match (self.has_kernels(), self.has_cards()) {
            (true, _) => kernels.level.name(),
            (false, true) => CardPlan::level(),
            (false, false) => "portable",
        }
    }

    /// The driver, and its cards: their engines are to turn as long as it is used.
    ///
    /// # Errors
    /// A level that the processor lacks, or no memory for a card.
    pub(crate) fn driver(
        &self,
        kernels: Kernels,
        cards: Option<&CardPlan>,
    ) -> Result<(Scheduler, Vec<Seat>), Failure> {
        let mut builder = Scheduler::builder().policy(self.policy);
        let mut seats = Vec::new();
        let (mut software, mut multibuffer) = (0_u16.., 0_u16..);
        for child in self.children.into_iter().flatten() {
            let unit = |units: &mut std::ops::RangeFrom<u16>| units.next().unwrap_or_default();
            builder = match child {
                ChildName::Software => builder.child(Box::new(Software::with_unit(unit(&mut software)))),
                ChildName::Multibuffer => {
                    builder.child(Box::new(kernels.driver_with_unit(unit(&mut multibuffer))?))
                }
                ChildName::Nic => {
                    let plan =
                        cards.ok_or_else(|| Failure::usage("no card is planned for a child \"nic\""))?;
                    let seat = plan.start(seats.len() as u16)?;
                    let builder = builder.child(Box::new(seat.nic.clone()));
                    seats.push(seat);
                    builder
                }
            };
        }
        Ok((builder.build().map_err(Failure::usage)?, seats))
    }
}

/// # Errors
/// What would be right, for clap.
fn parse_policy(text: &str) -> Result<Policy, String> {
    match text.split_once(':') {
        None if text == "round-robin" => Ok(Policy::RoundRobin),
        None if text == "queue-depth" => Ok(Policy::QueueDepth),
        None if text == "failover" => Ok(Policy::Failover),
        None if text == "packet-size" => Err(short("it lacks the bytes below which a packet is short")),
        Some(("packet-size", bytes)) => match bytes.parse::<usize>() {
            Ok(bytes) if (1..=MAX_SHORT).contains(&bytes) => Ok(Policy::PacketSize(bytes)),
            _ => Err(short(format_args!("\"{bytes}\" is no number of bytes"))),
        },
        _ => Err("give \"round-robin\", \"packet-size:BYTES\", \"queue-depth\" or \"failover\"".to_owned()),
    }
}

fn short(what: impl fmt::Display) -> String {
    format!("{what}; give 1 to {MAX_SHORT}, as in \"packet-size:256\"")
}

#[cfg(test)]
mod tests {
    use crypto_pmd::Driver as _;

    use super::*;
    use crate::cards::{CardOptions, Wanted};

    fn made(children: &[ChildName], policy: Option<Policy>) -> Result<Scheduler, String> {
        let options = SchedulerOptions { children: children.to_vec(), policy };
        let family = options.family(true, false).map_err(|failure| failure.to_string())?;
        Ok(family.driver(Kernels::default(), None).unwrap().0)
    }

    #[test]
    fn without_options_it_is_both_drivers_in_turn() {
        let scheduler = made(&[], None).unwrap();
        assert_eq!(scheduler.children().names(), ["multibuffer0", "software0"]);
        assert_eq!((scheduler.name(), scheduler.policy()), ("scheduler0", Policy::RoundRobin));
    }

    #[test]
    fn a_name_may_occur_twice_and_the_order_is_kept() {
        use ChildName::{Multibuffer, Software};
        let scheduler = made(&[Software, Multibuffer, Software], Some(Policy::Failover)).unwrap();
        assert_eq!(scheduler.children().names(), ["software0", "multibuffer0", "software1"]);
        assert!(made(&[Software; MAX_CHILDREN], None).is_ok());
        let nine = made(&[Software; MAX_CHILDREN + 1], None).unwrap_err();
        assert_eq!(nine, "--children: 9 are listed, and a scheduler has 8 at most");
    }

    #[test]
    fn each_card_that_is_listed_is_one_of_its_own() {
        let children = vec![ChildName::Nic, ChildName::Multibuffer, ChildName::Nic];
        let options = SchedulerOptions { children, policy: None };
        let family = options.family(true, false).unwrap();
        let plan = CardOptions::default().plan(Wanted::Children, &[]).unwrap();
        let (scheduler, seats) = family.driver(Kernels::default(), plan.as_ref()).unwrap();
        assert_eq!(scheduler.children().names(), ["nic0", "multibuffer0", "nic1"]);
        assert!(family.has_cards() && seats.len() == 2);
    }

    #[test]
    fn options_of_the_scheduler_need_it() {
        let alone =
            |options: SchedulerOptions| options.family(false, false).map(drop).map_err(|one| one.to_string());
        assert_eq!(alone(SchedulerOptions::default()), Ok(()));
        let children = vec![ChildName::Software];
        let error = alone(SchedulerOptions { children, policy: None }).unwrap_err();
        assert!(error.starts_with("--children: only --driver scheduler"), "{error}");
        let policy = Some(Policy::Failover);
        let error = alone(SchedulerOptions { policy, ..SchedulerOptions::default() }).unwrap_err();
        assert!(error.starts_with("--policy: only --driver scheduler"), "{error}");
    }

    #[test]
    fn policies_are_read_by_their_names() {
        assert_eq!(parse_policy("round-robin"), Ok(Policy::RoundRobin));
        assert_eq!(parse_policy("packet-size:256"), Ok(Policy::PacketSize(256)));
        assert_eq!(parse_policy("queue-depth"), Ok(Policy::QueueDepth));
        assert_eq!(parse_policy("failover"), Ok(Policy::Failover));
        for bad in ["packet-size", "packet-size:", "packet-size:0", "packet-size:65536", "packet-size:-1"] {
            assert!(parse_policy(bad).unwrap_err().contains("as in \"packet-size:256\""), "{bad}");
        }
        for bad in ["", "Failover", "failover:1", "random"] {
            assert!(parse_policy(bad).unwrap_err().starts_with("give \"round-robin\""), "{bad}");
        }
    }
}

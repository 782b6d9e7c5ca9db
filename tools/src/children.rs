//! What the scheduler is made of: what its options say, the same for all programs.

use std::fmt;

use clap::{Args, ValueEnum};
use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::scheduler::MAX_CHILDREN;
use crypto_pmd::drivers::{Scheduler, Software};

use crate::failure::Failure;
use crate::kernels::Kernels;

/// Longest packet that may be called short, in bytes.
const MAX_SHORT: usize = 65535;

/// Drivers below the scheduler, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChildName {
    /// RustCrypto, one packet at a time.
    Software,
    /// Many packets side by side.
    Multibuffer,
    /// The emulated card (not implemented yet).
    Nic,
}

/// Options of the driver "scheduler".
#[derive(Clone, Debug, Default, Args)]
pub struct SchedulerOptions {
    /// Drivers below the driver "scheduler", in the order of its policy; a name may occur twice. Without it, "multibuffer,software".
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    pub children: Vec<ChildName>,
    /// How the driver "scheduler" spreads jobs over them: "round-robin" (a burst to each in turn), "packet-size:BYTES" (packets shorter than
    /// that to the first half of them), "queue-depth" (to the one with the least to do), or "failover" (to the first that takes any).
    /// Without it, "round-robin".
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    pub policy: Option<Policy>,
}

impl SchedulerOptions {
    /// What is to be made; `named` where the driver "scheduler" is.
    ///
    /// # Errors
    /// An option without that driver, a child that is not built yet, or too many.
    pub(crate) fn family(&self, named: bool) -> Result<Family, Failure> {
        let given = [("--children", !self.children.is_empty()), ("--policy", self.policy.is_some())];
        if let Some((option, _)) = given.into_iter().find(|&(_, given)| given && !named) {
            return Err(Failure::usage(format_args!(
                "{option}: only --driver scheduler has children; name that, or leave {option} out"
            )));
        }
        if self.children.contains(&ChildName::Nic) {
            return Err(Failure::not_yet("--children nic"));
        }
        let listed = match self.children.as_slice() {
            [] => &[ChildName::Multibuffer, ChildName::Software],
            children => children,
        };
        if listed.len() > MAX_CHILDREN {
            return Err(Failure::usage(format_args!(
                "--children: {} are listed, and a scheduler has {MAX_CHILDREN} at most",
                listed.len()
            )));
        }
        let mut children = [None; MAX_CHILDREN];
        children.iter_mut().zip(listed).for_each(|(place, name)| *place = Some(*name));
        Ok(Family { children, policy: self.policy.unwrap_or_default() })
    }
}

/// A scheduler's children and its policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family {
    children: [Option<ChildName>; MAX_CHILDREN],
    policy: Policy,
}

impl Family {
    /// Whether a child has kernels.
    pub(crate) fn has_kernels(&self) -> bool {
        self.children.contains(&Some(ChildName::Multibuffer))
    }

    /// The instruction-set level in reports.
    pub(crate) fn level(&self, kernels: Kernels) -> &'static str {
        if self.has_kernels() { kernels.level.name() } else { "portable" }
    }

    /// The driver.
    ///
    /// # Errors
    /// A level that the processor lacks.
    pub(crate) fn driver(&self, kernels: Kernels) -> Result<Scheduler, Failure> {
        let mut builder = Scheduler::builder().policy(self.policy);
        let (mut software, mut multibuffer) = (0_u16.., 0_u16..);
        for child in self.children.into_iter().flatten() {
            let unit = |units: &mut std::ops::RangeFrom<u16>| units.next().unwrap_or_default();
            builder = match child {
                ChildName::Software => builder.child(Box::new(Software::with_unit(unit(&mut software)))),
                ChildName::Multibuffer => {
                    builder.child(Box::new(kernels.driver_with_unit(unit(&mut multibuffer))?))
                }
                ChildName::Nic => return Err(Failure::not_yet("--children nic")),
            };
        }
        builder.build().map_err(Failure::usage)
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

    fn made(children: &[ChildName], policy: Option<Policy>) -> Result<Scheduler, String> {
        let options = SchedulerOptions { children: children.to_vec(), policy };
        let family = options.family(true).map_err(|failure| failure.to_string())?;
        Ok(family.driver(Kernels::default()).unwrap())
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
        let nic = made(&[Software, ChildName::Nic], None).unwrap_err();
        assert!(nic.contains("--children nic is not implemented yet"), "{nic}");
    }

    #[test]
    fn options_of_the_scheduler_need_it() {
        let alone =
            |options: SchedulerOptions| options.family(false).map(drop).map_err(|one| one.to_string());
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

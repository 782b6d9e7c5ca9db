//! What can go wrong with a card, and when: by a script of times, at a rate, or at the so-manieth occasion.
//!
//! As text: `engine-hang@2s`, once at that time; `removal@10ms/10ms~1ms`, every ten milliseconds for one; `icv-error:1e-4`, one occasion in ten
//! thousand; `twice#3`, the third occasion; several with commas between them. The same seed gives the same faults.

use std::fmt;
use std::str::FromStr;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A queue pair's commands are read no more, until a reset.
    RingStuck,
    /// The card does not hear a doorbell.
    DoorbellLost,
    /// A command is refused as if it were not well formed.
    DescriptorError,
    /// A command's completion comes behind later ones.
    OutOfOrder,
    /// A command's completion comes very late.
    Late,
    /// A completion comes twice.
    Twice,
    /// A completion never comes.
    Never,
    /// A good tag is said to be wrong.
    IcvError,
    /// No session is taken, as if there were no place.
    SaTableFull,
    /// All engines stop, until a reset.
    EngineHang,
    /// The card resets itself.
    Reset,
    /// The link goes down, and comes back.
    LinkDown,
    /// The card is pulled out, and comes back.
    Removal,
    /// The bus gives the card a wrong address for a command.
    MemoryFault,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::RingStuck,
        Self::DoorbellLost,
        Self::DescriptorError,
        Self::OutOfOrder,
        Self::Late,
        Self::Twice,
        Self::Never,
        Self::IcvError,
        Self::SaTableFull,
        Self::EngineHang,
        Self::Reset,
        Self::LinkDown,
        Self::Removal,
        Self::MemoryFault,
    ];

    /// Name on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingStuck => "ring-stuck",
            Self::DoorbellLost => "doorbell-lost",
            Self::DescriptorError => "descriptor-error",
            Self::OutOfOrder => "out-of-order",
            Self::Late => "late",
            Self::Twice => "twice",
            Self::Never => "never",
            Self::IcvError => "icv-error",
            Self::SaTableFull => "sa-table-full",
            Self::EngineHang => "engine-hang",
            Self::Reset => "reset",
            Self::LinkDown => "link-down",
            Self::Removal => "removal",
            Self::MemoryFault => "memory-fault",
        }
    }

    /// How long it lasts where it ends by itself and nothing else is said, in nanoseconds.
    const fn usual_duration(self) -> u64 {
        match self {
            Self::Late | Self::LinkDown | Self::Removal | Self::SaTableFull => 1_000_000,
            _ => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trigger {
    /// At this time, and then ever so often; times in nanoseconds since the card was made.
    At { ns: u64, every: Option<u64> },
    /// At each occasion with this probability.
    Rate(f64),
    /// At the so-manieth occasion, from 1.
    Nth(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    fault: Fault,
    trigger: Trigger,
    duration: Option<u64>,
}

/// A list of faults with their times, and a seed.
///
/// ```
/// use crypto_pmd::drivers::nic::Faults;
/// let faults: Faults = "engine-hang@2s,icv-error:1e-4".parse().unwrap();
/// assert!("engine-hang@2".parse::<Faults>().unwrap_err().to_string().contains("2s"));
/// assert_eq!(faults.with_seed(7).to_string(), "engine-hang@2000000000ns,icv-error:0.0001");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    rules: Vec<Rule>,
    seed: u64,
}

impl Faults {
    /// A card that never fails.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With another seed for what is drawn.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// One more, at a time in nanoseconds since the card was made, and every so often after it.
    #[must_use]
    pub fn at(mut self, fault: Fault, ns: u64, every: Option<u64>) -> Self {
        self.rules.push(Rule { fault, trigger: Trigger::At { ns, every }, duration: None });
        self
    }

    /// One more, at each occasion with a probability from 0 to 1.
    #[must_use]
    pub fn at_rate(mut self, fault: Fault, probability: f64) -> Self {
        self.rules.push(Rule { fault, trigger: Trigger::Rate(probability.clamp(0.0, 1.0)), duration: None });
        self
    }

    /// How long the last one lasts, in nanoseconds.
    #[must_use]
    pub fn lasting(mut self, ns: u64) -> Self {
        if let Some(rule) = self.rules.last_mut() {
            rule.duration = Some(ns);
        }
        self
    }
}

/// Why a text is no list of faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl FromStr for Faults {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let rules = text.split(',').map(rule).collect::<Result<_, _>>()?;
        Ok(Self { rules, seed: 0 })
    }
}

fn rule(text: &str) -> Result<Rule, FaultError> {
    let place = text.find(['@', ':', '#']);
    let form = || {
        FaultError(format!(
            "\"{text}\" is no fault with a time; write engine-hang@2s, removal@10ms/10ms~1ms, icv-error:1e-4 or twice#3"
        ))
    };
    let place = place.ok_or_else(form)?;
    let (name, rest) = text.split_at_checked(place).ok_or_else(form)?;
    let unknown = || {
        let names = Fault::ALL.map(Fault::name).join(", ");
        FaultError(format!("fault \"{name}\" is unknown; use one of {names}"))
    };
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(unknown)?;
    let (rest, duration) = match rest.split_once('~') {
        Some((rest, duration)) => (rest, Some(time(duration)?)),
        None => (rest, None),
    };
    let trigger = match (rest.chars().next(), rest.get(1..).unwrap_or_default()) {
        (Some(':'), rate) => match rate.parse() {
            Ok(rate) if (0.0..=1.0).contains(&rate) => Trigger::Rate(rate),
            _ => return Err(FaultError(format!("rate \"{rate}\" of {name} is no number from 0 to 1"))),
        },
        (Some('#'), count) => match count.parse() {
            Ok(count) if count > 0 => Trigger::Nth(count),
            _ => return Err(FaultError(format!("occasion \"{count}\" of {name} is no number from 1 up"))),
        },
        (_, times) => match times.split_once('/') {
            Some((first, every)) => Trigger::At { ns: time(first)?, every: Some(time(every)?.max(1)) },
            None => Trigger::At { ns: time(times)?, every: None },
        },
    };
    Ok(Rule { fault, trigger, duration })
}

fn time(text: &str) -> Result<u64, FaultError> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit).unwrap_or((text, ""));
    let scale = match unit {
        "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => f64::NAN,
    };
    match number.parse::<f64>().map(|number| number * scale) {
        Ok(ns) if (0.0..1e18).contains(&ns) => Ok(ns as u64),
        _ => Err(FaultError(format!("\"{text}\" is no time; write it as 2s, 10ms, 50us or 800ns"))),
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, rule) in self.rules.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", rule.fault)?;
            match rule.trigger {
                Trigger::At { ns, every: None } => write!(f, "@{ns}ns")?,
                Trigger::At { ns, every: Some(every) } => write!(f, "@{ns}ns/{every}ns")?,
                Trigger::Rate(rate) => write!(f, ":{rate}")?,
                Trigger::Nth(count) => write!(f, "#{count}")?,
            }
            if let Some(duration) = rule.duration {
                write!(f, "~{duration}ns")?;
            }
        }
        Ok(())
    }
}

/// Decides when faults strike; each side of a card has its own, so that neither disturbs the other's draws.
#[derive(Debug)]
pub(super) struct Dice {
    rules: Vec<Rule>,
    random: fastrand::Rng,
    /// Occasions so far, and strikes that are due at the next one.
    occasions: [u64; Fault::ALL.len()],
    armed: [u64; Fault::ALL.len()],
    /// Whether there is a rule for a fault at all.
    has: [bool; Fault::ALL.len()],
    calm: bool,
}

/// A fault whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) at: u64,
    pub(super) duration: u64,
}

impl Dice {
    pub(super) fn new(faults: &Faults, stream: u64) -> Self {
        let has = Fault::ALL.map(|fault| faults.rules.iter().any(|rule| rule.fault == fault));
        let seed = faults.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream;
        Self {
            rules: faults.rules.clone(),
            random: fastrand::Rng::with_seed(seed),
            occasions: [0; Fault::ALL.len()],
            armed: [0; Fault::ALL.len()],
            has,
            calm: faults.rules.is_empty(),
        }
    }

    /// Whether nothing goes wrong at any occasion.
    #[inline(always)]
    pub(super) fn is_calm(&self) -> bool {
        self.calm
    }

    /// For what is drawn besides faults.
    pub(super) fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    /// The next time at which a fault strikes by the clock.
    pub(super) fn next_time(&self) -> Option<u64> {
        let times = self.rules.iter().filter_map(|rule| match rule.trigger {
            Trigger::At { ns, .. } => Some(ns),
            Trigger::Rate(_) | Trigger::Nth(_) => None,
        });
        times.min()
    }

    /// The earliest fault whose time has come; each once.
    pub(super) fn due(&mut self, now: u64) -> Option<Strike> {
        let at = self.next_time().filter(|&at| at <= now)?;
        let is_it = |rule: &Rule| matches!(rule.trigger, Trigger::At { ns, .. } if ns == at);
        let place = self.rules.iter().position(is_it)?;
        let rule = self.rules.get_mut(place)?;
        let (fault, duration) = (rule.fault, rule.duration.unwrap_or(rule.fault.usual_duration()));
        match &mut rule.trigger {
            Trigger::At { ns, every: Some(every) } => *ns += *every,
            _ => drop(self.rules.remove(place)),
        }
        Some(Strike { fault, at, duration })
    }

    /// It strikes at the next occasion.
    pub(super) fn arm(&mut self, fault: Fault) {
        if let Some(armed) = self.armed.get_mut(fault as usize) {
            *armed += 1;
        }
        if let Some(has) = self.has.get_mut(fault as usize) {
            *has = true;
        }
    }

    /// An occasion: whether it strikes, and for how long.
    #[inline]
    pub(super) fn strikes(&mut self, fault: Fault) -> Option<u64> {
        if self.has.get(fault as usize).copied().unwrap_or(false) { self.roll(fault) } else { None }
    }

    #[cold]
    fn roll(&mut self, fault: Fault) -> Option<u64> {
        if let Some(armed) = self.armed.get_mut(fault as usize).filter(|armed| **armed > 0) {
            *armed -= 1;
            return Some(fault.usual_duration());
        }
        let count = self.occasions.get_mut(fault as usize)?;
        *count += 1;
        let Self { rules, random, .. } = self;
        let struck = rules.iter().filter(|rule| rule.fault == fault).find(|rule| match rule.trigger {
            Trigger::Rate(rate) => random.f64() < rate,
            Trigger::Nth(wanted) => *count == wanted,
            Trigger::At { .. } => false,
        });
        struck.map(|rule| rule.duration.unwrap_or(fault.usual_duration()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_is_printed() {
        let text = "engine-hang@2s,removal@10ms/10ms~1ms,icv-error:1e-4,twice#3,late@5us~3ms";
        let faults: Faults = text.parse().unwrap();
        assert_eq!(faults.to_string().parse::<Faults>().unwrap(), faults);
        assert_eq!(faults.rules.len(), 5);
        for fault in Fault::ALL {
            assert_eq!(format!("{fault}@1ns").parse::<Faults>().unwrap().rules[0].fault, fault);
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        let said = |text: &str| text.parse::<Faults>().unwrap_err().to_string();
        assert!(said("engine-hung@2s").contains("use one of ring-stuck, "));
        assert!(said("late@2").contains("write it as 2s"));
        assert!(said("late@-2s").contains("write it as 2s"));
        assert!(said("late:1.5").contains("from 0 to 1"));
        assert!(said("late#0").contains("from 1 up"));
        assert!(said("late").contains("write engine-hang@2s"));
        assert!(said("late@1s,").contains("no fault with a time"));
        assert!(said("late@1s~x").contains("\"x\" is no time"));
    }

    #[test]
    fn times_come_in_their_order_and_repeat() {
        let mut dice = Dice::new(&"late@30ns,removal@10ns/15ns~4ns".parse().unwrap(), 0);
        assert_eq!((dice.next_time(), dice.due(9)), (Some(10), None));
        let strike = |fault, at, duration| Some(Strike { fault, at, duration });
        assert_eq!(dice.due(100), strike(Fault::Removal, 10, 4));
        assert_eq!(dice.due(100), strike(Fault::Removal, 25, 4));
        assert_eq!(dice.due(32), strike(Fault::Late, 30, 1_000_000));
        assert_eq!((dice.due(32), dice.next_time()), (None, Some(40)));
    }

    #[test]
    fn rates_and_counts_strike_as_often_as_they_say_and_the_same_with_the_same_seed() {
        let faults: Faults = "late:0.25,twice#3".parse().unwrap();
        let struck = |seed: u64| -> Vec<bool> {
            let mut dice = Dice::new(&faults.clone().with_seed(seed), 0);
            (0..10_000).map(|_| dice.strikes(Fault::Late).is_some()).collect()
        };
        let count = struck(1).iter().filter(|struck| **struck).count();
        assert!((2_300..2_700).contains(&count), "{count}");
        assert!(struck(1) == struck(1) && struck(1) != struck(2));
        let mut dice = Dice::new(&faults, 0);
        let twice: Vec<_> = (0..5).map(|_| dice.strikes(Fault::Twice).is_some()).collect();
        assert_eq!(twice, [false, false, true, false, false]);
        assert_eq!(dice.strikes(Fault::Never), None);
        dice.arm(Fault::Never);
        assert!(dice.strikes(Fault::Never).is_some() && dice.strikes(Fault::Never).is_none());
    }
}

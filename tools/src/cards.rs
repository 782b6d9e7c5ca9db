//! Emulated cards: what the options of the driver "nic" say, the same for all programs.
//!
//! Each card's engine turns on a thread of its own, on a processor that polls nothing where there is one.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use clap::{Args, value_parser};
use crypto_pmd::drivers::multibuffer::Level;
use crypto_pmd::drivers::nic::{Card, CardConfig, Faults, Nic, NicConfig, Profile, Runner};
use pipeline::lcore::LcoreId;

use crate::cores;
use crate::failure::Failure;

/// The card that is taken where none is named.
const USUAL: &str = "inline-100g";
/// Most cards: sessions lie on so many drivers at the same time.
const MAX_CARDS: i64 = 8;
/// How often, and how far apart, a card is looked for that is not in its slot.
const MOST_LOOKS: u32 = 1000;
const LOOK: Duration = Duration::from_millis(1);

/// Options of the driver "nic".
#[derive(Clone, Debug, Default, Args)]
pub struct CardOptions {
    /// Model of the driver "nic": "hifn-7751-like", "lookaside-accelerator", "inline-25g", "inline-100g", "inline-200g", or a file that
    /// describes another one. Without it, "inline-100g".
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// So many cards of the driver "nic", 1 to 8, all of one model.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=MAX_CARDS))]
    pub cards: Option<u16>,
    /// What goes wrong with the cards, and when, counted from when they are made: "engine-hang@2s" once at that time,
    /// "removal@10ms/10ms~1ms" every ten milliseconds for one, "icv-error:1e-4" one time in ten thousand, "twice#3" the third time; several
    /// with commas.
    #[arg(long, value_name = "LIST")]
    pub fault: Option<Faults>,
    /// Where chance begins for --fault; each further card begins one higher. Without it, 0.
    #[arg(long, value_name = "N")]
    pub fault_seed: Option<u64>,
    /// The processor on which the cards' engines turn. Without it, one that is not polled on, where there is one.
    #[arg(long, value_name = "N")]
    pub engine_core: Option<usize>,
}

/// Who wants cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nobody.
    No,
    /// The driver "nic".
    Driver,
    /// The driver "scheduler", as children: as many as it lists.
    Children,
}

impl CardOptions {
    /// What is to be made; `polled` are the processors that others poll on.
    ///
    /// # Errors
    /// An option without that driver, a profile that is not there or is wrong, a processor that is not there.
    pub(crate) fn plan(&self, wanted: Wanted, polled: &[usize]) -> Result<Option<CardPlan>, Failure> {
        self.check(wanted)?;
        if wanted == Wanted::No {
            return Ok(None);
        }
        let name = self.profile.as_deref().unwrap_or(USUAL);
        let profile =
            Profile::find(name).map_err(|error| Failure::usage(format_args!("--profile: {error}")))?;
        if !profile.services.lookaside {
            return Err(Failure::usage(format_args!(
                "--profile {name}: this card does not offer \"lookaside\", by which jobs reach it; use another one"
            )));
        }
        let faults = self.fault.clone().unwrap_or_default();
        Ok(Some(CardPlan {
            profile,
            count: self.cards.unwrap_or(1),
            faults,
            seed: self.fault_seed.unwrap_or(0),
            cores: self.engine_cores(polled)?,
        }))
    }

    /// Refuses what does not go together, and reads no file.
    pub(crate) fn check(&self, wanted: Wanted) -> Result<(), Failure> {
        let given = [
            ("--profile", self.profile.is_some()),
            ("--cards", self.cards.is_some()),
            ("--fault", self.fault.is_some()),
            ("--fault-seed", self.fault_seed.is_some()),
            ("--engine-core", self.engine_core.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given).map(|(option, _)| option);
        for option in given {
            if wanted == Wanted::No {
                return Err(Failure::usage(format_args!(
                    "{option}: only --driver nic has cards; name that, or leave {option} out"
                )));
            }
            if wanted == Wanted::Children && option == "--cards" {
                return Err(Failure::usage(
                    "--cards: a scheduler has a card for each \"nic\" that --children lists; leave --cards out",
                ));
            }
        }
        if self.fault_seed.is_some() && self.fault.is_none() {
            return Err(Failure::usage(
                "--fault-seed is where chance begins for --fault; name faults, or leave --fault-seed out",
            ));
        }
        Ok(())
    }

    fn engine_cores(&self, polled: &[usize]) -> Result<Vec<usize>, Failure> {
        let available = cores::available();
        match self.engine_core {
            Some(core) if !available.contains(&LcoreId(core)) => {
                Err(cores::no_such_core("--engine-core", core))
            }
            Some(core) => Ok(vec![core]),
            None => Ok(available.iter().map(|core| core.0).filter(|core| !polled.contains(core)).collect()),
        }
    }
}

/// Cards that are to be made.
#[derive(Clone, Debug)]
pub struct CardPlan {
    profile: Profile,
    count: u16,
    faults: Faults,
    seed: u64,
    /// Processors for the engines, in turn.
    cores: Vec<usize>,
}

impl CardPlan {
    /// Instruction-set level of the engines.
    pub(crate) fn level() -> &'static str {
        Level::best().name()
    }

    /// The model.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// All cards.
    ///
    /// # Errors
    /// As [`CardPlan::start`].
    pub(crate) fn start_all(&self) -> Result<Vec<Seat>, Failure> {
        (0..self.count).map(|unit| self.start(unit)).collect()
    }

    /// One card, with its engine turning.
    ///
    /// # Errors
    /// No memory, or no thread.
    pub(crate) fn start(&self, unit: u16) -> Result<Seat, Failure> {
        let faults = self.faults.clone().with_seed(self.seed.wrapping_add(unit.into()));
        let config = CardConfig { faults, ..CardConfig::default() };
        let core = self.cores.iter().cycle().nth(unit.into()).copied();
        let (card, runner) = Card::start(self.profile.clone(), config, core).map_err(Failure::machine)?;
        Ok(Seat { nic: driver(&card, unit)?, card, _runner: runner })
    }
}

/// The driver of a card. One that was pulled out before its driver was there is waited for, but not for long.
fn driver(card: &Card, unit: u16) -> Result<Nic, Failure> {
    let mut looks = 0;
    loop {
        match Nic::new(card, NicConfig { unit, ..NicConfig::default() }) {
            Ok(nic) => return Ok(nic),
            Err(error) if error.kind() == ErrorKind::NotFound && looks < MOST_LOOKS => {
                looks += 1;
                thread::sleep(LOOK);
            }
            Err(error) => {
                return Err(Failure::machine(format_args!(
                    "card nic{unit}: {error}; where --fault pulls it out, do so later or for less time"
                )));
            }
        }
    }
}

/// A card in its slot, with its driver. The engine stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) nic: Nic,
    pub(crate) card: Card,
    _runner: Runner,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &CardOptions, wanted: Wanted) -> String {
        options.plan(wanted, &[]).unwrap_err().to_string()
    }

    #[test]
    fn options_of_cards_need_a_driver_with_cards() {
        let all = [
            ("--profile", CardOptions { profile: Some("inline-25g".to_owned()), ..CardOptions::default() }),
            ("--cards", CardOptions { cards: Some(2), ..CardOptions::default() }),
            ("--fault", CardOptions { fault: "twice#3".parse().ok(), ..CardOptions::default() }),
            ("--fault-seed", CardOptions { fault_seed: Some(1), ..CardOptions::default() }),
            ("--engine-core", CardOptions { engine_core: Some(0), ..CardOptions::default() }),
        ];
        for (option, options) in all {
            let error = refused(&options, Wanted::No);
            assert!(error.starts_with(&format!("{option}: only --driver nic has cards")), "{error}");
        }
        assert!(CardOptions::default().plan(Wanted::No, &[]).unwrap().is_none());
    }

    #[test]
    fn a_plan_has_one_usual_card_with_faults_by_unit() {
        let plan = CardOptions::default().plan(Wanted::Driver, &[]).unwrap().unwrap();
        assert_eq!((plan.count, plan.profile.name.as_str()), (1, USUAL));
        let seat = plan.start(3).unwrap();
        assert_eq!(crypto_pmd::Driver::name(&seat.nic), "nic3");
    }

    #[test]
    fn a_profile_that_is_nowhere_a_seed_alone_and_a_missing_processor_are_refused() {
        let profile = CardOptions { profile: Some("inline-1t".to_owned()), ..CardOptions::default() };
        assert!(refused(&profile, Wanted::Driver).contains("neither a bundled card (hifn-7751-like, "));
        let seed = CardOptions { fault_seed: Some(1), ..CardOptions::default() };
        assert!(refused(&seed, Wanted::Driver).starts_with("--fault-seed is where chance begins"));
        let core = CardOptions { engine_core: Some(99_999), ..CardOptions::default() };
        assert!(refused(&core, Wanted::Driver).starts_with("--engine-core 99999: no such processor here"));
        let cards = CardOptions { cards: Some(2), ..CardOptions::default() };
        assert!(refused(&cards, Wanted::Children).contains("leave --cards out"));
    }

    #[test]
    fn engines_turn_where_nobody_polls() {
        let available: Vec<_> = cores::available().iter().map(|core| core.0).collect();
        let cores = |polled: &[usize]| CardOptions::default().engine_cores(polled).unwrap();
        assert_eq!(cores(&[]), available);
        assert_eq!(cores(&available), Vec::<usize>::new());
        assert!(!cores(&available[..1]).contains(&available[0]));
    }
}

//! Drops by SA, under the names of the configuration.

use ipsec_esp::counters::Counters;
use ipsec_esp::sa::SaSlot;
use ipsec_esp::spd;
use serde::Serialize;

use crate::config::SaConfig;

use super::options::Direction;

/// Packets of one SA that were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SaDrops {
    /// Name of the SA; empty for packets of pairs of SA and reason beyond those that are told apart.
    pub sa: String,
    /// Its direction.
    pub direction: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub packets: u64,
}

/// The drops of the halves that packets enter and leave, of SAs at `places`, in the order of names and reasons.
pub(super) fn by_sa(
    direction: Direction,
    (enter, leave): (&Counters, &Counters),
    sas: &[SaConfig],
    places: &[Option<SaSlot>],
) -> Vec<SaDrops> {
    let outbound = (direction != Direction::Inbound).then_some((enter, spd::Direction::Outbound));
    let inbound = (direction != Direction::Outbound).then_some((leave, spd::Direction::Inbound));
    let mut drops = Vec::new();
    for (counters, direction) in outbound.into_iter().chain(inbound) {
        let name_of = |slot: u32| {
            let mut both = sas.iter().zip(places);
            let found = both.find(|(sa, place)| sa.direction == direction && **place == Some(SaSlot(slot)));
            found.map_or_else(String::new, |(sa, _)| sa.name.clone())
        };
        let direction = match direction {
            spd::Direction::Outbound => "outbound",
            spd::Direction::Inbound => "inbound",
        };
        drops.extend(counters.dropped_by_sa.iter().map(|(slot, reason, packets)| SaDrops {
            sa: name_of(slot),
            direction,
            reason: reason.name(),
            packets,
        }));
        let rest = counters.dropped_by_sa.overflow();
        if rest > 0 {
            drops.push(SaDrops { sa: String::new(), direction, reason: "any", packets: rest });
        }
    }
    drops.sort();
    drops
}

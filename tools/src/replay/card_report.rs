//! The part of the report that is about cards.

use comfy_table::CellAlignment;
use serde::Serialize;

use crate::outputs::screen;

use super::cards::{BySoftware, CardSummary};
use super::run::Outcome;

/// Cards, and what dispatchers did about them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cards {
    cards: Vec<CardSummary>,
    dispatcher: Dispatched,
    by_software: Vec<BySoftware>,
}

/// What dispatchers did besides handing jobs on, over all cores.
#[derive(Clone, Copy, Debug, Serialize)]
struct Dispatched {
    /// Jobs that software did because the cards had no room, or take packets in one piece only.
    fell_back: u64,
    /// Jobs that another driver did because theirs went or gave them back.
    redriven: u64,
    /// Sessions that moved because their card was detached.
    migrations: u64,
}

impl Cards {
    /// Of a run with cards.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        let rack = outcome.cards.as_ref()?;
        let (fell_back, redriven) = outcome.dispatched;
        let dispatcher = Dispatched { fell_back, redriven, migrations: rack.migrations };
        Some(Self { cards: rack.cards.clone(), dispatcher, by_software: rack.by_software.clone() })
    }

    /// A row for each card, and what it did not do.
    pub(super) fn in_words(&self) -> String {
        let mut table = screen();
        let head =
            ["card", "jobs", "doorbells", "mean depth", "resets", "removals", "indeterminate", "by host"];
        table.add_row(head);
        for card in &self.cards {
            let driver = |name| card.driver.get(name).copied().unwrap_or_default();
            let by_card = |name| card.card.get(name).copied().unwrap_or_default();
            table.add_row([
                format!("{} {}", card.name, card.health),
                driver("submitted").to_string(),
                driver("doorbells").to_string(),
                format!("{:.1}", card.queue_depth.mean),
                by_card("resets").to_string(),
                driver("removals").to_string(),
                driver("indeterminate").to_string(),
                (driver("by_host") + driver("refused")).to_string(),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let Dispatched { fell_back, redriven, migrations } = self.dispatcher;
        let profile = self.cards.first().map_or("", |card| &card.profile);
        let mut text = format!(
            "{table}\ncards {profile}; fell back to software: {fell_back} jobs; done again elsewhere: {redriven}; sessions moved: {migrations}\n"
        );
        for passed in &self.by_software {
            text += &format!("SA {} went to software: {}\n", passed.sa, passed.why);
        }
        text
    }
}

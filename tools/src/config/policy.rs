//! One `[[policy]]` table: its direction, priority, selector and action, with the SAs that it names found.

use std::collections::HashMap;

use ipsec_esp::selector::{Selector, SelectorError};
use ipsec_esp::spd::{Direction, MAX_SAS};
use toml::Spanned;

use crate::near::nearest;

use super::error::{ConfigError, Position};
use super::fields::{Fields, Shape};
use super::sa::{DIRECTIONS, SaConfig};

/// Priority of a policy that gives none: behind those that do, as people number them, from 100 up.
pub(super) const DEFAULT_PRIORITY: u32 = 1000;

pub(super) const POLICY: Shape = Shape {
    name: "[[policy]]",
    known: &["direction", "priority", "selector", "action", "sa"],
    not_built: &[],
};

const SELECTOR: Shape =
    Shape { name: "selector", known: &["src", "dst", "protocol", "src_port", "dst_port"], not_built: &[] };

const SA_RIGHT: &str = "the name of an SA as a string, or a list of up to four";

/// What a policy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// ESP with these SAs, one to four, as indices into [`super::Config::sas`]; all of the policy's direction.
    Protect(Vec<usize>),
    /// Pass in the clear.
    Bypass,
    /// Drop.
    Discard,
}

/// One policy of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Which way the packets go.
    pub direction: Direction,
    /// Lowest first, ties in file order; 1000 where the file gives none.
    pub priority: u32,
    /// Which packets it speaks of; every field that the file leaves out is `any`.
    pub selector: Selector,
    /// What happens to them.
    pub action: PolicyAction,
    /// Line of its table, from 1.
    pub line: usize,
    /// Column of its table, from 1.
    pub column: usize,
}

impl PolicyConfig {
    pub(super) const fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }
}

/// The SAs that policies can name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) sas: &'a [SaConfig],
    pub(super) by_name: &'a HashMap<String, usize>,
}

pub(super) fn read(fields: &Fields<'_>, names: Names<'_>) -> Result<PolicyConfig, ConfigError> {
    let direction = fields
        .choice("direction", DIRECTIONS)?
        .ok_or_else(|| fields.missing("direction", "direction = \"outbound\" or \"inbound\""))?;
    let priority = fields.integer("priority", 0..=u32::MAX.into(), "an integer from 0 to 4294967295")?;
    let Position { line, column } = fields.source().position(fields.offset());
    Ok(PolicyConfig {
        direction,
        priority: priority.unwrap_or(DEFAULT_PRIORITY),
        selector: selector(fields)?,
        action: action(fields, direction, names)?,
        line,
        column,
    })
}

fn selector(fields: &Fields<'_>) -> Result<Selector, ConfigError> {
    let Some(parts) = fields.table("selector", &SELECTOR)? else { return Ok(Selector::ANY) };
    let selector = Selector::new(
        part(&parts, "src", "\"any\", a prefix, a range or an address as a string")?,
        part(&parts, "dst", "\"any\", a prefix, a range or an address as a string")?,
        part(&parts, "protocol", "\"any\", a name, or a number from 1 to 255")?,
        part(&parts, "src_port", "\"any\", a port or a range of ports")?,
        part(&parts, "dst_port", "\"any\", a port or a range of ports")?,
    );
    selector.map_err(|error| fields.error("selector", error.to_string()))
}

fn part<T>(parts: &Fields<'_>, field: &str, right: &str) -> Result<T, ConfigError>
where
    T: std::str::FromStr<Err = SelectorError>,
{
    let text = parts.string_or_integer(field, right)?;
    text.as_deref()
        .unwrap_or("any")
        .parse()
        .map_err(|error: SelectorError| parts.error(field, error.to_string()))
}

fn action(fields: &Fields<'_>, direction: Direction, names: Names<'_>) -> Result<PolicyAction, ConfigError> {
    const ACTIONS: &[(&str, PolicyKind)] =
        &[("protect", PolicyKind::Protect), ("bypass", PolicyKind::Bypass), ("discard", PolicyKind::Discard)];
    let kind = fields
        .choice("action", ACTIONS)?
        .ok_or_else(|| fields.missing("action", "action = \"protect\", \"bypass\" or \"discard\""))?;
    let action = match kind {
        PolicyKind::Protect => return sas(fields, direction, names).map(PolicyAction::Protect),
        PolicyKind::Bypass => PolicyAction::Bypass,
        PolicyKind::Discard => PolicyAction::Discard,
    };
    if fields.has("sa") {
        return Err(fields.error("sa", "sa belongs to action = \"protect\"; remove it, or change the action"));
    }
    Ok(action)
}

#[derive(Clone, Copy)]
enum PolicyKind {
    Protect,
    Bypass,
    Discard,
}

fn sas(fields: &Fields<'_>, direction: Direction, names: Names<'_>) -> Result<Vec<usize>, ConfigError> {
    if !fields.has("sa") {
        return Err(fields.missing("sa", "sa = the name of an SA, which a protect policy needs"));
    }
    let items = fields.strings("sa", SA_RIGHT)?;
    if items.is_empty() || items.len() > MAX_SAS {
        return Err(fields.error("sa", format!("sa names {} SAs; name 1 to {MAX_SAS}", items.len())));
    }
    let mut found = Vec::with_capacity(items.len());
    for item in &items {
        let wrong = |message| fields.source().error(item.span().start, message);
        let index = named(item, direction, names).map_err(wrong)?;
        if found.contains(&index) {
            return Err(wrong(format!("SA \"{}\" is named twice; name it once", item.get_ref())));
        }
        found.push(index);
    }
    Ok(found)
}

fn named(item: &Spanned<&str>, direction: Direction, names: Names<'_>) -> Result<usize, String> {
    let name = *item.get_ref();
    let index = names.by_name.get(name).copied();
    match index.and_then(|index| names.sas.get(index).map(|sa| (index, sa.direction))) {
        Some((index, same)) if same == direction => Ok(index),
        Some((_, other)) => {
            Err(format!("SA \"{name}\" is {other}, this policy is {direction}; name an {direction} SA"))
        }
        None if names.sas.is_empty() => {
            Err(format!("there is no SA \"{name}\"; add an [[sa]] table with that name"))
        }
        None => {
            let near = nearest(name, names.sas.iter().map(|sa| sa.name.as_str()));
            Err(format!("there is no SA \"{name}\"; near it: {near}"))
        }
    }
}

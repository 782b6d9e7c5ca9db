//! The whole text: TOML to tables, tables to SAs and policies, and what must hold between them.
//!
//! What toml decodes of strings is wiped. It also copies the text into the error of a broken document, and that copy
//! is freed without being wiped.

use std::borrow::Cow;
use std::collections::HashMap;

use ipsec_esp::header::esp::Spi;
use ipsec_esp::spd::Direction;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroize as _;

use crate::near::nearest;

use super::error::ConfigError;
use super::fields::{Fields, Shape, described};
use super::policy::{self, Names, POLICY, PolicyConfig};
use super::sa::{self, SA, SaConfig};
use super::source::Source;

/// Tables that every tool reads.
const OWN_TABLES: &[&str] = &["sa", "policy"];

/// Tables of the gateway, and how they are written.
const GATEWAY_TABLES: &[(&str, &str)] =
    &[("port", "[[port]]"), ("route", "[[route]]"), ("gateway", "[gateway]")];

/// What a document says.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) sas: Vec<SaConfig>,
    pub(super) policies: Vec<PolicyConfig>,
    pub(super) notes: Vec<String>,
    pub(super) has_inline_keys: bool,
}

pub(super) fn read(source: &Source<'_>, text: &str) -> Result<Document, ConfigError> {
    let root = Root(parse(source, text)?);
    let mut document = Document::default();
    check_top(source, &root.0, &mut document.notes)?;
    let names = read_sas(source, tables(source, &root.0, "sa", &SA)?, &mut document)?;
    check_inbound_spis(source, &root.0, &document.sas)?;
    for table in tables(source, &root.0, "policy", &POLICY)? {
        let fields = Fields::new(source, &POLICY, table)?;
        let names = Names { sas: &document.sas, by_name: &names };
        document.policies.push(policy::read(&fields, names)?);
    }
    Ok(document)
}

fn parse<'a>(source: &Source<'_>, text: &'a str) -> Result<DeTable<'a>, ConfigError> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| {
        // The error's own display shows the line, in which a key may stand.
        let message = error.message().replacen(", expected", "; expected", 1);
        source.error(error.span().map_or(0, |span| span.start), format!("not TOML: {message}"))
    })
}

/// The parsed tables. Strings with escapes in them are copies of the text, and wiped.
struct Root<'a>(DeTable<'a>);

impl Drop for Root<'_> {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| wipe(value.get_mut()));
    }
}

fn wipe(value: &mut DeValue<'_>) {
    match value {
        DeValue::String(Cow::Owned(text)) => text.zeroize(),
        DeValue::Array(items) => items.iter_mut().for_each(|item| wipe(item.get_mut())),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| wipe(value.get_mut())),
        _ => {}
    }
}

fn check_top(source: &Source<'_>, root: &DeTable<'_>, notes: &mut Vec<String>) -> Result<(), ConfigError> {
    let mut keys: Vec<_> = root.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    for key in keys {
        let (name, offset) = (key.get_ref().as_ref(), key.span().start);
        if let Some((_, written)) = GATEWAY_TABLES.iter().find(|(table, _)| *table == name) {
            notes.push(source.note(offset, &format!("{written} is for esp-gateway; ignored")));
        } else if !OWN_TABLES.contains(&name) {
            let near = nearest(
                name,
                OWN_TABLES.iter().chain(GATEWAY_TABLES.iter().map(|(table, _)| table)).copied(),
            );
            return Err(source.error(offset, format!("there is no table \"{name}\"; near it: {near}")));
        }
    }
    Ok(())
}

/// The tables of one kind, in file order.
fn tables<'a>(
    source: &Source<'_>,
    root: &'a DeTable<'a>,
    key: &str,
    shape: &Shape,
) -> Result<&'a [Spanned<DeValue<'a>>], ConfigError> {
    let Some(value) = root.get(key) else { return Ok(&[]) };
    match value.get_ref() {
        DeValue::Array(items) => Ok(items),
        other => {
            let message = format!("{key} is {}; write {}", described(other), shape.name);
            Err(source.error(value.span().start, message))
        }
    }
}

/// Reads the SAs into the document; gives back which index each name has.
fn read_sas<'a>(
    source: &'a Source<'a>,
    tables: &'a [Spanned<DeValue<'a>>],
    document: &mut Document,
) -> Result<HashMap<String, usize>, ConfigError> {
    let mut names = HashMap::with_capacity(tables.len());
    for table in tables {
        let fields = Fields::new(source, &SA, table)?;
        let read = sa::read(&fields, &mut document.notes)?;
        document.has_inline_keys |= read.has_inline_key;
        if let Some(other) = names.insert(read.sa.name.clone(), document.sas.len()) {
            let line = document.sas.get(other).map_or(0, |sa| sa.line);
            let message =
                format!("the SA of line {line} has the name \"{}\" too; give each its own", read.sa.name);
            return Err(fields.error("name", message));
        }
        document.sas.push(read.sa);
    }
    Ok(names)
}

/// A packet must lead to one inbound SA: no two have one SPI and a destination that both take.
fn check_inbound_spis<'a>(
    source: &'a Source<'a>,
    root: &'a DeTable<'a>,
    sas: &[SaConfig],
) -> Result<(), ConfigError> {
    let tables = tables(source, root, "sa", &SA)?;
    let mut seen: HashMap<Spi, Vec<&SaConfig>> = HashMap::new();
    for (sa, table) in sas.iter().zip(tables).filter(|(sa, _)| sa.direction == Direction::Inbound) {
        let others = seen.entry(sa.params.spi).or_default();
        if let Some(other) = others.iter().find(|other| shares_destination(other, sa)) {
            let (spi, first, second) = (sa.params.spi, other.line, sa.line);
            let message = format!(
                "the inbound SAs of lines {first} and {second} have SPI {spi} and destination in common; give one another spi"
            );
            return Err(Fields::new(source, &SA, table)?.error("spi", message));
        }
        others.push(sa);
    }
    Ok(())
}

/// Whether some packet's destination suits both; an SA that names none takes all.
pub(super) fn shares_destination(one: &SaConfig, other: &SaConfig) -> bool {
    match (one.params.destination(), other.params.destination()) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

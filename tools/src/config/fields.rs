//! One table of the configuration, asked for its fields by name and type, each with its position.
//!
//! Invariant: a table that exists has no field but the known ones. What the values mean together is the business of
//! [`super::sa`] and [`super::policy`].

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::near::nearest;

use super::error::ConfigError;
use super::source::Source;

/// A kind of table: how it is written, and what may stand in it.
#[derive(Debug)]
pub(super) struct Shape {
    /// As people write it, with `[[ ]]`.
    pub(super) name: &'static str,
    /// Fields that are taken.
    pub(super) known: &'static [&'static str],
    /// Fields that mean something but cannot be run yet.
    pub(super) not_built: &'static [&'static str],
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    source: &'a Source<'a>,
    shape: &'static Shape,
    table: &'a DeTable<'a>,
    offset: usize,
}

impl<'a> Fields<'a> {
    /// The table in this value; fields that are not known or not built are refused, the first of the file first.
    pub(super) fn new(
        source: &'a Source<'a>,
        shape: &'static Shape,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Result<Self, ConfigError> {
        let offset = value.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            let found = described(value.get_ref());
            return Err(source.error(offset, format!("{} is {found}; write a table", shape.name)));
        };
        let fields = Self { source, shape, table, offset };
        let mut keys: Vec<_> = table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().try_for_each(|key| fields.check_known(key.get_ref(), key.span().start))?;
        Ok(fields)
    }

    fn check_known(&self, field: &str, offset: usize) -> Result<(), ConfigError> {
        let Shape { name, known, not_built } = *self.shape;
        if known.contains(&field) {
            return Ok(());
        }
        if not_built.contains(&field) {
            return Err(self.source.error(offset, format!("{field} is not implemented yet; remove it")));
        }
        let near = nearest(field, known.iter().copied());
        Err(self.source.error(offset, format!("{name} has no field \"{field}\"; near it: {near}")))
    }

    /// Where the table begins, in bytes.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    pub(super) const fn source(&self) -> &'a Source<'a> {
        self.source
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    fn value(&self, field: &str) -> Option<&'a DeValue<'a>> {
        self.table.get(field).map(Spanned::get_ref)
    }

    /// An error at the value of this field, or at the table where it is missing.
    pub(super) fn error(&self, field: &str, message: impl AsRef<str>) -> ConfigError {
        self.source.error(self.value_offset(field), message)
    }

    /// Where the value of this field begins, or the table where it is missing, in bytes.
    pub(super) fn value_offset(&self, field: &str) -> usize {
        self.table.get(field).map_or(self.offset, |value| value.span().start)
    }

    /// The error for a field that is not there; `right` says how to write it.
    pub(super) fn missing(&self, field: &str, right: &str) -> ConfigError {
        self.source.error(self.offset, format!("this {} has no {field}; add {right}", self.shape.name))
    }

    fn wrong(&self, field: &str, found: &str, right: &str) -> ConfigError {
        self.error(field, format!("{field} is {found}; write {right}"))
    }

    /// A string; `right` says in errors what to write.
    pub(super) fn string(&self, field: &str, right: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.value(field) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, described(other), right)),
        }
    }

    /// What a string of this field parses to.
    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        field: &str,
        right: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.string(field, right)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(field, &format!("\"{text}\""), right))
    }

    /// One of a few strings.
    pub(super) fn choice<T: Copy>(
        &self,
        field: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let right = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let Some(text) = self.string(field, &right)? else { return Ok(None) };
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(self.wrong(field, &format!("\"{text}\""), &right)),
        }
    }

    pub(super) fn boolean(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        match self.value(field) {
            None => Ok(None),
            Some(DeValue::Boolean(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(field, described(other), "true or false")),
        }
    }

    /// An integer of this range, which may reach over what TOML promises.
    pub(super) fn integer<T: TryFrom<u64>>(
        &self,
        field: &str,
        range: RangeInclusive<u64>,
        right: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let number = match value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match (
            number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok()),
            value,
        ) {
            (Some(number), _) => Ok(Some(number)),
            (None, DeValue::Integer(integer)) => {
                Err(self.wrong(field, &format!("out of range: {integer}"), right))
            }
            (None, _) => Err(self.wrong(field, described(value), right)),
        }
    }

    /// A string, or an integer as its decimal text.
    pub(super) fn string_or_integer(&self, field: &str, right: &str) -> Result<Option<String>, ConfigError> {
        match self.value(field) {
            Some(DeValue::Integer(_)) => {
                Ok(self.integer::<u64>(field, 0..=u64::MAX, right)?.map(|number| number.to_string()))
            }
            _ => Ok(self.string(field, right)?.map(str::to_owned)),
        }
    }

    /// A string, or a list of strings, each with where it stands.
    pub(super) fn strings(&self, field: &str, right: &str) -> Result<Vec<Spanned<&'a str>>, ConfigError> {
        let Some(value) = self.table.get(field) else { return Ok(Vec::new()) };
        let items = match value.get_ref() {
            DeValue::Array(items) => items.as_ref(),
            _ => std::slice::from_ref(value),
        };
        items.iter().map(|item| self.list_item(field, item, right)).collect()
    }

    fn list_item(
        &self,
        field: &str,
        item: &'a Spanned<DeValue<'a>>,
        right: &str,
    ) -> Result<Spanned<&'a str>, ConfigError> {
        match item.get_ref() {
            DeValue::String(text) => Ok(Spanned::new(item.span(), text)),
            other => {
                let message = format!("{field} is {}; write {right}", described(other));
                Err(self.source.error(item.span().start, message))
            }
        }
    }

    /// A table inside this one.
    pub(super) fn table(
        &self,
        field: &str,
        shape: &'static Shape,
    ) -> Result<Option<Fields<'a>>, ConfigError> {
        self.table.get(field).map(|value| Fields::new(self.source, shape, value)).transpose()
    }
}

/// What somebody wrote in a wrong place, without its value, which may be a secret.
pub(super) const fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction or exponent",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

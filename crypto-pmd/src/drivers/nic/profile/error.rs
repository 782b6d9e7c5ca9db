//! What is wrong with a profile, and where: `FILE:LINE:COLUMN: what; what would be right`.

use std::fmt::Write as _;

/// Why a profile is not taken; shown as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

impl ProfileError {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self(format!("{file}: cannot be read: {error}; check the name and its permissions"))
    }

    pub(super) fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let known = known.collect::<Vec<_>>().join(", ");
        Self(format!(
            "\"{name}\" is neither a bundled card ({known}) nor a file; use one of those, or the name of a profile"
        ))
    }

    /// At a byte of the text, or about the whole file.
    pub(super) fn at(file: &str, text: &str, offset: Option<usize>, what: &str) -> Self {
        let mut message = file.to_owned();
        if let Some(before) = offset.and_then(|offset| text.get(..offset.min(text.len()))) {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            // Writing to a string does not fail.
            let _ = write!(message, ":{line}:{column}");
        }
        let what = what.replace('\n', " ");
        Self(format!("{message}: {what}"))
    }
}

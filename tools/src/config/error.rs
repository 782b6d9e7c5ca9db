//! What is wrong with a configuration, and where.
//!
//! Invariants: an error is one line, `FILE:LINE:COL: what is wrong; what would be right`, or `FILE: …` where it is
//! about the whole file; it never shows what could be a key, wherever in the file somebody wrote it.

use std::fmt::{self, Write as _};

use thiserror::Error;

/// From how many letters and digits on a word may be a key: below the 32 hex digits of the shortest one, above the
/// 20 digits of the largest sequence number.
const KEY_LIKE_LEN: usize = 24;

/// Most characters of a message; what people wrote is quoted in it, and may be long.
const MESSAGE_CHARS: usize = 400;

/// A place in a text, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a configuration is not taken; shown as one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{message}", prefix(.file, *.position))]
pub struct ConfigError {
    file: String,
    position: Option<Position>,
    message: String,
}

impl ConfigError {
    pub(super) fn new(file: &str, position: Option<Position>, message: &str) -> Self {
        Self { file: one_line(file), position, message: without_keys(message) }
    }

    /// Where it is wrong, or `None` where it is about the whole file.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// What is wrong, and what would be right.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// What stands before the message of an error or a note.
pub(super) fn prefix(file: &str, position: Option<Position>) -> String {
    match position {
        Some(position) => format!("{file}:{position}: "),
        None => format!("{file}: "),
    }
}

/// The text without anything that would end the line or move the cursor.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The message on one line, of bounded length, with every word that looks like a key taken out.
fn without_keys(message: &str) -> String {
    let mut safe = String::new();
    let mut rest = message;
    while !rest.is_empty() {
        let word_len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(word_len).unwrap_or((rest, ""));
        safe.push_str(if is_key_like(word) { "[redacted]" } else { word });
        let mut after = after.chars();
        safe.extend(after.next());
        rest = after.as_str();
    }
    shortened(&one_line(&safe))
}

/// Long, and of hex digits but for a few mistakes.
fn is_key_like(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_hexdigit).count();
    word.len() >= KEY_LIKE_LEN && digits * 4 >= word.len() * 3
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MESSAGE_CHARS).collect();
    if short.len() < text.len() {
        // Writing to a string cannot fail.
        let _ = write!(short, "…");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &str) -> String {
        ConfigError::new("a.toml", Some(Position { line: 3, column: 7 }), message).to_string()
    }

    #[test]
    fn an_error_is_file_line_column_and_message_on_one_line() {
        assert_eq!(shown("x is\nwrong;\twrite y"), "a.toml:3:7: x is wrong; write y");
        assert_eq!(ConfigError::new("a\n.toml", None, "empty").to_string(), "a .toml: empty");
    }

    #[test]
    fn what_looks_like_a_key_is_taken_out_of_a_message() {
        for (message, expected) in [
            ("\"00112233445566778899aabbccddeeff\" is no suite", "\"[redacted]\" is no suite"),
            ("keys/00112233445566778899aabbccddeefg.key", "keys/[redacted].key"),
            ("ends with 000102030405060708090a0b0c0d0e0f", "ends with [redacted]"),
            ("use 1 to 18446744073709551615; ü", "use 1 to 18446744073709551615; ü"),
            (
                "a-rather-long-name aRatherLongNameWithoutAnyBlanks",
                "a-rather-long-name aRatherLongNameWithoutAnyBlanks",
            ),
        ] {
            assert_eq!(shown(message), format!("a.toml:3:7: {expected}"));
        }
    }

    #[test]
    fn a_very_long_message_is_cut() {
        let message = "no ".repeat(500);
        assert_eq!(shown(&message).chars().count(), "a.toml:3:7: ".len() + MESSAGE_CHARS + 1);
    }
}

//! The text of a configuration, and from byte offsets in it to lines and columns.
//!
//! It holds no copy of the text: who read it wipes it.

use std::path::Path;

use super::error::{ConfigError, Position, one_line, prefix};

/// A text, its name, and the folder from which the files that it names are looked for.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, folder: &'a Path) -> Self {
        let after_newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, text, folder, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    pub(super) const fn folder(&self) -> &'a Path {
        self.folder
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        Position { line, column: before.chars().count() + 1 }
    }

    pub(super) fn error(&self, offset: usize, message: impl AsRef<str>) -> ConfigError {
        ConfigError::new(self.file, Some(self.position(offset)), message.as_ref())
    }

    pub(super) fn note(&self, offset: usize, message: &str) -> String {
        one_line(&format!("{}{message}", prefix(self.file, Some(self.position(offset)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("f", "ab\nüx\n\n", Path::new(""));
        for (offset, line, column) in
            [(0, 1, 1), (1, 1, 2), (2, 1, 3), (3, 2, 1), (5, 2, 2), (7, 3, 1), (8, 4, 1), (99, 4, 1)]
        {
            assert_eq!(source.position(offset), Position { line, column }, "{offset}");
        }
    }
}

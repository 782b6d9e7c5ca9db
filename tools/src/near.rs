//! Which of the known names somebody may have meant.

/// Most names that are offered.
const OFFERED: usize = 3;

/// Characters of the mistake that are looked at: more would only cost time.
const COMPARED: usize = 64;

/// The nearest names with commas between them: those that hold the word whole, then those that have its parts between hyphens in their
/// order, then by the letters that differ; ties in the order given.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let start: String = word.chars().take(COMPARED).collect();
    let rank =
        |name: &str| (!name.contains(word), !has_parts(name, &start), strsim::levenshtein(&start, name));
    let mut near: Vec<_> = names.into_iter().map(|name| (rank(name), name)).collect();
    near.sort_by_key(|(rank, _)| *rank);
    near.iter().take(OFFERED).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// Whether a name has all parts of a word of several, and others between them.
fn has_parts(name: &str, word: &str) -> bool {
    let mut parts = name.split('-');
    word.contains('-') && word.split('-').all(|wanted| parts.any(|part| part == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_comes_first() {
        let names = ["name", "spi", "suite", "esn"];
        assert_eq!(nearest("spii", names), "spi, suite, name");
        assert_eq!(nearest("nam", names), "name, spi, esn");
        assert_eq!(nearest("port", ["src", "dst", "src_port"]), "src_port, src, dst");
        assert_eq!(nearest("x", []), "");
        let names = ["des-cbc", "aes-128-ctr", "aes-128-cbc", "aes-256-cbc"];
        assert_eq!(nearest("aes-cbc", names), "aes-128-cbc, aes-256-cbc, des-cbc");
    }
}

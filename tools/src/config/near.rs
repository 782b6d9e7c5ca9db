//! Which of the known names somebody may have meant.

/// Most names that are offered.
const OFFERED: usize = 3;

/// Characters of the mistake that are looked at: more would only cost time.
const COMPARED: usize = 64;

/// The nearest names with commas between them: those that hold the word whole, then by the letters that differ; ties
/// in the order given.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let letters: Vec<char> = word.chars().take(COMPARED).collect();
    let rank = |name: &str| (!name.contains(word), distance(&letters, name));
    let mut near: Vec<_> = names.into_iter().map(|name| (rank(name), name)).collect();
    near.sort_by_key(|(rank, _)| *rank);
    near.iter().take(OFFERED).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// Letters to insert, delete or replace to come from the one word to the other.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().take(COMPARED).collect();
    let first_row: Vec<usize> = (0..=to.len()).collect();
    let last_row =
        from.iter().zip(1..).fold(first_row, |above, (letter, row)| next_row(&above, *letter, &to, row));
    last_row.last().copied().unwrap_or(0)
}

fn next_row(above: &[usize], letter: char, to: &[char], first: usize) -> Vec<usize> {
    let mut row = vec![first];
    let mut left = first;
    for (pair, other) in above.windows(2).zip(to) {
        let &[diagonal, up] = pair else { continue };
        left = (diagonal + usize::from(letter != *other)).min(up + 1).min(left + 1);
        row.push(left);
    }
    row
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
    }

    #[test]
    fn distance_counts_single_letter_changes() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(&from.chars().collect::<Vec<_>>(), to), expected, "{from} {to}");
        }
    }
}

//! Algorithms by name, made from what the drivers say they can do: a new algorithm of a driver appears here by itself.
//!
//! Names are DPDK's, with the bits of the key in them where an algorithm takes keys of several lengths: `aes-cbc` with
//! 16 bytes is `aes-128-cbc`.

use crypto_pmd::Capabilities;
use crypto_pmd::capability::KeyLengths;

use crate::failure::Failure;
use crate::near::nearest;

use super::subject::{Recipe, Subject};

/// Bytes of key of a cipher that takes any length.
const USUAL_KEY_LEN: usize = 16;

/// Every algorithm that some driver has.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    subjects: Vec<Subject>,
}

impl Catalogue {
    /// The algorithms of these drivers, each once.
    pub(super) fn of<'a>(drivers: impl IntoIterator<Item = &'a Capabilities>) -> Self {
        let mut catalogue = Self::default();
        drivers.into_iter().for_each(|capabilities| catalogue.add(capabilities));
        catalogue
    }

    fn add(&mut self, capabilities: &Capabilities) {
        for supported in &capabilities.ciphers {
            let algorithm = supported.algorithm;
            for (name, key_len) in names(algorithm.name(), &supported.keys, USUAL_KEY_LEN) {
                self.push(name, Recipe::Cipher { algorithm, key_len });
            }
        }
        for supported in &capabilities.integrity {
            let algorithm = supported.algorithm;
            let tag_len = longest(&supported.tags);
            for (name, key_len) in names(algorithm.name(), &supported.keys, algorithm.digest_len()) {
                self.push(name, Recipe::Integrity { algorithm, key_len, tag_len });
            }
        }
        for supported in &capabilities.digests {
            let (algorithm, digest_len) = (supported.algorithm, longest(&supported.tags));
            self.push(algorithm.name().to_owned(), Recipe::Digest { algorithm, digest_len });
        }
        for supported in &capabilities.aeads {
            let algorithm = supported.algorithm;
            let tag_len = longest(&supported.tags);
            for (name, key_len) in names(algorithm.name(), &supported.keys, USUAL_KEY_LEN) {
                self.push(name, Recipe::Aead { algorithm, key_len, tag_len });
            }
        }
    }

    fn push(&mut self, name: String, recipe: Recipe) {
        if !self.subjects.iter().any(|subject| subject.name == name) {
            self.subjects.push(Subject { name, recipe });
        }
    }

    /// All of them, in the drivers' order.
    pub(super) fn all(&self) -> &[Subject] {
        &self.subjects
    }

    /// The algorithm of this name, in any case.
    ///
    /// # Errors
    /// A name that nothing has, with the nearest that there are.
    pub(super) fn find(&self, name: &str) -> Result<&Subject, Failure> {
        let wanted = name.to_ascii_lowercase();
        self.subjects.iter().find(|subject| subject.name == wanted).ok_or_else(|| {
            let near = nearest(&wanted, self.subjects.iter().map(|subject| subject.name.as_str()));
            Failure::usage(format_args!("there is no algorithm \"{name}\"; near it: {near}"))
        })
    }
}

/// A name for each length of key, with the length in bytes; `usual` where any length will do.
fn names(algorithm: &str, keys: &KeyLengths, usual: usize) -> Vec<(String, usize)> {
    match keys {
        KeyLengths::OneOf(lengths) => match lengths.as_slice() {
            [only] => vec![(algorithm.to_owned(), *only)],
            several => several.iter().map(|&len| (with_bits(algorithm, len * 8), len)).collect(),
        },
        KeyLengths::Range(least, most) => {
            vec![(algorithm.to_owned(), usual.max(*least).min(*most))]
        }
    }
}

/// The bits go behind the cipher's name and in front of its mode.
fn with_bits(algorithm: &str, bits: usize) -> String {
    match algorithm.split_once('-') {
        Some((cipher, mode)) => format!("{cipher}-{bits}-{mode}"),
        None => format!("{algorithm}-{bits}"),
    }
}

fn longest(tags: &[usize]) -> usize {
    tags.iter().copied().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_pmd::Driver as _;
    use crypto_pmd::drivers::{Null, Software};

    fn catalogue() -> Catalogue {
        let (null, software) = (Null::new(), Software::new());
        Catalogue::of([null.capabilities(), software.capabilities(), software.capabilities()])
    }

    #[test]
    fn names_come_from_what_drivers_can_do_each_once() {
        let catalogue = catalogue();
        for name in ["aes-128-cbc", "aes-256-cbc", "sha1-hmac", "sha2-512-hmac", "aes-192-gcm"] {
            assert_eq!(catalogue.all().iter().filter(|subject| subject.name == name).count(), 1, "{name}");
            assert_eq!(catalogue.find(&name.to_uppercase()).unwrap().name, name);
        }
    }

    #[test]
    fn every_algorithm_of_a_driver_is_there_with_every_length_of_key() {
        let software = Software::new();
        let capabilities = software.capabilities();
        let catalogue = catalogue();
        let lengths = |keys: &KeyLengths| match keys {
            KeyLengths::OneOf(lengths) => lengths.len(),
            KeyLengths::Range(..) => 1,
        };
        let ciphers: usize = capabilities.ciphers.iter().map(|one| lengths(&one.keys)).sum();
        let integrity: usize = capabilities.integrity.iter().map(|one| lengths(&one.keys)).sum();
        let aeads: usize = capabilities.aeads.iter().map(|one| lengths(&one.keys)).sum();
        assert_eq!(catalogue.all().len(), ciphers + integrity + capabilities.digests.len() + aeads);
    }

    #[test]
    fn bits_stand_in_a_name_only_where_there_are_several_lengths() {
        let one_of = |lengths: &[usize]| KeyLengths::OneOf(lengths.iter().copied().collect());
        let named = |keys: KeyLengths| names("aes-xts", &keys, 16);
        assert_eq!(named(one_of(&[32])), [("aes-xts".to_owned(), 32)]);
        let both = [("aes-256-xts".to_owned(), 32), ("aes-512-xts".to_owned(), 64)];
        assert_eq!(named(one_of(&[32, 64])), both);
        assert_eq!(named(KeyLengths::Range(4, 56)), [("aes-xts".to_owned(), 16)]);
        assert_eq!(named(KeyLengths::Range(20, 56)), [("aes-xts".to_owned(), 20)]);
        assert_eq!(names("arc4", &one_of(&[5, 16]), 16)[0].0, "arc4-40");
    }

    #[test]
    fn a_name_that_is_not_there_is_answered_with_those_near_it() {
        let error = catalogue().find("aes-cbc").unwrap_err().to_string();
        assert!(error.contains("\"aes-cbc\"") && error.contains("aes-128-cbc"), "{error}");
    }
}

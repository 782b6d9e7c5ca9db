//! Published vectors, one for each algorithm and length of key, run through a driver as sessions of that algorithm alone.

use crypto_pmd::{Key, SessionParams, Transform};

use super::layout::{Covered, Layout};

static VECTORS: &str = include_str!("vectors.txt");

/// Columns of the table.
const COLUMNS: usize = 8;

/// One vector, cut to one transform's lengths.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    /// Who published it, and where.
    pub(super) source: &'static str,
    pub(super) params: SessionParams,
    pub(super) layout: Layout,
    /// The packet before encryption, or with its tag still to be made.
    pub(super) plain: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

/// The vector of each transform of a session, where one is known.
pub(super) fn of(params: &SessionParams) -> Vec<Vector> {
    params.transforms.iter().filter_map(of_transform).collect()
}

fn of_transform(transform: &Transform) -> Option<Vector> {
    rows().find_map(|row| row.vector(transform))
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    source: &'static str,
    algorithm: &'static str,
    key: Vec<u8>,
    nonce: Vec<u8>,
    associated: Vec<u8>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    tag: Vec<u8>,
}

fn rows() -> impl Iterator<Item = Row> {
    VECTORS.lines().filter(|line| !line.starts_with('#')).filter_map(Row::parse)
}

impl Row {
    fn parse(line: &'static str) -> Option<Self> {
        let columns: Vec<&'static str> = line.split(' ').collect();
        let [source, algorithm, hexes @ ..] = columns.first_chunk::<COLUMNS>()?;
        let decoded = hexes.map(|text| if text == "-" { Some(Vec::new()) } else { hex::decode(text).ok() });
        let [key, nonce, associated, plain, sealed, tag] = decoded;
        Some(Self {
            source,
            algorithm,
            key: key?,
            nonce: nonce?,
            associated: associated?,
            plain: plain?,
            sealed: sealed?,
            tag: tag?,
        })
    }

    fn vector(&self, transform: &Transform) -> Option<Vector> {
        match transform {
            Transform::Cipher { algorithm, key, .. } => {
                if !self.is_of(algorithm.name()) || key.len() != self.key.len() {
                    return None;
                }
                let params = Transform::cipher(*algorithm, Key::new(&self.key));
                Some(self.packets(params, &self.nonce, 0, Covered::Nothing))
            }
            Transform::Integrity { algorithm, tag_len, .. } => {
                if !self.is_of(algorithm.name()) || *tag_len > self.tag.len() {
                    return None;
                }
                let params = Transform::integrity(*algorithm, Key::new(&self.key), *tag_len);
                Some(self.packets(params, &[], *tag_len, Covered::Front))
            }
            Transform::Aead { algorithm, key, salt, tag_len, .. } => {
                let same = key.len() == self.key.len() && *tag_len == self.tag.len();
                if !self.is_of(algorithm.name()) || !same {
                    return None;
                }
                let (salt, iv) = self.nonce.split_at_checked(salt.len())?;
                let params = Transform::aead(*algorithm, Key::new(&self.key), Key::new(salt), *tag_len);
                Some(self.packets(params, iv, *tag_len, Covered::Header))
            }
            _ => None,
        }
    }

    fn is_of(&self, algorithm: &str) -> bool {
        self.algorithm == algorithm
    }

    fn packets(&self, transform: Transform, iv: &[u8], tag_len: usize, covered: Covered) -> Vector {
        let front = [&self.associated[..], iv].concat();
        let tag: Vec<u8> = self.tag.iter().copied().take(tag_len).collect();
        // A keyed hash leaves what it covers as it is.
        let sealed = if self.sealed.is_empty() { &self.plain } else { &self.sealed };
        Vector {
            source: self.source,
            params: transform.into(),
            layout: Layout {
                header_len: self.associated.len(),
                iv_len: iv.len(),
                tag_len,
                block_len: 1,
                enciphers: covered != Covered::Front,
                covered,
            },
            plain: [&front[..], &self.plain, &vec![0; tag_len]].concat(),
            sealed: [&front[..], sealed, &tag].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::catalogue::Catalogue;
    use crate::perf::device::Built;

    #[test]
    fn every_line_of_the_table_is_a_vector() {
        let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(rows().count(), lines.count());
        for row in rows() {
            assert!(row.sealed.is_empty() || row.sealed.len() == row.plain.len(), "{}", row.source);
            assert!(!(row.sealed.is_empty() && row.tag.is_empty()), "{}", row.source);
        }
    }

    #[test]
    fn the_algorithms_of_every_suite_have_a_vector() {
        for suite in ipsec_esp::suite::Suite::ALL {
            let subject = crate::perf::subject::Subject::of_suite(*suite);
            let params = subject.params(&mut fastrand::Rng::with_seed(1));
            assert_eq!(of(&params).len(), params.transforms.len(), "{suite}");
        }
    }

    #[test]
    fn a_vector_belongs_to_the_length_of_key() {
        let catalogue = Catalogue::of([&Built::Software.capabilities()]);
        let source = |name: &str| {
            let params = catalogue.find(name).unwrap().params(&mut fastrand::Rng::with_seed(1));
            of(&params).iter().map(|vector| vector.source).collect::<Vec<_>>()
        };
        assert_eq!(source("aes-128-cbc"), ["SP800-38A-F.2.1"]);
        assert_eq!(source("aes-256-cbc"), ["SP800-38A-F.2.5"]);
        assert_eq!(source("aes-192-gcm"), ["GCM-spec-10"]);
    }
}

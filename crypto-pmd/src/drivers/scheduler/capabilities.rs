//! What several drivers can do together.

use smallvec::SmallVec;

use crate::algorithm::Algorithm;
use crate::capability::{AlgorithmFlags, Capabilities, KeyLengths, SessionIdFormat, Supported};

/// Of so many drivers; `None` of none.
///
/// An algorithm is there when one of them has it, with every key and tag that one takes; whether one has a whole bundle shows when a session
/// is opened. Since any child that has a session may get any packet of it, the longest packet is that which all take. It is hardware where a
/// part of it is, so that nobody who wants software alone gets a card; and done when submitted where all are.
///
/// Nothing is said of latency: the dispatcher inside paces each child by what that has said of itself, and an outer one that counted as well
/// would only starve some of them.
pub(super) fn together(children: &[&Capabilities]) -> Option<Capabilities> {
    let first = *children.first()?;
    let key_operations = children.iter().find(|one| !one.key_operations.is_empty());
    Some(Capabilities {
        hardware: children.iter().any(|one| one.hardware),
        synchronous: children.iter().all(|one| one.synchronous),
        anything: first.anything,
        ciphers: union(children.iter().flat_map(|one| &one.ciphers)),
        integrity: union(children.iter().flat_map(|one| &one.integrity)),
        digests: union(children.iter().flat_map(|one| &one.digests)),
        aeads: union(children.iter().flat_map(|one| &one.aeads)),
        compression: union(children.iter().flat_map(|one| &one.compression)),
        key_operations: key_operations.map(|one| one.key_operations.clone()).unwrap_or_default(),
        batch_size: children.iter().map(|one| one.batch_size).max().unwrap_or(0),
        queue_depth: children.iter().map(|one| one.queue_depth).sum(),
        latency_ns: None,
        in_order: true,
        // A session takes a place on every child that has one left.
        max_sessions: children
            .iter()
            .map(|one| one.max_sessions)
            .try_fold(0, |most, one| Some(one?.max(most))),
        scatter_gather: children.iter().any(|one| one.scatter_gather),
        session_ids: SessionIdFormat::Handle,
    })
}

/// Each algorithm once, in the order in which they come first.
fn union<'a, A: Copy + PartialEq + Into<Algorithm> + 'a>(
    all: impl Iterator<Item = &'a Supported<A>>,
) -> Vec<Supported<A>> {
    let mut together: Vec<Supported<A>> = Vec::new();
    for one in all {
        match together.iter_mut().find(|known| known.algorithm == one.algorithm) {
            Some(known) => add(known, one),
            None => together.push(one.clone()),
        }
    }
    together
}

fn add<A>(known: &mut Supported<A>, one: &Supported<A>) {
    known.keys = either(&known.keys, &one.keys);
    let new = one.tags.iter().copied().filter(|tag| !known.tags.contains(tag));
    let new: SmallVec<[usize; 4]> = new.collect();
    known.tags.extend(new);
    known.max_operand_bits = known.max_operand_bits.into_iter().chain(one.max_operand_bits).min();
    let scatter_gather = known.flags.scatter_gather || one.flags.scatter_gather;
    known.flags = AlgorithmFlags::new(known.flags.legacy || one.flags.legacy, scatter_gather);
}

/// Lengths that one or the other takes.
fn either(a: &KeyLengths, b: &KeyLengths) -> KeyLengths {
    if let (KeyLengths::Range(from, to), KeyLengths::Range(start, end)) = (a, b)
        && from <= end
        && start <= to
    {
        return KeyLengths::Range(*from.min(start), *to.max(end));
    }
    let (a, b) = (listed(a), listed(b));
    let mut lengths: SmallVec<[usize; 4]> = a.into_iter().chain(b).collect();
    lengths.sort_unstable();
    lengths.dedup();
    match (lengths.first(), lengths.last()) {
        // Without a gap, it is a range.
        (Some(&least), Some(&most)) if lengths.len() > 4 && most - least + 1 == lengths.len() => {
            KeyLengths::Range(least, most)
        }
        _ => KeyLengths::OneOf(lengths),
    }
}

fn listed(lengths: &KeyLengths) -> SmallVec<[usize; 4]> {
    match lengths {
        KeyLengths::OneOf(lengths) => lengths.clone(),
        KeyLengths::Range(least, most) => (*least..=*most).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{CipherAlgorithm, IntegrityAlgorithm};
    use crate::key_op::{KeyOperation, KeySupport};

    fn one_of(lengths: &[usize]) -> KeyLengths {
        KeyLengths::OneOf(SmallVec::from_slice(lengths))
    }

    #[test]
    fn key_lengths_of_either_are_those_that_one_of_them_allows() {
        let kinds = [
            KeyLengths::NONE,
            KeyLengths::Range(5, 16),
            KeyLengths::Range(10, 64),
            KeyLengths::Range(65, 70),
            KeyLengths::Range(8, 8),
            one_of(&[16, 24, 32]),
            one_of(&[8]),
            one_of(&[]),
        ];
        for a in &kinds {
            for b in &kinds {
                let both = either(a, b);
                let wrong = (0..100).find(|&len| both.allow(len) != (a.allow(len) || b.allow(len)));
                assert_eq!(wrong, None, "{a:?} or {b:?} is {both:?}");
            }
        }
        assert_eq!(either(&KeyLengths::Range(5, 16), &KeyLengths::Range(10, 64)), KeyLengths::Range(5, 64));
        assert_eq!(either(&one_of(&[16, 32]), &one_of(&[16, 24])), one_of(&[16, 24, 32]));
    }

    #[test]
    fn what_they_can_do_together_is_what_one_of_them_can() {
        let aes = |keys: &[usize], bits| Supported {
            max_operand_bits: bits,
            ..Supported::new(CipherAlgorithm::AesCbc, one_of(keys))
        };
        let hmac = |tags: &[usize]| {
            Supported::new(IntegrityAlgorithm::HmacSha1, KeyLengths::Range(10, 64)).with_tags(tags)
        };
        let mod_exp = KeySupport { operation: KeyOperation::ModExp, max_bits: 1024 };
        let card = Capabilities {
            hardware: true,
            ciphers: vec![aes(&[16], Some(8000))],
            integrity: vec![hmac(&[12])],
            queue_depth: Some(64),
            max_sessions: Some(10),
            latency_ns: Some(5000),
            batch_size: 8,
            key_operations: vec![mod_exp],
            session_ids: SessionIdFormat::Bits(16),
            ..Capabilities::default()
        };
        let mut scattered = aes(&[16, 32], None);
        scattered.flags.scatter_gather = true;
        let soft = Capabilities {
            synchronous: true,
            scatter_gather: true,
            in_order: true,
            ciphers: vec![Supported::new(CipherAlgorithm::AesCtr, one_of(&[16])), scattered],
            integrity: vec![hmac(&[20, 12])],
            ..Capabilities::default()
        };
        let both = together(&[&card, &soft]).unwrap();
        assert!(both.hardware && both.scatter_gather && both.in_order && !both.synchronous && !both.anything);
        let names: Vec<_> = both.entries().map(|entry| entry.algorithm.name()).collect();
        assert_eq!(names, ["aes-cbc", "aes-ctr", "sha1-hmac"]);
        let cbc = both.entry(CipherAlgorithm::AesCbc.into()).unwrap();
        assert_eq!((cbc.keys, cbc.max_operand_bits), (&one_of(&[16, 32]), Some(8000)));
        assert!(cbc.flags.scatter_gather && !cbc.flags.legacy);
        assert_eq!(both.entry(IntegrityAlgorithm::HmacSha1.into()).unwrap().tags, [12, 20]);
        assert_eq!((both.queue_depth, both.max_sessions, both.latency_ns), (None, None, None));
        assert_eq!((both.batch_size, &both.key_operations[..]), (8, &[mod_exp][..]));
        assert_eq!(both.session_ids, SessionIdFormat::Handle);
        let small = Capabilities { max_sessions: Some(3), queue_depth: Some(8), ..Capabilities::default() };
        let cards = together(&[&card, &small, &small]).unwrap();
        assert_eq!((cards.queue_depth, cards.max_sessions), (Some(80), Some(10)));
        let soft = together(&[&soft]).unwrap();
        assert!(soft.synchronous && !soft.hardware);
        assert!(together(&[]).is_none());
    }
}

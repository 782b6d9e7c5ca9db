use super::*;
use crate::{CipherAlgorithm, Operation};

fn step(offset: u32) -> Step {
    Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, offset, 16)
}

#[test]
fn what_is_too_long_is_refused_and_changes_nothing() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.set_iv(&[1; MAX_IV]) && extension.set_associated_data(&[2; MAX_ASSOCIATED_DATA]));
    assert!(!extension.set_iv(&[3; MAX_IV + 1]));
    assert!(!extension.set_associated_data(&[4; MAX_ASSOCIATED_DATA + 1]));
    assert_eq!(extension.iv(), Some(&[1; MAX_IV][..]));
    assert_eq!(extension.associated_data(), Some(&[2; MAX_ASSOCIATED_DATA][..]));
}

#[test]
fn empty_is_given_and_not_given_is_none() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert_eq!((extension.iv(), extension.associated_data()), (None, None));
    assert!(extension.set_iv(&[]) && extension.set_associated_data(&[]));
    assert_eq!((extension.iv(), extension.associated_data()), (Some(&[][..]), Some(&[][..])));
}

#[test]
fn a_shorter_value_replaces_a_longer_one() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.set_iv(&[1; 16]) && extension.set_iv(&[2; 3]));
    assert_eq!(extension.iv(), Some(&[2; 3][..]));
}

#[test]
fn an_extension_comes_back_from_its_pool_empty() {
    let pool = ExtensionPool::new(1);
    let mut extension = pool.alloc().unwrap();
    assert!(extension.set_iv(&[1; 12]) && extension.set_associated_data(&[2; 8]));
    assert!(pool.alloc().is_none());
    drop(extension);
    let again = pool.clone().alloc().unwrap();
    assert_eq!((again.iv(), again.associated_data(), pool.available()), (None, None, 0));
}

#[test]
fn an_extension_outlives_its_pool() {
    let pool = ExtensionPool::new(0);
    let mut extension = pool.alloc().unwrap();
    drop(pool);
    assert!(extension.set_iv(&[5; 8]));
    assert_eq!(extension.iv(), Some(&[5; 8][..]));
}

#[test]
fn no_extension_takes_nothing() {
    let mut none = Extension::none();
    assert!(!none.is_some() && !none.set_iv(&[1]) && !none.set_associated_data(&[1]));
    assert_eq!((none.iv(), none.associated_data()), (None, None));
}

#[test]
fn printing_shows_lengths_and_no_bytes() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.set_iv(&[0xab; 12]));
    assert_eq!(format!("{extension:?}"), "Extension(iv Some(12), associated data None, 0 steps, 0 pieces)");
}

#[test]
fn there_is_room_for_eight_steps_and_a_key_for_each() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(!extension.set_step_key(0, &[1; 16]), "no step to give a key to");
    for number in 0..MAX_STEPS {
        assert!(extension.push_step(step(number as u32)));
        assert!(extension.set_step_key(number, &[number as u8; MAX_KEY]));
        assert!(!extension.set_step_key(number, &[0xff; MAX_KEY + 1]), "longer than a key may be");
    }
    assert!(!extension.push_step(step(99)));
    assert!(extension.steps().iter().map(|step| step.offset).eq(0..8));
    assert!((0..MAX_STEPS).all(|number| extension.step_key(number) == Some(&[number as u8; MAX_KEY][..])));
    assert_eq!(extension.step_key(MAX_STEPS), None);
}

#[test]
fn a_part_shows_its_steps_and_their_keys_and_the_whole_stays() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!((0..4).all(|number| extension.push_step(step(number))));
    assert!(extension.set_step_key(2, &[2; 16]));
    assert_eq!((extension.steps().len(), extension.step_key(2)), (4, Some(&[2; 16][..])));
    assert!(extension.set_part(1, 2));
    assert!(extension.steps().iter().map(|step| step.offset).eq([1, 2]));
    assert_eq!((extension.step_key(0), extension.step_key(1)), (None, Some(&[2; 16][..])));
    assert_eq!((extension.step_key(2), extension.all_steps().len()), (None, 4));
    assert!(!extension.set_part(3, 2) && !extension.set_part(usize::MAX, 2), "beyond the last step");
    assert!(extension.set_part(4, 0) && extension.steps().is_empty());
}

#[test]
fn pieces_are_gathered_and_scattered_in_order_and_taken_out_whole() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    for piece in [&b"one"[..], b"", b"three"] {
        extension.push_piece(piece.into()).unwrap();
    }
    let mut whole = [0; 8];
    extension.gather(&mut whole);
    assert_eq!((&whole, extension.pieces_len()), (b"onethree", 8));
    extension.scatter(b"12345678");
    let pieces: Vec<_> = extension.take_pieces().collect();
    assert_eq!(pieces, [Box::from(&b"123"[..]), Box::default(), Box::from(&b"45678"[..])]);
    assert_eq!(extension.pieces_len(), 0);
}

#[test]
fn a_piece_too_many_is_given_back() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    (0..MAX_PIECES).for_each(|_| extension.push_piece(Box::default()).unwrap());
    assert_eq!(extension.push_piece(Box::from(&b"more"[..])), Err(Box::from(&b"more"[..])));
    assert_eq!(extension.pieces().len(), MAX_PIECES);
}

#[test]
fn steps_keys_part_and_pieces_do_not_come_back_from_the_pool() {
    let pool = ExtensionPool::new(1);
    let mut extension = pool.alloc().unwrap();
    assert!(extension.push_step(step(1)) && extension.set_step_key(0, &[1; 16]) && extension.set_part(0, 1));
    extension.push_piece(Box::from(&b"piece"[..])).unwrap();
    drop(extension);
    let mut again = pool.alloc().unwrap();
    assert_eq!((again.all_steps().len(), again.pieces().len()), (0, 0));
    assert!(again.push_step(step(2)) && again.push_step(step(3)));
    assert_eq!((again.step_key(0), again.steps().len()), (None, 2));
}

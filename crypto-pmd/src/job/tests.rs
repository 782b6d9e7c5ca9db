use pipeline::{Pool, PoolConfig};

use super::*;
use crate::extension::ExtensionPool;

fn pool() -> Pool {
    Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap()
}

fn job(pool: &Pool, operation: Operation) -> Job {
    Job::new(pool.alloc_copy(b"source").unwrap(), SessionId::new(3, 4), operation)
}

#[test]
fn the_largest_values_come_back_as_they_were_given() {
    let job = job(&pool(), Operation::Decrypt)
        .with_cipher(u16::MAX, u32::MAX)
        .with_integrity(u16::MAX - 1, u32::MAX - 1)
        .with_iv(u16::MAX - 2)
        .with_tag(u32::MAX - 2)
        .with_esn_high(u32::MAX - 3)
        .with_cookie(u64::MAX - 4);
    assert_eq!(job.cipher_range(), (0xffff, 0xffff_ffff));
    assert_eq!(job.integrity_range(), (0xfffe, 0xffff_fffe));
    assert_eq!((job.iv_offset(), job.tag_offset()), (0xfffd, 0xffff_fffd));
    assert_eq!((job.esn_high(), job.cookie()), (Some(0xffff_fffc), u64::MAX - 4));
    assert_eq!((job.operation(), job.session()), (Operation::Decrypt, SessionId::new(3, 4)));
}

#[test]
fn a_high_half_of_zero_is_not_the_same_as_none() {
    let pool = pool();
    for operation in [Operation::Encrypt, Operation::Decrypt] {
        assert_eq!(job(&pool, operation).esn_high(), None);
        let extended = job(&pool, operation).with_esn_high(0);
        assert_eq!((extended.esn_high(), extended.operation()), (Some(0), operation));
    }
}

#[test]
fn a_new_job_is_pending_in_place_and_without_ranges() {
    let job = job(&pool(), Operation::Encrypt);
    assert_eq!((job.status(), job.is_in_place(), job.cookie()), (Status::Pending, true, 0));
    assert_eq!((job.cipher_range(), job.integrity_range()), ((0, 0), (0, 0)));
    assert!(job.extension().is_none());
}

#[test]
fn the_result_is_in_the_destination_when_there_is_one() {
    let pool = pool();
    assert_eq!(job(&pool, Operation::Encrypt).into_packet().data(), b"source");
    let out_of_place =
        || job(&pool, Operation::Encrypt).with_destination(pool.alloc_copy(b"result").unwrap());
    assert!(!out_of_place().is_in_place());
    assert_eq!(out_of_place().into_packet().data(), b"result");
    let (source, destination) = out_of_place().into_packets();
    assert_eq!((source.data(), destination.unwrap().data()), (&b"source"[..], &b"result"[..]));
    drop(source);
    assert_eq!(pool.available(), pool.buffers(), "a dropped job gives both buffers back");
}

#[test]
fn a_driver_sees_the_shape_that_was_asked_for() {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.set_iv(&[9; 12]));
    let mut job = job(&pool(), Operation::Decrypt)
        .with_cipher(8, 32)
        .with_integrity(1, 40)
        .with_iv(2)
        .with_tag(41)
        .with_esn_high(7)
        .with_extension(extension);
    let (source, destination, shape) = job.parts_mut();
    assert_eq!((source.data(), destination.is_none()), (&b"source"[..], true));
    assert_eq!((shape.cipher, shape.integrity), ((8, 32), (1, 40)));
    assert_eq!((shape.iv_offset, shape.tag_offset, shape.esn_high), (2, 41, Some(7)));
    assert_eq!((shape.operation, shape.extension.unwrap().iv()), (Operation::Decrypt, Some(&[9; 12][..])));
}

#[test]
fn lengths_are_those_of_the_packet_or_of_the_pieces_and_of_what_came_of_them() {
    let pool = pool();
    let plain = job(&pool, Operation::Encrypt);
    assert_eq!((plain.input_len(), plain.result_len()), (6, 6));
    let elsewhere = plain.with_destination(pool.alloc_copy(b"the result").unwrap());
    assert_eq!((elsewhere.input_len(), elsewhere.result_len()), (6, 10));
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    extension.push_piece(Box::new([0; 300])).unwrap();
    let mut listed = job(&pool, Operation::Encrypt).with_extension(extension);
    assert_eq!((listed.input_len(), listed.result_len()), (300, 300));
    listed.set_destination(pool.alloc_copy(b"short").unwrap());
    assert_eq!((listed.input_len(), listed.result_len()), (300, 5));
    assert_eq!(listed.take_extension().map(|extension| extension.pieces_len()), Some(300));
    assert!(listed.take_extension().is_none() && listed.extension_mut().is_none());
    assert_eq!(listed.input_len(), 6);
}

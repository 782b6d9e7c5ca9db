use crate::pool::{Pool, PoolConfig};
use proptest::prelude::*;

fn pool() -> Pool {
    Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap()
}

#[test]
fn headroom_and_tailroom_bound_what_can_be_added() {
    let pool = pool();
    let mut packet = pool.alloc_copy(&[7; 100]).unwrap();
    let (head, tail) = (packet.headroom(), packet.tailroom());
    assert!(packet.prepend(head + 1).is_none());
    assert!(packet.append(tail + 1).is_none());
    assert_eq!(packet.packet_len(), 100);
    assert!(packet.prepend(head).is_some());
    assert!(packet.append(tail).is_some());
    assert_eq!(packet.packet_len(), 100 + head + tail);
    assert_eq!(packet.data()[head..head + 100], [7; 100]);
}

#[test]
fn wrapping_is_truncating_prepending_and_appending() {
    let pool = pool();
    let mut packet = pool.alloc_copy(b"headpayloadpadding").unwrap();
    let (head, tail) = (packet.headroom(), packet.tailroom() + 7);
    assert!(packet.wrap(19, 0, 0).is_none(), "longer than it is");
    assert!(packet.wrap(11, head + 1, 0).is_none() && packet.wrap(11, 0, tail + 1).is_none());
    assert!(packet.wrap(1, usize::MAX, 1).is_none() && packet.wrap(1, 0, usize::MAX).is_none());
    assert_eq!(packet.data(), b"headpayloadpadding");
    packet.wrap(11, 3, 2).unwrap()[..3].copy_from_slice(b"esp");
    assert_eq!((&packet.data()[..14], packet.packet_len()), (&b"espheadpayload"[..], 16));
    packet.wrap(16, head - 3, tail - 2).unwrap();
    assert_eq!((packet.headroom(), packet.tailroom()), (0, 0));
    assert!(pool.alloc_copy(&[0; 9000]).unwrap().wrap(10, 1, 1).is_none(), "chained");
}

#[test]
fn a_packet_longer_than_a_buffer_is_chained_and_reads_back_whole() {
    let pool = pool();
    let bytes: Vec<u8> = (0..9000_u32).map(|n| n as u8).collect();
    let packet = pool.alloc_copy(&bytes).unwrap();
    assert!(packet.is_chained());
    assert_eq!(packet.segments().map(<[u8]>::len).sum::<usize>(), 9000);
    let mut back = vec![0; 9000];
    assert!(packet.copy_out(0, &mut back));
    assert_eq!(back, bytes);
    assert!(!packet.copy_out(1, &mut back));
}

#[test]
fn dropping_a_chain_gives_every_segment_back() {
    let pool = pool();
    let before = pool.available();
    let packet = pool.alloc_copy(&[1; 9000]).unwrap();
    assert_eq!(pool.available(), before - packet.segment_count());
    drop(packet);
    assert_eq!(pool.available(), before);
}

#[test]
fn a_chain_longer_than_the_limit_gives_the_tail_back() {
    let pool = pool();
    let mut packet = pool.alloc().unwrap();
    for _ in 1..super::MAX_SEGMENTS {
        packet.chain(pool.alloc().unwrap()).unwrap();
    }
    let tail = packet.chain(pool.alloc_copy(b"x").unwrap()).unwrap_err();
    assert_eq!(tail.data(), b"x");
    assert_eq!(packet.packet_len(), 0);
}

proptest! {
    #[test]
    fn truncating_a_chain_keeps_the_front_and_frees_the_rest(len in 0_usize..9000, cut in 0_usize..9100) {
        let pool = pool();
        let before = pool.available();
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let mut packet = pool.alloc_copy(&bytes).unwrap();
        packet.truncate(cut);
        let kept = len.min(cut);
        prop_assert_eq!(packet.packet_len(), kept);
        prop_assert_eq!(packet.segments().flatten().copied().collect::<Vec<_>>(), &bytes[..kept]);
        prop_assert_eq!(packet.segments().count(), packet.segment_count());
        drop(packet);
        prop_assert_eq!(pool.available(), before);
    }

    #[test]
    fn writing_into_a_chain_changes_just_the_named_bytes(at in 0_usize..5000, len in 0_usize..5000) {
        let pool = pool();
        let mut packet = pool.alloc_copy(&[0; 6000]).unwrap();
        let fits = at + len <= 6000;
        prop_assert_eq!(packet.copy_in(at, &vec![0xff; len]), fits);
        let set = packet.segments().flatten().filter(|&&b| b == 0xff).count();
        prop_assert_eq!(set, len.min(6000 - at));
    }
}

//! Models of the hand-over between driver and card, by loom. A packet's bytes are a cell of their own, which either side touches only when the
//! protocol has given it to it; loom reports a touch from both sides at once.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::drivers::nic::bus::command::{Command, Completion, Extent, Kind, Outcome};

const LAYOUT: Layout = Layout::new(2);

struct Memory {
    cells: Vec<Cell>,
    tail: Cell,
    resets: Cell,
    /// One packet for each place.
    packets: [UnsafeCell<u32>; 2],
}

// SAFETY: the cells are loom's, which checks each access.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    fn new() -> Arc<Self> {
        let cells = (0..LAYOUT.list(0, false)).map(|_| Cell::new(0)).collect();
        let packets = [UnsafeCell::new(0), UnsafeCell::new(0)];
        Arc::new(Self { cells, tail: Cell::new(0), resets: Cell::new(0), packets })
    }

    fn rings(&self) -> Rings<'_> {
        Rings { cells: &self.cells, layout: LAYOUT }
    }

    fn packet(&self, number: u32) -> &UnsafeCell<u32> {
        &self.packets[number as usize & 1]
    }

    /// The driver hands a packet over.
    fn submit(&self, number: u32) {
        self.packet(number).with_mut(|packet| {
            // SAFETY: loom checks that nobody else is at it.
            unsafe { *packet = number + 1 }
        });
        let command = Command {
            kind: Kind::Crypt,
            decrypt: false,
            has_esn: false,
            epoch: 0,
            sequence: number,
            session: 7,
            esn_high: 0,
            source: Extent { address: 9, len: 1, pieces: 1 },
            destination: Extent::default(),
            cipher: (0, 0),
            integrity: (0, 0),
            iv: 0,
            tag: 0,
            link_len: 0,
            service: 0,
        };
        self.rings().write_command(number, command.to_words());
        self.tail.store(u64::from(number) + 1, Ordering::Release);
    }

    /// The card does all that is there; how many in all.
    fn serve(&self, mut done: u32) -> u32 {
        let tail = self.tail.load(Ordering::Acquire) as u32;
        self.rings().set_begun(tail);
        while done < tail {
            let command = Command::from_words(&self.rings().read_command(done)).unwrap();
            assert_eq!((command.sequence, command.session), (done, 7), "a command that was not written yet");
            self.packet(done).with_mut(|packet| {
                // SAFETY: as above.
                unsafe { *packet *= 10 }
            });
            let completion = Completion { outcome: Outcome::Done, epoch: 0, sequence: done };
            self.rings().complete(done, completion.to_word());
            done += 1;
        }
        done
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn a_packet_belongs_to_one_side_at_a_time_and_comes_back_done() {
    model(|| {
        let memory = Memory::new();
        let card = Arc::clone(&memory);
        let engine = thread::spawn(move || {
            let mut done = 0;
            while done < 3 {
                done = card.serve(done);
                thread::yield_now();
            }
        });
        let (mut issued, mut returned) = (0, 0);
        while returned < 3 {
            if issued < 3 && issued - returned < 2 {
                memory.submit(issued);
                issued += 1;
            }
            match memory.rings().completion(returned).and_then(Completion::from_word) {
                Some(completion) => {
                    assert_eq!(completion.sequence, returned);
                    memory.packet(returned).with(|packet| {
                        // SAFETY: as above.
                        assert_eq!(unsafe { *packet }, 10 * (returned + 1));
                    });
                    returned += 1;
                }
                None => thread::yield_now(),
            }
        }
        engine.join().unwrap();
    });
}

#[test]
fn what_was_not_begun_when_a_reset_is_over_is_untouched() {
    model(|| {
        let memory = Memory::new();
        let card = Arc::clone(&memory);
        let engine = thread::spawn(move || {
            // One look at the doorbell, then the reset gives everything up, before or after it was touched.
            let tail = card.tail.load(Ordering::Acquire) as u32;
            card.rings().set_begun(tail);
            if tail > 0 {
                card.packet(0).with_mut(|packet| {
                    // SAFETY: as above.
                    unsafe { *packet = 99 }
                });
            }
            card.resets.store(1, Ordering::Release);
        });
        memory.submit(0);
        while memory.resets.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        if memory.rings().begun() == 0 {
            memory.packet(0).with(|packet| {
                // SAFETY: as above.
                assert_eq!(unsafe { *packet }, 1, "touched, and not said so");
            });
        }
        engine.join().unwrap();
    });
}

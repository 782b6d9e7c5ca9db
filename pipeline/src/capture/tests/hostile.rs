//! Files that are cut or changed anywhere: an error or a sound capture, never a panic or more memory than the file.

use super::*;

#[test]
fn a_file_cut_between_records_gives_the_packets_before_and_an_error_anywhere_else() {
    for sample in SAMPLES {
        let file = sample.bytes();
        let mut end = 0;
        let ends = sample.parts.iter().map(|part| {
            end += part;
            end
        });
        let ends: Vec<usize> = ends.collect();
        assert_eq!(ends.last(), Some(&file.len()), "{}: the parts are counted wrongly", sample.name);
        for cut in 0..file.len() {
            let read = Capture::from_bytes(sample.name, &file[..cut]);
            match (ends.iter().position(|&end| end == cut), read) {
                (Some(part), Ok(capture)) => {
                    assert_eq!(packets(&capture), sample.packets(sample.packets_after[part]), "{cut}");
                }
                (Some(0), Err(CaptureError::NoInterface { .. })) | (None, Err(_)) => (),
                (_, other) => panic!("{} cut at {cut}: {other:?}", sample.name),
            }
        }
    }
}

#[test]
fn changed_files_are_refused_or_sound() {
    let mut dice = Dice(0x5ea1_a9e5_0c4b_71d3);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..30_000 {
        let sample = SAMPLES[dice.below(SAMPLES.len())];
        let mut file = sample.bytes();
        for _ in 0..=dice.below(3) {
            dice.spoil(&mut file);
        }
        let size = file.len();
        match Capture::from_bytes("spoilt", file) {
            Ok(capture) => {
                good += 1;
                assert_sound(&capture, size);
            }
            Err(error) => {
                bad += 1;
                assert!(error.to_string().starts_with("spoilt: "), "{error}");
            }
        }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good and {bad} bad files try too little");
}

#[test]
fn noise_after_a_good_head_is_refused_or_sound() {
    let mut dice = Dice(0x00d1_ce00_7e57);
    for _ in 0..5_000 {
        let sample = SAMPLES[dice.below(SAMPLES.len())];
        let mut file = sample.bytes()[..sample.parts[0]].to_vec();
        file.extend((0..dice.below(300)).map(|_| dice.byte()));
        let size = file.len();
        if let Ok(capture) = Capture::from_bytes("noise", file) {
            assert_sound(&capture, size);
        }
    }
}

/// The packets lie apart from each other in the file, and each has a record of at least 16 bytes besides.
fn assert_sound(capture: &Capture, size: usize) {
    let total: usize = capture.iter().map(|packet| packet.data.len()).sum();
    assert_eq!(capture.bytes_total(), total as u64);
    assert!(total + 12 * capture.len() <= size, "{} packets of {total} bytes in {size}", capture.len());
    assert_eq!(capture.longest(), capture.iter().map(|packet| packet.data.len()).max().unwrap_or(0));
    assert!(capture.iter().all(|packet| packet.data.len() <= packet.original_len as usize));
    let starts =
        capture.iter().filter(|packet| !packet.data.is_empty()).map(|packet| packet.data.as_ptr_range());
    assert!(starts.clone().zip(starts.skip(1)).all(|(packet, next)| packet.end <= next.start));
}

/// A small generator (xorshift64), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }

    /// One change: a bit, a byte, a number at a place where numbers stand, something taken out, put in or cut off.
    fn spoil(&mut self, file: &mut Vec<u8>) {
        let at = self.below(file.len().max(1));
        match self.below(8) {
            _ if file.len() < 8 => file.push(self.byte()),
            0 => file[at] ^= 1 << self.below(8),
            1 => file[at] = self.byte(),
            2..=4 => {
                const NUMBERS: [u32; 10] =
                    [0, 1, 12, 16, 262_145, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff, 0x0a0d_0d0a];
                let number = NUMBERS[self.below(NUMBERS.len())];
                let written = if self.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                let at = at.min(file.len() - 4) & !3;
                file[at..at + 4].copy_from_slice(&written);
            }
            5 => file.truncate(at),
            6 => drop(file.drain(at..(at + 1 + self.below(8)).min(file.len()))),
            _ => drop(file.splice(at..at, [self.byte(), 0, 0, 0])),
        }
    }
}

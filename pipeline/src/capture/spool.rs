//! A buffered file that holds whole records only, whatever happens.
//!
//! Purpose: a disk that fills up in the middle of a packet must not leave half a packet at the end of the file, nor cost
//! the packets before it.
//! Invariant: what comes before the first mark is the file's head and goes to the target at once; after it, bytes go to
//! the target between records only. When the target fails, it is cut back to the last record that it took whole (to
//! nothing if the head did not fit), and takes nothing more. What it does not do: call `fsync`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::MAX_PACKET;

/// How much is gathered before it is written, in bytes.
const GATHER: usize = 1 << 16;

/// The shortest record of either format, in bytes: the head of an empty pcap packet. It bounds how many are gathered.
const SHORTEST_RECORD: usize = 16;

/// Where a spool writes to: something that can be cut back.
pub(super) trait Target: Write {
    /// Cuts the target to its first `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Target for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The spool: what writers of records write to. Dropping it writes what is gathered, as far as that works.
pub(super) struct Spool<T: Target> {
    target: T,
    gathered: Vec<u8>,
    /// Where records end in `gathered`, rising; the one under way is not among them.
    ends: Vec<usize>,
    /// Bytes that the target has taken.
    taken: u64,
    /// Set by the owner of the [`RecordMark`] when a new record begins, taken back here.
    begins: Arc<AtomicBool>,
    /// No record has begun yet.
    in_head: bool,
    failed: bool,
}

/// Tells a spool that what comes next begins a record. It is apart from the spool because a record writer owns that.
pub(super) struct RecordMark(Arc<AtomicBool>);

impl RecordMark {
    /// Everything written so far is the head and whole records.
    pub(super) fn begin(&self) {
        // Only the thread that writes uses the flag; it is atomic so that the writer can move between threads.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T: Target> Spool<T> {
    /// An empty spool, with the mark that must be set before each record.
    pub(super) fn new(target: T) -> (Self, RecordMark) {
        let begins = Arc::new(AtomicBool::new(false));
        let mark = RecordMark(Arc::clone(&begins));
        // Room for a longest packet on top, so that no write makes it grow.
        let gathered = Vec::with_capacity(GATHER + 2 * MAX_PACKET);
        let ends = Vec::with_capacity(GATHER / SHORTEST_RECORD + 2);
        (Self { target, gathered, ends, taken: 0, begins, in_head: true, failed: false }, mark)
    }

    /// Writes out what is gathered; to be called between records only.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier packet could not be written"));
        }
        self.ends.push(self.gathered.len());
        let (fitted, outcome) = write_counted(&mut self.target, &self.gathered);
        let outcome = outcome.and_then(|()| self.target.flush());
        if outcome.is_err() {
            self.failed = true;
            // A pipe cannot be cut; the error that is returned says enough.
            let _ = self.target.cut(self.whole(fitted));
        } else {
            self.taken += fitted as u64;
        }
        self.gathered.clear();
        self.ends.clear();
        outcome
    }

    /// How much of the target is worth keeping when it took only `fitted` of the gathered bytes.
    fn whole(&self, fitted: usize) -> u64 {
        if self.in_head {
            return 0;
        }
        let records = self.ends.partition_point(|&end| end <= fitted);
        let end = self.ends.get(..records).and_then(<[usize]>::last).copied();
        self.taken + end.unwrap_or(0) as u64
    }
}

/// Writes all of `bytes`, or tells how many the target took before it failed.
fn write_counted(target: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut fitted = 0;
    while let Some(rest) = bytes.get(fitted..).filter(|rest| !rest.is_empty()) {
        match target.write(rest) {
            Ok(0) => return (fitted, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => fitted += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (fitted, Err(error)),
        }
    }
    (fitted, Ok(()))
}

impl<T: Target> Write for Spool<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let between_records = self.begins.swap(false, Ordering::Relaxed);
        if self.failed || (between_records && self.gathered.len() >= GATHER) {
            self.write_out()?;
        }
        if between_records {
            self.in_head = false;
            self.ends.push(self.gathered.len());
        }
        self.gathered.extend_from_slice(bytes);
        if self.in_head {
            self.write_out()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: a record may be under way. See [`Spool::write_out`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Target> Drop for Spool<T> {
    fn drop(&mut self) {
        if !self.failed {
            let _ = self.write_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of a fixed size that outlives its spool.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        size: usize,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.size - self.bytes.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(room);
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for &mut Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }

    const HEAD: usize = 24;

    /// Writes a head, then records of the given lengths, in two parts each, until one is refused; gives what the disk
    /// holds and whether anything was refused.
    fn spooled(size: usize, records: &[usize]) -> (Vec<u8>, bool) {
        let mut disk = Disk { bytes: Vec::new(), size };
        let (mut spool, mark) = Spool::new(&mut disk);
        let head = spool.write_all(&[0xaa; 10]).and_then(|()| spool.write_all(&[0xaa; HEAD - 10]));
        let mut refused = head.is_err();
        for (number, &length) in records.iter().enumerate() {
            let record = vec![number as u8; length];
            mark.begin();
            let (one, two) = record.split_at(length / 3);
            refused |= spool.write_all(one).and_then(|()| spool.write_all(two)).is_err();
        }
        refused |= spool.write_out().is_err();
        drop(spool);
        (disk.bytes, refused)
    }

    /// What a disk of that size ought to hold.
    fn expected(size: usize, records: &[usize]) -> Vec<u8> {
        let mut bytes = vec![0xaa; HEAD];
        if size < HEAD {
            return Vec::new();
        }
        for (number, &length) in records.iter().enumerate() {
            if bytes.len() + length > size {
                break;
            }
            bytes.resize(bytes.len() + length, number as u8);
        }
        bytes
    }

    fn check(size: usize, records: &[usize]) {
        let full = HEAD + records.iter().sum::<usize>();
        let (bytes, refused) = spooled(size, records);
        assert!(bytes == expected(size, records), "a disk of {size} bytes holds {}", bytes.len());
        assert_eq!(refused, size < full, "a disk of {size} bytes");
    }

    #[test]
    fn a_disk_of_any_size_keeps_the_head_and_the_whole_records_that_fit() {
        let records = [16, 76, 17, 300, 16, 16, 1, 60, 1516, 99];
        let full = HEAD + records.iter().sum::<usize>();
        (0..=full).for_each(|size| check(size, &records));
    }

    #[test]
    fn a_disk_that_fills_up_in_a_later_chunk_keeps_the_whole_records_that_fit() {
        let records: Vec<usize> = (0..250).map(|number| 16 + number * 37 % 1_500).collect();
        let full = HEAD + records.iter().sum::<usize>();
        assert!(full > 2 * GATHER, "all is one chunk");
        (0..full).step_by(997).chain([full - 1, full]).for_each(|size| check(size, &records));
    }

    #[test]
    fn the_head_is_on_the_disk_before_any_record() {
        let mut disk = Disk { bytes: Vec::new(), size: 100 };
        let (mut spool, _mark) = Spool::new(&mut disk);
        spool.write_all(b"head").unwrap();
        assert_eq!(spool.target.bytes, b"head");
    }

    #[test]
    fn a_spool_that_failed_takes_no_more_even_if_there_is_room_again() {
        let mut disk = Disk { bytes: Vec::new(), size: 30 };
        let (mut spool, mark) = Spool::new(&mut disk);
        mark.begin();
        spool.write_all(&[1; 20]).unwrap();
        mark.begin();
        spool.write_all(&[2; 20]).unwrap();
        assert!(spool.write_out().is_err());
        mark.begin();
        assert!(spool.write_all(&[3; 5]).is_err());
        drop(spool);
        assert_eq!(disk.bytes, [1; 20]);
    }

    #[test]
    fn dropping_a_spool_writes_what_is_gathered() {
        let mut disk = Disk { bytes: Vec::new(), size: 100 };
        let (mut spool, mark) = Spool::new(&mut disk);
        mark.begin();
        spool.write_all(b"packet").unwrap();
        drop(spool);
        assert_eq!(disk.bytes, b"packet");
    }
}

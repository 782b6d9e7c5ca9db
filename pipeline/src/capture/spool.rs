//! A buffered file that holds whole records only, whatever happens.
//!
//! Purpose: a disk that fills up in the middle of a packet must not leave half a packet at the end of the file.
//! Invariant: bytes go to the target between records only; when the target fails, it is cut back to the last records that
//! it took whole, and takes nothing more. What it does not do: call `fsync`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::MAX_PACKET;

/// How much is gathered before it is written, in bytes.
const GATHER: usize = 1 << 16;

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
    /// Bytes that the target has taken.
    taken: u64,
    /// Set by the owner of the [`RecordMark`] when a new record begins, taken back here.
    begins: Arc<AtomicBool>,
    failed: bool,
}

/// Tells a spool that what comes next begins a record. It is apart from the spool because a record writer owns that.
pub(super) struct RecordMark(Arc<AtomicBool>);

impl RecordMark {
    /// Everything written so far is whole records.
    pub(super) fn begin(&self) {
        // Only the thread that writes uses the flag; it is atomic so that the writer can move between threads.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T: Target> Spool<T> {
    /// An empty spool, with the mark that must be set before each record.
    pub(super) fn new(target: T) -> (Self, RecordMark) {
        let begins = Arc::new(AtomicBool::new(false));
        // Room for a longest packet on top, so that no write makes it grow.
        let gathered = Vec::with_capacity(GATHER + 2 * MAX_PACKET);
        let mark = RecordMark(Arc::clone(&begins));
        (Self { target, gathered, taken: 0, begins, failed: false }, mark)
    }

    /// Writes out what is gathered; to be called between records only.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier packet could not be written"));
        }
        let outcome = self.target.write_all(&self.gathered).and_then(|()| self.target.flush());
        if outcome.is_err() {
            self.failed = true;
            // A pipe cannot be cut; the error that is returned says enough.
            let _ = self.target.cut(self.taken);
        } else {
            self.taken += self.gathered.len() as u64;
        }
        self.gathered.clear();
        outcome
    }
}

impl<T: Target> Write for Spool<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let between_records = self.begins.swap(false, Ordering::Relaxed);
        if self.failed || (between_records && self.gathered.len() >= GATHER) {
            self.write_out()?;
        }
        self.gathered.extend_from_slice(bytes);
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

    #[test]
    fn a_full_disk_keeps_whole_records_and_takes_no_more() {
        let record = [7_u8; 1_000];
        let mut disk = Disk { bytes: Vec::new(), size: 3 * GATHER + 500 };
        let (mut spool, mark) = Spool::new(&mut disk);
        let mut failures = 0;
        for _ in 0..300 {
            mark.begin();
            // The gathering fills up between the two parts of a record.
            let parts = spool.write_all(&record[..700]).and_then(|()| spool.write_all(&record[700..]));
            failures += usize::from(parts.is_err());
        }
        drop(spool);
        assert!(failures > 1, "the disk was large enough for all");
        assert!(disk.bytes.len() > GATHER, "nothing was kept");
        assert_eq!(disk.bytes.len() % record.len(), 0, "half a record was left");
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

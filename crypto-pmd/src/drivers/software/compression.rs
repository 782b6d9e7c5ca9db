//! Deflate of the software driver (RFC 1951, without a frame), with the memory that it works in.

use flate2::Status as Progress;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::job::{Operation, Status};

/// The window and tables of both ways, made once for a queue pair.
pub(super) struct Codec {
    compress: Compress,
    decompress: Decompress,
}

impl Codec {
    pub(super) fn new() -> Self {
        Self { compress: Compress::new(Compression::default(), false), decompress: Decompress::new(false) }
    }

    /// Puts the result at the begin of `to` and says how long it is; what is decompressed must be one whole stream.
    ///
    /// # Errors
    /// [`Status::TooLong`] for a result that is longer than `to`, which bounds what a few bytes can blow up to;
    /// [`Status::BadData`] for what is no compressed data, or ends before or behind `from`.
    pub(super) fn run(&mut self, operation: Operation, from: &[u8], to: &mut [u8]) -> Result<usize, Status> {
        match operation {
            Operation::Encrypt => self.deflate(from, to),
            Operation::Decrypt => self.inflate(from, to),
        }
    }

    fn deflate(&mut self, from: &[u8], to: &mut [u8]) -> Result<usize, Status> {
        self.compress.reset();
        match self.compress.compress(from, to, FlushCompress::Finish) {
            Ok(Progress::StreamEnd) => Ok(self.compress.total_out() as usize),
            _ => Err(Status::TooLong),
        }
    }

    fn inflate(&mut self, from: &[u8], to: &mut [u8]) -> Result<usize, Status> {
        self.decompress.reset(false);
        let progress = self.decompress.decompress(from, to, FlushDecompress::Finish);
        let (read, written) = (self.decompress.total_in() as usize, self.decompress.total_out() as usize);
        match progress {
            Ok(Progress::StreamEnd) if read == from.len() => Ok(written),
            Ok(Progress::StreamEnd) | Err(_) => Err(Status::BadData),
            Ok(_) if written == to.len() => Err(Status::TooLong),
            Ok(_) => Err(Status::BadData),
        }
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec")
    }
}

//! Files that may hold keys, read so that no copy of their bytes stays behind in memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are read at once.
const STEP: usize = 16 * 1024;

/// The text of a file, wiped when it is dropped.
#[derive(Debug)]
pub(super) struct SecretText {
    pub(super) text: Zeroizing<String>,
    /// Whether every user of the machine may read the file.
    pub(super) is_world_readable: bool,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    #[error("is not UTF-8 text (byte {0})")]
    NotText(usize),
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<SecretText, FileError> {
    let mut file = File::open(path)?;
    let is_world_readable = is_world_readable(&file)?;
    let mut bytes = bytes_of(&mut file, limit)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(SecretText { text: Zeroizing::new(text), is_world_readable }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            error.into_bytes().zeroize();
            Err(FileError::NotText(valid + 1))
        }
    }
}

/// A vector that grows leaves its old bytes behind, therefore it grows here by hand.
fn bytes_of(file: &mut impl Read, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(STEP));
    let mut step = Zeroizing::new([0; STEP]);
    loop {
        let read = match file.read(&mut *step) {
            Ok(0) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if bytes.len() + read > limit {
            return Err(FileError::TooLarge(limit));
        }
        if bytes.len() + read > bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * bytes.capacity()));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(step.get(..read).unwrap_or_default());
    }
}

fn is_world_readable(file: &File) -> io::Result<bool> {
    const READ_BY_OTHERS: u32 = 0o004;
    let metadata = file.metadata()?;
    // A pipe has permission bits too, but nobody finds it by a name.
    Ok(metadata.is_file() && metadata.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_whole_over_many_reads() {
        let data: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let mut halves = data[..40_001].chain(&data[40_001..]);
        assert_eq!(*bytes_of(&mut halves, 100_000).unwrap(), data);
    }

    #[test]
    fn a_file_over_the_limit_is_refused_even_if_it_never_ends() {
        assert!(matches!(bytes_of(&mut io::repeat(7), 50_000), Err(FileError::TooLarge(50_000))));
        assert!(bytes_of(&mut io::repeat(7).take(50_000), 50_000).is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc\xff").unwrap();
        assert_eq!(read(&path, 100).unwrap_err().to_string(), "is not UTF-8 text (byte 4)");
    }
}

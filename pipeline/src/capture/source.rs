//! Where a capture's bytes come from: a regular file or a pipe, read to its end.
//!
//! Invariant: nothing is opened that may have no end or react to being opened (a device, a socket, a directory), and a
//! pipe, whose length nobody knows beforehand, is read up to [`LONGEST_PIPE`] only.
//! What it does not do: look at the bytes.

use std::fs::{File, FileType};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::CaptureError;

/// The most that is read from a pipe, in bytes.
const LONGEST_PIPE: u64 = 4 << 30;

/// All bytes behind `path`; links are followed, so that `/dev/stdin` is what it was redirected from.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CaptureError> {
    let file = || path.display().to_string();
    let unreadable = |source| CaptureError::Unreadable { file: file(), source };
    let kind = path.metadata().map_err(unreadable)?.file_type();
    if kind.is_file() {
        return std::fs::read(path).map_err(unreadable);
    }
    if kind.is_fifo() {
        return read_pipe(&file(), File::open(path).map_err(unreadable)?, LONGEST_PIPE);
    }
    Err(CaptureError::NotAFile { file: file(), kind: in_words(kind) })
}

/// Reads to the end, at most `limit` bytes.
fn read_pipe(name: &str, pipe: impl Read, limit: u64) -> Result<Vec<u8>, CaptureError> {
    let mut bytes = Vec::new();
    // One byte more tells a pipe that ends at the limit from one that goes on.
    match pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(length) if length as u64 <= limit => Ok(bytes),
        Ok(_) => Err(CaptureError::PipeTooLong { file: name.to_owned(), limit }),
        Err(source) => Err(CaptureError::Unreadable { file: name.to_owned(), source }),
    }
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_block_device() => "a block device",
        kind if kind.is_socket() => "a socket",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let rest = "give a pcap or pcapng file";
        for (path, kind) in [
            (Path::new("/dev/zero"), "a character device"),
            (directory.path(), "a directory"),
            (&socket, "a socket"),
        ] {
            assert_eq!(refusal(path), format!("{}: is not a file but {kind}; {rest}", path.display()));
        }
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"a capture").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read(Path::new(&path)).unwrap(), b"a capture");
    }

    #[test]
    fn a_pipe_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(read_pipe("p", &[7; 8][..], 8).unwrap(), [7; 8]);
        let said = read_pipe("p", std::io::repeat(7), 8).unwrap_err().to_string();
        assert_eq!(said, "p: the pipe gives more than 8 bytes; save it to a file and give that");
    }

    #[test]
    fn a_link_to_a_file_is_that_file() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        std::fs::write(&target, b"bytes").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(read(&link).unwrap(), b"bytes");
    }
}

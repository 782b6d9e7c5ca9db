//! What the kernel says of a thread (proc(5), `/proc/pid/task/tid/stat`).

use std::cell::Cell;
use std::{fs, io};

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// The kernel's number of this thread; looked up once for each thread.
#[inline]
pub(super) fn number() -> io::Result<u32> {
    match NUMBER.get() {
        0 => look_up(),
        number => Ok(number),
    }
}

#[cold]
fn look_up() -> io::Result<u32> {
    // A link to `PID/task/TID`.
    let link = fs::read_link("/proc/thread-self")?;
    let number = link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    let number = number.ok_or_else(|| io::Error::other(format!("{} names no thread", link.display())))?;
    NUMBER.set(number);
    Ok(number)
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doing {
    /// One letter: `R` runs or could, `S` waits for somebody, `D` waits for a device or for memory.
    pub(super) state: char,
    /// Processor time that it has had, in the kernel's ticks of 10 ms.
    pub(super) ticks: u64,
}

/// `None` for a thread that has ended.
pub(super) fn doing(number: u32) -> io::Result<Option<Doing>> {
    match fs::read_to_string(format!("/proc/self/task/{number}/stat")) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It ended while its file was read: ESRCH.
        Err(error) if error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fields 3, 14 and 15. The second one is a name in brackets, which may have anything in it.
fn parse(stat: &str) -> Option<Doing> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Doing { state, ticks: user + system })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_time_are_read_behind_any_name() {
        let stat = "123 (a) R (b)) S 1 1 1 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0 100 1000 10";
        assert_eq!(parse(stat), Some(Doing { state: 'S', ticks: 12 }));
        assert_eq!(parse("123 (cut) S 1 1"), None);
    }

    #[test]
    fn a_thread_that_looks_at_itself_runs_and_one_that_has_ended_does_nothing() {
        let own = number().unwrap();
        assert_eq!(doing(own).unwrap().unwrap().state, 'R');
        let other = std::thread::spawn(|| number().unwrap()).join().unwrap();
        assert_ne!(own, other);
        // The kernel forgets it a moment after it was joined.
        while doing(other).unwrap().is_some() {
            std::thread::yield_now();
        }
    }
}

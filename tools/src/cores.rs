//! Which processors a run uses, as `--cores` lists them.

use std::sync::OnceLock;

use pipeline::lcore::LcoreId;

use crate::failure::{Failure, warn};

/// The processors that this process may use, as they were before any thread of it was pinned.
pub(crate) fn available() -> &'static [LcoreId] {
    static AVAILABLE: OnceLock<Vec<LcoreId>> = OnceLock::new();
    AVAILABLE.get_or_init(LcoreId::available)
}

/// Checks that a list names each processor once, and not more than `most`.
///
/// # Errors
/// What is wrong with the list.
pub(crate) fn check(cores: &[usize], most: usize) -> Result<(), Failure> {
    let twice = |(at, core): &(usize, &usize)| cores.iter().take(*at).any(|other| other == *core);
    if let Some((_, core)) = cores.iter().enumerate().find(twice) {
        return Err(Failure::usage(format_args!("--cores lists {core} twice; list each processor once")));
    }
    if cores.len() > most {
        return Err(Failure::usage(format_args!(
            "--cores lists {} processors; list {most} at most",
            cores.len()
        )));
    }
    Ok(())
}

/// Where each core is to be pinned; `None` where the scheduler decides. A single core is this thread, pinned at once.
///
/// # Errors
/// A processor that is not there, unless more are asked for than there are.
pub(crate) fn choose(wanted: &[usize]) -> Result<Vec<Option<LcoreId>>, Failure> {
    let available = available();
    if wanted.is_empty() {
        // Where pinning is not allowed, nobody asked for it.
        return Ok(vec![available.first().copied().filter(|core| core.pin_current_thread())]);
    }
    let mut cores = Vec::new();
    for &number in wanted {
        let core = Some(LcoreId(number)).filter(|core| available.contains(core));
        match core {
            Some(core) => cores.push(Some(core)),
            None if wanted.len() > available.len() => {
                warn(format_args!("note: there is no processor {number} here; its core runs unpinned"));
                cores.push(None);
            }
            None => return Err(no_such_core("--cores", number)),
        }
    }
    match cores.as_slice() {
        [Some(core)] if !core.pin_current_thread() => Err(no_such_core("--cores", core.0)),
        _ => Ok(cores),
    }
}

pub(crate) fn no_such_core(option: &str, wanted: usize) -> Failure {
    let list: Vec<_> = available().iter().map(|core| core.0.to_string()).collect();
    let list = list.join(", ");
    Failure::machine(format_args!("{option} {wanted}: no such processor here; use one of {list}"))
}

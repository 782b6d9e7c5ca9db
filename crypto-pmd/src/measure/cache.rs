//! Measurements in a file, so that a machine is measured once.
//!
//! Invariant: no file, however damaged, and no folder, however forbidden, keeps a program from starting: what cannot be used is
//! measured anew, and what cannot be kept is used all the same. A file is replaced whole or not at all.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bundle::Bundle;
use super::calibrate::{Budget, Ticks, calibrate};
use super::candidate::Candidate;
use super::fingerprint::Fingerprint;
use super::table::Measurements;

/// Form of the file.
const SCHEMA: &str = "sealane.measurements/1";
/// More than any table has, in bytes.
const LONGEST: u64 = 16 << 20;

/// Why a file could not be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Nothing was kept yet.
    #[error("{}: no measurements are kept there yet", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{}: cannot be read: {source}; name a file that this program may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{}: holds no measurements: {what}; delete it, and they are made anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and what.
        what: String,
    },
    /// It is of another machine, program or set of drivers.
    #[error("{}: was measured with another {what}, and is measured anew", path.display())]
    Stale {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// It cannot be written.
    #[error("{}: cannot be written: {source}; name a file in a folder that this program may write to", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Document {
    schema: String,
    #[serde(flatten)]
    measurements: Measurements,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    schema: &'static str,
    #[serde(flatten)]
    measurements: &'a Measurements,
}

impl Measurements {
    /// Reads a file, whatever machine it is of.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CacheError> {
        let path = path.as_ref();
        let bytes = read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CacheError::Missing(path.to_owned()),
            _ => CacheError::Unreadable { path: path.to_owned(), source },
        })?;
        let damaged = |what: String| CacheError::Damaged { path: path.to_owned(), what };
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if document.schema != SCHEMA {
            return Err(damaged(format!("its schema is \"{}\", not \"{SCHEMA}\"", document.schema)));
        }
        match document.measurements.nonsense() {
            None => Ok(document.measurements),
            Some(what) => Err(damaged(what)),
        }
    }

    /// Writes a file, in place of the one that was there: whoever reads meanwhile finds the old one or the new one.
    ///
    /// # Errors
    /// It cannot be written; what was there stays.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CacheError> {
        let path = path.as_ref();
        let document = Borrowed { schema: SCHEMA, measurements: self };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::from);
        let written = text.and_then(|text| replace(path, &text));
        written.map_err(|source| CacheError::Unwritable { path: path.to_owned(), source })
    }
}

/// A plain file's bytes, as far as they can be a table: anything else might never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// By way of a file beside it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(text)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    Ok(())
}

/// What [`load_or_calibrate`] has.
#[derive(Debug)]
pub struct Outcome {
    /// All that is known, good for this machine.
    pub measurements: Measurements,
    /// Names of the bundles that were measured just now.
    pub measured: Vec<String>,
    /// Why something was measured, and whether it could be kept: for a log.
    pub notes: Vec<CacheError>,
}

/// Takes from the file what it has for these drivers and bundles, measures what it does not have, and keeps that. A file of another
/// machine, version or set of drivers counts as empty, and so does one that is damaged; so does what failed the last time.
#[must_use]
pub fn load_or_calibrate(
    path: impl AsRef<Path>,
    candidates: &[Candidate],
    bundles: &[Bundle],
    budget: Budget,
    clock: &impl Ticks,
) -> Outcome {
    let (path, mut notes) = (path.as_ref(), Vec::new());
    let kept = load_for(path, &Fingerprint::here(candidates)).map_err(|note| notes.push(note)).ok();
    let known = |bundle: &Bundle| {
        let has = |kept: &Measurements| candidates.iter().all(|one| kept.knows(bundle.name(), one.name()));
        kept.as_ref().is_some_and(has)
    };
    let wanted: Vec<_> = bundles.iter().filter(|bundle| !known(bundle)).cloned().collect();
    let measured: Vec<_> = wanted.iter().map(|bundle| bundle.name().to_owned()).collect();
    let measurements = match kept {
        Some(kept) if wanted.is_empty() => return Outcome { measurements: kept, measured, notes },
        Some(mut kept) => {
            kept.renew(calibrate(candidates, &wanted, budget, clock));
            kept
        }
        None => calibrate(candidates, &wanted, budget, clock),
    };
    notes.extend(measurements.save(path).err());
    Outcome { measurements, measured, notes }
}

fn load_for(path: &Path, here: &Fingerprint) -> Result<Measurements, CacheError> {
    let kept = Measurements::load(path)?;
    match here.difference(&kept.fingerprint) {
        None => Ok(kept),
        Some(what) => Err(CacheError::Stale { path: path.to_owned(), what }),
    }
}

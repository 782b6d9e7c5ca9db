//! Output files: looked at before anything runs, because a long run must not end in a file that cannot be written, and no
//! output may replace an input or another output; and the forms that all programs write.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failure;

/// Standard output, for `--json`.
const STANDARD_OUTPUT: &str = "-";

/// Columns of a terminal that a table keeps to.
const SCREEN: u16 = 100;

/// What reports tell of a histogram, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LatencyNs {
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl LatencyNs {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            min: if histogram.is_empty() { 0 } else { histogram.min() },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// A file by the words that messages have for it.
pub(crate) type NamedFile<'a> = (&'a str, Option<&'a Path>);

/// Whether a report goes to standard output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == STANDARD_OUTPUT
}

/// Checks that every output can be written and is nobody else's file. Creates and changes nothing.
///
/// # Errors
/// The first output that cannot.
pub(crate) fn check(inputs: &[NamedFile<'_>], outputs: &[NamedFile<'_>]) -> Result<(), Failure> {
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (name, path) in inputs {
        taken.extend(path.and_then(identity).map(|identity| (*name, identity)));
    }
    for (name, path) in outputs {
        let Some(path) = *path else { continue };
        check_writable(path)?;
        let Some(identity) = identity(path) else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == identity) {
            let path = path.display();
            return Err(Failure::usage(format_args!(
                "{path}: {name} would overwrite {other}; name another file"
            )));
        }
        taken.push((name, identity));
    }
    Ok(())
}

/// Where a path leads, links followed; for a file that is not there yet, its folder and name. None for what is no
/// ordinary file: a device may be given twice.
fn identity(path: &Path) -> Option<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(place) => place.is_file().then_some(place),
        Err(_) => Some(std::fs::canonicalize(folder_of(path)).ok()?.join(path.file_name()?)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_writable(path: &Path) -> Result<(), Failure> {
    let refuse =
        |what: &dyn std::fmt::Display| Err(Failure::usage(format_args!("{}: {what}", path.display())));
    if !folder_of(path).is_dir() {
        return refuse(&"its folder does not exist; make the folder first");
    }
    if path.is_dir() {
        return refuse(&"is a folder; name a file");
    }
    if is_standard(path) {
        return refuse(&"only --json goes to standard output; name a file");
    }
    if !path.exists() {
        return Ok(());
    }
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => refuse(&format_args!("cannot be written: {error}; choose another place")),
    }
}

/// Writes a report as one JSON object with a line's end, to standard output for `-`.
///
/// # Errors
/// What could not be written.
pub(crate) fn write_json(report: &impl Serialize, path: &Path) -> Result<(), Failure> {
    if is_standard(path) {
        return write_json_to(report, std::io::stdout().lock(), path);
    }
    let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
    write_json_to(report, BufWriter::new(file), path)
}

fn write_json_to(report: &impl Serialize, mut to: impl Write, path: &Path) -> Result<(), Failure> {
    let written = serde_json::to_writer(&mut to, report).map_err(std::io::Error::from);
    written.and_then(|()| writeln!(to)).and_then(|()| to.flush()).map_err(|error| cannot_write(path, &error))
}

/// A file that cannot be written.
pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format_args!("{}: cannot be written: {error}; choose another place", path.display()))
}

/// An empty table as wide as a screen.
pub(crate) fn screen() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(SCREEN);
    table
}

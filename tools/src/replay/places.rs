//! Output files, looked at before anything runs: a long run must not end in a file that cannot be written, and no output
//! may replace an input or another output.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

use super::options::Options;

/// Standard output, for `--json`.
pub(super) const STANDARD_OUTPUT: &str = "-";

/// Checks that every output can be written and is nobody else's file. Creates and changes nothing.
///
/// # Errors
/// The first output that cannot.
pub(super) fn check(options: &Options) -> Result<(), Failure> {
    let inputs = [("the capture", &options.capture), ("the configuration", &options.config)];
    let json = options.json.as_ref().filter(|path| path.as_os_str() != STANDARD_OUTPUT);
    let outputs =
        [("--out", options.out.as_ref()), ("--json", json), ("--histogram", options.histogram.as_ref())];
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (name, path) in inputs {
        taken.extend(path.as_deref().and_then(identity).map(|identity| (name, identity)));
    }
    for (name, path) in outputs {
        let Some(path) = path else { continue };
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
    if path.as_os_str() == STANDARD_OUTPUT {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn checked(arguments: &[&str]) -> Result<(), String> {
        check(&Options::parse_from(["esp-replay"].iter().chain(arguments)))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_output_may_be_no_input_and_no_other_output_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("c.toml"), "keys").unwrap();
        std::os::unix::fs::symlink(at("c.toml"), at("link")).unwrap();
        for json in [at("c.toml"), at("./c.toml"), at("link")] {
            let error = checked(&["--config", &at("c.toml"), "--json", &json]).unwrap_err();
            assert!(error.contains("--json would overwrite the configuration"), "{error}");
        }
        let error = checked(&["--out", &at("new.pcap"), "--histogram", &at("new.pcap")]).unwrap_err();
        assert!(error.contains("--histogram would overwrite --out"), "{error}");
        assert_eq!(checked(&["--out", &at("new.pcap"), "--json", &at("new.json")]), Ok(()));
        assert_eq!(checked(&["--out", "/dev/null", "--json", "/dev/null"]), Ok(()));
        assert_eq!(std::fs::read(at("c.toml")).unwrap(), b"keys");
        assert!(!folder.path().join("new.pcap").exists());
    }

    #[test]
    fn only_the_report_goes_to_standard_output() {
        assert_eq!(checked(&["--json", "-"]), Ok(()));
        assert!(checked(&["--histogram", "-"]).is_err());
    }
}

//! The files of a replay, looked at before anything runs.

use crate::failure::Failure;
use crate::outputs;

use super::options::Options;

/// Checks that every output can be written and is nobody else's file. Creates and changes nothing.
///
/// # Errors
/// The first output that cannot.
pub(super) fn check(options: &Options) -> Result<(), Failure> {
    let inputs =
        [("the capture", options.capture.as_deref()), ("the configuration", options.config.as_deref())];
    let json = options.json.as_deref().filter(|path| !outputs::is_standard(path));
    let written =
        [("--out", options.out.as_deref()), ("--json", json), ("--histogram", options.histogram.as_deref())];
    outputs::check(&inputs, &written)
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

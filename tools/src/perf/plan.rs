//! The rows of a run: every driver with every suite or algorithm, operation, size and burst that was asked for.

use crypto_pmd::OpenError;
use ipsec_esp::suite::Suite;

use crate::failure::{Failure, warn};

use super::catalogue::Catalogue;
use super::device::Built;
use super::options::{DriverName, OperationName, Options, Size, Test};
use super::subject::Subject;

/// Stands for everything there is.
const ALL: &str = "all";

/// What is measured where nothing is named: one suite with a separate code, and one AEAD.
const DEFAULT_SUITES: [&str; 2] = ["aes128-sha1", "aes128gcm16"];

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) driver: Built,
    pub(super) subject: Subject,
    pub(super) operation: OperationName,
    pub(super) size: Size,
    pub(super) burst: usize,
}

/// The rows in the order in which they are reported.
///
/// # Errors
/// A name that is not known, or a combination that does not go.
pub(super) fn cases(options: &Options) -> Result<Vec<Case>, Failure> {
    let subjects = subjects(options)?;
    let mut cases = Vec::new();
    for driver in drivers(options)? {
        for subject in &subjects {
            if !can(driver, subject, options)? {
                continue;
            }
            for operation in operations(options, subject)? {
                for (&size, &burst) in
                    options.size.iter().flat_map(|size| options.burst.iter().map(move |burst| (size, burst)))
                {
                    check_size(size, subject)?;
                    let (subject, burst) = (subject.clone(), usize::from(burst));
                    cases.push(Case { driver, subject, operation, size, burst });
                }
            }
        }
    }
    if cases.is_empty() {
        return Err(Failure::usage(
            "nothing is left to run; name other operations, or an algorithm that has them",
        ));
    }
    Ok(cases)
}

/// What was asked for, each once.
fn drivers(options: &Options) -> Result<Vec<Built>, Failure> {
    let mut drivers = Vec::new();
    let all = options.driver.contains(&DriverName::All);
    for driver in Built::all(options.kernels()?) {
        let named = match driver {
            Built::Null => options.driver.contains(&DriverName::Null),
            Built::Software => options.driver.contains(&DriverName::Software),
            Built::Multibuffer(_) => options.driver.contains(&DriverName::Multibuffer),
            Built::Scheduler(..) => false,
        };
        if named || all {
            drivers.push(driver);
        }
    }
    if options.driver.contains(&DriverName::Scheduler) {
        drivers.push(Built::Scheduler(options.family()?, options.kernels()?));
    }
    if options.test == Test::Verify && drivers.contains(&Built::Null) {
        warn("note: the null driver computes nothing to verify; it is left out");
        drivers.retain(|&driver| driver != Built::Null);
    }
    Ok(drivers)
}

fn subjects(options: &Options) -> Result<Vec<Subject>, Failure> {
    if options.algorithm.is_empty() {
        return suites(&options.suite);
    }
    let capabilities = Built::all(options.kernels()?).map(Built::capabilities);
    let catalogue = Catalogue::of(&capabilities);
    if is_all(&options.algorithm) {
        return Ok(catalogue.all().to_vec());
    }
    options.algorithm.iter().map(|name| catalogue.find(name).cloned()).collect()
}

fn suites(names: &[String]) -> Result<Vec<Subject>, Failure> {
    if is_all(names) {
        return Ok(Suite::ALL.iter().map(|suite| Subject::of_suite(*suite)).collect());
    }
    let parse = |name: &str| Suite::parse(name).map(Subject::of_suite).map_err(Failure::usage);
    match names {
        [] => DEFAULT_SUITES.iter().map(|name| parse(name)).collect(),
        names => names.iter().map(|name| parse(name)).collect(),
    }
}

fn is_all(names: &[String]) -> bool {
    names.iter().any(|name| name == ALL)
}

/// Whether the driver has the algorithms. What was named must be there; of everything, what is not there is left out
/// with a note.
fn can(driver: Built, subject: &Subject, options: &Options) -> Result<bool, Failure> {
    let device = driver.device()?;
    let everything =
        is_all(&options.suite) || is_all(&options.algorithm) || options.driver.contains(&DriverName::All);
    match device.open(subject.params(&mut fastrand::Rng::with_seed(0))) {
        Ok(_) => Ok(true),
        Err(error @ OpenError::Unsupported { .. }) if everything => {
            warn(format_args!("note: {} is left out: {error}", subject.name));
            Ok(false)
        }
        Err(error) => Err(Failure::usage(format_args!("{}: {error}; use another --driver", subject.name))),
    }
}

/// The operations asked for. Of everything, those that go; what was named must have them.
fn operations(options: &Options, subject: &Subject) -> Result<Vec<OperationName>, Failure> {
    let has = subject.operations();
    if options.operation.is_empty() {
        return Ok(has.to_vec());
    }
    let wrong = options.operation.iter().find(|operation| !has.contains(operation));
    match wrong {
        Some(operation) if !is_all(&options.algorithm) => {
            let names: Vec<_> = has.iter().map(|operation| operation.name()).collect();
            Err(Failure::usage(format_args!(
                "--operation {} does not go with {}; use {}",
                operation.name(),
                subject.name,
                names.join(" or ")
            )))
        }
        _ => Ok(options.operation.iter().copied().filter(|operation| has.contains(operation)).collect()),
    }
}

/// The mix is padded to blocks; a size that was given is taken as it is or not at all.
fn check_size(size: Size, subject: &Subject) -> Result<(), Failure> {
    let block = subject.layout().block_len;
    match size {
        Size::Fixed(size) if !(size as usize).is_multiple_of(block) => {
            let above = (size as usize).next_multiple_of(block);
            let below = above - block;
            let remedy = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
            Err(Failure::usage(format_args!(
                "--size {size} is not whole blocks: {} works on blocks of {block} bytes; use {remedy}",
                subject.name
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn planned(arguments: &[&str]) -> Result<Vec<Case>, String> {
        let options = Options::parse_from(["crypto-perf"].iter().chain(arguments));
        cases(&options).map_err(|failure| failure.to_string())
    }

    fn told(arguments: &[&str]) -> Vec<(&'static str, String, &'static str, Size, usize)> {
        let tell = |case: Case| {
            (case.driver.name(), case.subject.name, case.operation.name(), case.size, case.burst)
        };
        planned(arguments).unwrap().into_iter().map(tell).collect()
    }

    #[test]
    fn there_is_a_row_for_each_driver_suite_operation_size_and_burst() {
        let arguments = ["--driver", "all", "--suite", "aes128-sha1,null-sha1", "--size", "16,imix"];
        let rows = told(&[&arguments[..], &["--burst", "1,8,32"]].concat());
        assert_eq!(rows.len(), 3 * 2 * 2 * 2 * 3);
        let first = ("null", "aes128-sha1".to_owned(), "encrypt", Size::Fixed(16), 1);
        let last = ("multibuffer", "null-sha1".to_owned(), "decrypt", Size::Imix, 32);
        assert_eq!((rows.first(), rows.last()), (Some(&first), Some(&last)));
        assert!((1..rows.len()).all(|at| !rows[at..].contains(&rows[at - 1])));
    }

    #[test]
    fn all_suites_and_all_algorithms_are_there() {
        let rows = told(&["--suite", "all", "--size", "64", "--operation", "encrypt"]);
        assert_eq!(rows.len(), Suite::ALL.len());
        let algorithms = told(&["--algorithm", "all", "--size", "64"]);
        for (name, operation) in [("aes-192-gcm", "decrypt"), ("sha2-384-hmac", "generate")] {
            assert!(algorithms.iter().any(|row| row.1 == name && row.2 == operation), "{name} {operation}");
        }
    }

    #[test]
    fn an_operation_must_go_with_what_was_named_and_picks_from_all() {
        let error = planned(&["--algorithm", "aes-128-cbc", "--operation", "generate"]).unwrap_err();
        assert!(error.contains("--operation generate") && error.contains("encrypt or decrypt"), "{error}");
        let rows = told(&["--algorithm", "all", "--operation", "generate", "--size", "64"]);
        assert!(!rows.is_empty() && rows.iter().all(|row| row.2 == "generate"));
        let digests = told(&["--algorithm", "all", "--operation", "digest", "--size", "64"]);
        assert!(digests.iter().any(|row| row.1 == "sha1") && digests.iter().all(|row| row.2 == "digest"));
    }

    #[test]
    fn a_size_that_is_not_whole_blocks_is_refused_with_those_beside_it() {
        let error = planned(&["--suite", "aes128-sha1", "--size", "100"]).unwrap_err();
        assert!(error.contains("--size 100") && error.contains("use 96 or 112"), "{error}");
        assert!(planned(&["--suite", "aes128-sha1", "--size", "9"]).unwrap_err().ends_with("use 16"));
        assert!(planned(&["--suite", "aes128gcm16", "--size", "100"]).is_ok());
        assert!(planned(&["--algorithm", "sha1-hmac", "--size", "100"]).is_ok());
    }

    #[test]
    fn the_scheduler_comes_last_and_only_when_it_is_named() {
        let drivers = |list| {
            let mut drivers = Vec::from_iter(told(&["--driver", list]).into_iter().map(|row| row.0));
            drivers.dedup();
            drivers
        };
        assert_eq!(drivers("scheduler,software"), ["software", "scheduler"]);
        assert_eq!(drivers("all,scheduler"), ["null", "software", "multibuffer", "scheduler"]);
        assert_eq!(drivers("all"), ["null", "software", "multibuffer"]);
    }

    #[test]
    fn the_null_driver_is_left_out_of_verify() {
        let rows = told(&["--test", "verify", "--driver", "all", "--size", "64"]);
        assert!(!rows.is_empty() && rows.iter().all(|row| row.0 != "null"));
    }
}

//! How a program ends early: one clear line, and the exit code that scripts rely on.

use std::fmt;
use std::io::Write as _;

/// The run is complete and its result is bad.
pub const BAD_RESULT: u8 = 1;
/// Something the user gave is wrong: usage, configuration, input.
pub const BAD_USAGE: u8 = 2;
/// The machine lacks what was asked for.
pub const MACHINE_LACKS: u8 = 3;

/// Why a program cannot go on.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    message: String,
}

impl Failure {
    /// What was computed is wrong.
    pub fn bad_result(what: impl fmt::Display) -> Self {
        Self { code: BAD_RESULT, message: one_line(&what.to_string()) }
    }

    /// What the user gave is wrong.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self { code: BAD_USAGE, message: one_line(&what.to_string()) }
    }

    /// What the user asked for is not here.
    pub fn machine(what: impl fmt::Display) -> Self {
        Self { code: MACHINE_LACKS, message: one_line(&what.to_string()) }
    }

    /// What is wrong with the options, in one line.
    #[must_use]
    pub fn of_options(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let ends = ["\n\nUsage:", "\n\nFor more information"];
        let about = ends.iter().fold(text.as_str(), |text, end| text.split(end).next().unwrap_or_default());
        let words: Vec<_> = about.trim_start_matches("error:").split_whitespace().collect();
        Self::usage(format_args!("{}; --help shows the options", words.join(" ")))
    }

    /// An option that exists and is not built yet.
    #[must_use]
    pub fn not_yet(option: &str) -> Self {
        Self::usage(format_args!("{option} is not implemented yet; leave it out"))
    }
}

/// Prints to standard output. A reader that has gone away is no failure; a full device is.
///
/// # Errors
/// What could not be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format_args!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error, if that can be done: there is nowhere left to complain.
pub fn warn(line: impl fmt::Display) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Control characters, from a file's name say, must not break the line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

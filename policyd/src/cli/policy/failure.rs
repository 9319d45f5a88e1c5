//! What keeps a command from its work on one policy.

use std::path::Path;

use super::exit;
use super::files::{self, Unreadable};
use crate::authoring::simulation::Declared;
use crate::authoring::tools;
use crate::cli::say;
use crate::diagnostic::Report;

/// Why there is nothing to show.
pub(super) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    Unreadable(Unreadable),
    /// A document is bad.
    Bad(Report),
}

impl Failure {
    /// Says it on stderr, and gives the exit code.
    pub fn tell(&self) -> u8 {
        match self {
            Failure::Usage(why) => {
                say(why);
                exit::USAGE
            }
            Failure::Unreadable(why) => {
                say(why);
                exit::NO_INPUT
            }
            Failure::Bad(report) => {
                files::complain(report);
                exit::DATA
            }
        }
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        Failure::Unreadable(unreadable)
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure::Bad(report)
    }
}

/// What the server declares, by the dump that `--tools` names, if it does.
pub(super) fn declared(dump: Option<&Path>) -> Result<Option<Declared>, Failure> {
    let Some(path) = dump else { return Ok(None) };
    let dump = files::read(path)?;
    Ok(Some(Declared::from(&*tools::read(&dump.name, &dump.text)?)))
}

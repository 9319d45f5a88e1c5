//! The daemon's log: structured lines on stderr.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Format, Error> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(Error::Format(word.to_owned())),
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a format.
    #[error("unknown log format `{0}`: use `text` or `json`")]
    Format(String),
    /// Neither a level nor a list of `target=level`.
    #[error("log level `{text}` cannot be read: {cause}; use `info`, `debug`, or `policyd=debug,hyper=warn`")]
    Level {
        /// What was given.
        text: String,
        /// What is wrong with it.
        cause: ParseError,
    },
    /// A log has been set up before in this process.
    #[error("the log is already set up")]
    Twice,
}

/// Sends every log line to stderr from now on. `level` (`--log-level`) beats `environment` (`RUST_LOG`'s value); with
/// neither it is `info`.
pub fn init(format: Format, level: Option<&str>, environment: Option<&str>) -> Result<(), Error> {
    let filter = filter(level, environment)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    done.map_err(|_| Error::Twice)
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, Error> {
    let text = level.or(environment).filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::builder().parse(text).map_err(|cause| Error::Level { text: text.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_beats_the_environment_and_info_is_the_default() {
        assert_eq!(filter(Some("debug"), Some("warn")).unwrap().to_string(), "debug");
        assert_eq!(filter(None, Some("warn")).unwrap().to_string(), "warn");
        assert_eq!(filter(None, Some("")).unwrap().to_string(), "info");
        assert_eq!(filter(None, None).unwrap().to_string(), "info");
    }

    #[test]
    fn a_level_that_is_none_says_so() {
        let error = filter(Some("policyd=loud"), None).unwrap_err().to_string();
        assert!(error.contains("`policyd=loud`") && error.contains("use `info`"), "{error}");
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("`xml`"));
    }
}

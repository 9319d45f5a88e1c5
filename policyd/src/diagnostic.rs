//! What is wrong with a file, told so that a person can act on it: shared by policies and the configuration. Pure.

mod places;

use std::fmt;
use std::ops::Range;

pub use places::Places;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
    /// Nothing is wrong; something is worth knowing.
    Note,
}

/// One problem in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Lower case, no full stop, user input in backticks.
    pub message: String,
    /// Where, as a byte range of the source.
    pub span: Range<usize>,
    /// What to do, where it can be said: `did you mean …`.
    pub help: Option<String>,
    /// The kind of problem, for programs: `unknown-key`. Stable.
    pub code: Option<&'static str>,
    /// Everything that the message counts, of which it may name only the first, for programs.
    pub names: Vec<String>,
}

impl Diagnostic {
    /// A problem that makes a document useless.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span,
            help: None,
            code: None,
            names: Vec::new(),
        }
    }

    /// A problem that only warrants a warning.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    /// Something worth knowing.
    pub fn note(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Note, ..Diagnostic::error(span, message) }
    }

    /// Of a kind that programs know it by.
    pub fn code(self, code: &'static str) -> Diagnostic {
        Diagnostic { code: Some(code), ..self }
    }

    /// With what to do about it.
    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// All problems of one document, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// The problems, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// The report as rustc would print it: `file:line:column`, an excerpt with the place underlined, the help; and how
    /// many problems there are.
    pub fn render(&self, color: bool) -> String {
        let count = self.diagnostics.len();
        let harmless = self.diagnostics.iter().all(|problem| problem.severity == Severity::Note);
        let what = if harmless { "note" } else { "problem" };
        let plural = if count == 1 { "" } else { "s" };
        format!("{}{}: {count} {what}{plural}\n", self.render_each(color), printable_name(&self.file))
    }

    /// The problems alone, each with an empty line behind it.
    pub fn render_each(&self, color: bool) -> String {
        let places = self.places();
        self.diagnostics.iter().map(|problem| places.render(&self.file, problem, color) + "\n\n").collect()
    }

    /// The places of the text. Whoever asks for many makes it once.
    pub fn places(&self) -> Places<'_> {
        Places::of(&self.source)
    }

    /// Line and column of a problem, both from 1; columns count characters.
    pub fn line_column(&self, problem: &Diagnostic) -> (usize, usize) {
        self.places().line_column(problem.span.start)
    }
}

impl fmt::Display for Report {
    /// One line per problem: `file:line:column: message (help)`; for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places();
        for (index, problem) in self.diagnostics.iter().enumerate() {
            let (line, column) = places.line_column(problem.span.start);
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {}", self.file, problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Without what drives a terminal: a server's names may stand in it, or those of files that somebody sent.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The same of a name, which ends no line.
pub(crate) fn printable_name(name: &str) -> String {
    printable(name).replace('\n', "\u{fffd}")
}

/// The candidate most like `word`, if one is like it enough.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long words are compared slowly, and no candidate is long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let best = candidates.into_iter().min_by_key(distance)?;
    let allowed = (word.chars().count().max(best.chars().count()) / 3).max(1);
    (distance(&best) <= allowed).then_some(best)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn report(source: &str, diagnostics: &[(&str, Range<usize>, Option<&str>)]) -> Report {
        let diagnostic = |(message, span, help): &(&str, Range<usize>, Option<&str>)| Diagnostic {
            severity: Severity::Error,
            message: (*message).to_owned(),
            span: span.clone(),
            help: help.map(str::to_owned),
            code: None,
            names: Vec::new(),
        };
        Report {
            file: "policy.json".to_owned(),
            source: source.to_owned(),
            diagnostics: diagnostics.iter().map(diagnostic).collect(),
        }
    }

    #[test]
    fn shows_each_place_with_its_excerpt() {
        let report = report(
            "{\n  \"vérsion\": \"1\",\n  \"default\": 7\n}",
            &[("unknown key `vérsion`", 4..14, Some("did you mean `version`?")), ("expected a string", 34..35, None)],
        );
        assert_eq!(
            report.render(false),
            "\
error: unknown key `vérsion`
 --> policy.json:2:3
  |
2 |   \"vérsion\": \"1\",
  |   ^^^^^^^^^
  |
  = help: did you mean `version`?

error: expected a string
 --> policy.json:3:14
  |
3 |   \"default\": 7
  |              ^

policy.json: 2 problems
"
        );
        assert_eq!(
            report.to_string(),
            "policy.json:2:3: unknown key `vérsion` (did you mean `version`?)\n\
             policy.json:3:14: expected a string"
        );
        assert!(report.render(true).contains("\u{1b}["), "colours on demand");
    }

    #[test]
    fn nothing_in_a_message_drives_the_terminal() {
        let report = report("{}", &[("no tool `\u{1b}[2J`", 0..1, Some("there is `\u{9b}2J\r`"))]);
        let rendered = report.render(false);
        assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
        assert!(rendered.contains("there is `\u{fffd}2J\u{fffd}`"), "{rendered:?}");
    }

    #[test]
    fn nothing_in_a_file_or_its_name_drives_the_terminal() {
        let report = Report {
            file: "a\u{1b}[2J\nb.json".to_owned(),
            ..report("{\"\u{9b}2J\u{1b}[2J\r\u{7f}\": 1}", &[("unknown key", 1..12, None)])
        };
        let rendered = report.render(false);
        assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
        assert!(rendered.contains(" --> a\u{fffd}[2J\u{fffd}b.json:1:2\n"), "{rendered:?}");
        assert!(rendered.ends_with("a\u{fffd}[2J\u{fffd}b.json: 1 problem\n"), "{rendered:?}");
        assert!(report.render(true).contains("\u{1b}[1m"), "colours stay");
    }

    #[test]
    fn renders_places_at_and_beyond_the_end() {
        for source in ["", "\n", "{", "é"] {
            let rendered = report(source, &[("expected a value", source.len()..source.len(), None)]).render(false);
            assert!(rendered.contains("expected a value"), "{rendered}");
            report(source, &[("wrong", 1..99, None)]).render(false);
        }
    }

    #[test]
    fn suggests_only_what_is_like_it() {
        let candidates = ["limits", "rate_limit", "action", "reason"];
        for (word, suggestion) in [
            ("limit", Some("limits")),
            ("Limits", Some("limits")),
            ("rateLimit", Some("rate_limit")),
            ("ratelimit", Some("rate_limit")),
            ("acton", Some("action")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, candidates), suggestion, "{word}");
        }
        assert_eq!(did_you_mean("x", []), None);
    }
}

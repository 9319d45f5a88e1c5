//! What is wrong with a file, told so that a person can act on it: shared by policies and the configuration. Pure.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One problem in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Lower case, no full stop, user input in backticks.
    pub message: String,
    /// Where, as a byte range of the source.
    pub span: Range<usize>,
    /// What to do, where it can be said: `did you mean …`.
    pub help: Option<String>,
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
    /// The report as rustc would print it: `file:line:column`, an excerpt with the place underlined, the help.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut rendered = String::new();
        for problem in &self.diagnostics {
            let span = self.within(&problem.span);
            let snippet = Snippet::source(&self.source).path(&self.file).annotation(AnnotationKind::Primary.span(span));
            let mut group = Level::ERROR.primary_title(&problem.message).element(snippet);
            if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help));
            }
            rendered.push_str(&renderer.render(&[group]));
            rendered.push_str("\n\n");
        }
        let count = self.diagnostics.len();
        let plural = if count == 1 { "" } else { "s" };
        rendered.push_str(&format!("{}: {count} problem{plural}\n", self.file));
        rendered
    }

    /// Line and column of a problem, both from 1; columns count characters.
    pub fn line_column(&self, problem: &Diagnostic) -> (usize, usize) {
        let span = self.within(&problem.span);
        let before = self.source.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (1 + before.matches('\n').count(), 1 + line.chars().count())
    }

    /// The span, cut down to what the source has, at whole characters.
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.source.floor_char_boundary(span.start);
        let end = self.source.ceil_char_boundary(span.end.max(start));
        start..end
    }
}

impl fmt::Display for Report {
    /// One line per problem: `file:line:column: message (help)`; for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.diagnostics.iter().enumerate() {
            let (line, column) = self.line_column(problem);
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
            message: (*message).to_owned(),
            span: span.clone(),
            help: help.map(str::to_owned),
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

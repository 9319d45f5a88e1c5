//! Places in a text: their lines and columns, and what is shown of the text around them. What is asked of a place does not
//! take longer the larger the text is, so that a text with a thousand problems can be told of.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Severity, printable, printable_name};

/// In bytes: the distance between two places of a line whose columns are remembered, and how much of a line is shown on
/// each side of a place.
const NEAR: usize = 256;

/// The longest place that is shown whole, in bytes. Of a longer one its beginning says where it is.
const LONGEST: usize = 2048;

/// A text whose lines are known.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    source: &'a str,
    /// In their order; the first one is at the beginning.
    marks: Vec<Mark>,
}

/// A place whose line and column are known: each beginning of a line, and some inside of long ones.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: usize,
    line: usize,
    column: usize,
    /// Where the line begins.
    line_start: usize,
}

impl<'a> Places<'a> {
    /// Reads where the lines are.
    pub fn of(source: &'a str) -> Places<'a> {
        let mut marks = Vec::new();
        let mut line_start = 0;
        for (index, line) in source.split('\n').enumerate() {
            let (mut at, mut column) = (0, 1);
            while {
                marks.push(Mark { at: line_start + at, line: 1 + index, column, line_start });
                line.len() - at > NEAR
            } {
                let next = line.floor_char_boundary(at + NEAR);
                column += line.get(at..next).unwrap_or_default().chars().count();
                at = next;
            }
            line_start += line.len() + 1;
        }
        Places { source, marks }
    }

    /// Line and column of a byte of the text, both from 1; columns count characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let at = self.source.floor_char_boundary(at);
        let mark = self.mark(at);
        (mark.line, mark.column + self.source.get(mark.at..at).unwrap_or_default().chars().count())
    }

    /// Line and column of the first character behind a byte range.
    pub fn end_line_column(&self, span: &Range<usize>) -> (usize, usize) {
        self.line_column(self.within(span).end)
    }

    /// A problem of the text, which is the file `file`, as rustc would print it: the place underlined in an excerpt, and
    /// the help.
    pub fn render(&self, file: &str, problem: &Diagnostic, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let message = printable(&problem.message);
        let mut title = level.primary_title(&message);
        // An error has to be mended. A warning may be silenced, by its code.
        if let Some(code) = problem.code.filter(|_| problem.severity == Severity::Warning) {
            title = title.id(code);
        }
        let (excerpt, span) = self.excerpt(&problem.span);
        let (line, column) = self.line_column(problem.span.start);
        let begins = excerpt.get(..span.start).unwrap_or_default().chars().count();
        let file = printable_name(file);
        let snippet = Snippet::source(excerpt).line_start(line).annotation(AnnotationKind::Primary.span(span));
        // Where the line is cut, its excerpt has other columns than the text.
        let mut group = match 1 + begins == column {
            true => title.element(snippet.path(&file)),
            false => title.element(Origin::path(&file).line(line).char_column(column)).element(snippet),
        };
        let help = problem.help.as_deref().map(printable);
        if let Some(help) = &help {
            group = group.element(Level::HELP.message(help));
        }
        // The renderer replaces what drives a terminal, but for the controls behind ASCII (ECMA-48, 8-bit).
        renderer.render(&[group]).replace(|c: char| matches!(c, '\u{80}'..='\u{9f}'), "\u{fffd}")
    }

    /// The lines of a place, and the place in them. Of a long line only what is near.
    fn excerpt(&self, span: &Range<usize>) -> (&'a str, Range<usize>) {
        let mut span = self.within(span);
        let mut behind = self.source.get(span.clone()).unwrap_or_default();
        if behind.len() > LONGEST {
            behind = behind.get(..behind.floor_char_boundary(NEAR)).unwrap_or_default();
            span.end = span.start + behind.find('\n').unwrap_or(behind.len());
        }
        let line_start = self.mark(span.start).line_start;
        let from = line_start.max(self.source.floor_char_boundary(span.start.saturating_sub(NEAR)));
        let most = self.source.floor_char_boundary(span.end.saturating_add(NEAR));
        let rest = self.source.get(span.end..most).unwrap_or_default();
        let to = span.end + rest.find('\n').unwrap_or(rest.len());
        (self.source.get(from..to).unwrap_or_default(), span.start - from..span.end - from)
    }

    /// The last mark at or before a byte.
    fn mark(&self, at: usize) -> Mark {
        let after = self.marks.partition_point(|mark| mark.at <= at);
        let first = Mark { at: 0, line: 1, column: 1, line_start: 0 };
        after.checked_sub(1).and_then(|index| self.marks.get(index)).copied().unwrap_or(first)
    }

    /// The span, cut down to what the source has, at whole characters.
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.source.floor_char_boundary(span.start);
        let end = self.source.ceil_char_boundary(span.end.max(start));
        start..end
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_and_columns_are_those_that_one_counts(source in "([a-zé\n]|[x🦀]{200,400}){0,8}", at in 0usize..4000) {
            let at = source.floor_char_boundary(at);
            let before = &source[..at];
            let column = 1 + before.rsplit('\n').next().unwrap().chars().count();
            prop_assert_eq!(Places::of(&source).line_column(at), (1 + before.matches('\n').count(), column));
        }

        #[test]
        fn an_excerpt_holds_its_place(source in "([a-zé\n]|[x🦀]{200,900}){0,8}", a in 0usize..4000, b in 0usize..4000) {
            let places = Places::of(&source);
            let span = a.min(b)..a.max(b);
            let (excerpt, inside) = places.excerpt(&span);
            let whole = places.within(&span);
            prop_assert!(excerpt.len() <= LONGEST + 2 * NEAR + 8);
            prop_assert!(source[whole.clone()].starts_with(&excerpt[inside.clone()]));
            prop_assert!(inside.len() == whole.len() || whole.len() > LONGEST);
        }
    }

    #[test]
    fn of_a_long_line_only_what_is_near_is_shown() {
        let source = format!("{{\n  \"a\": [{}\"bad\", {}]\n}}", "1, ".repeat(50_000), "2, ".repeat(50_000));
        let at = source.find("\"bad\"").unwrap();
        let rendered = Places::of(&source).render("p.json", &Diagnostic::error(at..at + 5, "expected a number"), false);
        assert!(rendered.contains("--> p.json:2:150009\n"), "{rendered}");
        assert!(
            rendered.contains("1, \"bad\", 2, ") && rendered.contains("^^^^^\n") | rendered.ends_with("^^^^^"),
            "{rendered}"
        );
        assert!(rendered.len() < 1000, "{} bytes", rendered.len());
    }
}

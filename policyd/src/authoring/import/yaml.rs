//! YAML as a tree in which everything knows its place. What readers of YAML take for different things is refused:
//! anchors, aliases, merge keys, tags, duplicate keys, several documents.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::diagnostic::Diagnostic;

/// How deep a document may be nested.
const MAX_DEPTH: usize = 64;

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub yaml: Yaml,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    /// Its text; `plain` without quotes, so that what it means depends on who asks.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Node {
    /// The place to show: of a list or mapping where it begins, not all of its lines.
    pub fn place(&self) -> Range<usize> {
        match self.yaml {
            Yaml::Scalar { .. } => self.span.clone(),
            _ => self.span.start..self.span.start,
        }
    }

    /// Nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.yaml, Yaml::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// `true` and `false`; not `yes` and `no`, which are words in YAML 1.2 and in Go's reading of it.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.yaml {
            Yaml::Scalar { text, plain: true } => match &**text {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Reads a document; what is refused goes into `problems`. `None`: there is nothing to go on with.
pub(super) fn parse(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Node> {
    if text.starts_with('\u{feff}') {
        problems.push(Diagnostic::error(0..'\u{feff}'.len_utf8(), "the file begins with a byte order mark"));
        return None;
    }
    let mut reader = Reader { places: Places::new(text), problems, open: Vec::new(), document: None, documents: 0 };
    for event in Parser::new_from_str(text) {
        let event = match event {
            Ok((event, span)) => reader.event(event, span),
            Err(error) => {
                let at = reader.places.at(error.marker().index());
                Err(Diagnostic::error(at..at, format!("this is not YAML: {}", error.info())))
            }
        };
        if let Err(problem) = event {
            reader.problems.push(problem);
            return None;
        }
    }
    if reader.document.is_none() {
        reader.problems.push(Diagnostic::error(0..0, "the file is empty"));
    }
    reader.document
}

/// Where the characters of a text begin, in bytes.
struct Places {
    starts: Vec<usize>,
    end: usize,
}

impl Places {
    fn new(text: &str) -> Places {
        Places { starts: text.char_indices().map(|(at, _)| at).collect(), end: text.len() }
    }

    fn at(&self, character: usize) -> usize {
        self.starts.get(character).copied().unwrap_or(self.end)
    }

    fn of(&self, span: Span) -> Range<usize> {
        let start = self.at(span.start.index());
        start..self.at(span.end.index()).max(start)
    }
}

/// A list or a mapping that has begun.
struct Open {
    span: Range<usize>,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// The entries, and the key whose value comes next.
    Map(Vec<Entry>, Option<(Option<String>, Range<usize>)>),
}

struct Reader<'p> {
    places: Places,
    problems: &'p mut Vec<Diagnostic>,
    open: Vec<Open>,
    document: Option<Node>,
    documents: usize,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let span = self.places.of(span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = Diagnostic::error(span, "a second document begins here");
                    return Err(problem.help("only the first one would be read; put it into a file of its own"));
                }
            }
            Event::Alias(_) => {
                self.problem(span.clone(), "aliases are not carried over", "write out what the alias stands for");
                self.value(Node { span, yaml: Yaml::List(Vec::new()) });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(&span, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                self.value(Node { span, yaml: Yaml::Scalar { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(&span, anchor, tag.is_some());
                self.begin(span, Items::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(&span, anchor, tag.is_some());
                self.begin(span, Items::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { span: start, items }) = self.open.pop() else { return Ok(()) };
                let yaml = match items {
                    Items::List(nodes) => Yaml::List(nodes),
                    Items::Map(entries, _) => Yaml::Map(entries),
                };
                self.value(Node { span: start.start..span.end.max(start.end), yaml });
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Notes what a node should not have.
    fn plain(&mut self, span: &Range<usize>, anchor: usize, tag: bool) {
        if anchor > 0 {
            self.problem(span.clone(), "anchors are not carried over", "write out each place");
        }
        if tag {
            self.problem(
                span.clone(),
                "tags are not carried over",
                "put quotes around a text, and none around a number",
            );
        }
    }

    fn begin(&mut self, span: Range<usize>, items: Items) -> Result<(), Diagnostic> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Diagnostic::error(span, "the document is nested too deeply"));
        }
        self.open.push(Open { span, items });
        Ok(())
    }

    /// Puts a node that is complete where it belongs.
    fn value(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.document = Some(node);
            return;
        };
        match &mut open.items {
            Items::List(nodes) => nodes.push(node),
            Items::Map(_, key @ None) => {
                let (place, null) = (node.place(), node.is_null());
                let problem = match node.yaml {
                    Yaml::Scalar { text, plain: true } if text == "<<" => {
                        *key = Some((None, place.clone()));
                        ("merge keys are not carried over", "write out what is merged")
                    }
                    Yaml::Scalar { text, .. } if !null => {
                        *key = Some((Some(text), place));
                        return;
                    }
                    _ => {
                        *key = Some((None, place.clone()));
                        ("a key must be a text", "such as a tool's name; put quotes around an empty one")
                    }
                };
                self.problem(place, problem.0, problem.1);
            }
            Items::Map(entries, key) => {
                let Some((Some(text), span)) = key.take() else { return };
                if entries.iter().any(|entry| entry.key == text) {
                    let message = format!("duplicate key `{text}`");
                    self.problem(span, &message, "each key can stand once in a mapping");
                    return;
                }
                entries.push(Entry { key: text, key_span: span, value: node });
            }
        }
    }

    fn problem(&mut self, span: Range<usize>, message: &str, help: &str) {
        self.problems.push(Diagnostic::error(span, message).help(help));
    }
}

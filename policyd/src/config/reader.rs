//! Walks a spanned TOML tree and collects every problem instead of stopping at the first. Pure.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, did_you_mean};

/// The problems of one file, in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Diagnostic>>,
    /// The file has syntax errors, so that what seems to be missing may only not have been read.
    partial: bool,
}

/// A value and its place.
pub(super) type Placed<T> = (T, Range<usize>);

/// One table of the file, and which of its keys were asked for.
///
/// Whoever reads a section asks for every key that it knows and then calls [`finish`](Section::finish), which reports
/// the rest: the list of known keys is never written twice.
#[derive(Debug)]
pub(super) struct Section<'t, 'p> {
    /// How messages name it: `capture`, `server`; empty for the file itself.
    name: &'static str,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    known: Vec<&'static str>,
    problems: &'p Problems,
}

// === impl Problems ===

impl Problems {
    /// The problems of a file with these syntax errors.
    pub(super) fn of_syntax(errors: &[toml::de::Error]) -> Self {
        let problems = Self { partial: !errors.is_empty(), ..Self::default() };
        for error in errors {
            problems.add(error.span().unwrap_or(0..0), error.message().trim_end_matches('.'));
        }
        problems
    }

    /// Notes a problem.
    pub(super) fn add(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    /// Notes a problem and what to do about it.
    pub(super) fn add_with_help(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), Some(help.into()));
    }

    /// Something that should be there.
    pub(super) fn missing(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        if !self.partial {
            self.push(span, message.into(), Some(help.into()));
        }
    }

    /// Something that the language has a word for and this version does not do.
    pub(super) fn unsupported(&self, span: Range<usize>, what: &str) {
        self.add(span, format!("`{what}` is not supported yet"));
    }

    fn push(&self, span: Range<usize>, message: String, help: Option<String>) {
        self.found.borrow_mut().push(Diagnostic { help, ..Diagnostic::error(span, message) });
    }

    /// The problems, in the order of their places.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut all = self.found.into_inner();
        all.sort_by_key(|d| (d.span.start, d.span.end));
        all
    }
}

// === impl Section ===

impl<'t, 'p> Section<'t, 'p> {
    /// The file's top level.
    pub(super) fn root(table: &'t DeTable<'t>, problems: &'p Problems) -> Self {
        Self { name: "", table, span: 0..0, known: Vec::new(), problems }
    }

    /// Where the problems go.
    pub(super) fn problems(&self) -> &'p Problems {
        self.problems
    }

    /// The table's place, for what is missing in it.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// How messages name one of its keys.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of `key`, whatever its type.
    pub(super) fn any(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Reads `key` with `read`, which says what it expected (`a string`) when the type is wrong.
    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Placed<T>> {
        let value = self.any(key)?;
        match read(value.get_ref()) {
            Some(found) => Some((found, value.span())),
            None => {
                let found = describe(value.get_ref());
                self.problems.add(value.span(), format!("`{}` must be {wanted}, not {found}", self.path(key)));
                None
            }
        }
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Placed<&'t str>> {
        self.typed(key, "a string", DeValue::as_str)
    }

    /// A string that must be there and not be empty.
    pub(super) fn required(&mut self, key: &'static str, help: &str) -> Option<Placed<&'t str>> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            self.problems.missing(self.span(), format!("`{}` is missing", self.path(key)), help);
            return None;
        }
        let (text, span) = self.string(key)?;
        if text.trim().is_empty() {
            self.problems.add_with_help(span, format!("`{}` is empty", self.path(key)), help);
            return None;
        }
        Some((text, span))
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "`true` or `false`", DeValue::as_bool).map(|(value, _)| value)
    }

    /// An integer in `range`.
    pub(super) fn integer(&mut self, key: &'static str, range: Range<i64>) -> Option<i64> {
        let wanted = "a whole number";
        let (value, span) = self.typed(key, wanted, integer)?;
        if range.contains(&value) {
            return Some(value);
        }
        let most = range.end - 1;
        let message = format!("`{}` must be from {} to {most}, not {value}", self.path(key), range.start);
        self.problems.add(span, message);
        None
    }

    /// An array of strings; elements of another type are reported one by one.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<Placed<&'t str>>> {
        let path = self.path(key);
        let (array, _) = self.typed(key, "an array of strings", DeValue::as_array)?;
        let each = array.iter().filter_map(|element| match element.get_ref().as_str() {
            Some(text) => Some((text, element.span())),
            None => {
                let found = describe(element.get_ref());
                self.problems.add(element.span(), format!("`{path}` holds strings, not {found}"));
                None
            }
        });
        Some(each.collect())
    }

    /// One of the words in `choices`; words of the language that this version does not know go into `later`.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let (text, span) = self.string(key)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        if later.contains(&text) {
            self.problems.unsupported(span, &format!("{} = \"{text}\"", self.path(key)));
            return None;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let message = format!("`{text}` is not a value of `{}`", self.path(key));
        let help = match did_you_mean(text, choices.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("use {}", words.join(" or ")),
        };
        self.problems.add_with_help(span, message, help);
        None
    }

    /// A table `[key]`.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'t, 'p>> {
        let wanted = if self.name.is_empty() { format!("a table: `[{key}]`") } else { "a table: `{ … }`".to_owned() };
        let (table, span) = self.typed(key, &wanted, DeValue::as_table)?;
        Some(Section { name: key, table, span, known: Vec::new(), problems: self.problems })
    }

    /// The tables `[[key]]`, in file order.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'t, 'p>> {
        let wanted = format!("an array of tables: `[[{key}]]`");
        let Some((array, _)) = self.typed(key, &wanted, DeValue::as_array) else {
            return Vec::new();
        };
        let each = array.iter().filter_map(|element| match element.get_ref().as_table() {
            Some(table) => {
                Some(Section { name: key, table, span: element.span(), known: Vec::new(), problems: self.problems })
            }
            None => {
                let found = describe(element.get_ref());
                self.problems.add(element.span(), format!("`{key}` must be {wanted}, not {found}"));
                None
            }
        });
        each.collect()
    }

    /// Reports the keys that nobody asked for: `later` are those that the language has and this version does not.
    pub(super) fn finish(self, later: &[&str]) {
        self.finish_with(later, |_| None);
    }

    /// As [`finish`](Section::finish); `hint` knows keys that stand elsewhere.
    pub(super) fn finish_with(self, later: &[&str], hint: impl Fn(&str) -> Option<&'static str>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            if later.contains(&name) {
                self.problems.unsupported(key.span(), &self.path(name));
                continue;
            }
            let message = format!("unknown key `{}`", self.path(name));
            match hint(name).or_else(|| did_you_mean(name, self.known.iter().copied())) {
                Some(word) => self.problems.add_with_help(key.span(), message, format!("did you mean `{word}`?")),
                None => {
                    let known: Vec<String> = self.known.iter().map(|k| format!("`{k}`")).collect();
                    self.problems.add_with_help(key.span(), message, format!("known here: {}", known.join(", ")));
                }
            }
        }
    }
}

/// An integer in any of TOML's notations.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value's type, with its article.
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fractional number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

//! Conditions on arguments: what must hold there as what must hold here.
//!
//! Both languages refuse where the path is absent or the type is wrong. They differ in equality: there, two values that
//! are not both numbers are equal if Go prints them alike, so that the text `5` equals the number. What such a value
//! must not be is therefore listed here in both forms; what it must be, only in the one that was written.

use std::ops::Range;

use super::regexp;
use super::{Importer, Keys, Node, Yaml, entry, list, object, quoted};
use crate::policy::Policy;

const CONDITION: Keys = Keys { of: "a condition", known: &["path", "op", "value"] };

const OPERATORS: [&str; 11] = ["eq", "neq", "in", "not_in", "lt", "lte", "gt", "gte", "regex", "contains", "exists"];

/// What a condition looks at.
pub(super) enum Place {
    /// Arguments: conditions here, as JSON.
    Arguments(Vec<String>),
    /// A counter.
    State(String),
}

/// An operator and its value.
pub(super) struct Condition {
    pub op: String,
    /// Of its value.
    pub place: Range<usize>,
    number: Option<String>,
}

impl Condition {
    /// Its value, if that is a whole number.
    pub fn whole(&self) -> Option<i64> {
        self.number.as_ref()?.parse().ok()
    }
}

/// What a value is in a condition.
enum Constant {
    Null,
    Bool(bool),
    /// Its text, which is one in JSON too.
    Number(String),
    Text(String),
}

impl Importer {
    /// One condition; `None` if it cannot be carried over.
    pub(super) fn condition(&mut self, node: &Node) -> Option<(Place, Condition)> {
        let entries = self.map(node, &CONDITION);
        let path_node = entry(entries, "path");
        let path = path_node.and_then(|node| self.text(node)).unwrap_or_default();
        let op = match entry(entries, "op") {
            Some(node) => self.word(node, &OPERATORS),
            None => {
                self.problem(node.place(), "`op` is missing", "such as `op: eq`");
                None
            }
        };
        let value = entry(entries, "value");
        if value.is_none() {
            self.problem(node.place(), "`value` is missing", "what the operator compares with");
        }
        let place = path_node.map_or(node.place(), Node::place);
        if !path.starts_with("args.") && !path.starts_with("state.") {
            self.problem(
                place,
                format!("the path `{path}` starts with neither `args.` nor `state.`"),
                "such as `args.amount`",
            );
            return None;
        }
        let (op, value) = (op?, value?);
        if path.starts_with("state.") {
            let number = match self.constant(value)? {
                Constant::Number(number) => Some(number),
                _ => None,
            };
            return Some((Place::State(path), Condition { op: op.to_owned(), place: value.place(), number }));
        }
        let path = quoted(&carried(&path));
        let (op, json) = self.operand(op, value)?;
        let mut conditions = vec![object(&[("path", path.clone()), ("op", quoted(op)), ("value", json)])];
        if op == "contains" {
            // Here an object contains its keys, there nothing.
            let types = list(&[quoted("string"), quoted("array")]);
            conditions.push(object(&[("path", path), ("op", quoted("type")), ("value", types)]));
        }
        if !self.loads(&value.place(), &format!(r#""require":[{{"conditions":{}}}]"#, list(&conditions))) {
            return None;
        }
        Some((Place::Arguments(conditions), Condition { op: op.to_owned(), place: value.place(), number: None }))
    }

    /// `increment_from`: its path here.
    pub(super) fn increment_from(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node).unwrap_or_default();
        if !text.starts_with("args.") {
            self.problem(
                node.place(),
                format!("the path `{text}` does not start with `args.`"),
                "such as `args.amount`",
            );
            return None;
        }
        Some(carried(&text))
    }

    /// Whether what is in a tool's entry can be loaded; if not, the loader's words become a problem.
    pub(super) fn loads(&mut self, place: &Range<usize>, members: &str) -> bool {
        let policy = format!(r#"{{"version":"1","default":"deny","tools":{{"t":{{{members}}}}}}}"#);
        let Err(report) = Policy::load("", &policy) else { return true };
        for problem in report.diagnostics {
            self.problem(
                place.clone(),
                problem.message,
                problem.help.unwrap_or_else(|| "write it otherwise".to_owned()),
            );
        }
        false
    }

    /// An operator and its value, as they are here.
    fn operand(&mut self, op: &'static str, node: &Node) -> Option<(&'static str, String)> {
        Some(match op {
            "eq" | "contains" => {
                let constant = self.constant(node)?;
                self.note_twins(node, &constant);
                (op, constant.json())
            }
            "in" => {
                let constants = self.constants(node)?;
                for (node, constant) in &constants {
                    self.note_twins(node, constant);
                }
                (op, list(&constants.iter().map(|(_, constant)| constant.json()).collect::<Vec<_>>()))
            }
            "neq" | "not_in" => {
                let constants = match op {
                    "neq" => vec![(node, self.constant(node)?)],
                    _ => self.constants(node)?,
                };
                self.unequal(op, node, &constants)?
            }
            "lt" | "lte" | "gt" | "gte" => {
                let Constant::Number(number) = self.constant(node)? else {
                    self.problem(node.place(), "this operator compares numbers", "write a number, without quotes");
                    return None;
                };
                self.note_exact(node);
                (op, number)
            }
            "regex" => {
                let Constant::Text(pattern) = self.constant(node)? else {
                    self.problem(node.place(), "a pattern must be a text", "put quotes around it");
                    return None;
                };
                match regexp::translated(&pattern) {
                    Ok(pattern) => (op, quoted(&pattern)),
                    Err(why) => {
                        self.problem(node.place(), format!("this pattern cannot be carried over: {why}"), REGEX);
                        return None;
                    }
                }
            }
            _ => {
                let Some(wanted) = node.as_bool() else {
                    self.problem(
                        node.place(),
                        "`exists` needs a boolean",
                        "`true` or `false`; `yes` and `no` are texts",
                    );
                    return None;
                };
                (op, wanted.to_string())
            }
        })
    }

    /// `neq` and `not_in`: none of the values, in no form.
    fn unequal(&mut self, op: &'static str, node: &Node, all: &[(&Node, Constant)]) -> Option<(&'static str, String)> {
        let mut texts: Vec<String> = Vec::new();
        let forms = all.iter().flat_map(|(_, constant)| std::iter::once(constant.json()).chain(constant.twins()));
        for form in forms {
            if !texts.contains(&form) {
                texts.push(form);
            }
        }
        for (node, constant) in all {
            if let Constant::Text(text) = constant
                && (text.starts_with('[') || text.starts_with("map["))
            {
                let help = "there it also refuses the lists and objects that Go prints like this";
                self.problem(node.place(), "this text cannot be carried over", help);
                return None;
            }
        }
        if all.iter().any(|(_, constant)| matches!(constant, Constant::Number(_))) {
            self.note_exact(node);
        }
        if !all.iter().any(|(_, constant)| matches!(constant, Constant::Null)) {
            let text = "an argument that is null is refused by `neq` and `not_in`";
            self.note(node.place(), text, "there null is one more value that is not equal");
        }
        match (op, &*texts) {
            ("neq", [only]) => Some(("neq", only.clone())),
            _ => Some(("not_in", list(&texts))),
        }
    }

    fn constants<'n>(&mut self, node: &'n Node) -> Option<Vec<(&'n Node, Constant)>> {
        let Yaml::List(nodes) = &node.yaml else {
            self.problem(node.place(), "this operator needs a list", "such as `[a, b]`");
            return None;
        };
        let constants: Vec<_> = nodes.iter().map(|node| Some((node, self.constant(node)?))).collect();
        constants.into_iter().collect()
    }

    fn constant(&mut self, node: &Node) -> Option<Constant> {
        let Yaml::Scalar { text, plain } = &node.yaml else {
            let help = "there they are compared by how Go prints them; compare what is in them, one by one";
            self.problem(node.place(), "lists and mappings cannot be compared with", help);
            return None;
        };
        Some(match () {
            () if !plain => Constant::Text(text.clone()),
            () if node.is_null() => Constant::Null,
            () if node.as_bool().is_some() => Constant::Bool(node.as_bool()?),
            () if is_number(text) => {
                let whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                if whole && text.parse::<i64>().is_err() || !text.parse::<f64>().is_ok_and(f64::is_finite) {
                    self.problem(
                        node.place(),
                        "this number is too large for a comparison there",
                        "write a smaller one",
                    );
                    return None;
                }
                Constant::Number(text.clone())
            }
            () if is_ambiguous(text) => {
                let help =
                    "YAML's readers differ in what this is: write a plain decimal number, or put quotes around a text";
                self.problem(node.place(), format!("`{text}` can be read as several things"), help);
                return None;
            }
            () => Constant::Text(text.clone()),
        })
    }

    /// What equals a value only because Go prints it alike is refused here.
    fn note_twins(&mut self, node: &Node, constant: &Constant) {
        if matches!(constant, Constant::Number(_)) {
            self.note_exact(node);
        }
        let listlike = matches!(constant, Constant::Text(text) if text.starts_with('[') || text.starts_with("map["));
        if listlike || !constant.twins().is_empty() {
            let text = "a value of another type is not equal here";
            self.note(
                node.place(),
                text,
                "there the text `5` equals the number 5, and `true` the boolean; here only what is written",
            );
        }
    }

    fn note_exact(&mut self, node: &Node) {
        let text = "numbers are compared exactly, by their decimal value";
        self.note(
            node.place(),
            text,
            "there as 64-bit floats, which take neighbouring numbers of more than 15 digits for equal: with such numbers \
             either may allow what the other refuses",
        );
    }
}

const REGEX: &str = "RE2 syntax as in Go, without back-references and octal escapes";

impl Constant {
    fn json(&self) -> String {
        match self {
            Constant::Null => "null".to_owned(),
            Constant::Bool(value) => value.to_string(),
            Constant::Number(text) => text.clone(),
            Constant::Text(text) => quoted(text),
        }
    }

    /// Values of other types that Go prints alike, as JSON; perhaps a few more.
    fn twins(&self) -> Vec<String> {
        match self {
            Constant::Null => vec![quoted("<nil>")],
            Constant::Bool(value) => vec![quoted(&value.to_string())],
            Constant::Number(text) => {
                let mut twins = vec![quoted(text)];
                if let (true, Ok(number)) = (text.contains(['.', 'e', 'E']), text.parse::<f64>()) {
                    for twin in [quoted(&number.to_string()), quoted(&scientific(number))] {
                        if !twins.contains(&twin) {
                            twins.push(twin);
                        }
                    }
                }
                twins
            }
            Constant::Text(text) if matches!(&**text, "true" | "false") => vec![text.clone()],
            Constant::Text(text) if text == "<nil>" => vec!["null".to_owned()],
            Constant::Text(text) if is_number(text) && text.parse::<f64>().is_ok_and(f64::is_finite) => {
                vec![text.clone()]
            }
            Constant::Text(_) => Vec::new(),
        }
    }
}

/// A path with dots as one of this language: what stands between them is a name, whatever is in it.
fn carried(path: &str) -> String {
    let mut carried = "args".to_owned();
    for name in path.split('.').skip(1) {
        match name {
            "" => carried.push_str("[\"\"]"),
            name if name.contains(['[', ']', '"']) => carried.push_str(&format!("[{}]", quoted(name))),
            name => carried.push_str(&format!(".{name}")),
        }
    }
    carried
}

/// Whether a text is a number in JSON, and so in every YAML.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && !text.ends_with(char::is_whitespace)
}

/// Whether some reader of YAML takes a plain text for a number or a date: octal, hexadecimal, `1_000`, `.inf`.
fn is_ambiguous(text: &str) -> bool {
    let plain = text.trim_start_matches(['-', '+']).replace('_', "").to_ascii_lowercase();
    if matches!(&*plain, ".inf" | ".nan") {
        return true;
    }
    if !plain.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return false;
    }
    let based = ["0x", "0o", "0b"]
        .iter()
        .any(|base| plain.strip_prefix(base).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit())));
    let date =
        plain.len() >= 8 && plain.bytes().take(4).all(|byte| byte.is_ascii_digit()) && plain.as_bytes()[4] == b'-';
    based || date || plain.parse::<f64>().is_ok()
}

/// `1e+06`, as Go prints large and small floats.
fn scientific(number: f64) -> String {
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

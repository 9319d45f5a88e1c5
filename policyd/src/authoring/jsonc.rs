//! JSON with comments and trailing commas, as editors keep their settings in it: values with their places, so that a text can
//! be edited where it stands. Pure.

use std::ops::Range;

/// No configuration is nested deeper.
const DEEPEST: usize = 128;

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
    /// Where its key begins, if it is a member.
    pub key: Option<usize>,
    /// Where the comma behind it stands, if there is one.
    pub comma: Option<usize>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Members in their order: key and value. A key may come twice.
    Object(Vec<(String, Value)>),
    /// Elements in their order.
    Array(Vec<Value>),
    /// A string, unescaped.
    String(String),
    /// A number, or a word such as `true`.
    Other,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Where, in bytes.
    pub at: usize,
    /// What: lower case, no full stop.
    pub message: &'static str,
}

/// Reads a text. A byte order mark before it is left where it is.
///
/// # Errors
///
/// The first place at which the text is not JSON with comments.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut reader = Reader { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 }, depth: 0 };
    let value = reader.value()?;
    reader.space()?;
    if reader.at < text.len() { reader.fail("something follows the value") } else { Ok(value) }
}

impl Value {
    /// The only member called `key`; none if there is not exactly one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut found = self.members().iter().filter(|(name, _)| name == key);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value)
    }

    /// An object's members; none of anything else.
    pub fn members(&self) -> &[(String, Value)] {
        if let Kind::Object(members) = &self.kind { members } else { &[] }
    }

    /// An array's elements.
    pub fn elements(&self) -> Option<&[Value]> {
        if let Kind::Array(elements) = &self.kind { Some(elements) } else { None }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        if let Kind::String(text) = &self.kind { Some(text) } else { None }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, message: &'static str) -> Result<T, Error> {
        Err(Error { at: self.at, message })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and comments.
    fn space(&mut self) -> Result<(), Error> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.fail("a comment has no end"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.space()?;
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(|reader| reader.object())?,
            Some(b'[') => self.nested(|reader| reader.array())?,
            Some(b'"') => Kind::String(self.string()?),
            Some(byte) if byte.is_ascii_alphanumeric() || byte == b'-' => {
                let rest = &self.text[start..];
                let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
                self.at += rest.len() - rest.trim_start_matches(word).len();
                Kind::Other
            }
            _ => return self.fail("a value is missing"),
        };
        Ok(Value { span: start..self.at, kind, key: None, comma: None })
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Kind, Error>) -> Result<Kind, Error> {
        if self.depth == DEEPEST {
            return self.fail("it is nested too deep");
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self);
        self.depth -= 1;
        kind
    }

    fn object(&mut self) -> Result<Kind, Error> {
        let mut members = Vec::new();
        while !self.closes(b'}')? {
            if self.peek() != Some(b'"') {
                return self.fail("a key must be a string");
            }
            let start = self.at;
            let key = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return self.fail("a `:` is missing");
            }
            self.at += 1;
            let mut value = self.value()?;
            (value.key, value.comma) = (Some(start), self.comma(b'}')?);
            members.push((key, value));
        }
        Ok(Kind::Object(members))
    }

    fn array(&mut self) -> Result<Kind, Error> {
        let mut elements = Vec::new();
        while !self.closes(b']')? {
            let mut value = self.value()?;
            value.comma = self.comma(b']')?;
            elements.push(value);
        }
        Ok(Kind::Array(elements))
    }

    fn closes(&mut self, end: u8) -> Result<bool, Error> {
        self.space()?;
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        Ok(closes)
    }

    /// What follows an element: a comma, whose place it gives, or the end, which stays.
    fn comma(&mut self, end: u8) -> Result<Option<usize>, Error> {
        self.space()?;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(Some(self.at - 1))
            }
            Some(byte) if byte == end => Ok(None),
            _ => self.fail("a `,` is missing"),
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        let start = self.at;
        let mut escaped = true;
        for (offset, byte) in self.text[start..].bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let end = start + offset + 1;
                    let Ok(text) = serde_json::from_str(&self.text[start..end]) else {
                        return self.fail("a string cannot be read");
                    };
                    self.at = end;
                    return Ok(text);
                }
                _ => {}
            }
        }
        self.fail("a string has no end")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn comments_and_commas_are_no_values() {
        let text = "\u{feff}// head\n{ /* a */ \"a\" : [1, \"x\\\"y\", ], // end\n \"b\": {}, \"c\": -1.5e+3,\n}\r\n";
        let value = parse(text).unwrap();
        assert_eq!(value.get("a").unwrap().elements().unwrap()[1].as_str(), Some("x\"y"));
        assert_eq!(&text[value.get("c").unwrap().span.clone()], "-1.5e+3");
        assert_eq!(value.members().len(), 3);
        assert_eq!(parse("{\"a\":1,\"a\":2}").unwrap().get("a"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("{\"a\" 1}", 5),
            ("[1 2]", 3),
            ("{a:1}", 1),
            ("[\"x]", 1),
            ("/* x", 0),
            ("/*/ 1", 0),
            ("1 2", 2),
            ("[", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        assert_eq!(parse(&"[".repeat(200)).unwrap_err().message, "it is nested too deep");
    }
}

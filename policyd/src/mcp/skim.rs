//! The id of a request that is too long to be read, picked out as its bytes go by.
//!
//! A client that is not answered waits until its time is over. What is found here only ever goes into an error to the very
//! client that sent the bytes; nothing is judged or forwarded by it.

use super::fold;
use super::json::{Kind, Parser};

/// No id and no key that matters is longer.
const LONGEST: usize = 256;

/// Looks at one JSON text from its beginning, in pieces of any size, and keeps next to nothing of it.
#[derive(Debug, Default)]
pub struct Skim {
    depth: usize,
    /// Within a string; `Some(true)` behind a backslash.
    string: Option<bool>,
    /// What stands between two structural characters of the top level, as far as it is kept.
    token: Vec<u8>,
    /// Whether `token` belongs to a key that is an `id`.
    at_id: bool,
    ids: usize,
    id: Option<Vec<u8>>,
    has_method: bool,
    /// Not an object, or something that readers could read differently.
    unclear: bool,
    closed: bool,
}

impl Skim {
    /// Looks at the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        // Most of what is too long is one string.
        if self.string == Some(false) && self.depth > 1 && !piece.contains(&b'"') && !piece.contains(&b'\\') {
            return;
        }
        for &byte in piece {
            if self.unclear {
                return;
            }
            self.byte(byte);
        }
    }

    /// The id's JSON text, if the text was one object with a `method` and exactly one member that can be taken for its id.
    pub fn finish(self) -> Option<String> {
        if self.unclear || !self.closed || self.ids != 1 || !self.has_method {
            return None;
        }
        let id = self.id?;
        let mut parser = Parser::default();
        let value = parser.parse(&id).ok()?;
        (value.kind() == Kind::String || value.as_integer().is_some()).then(|| value.raw().to_owned())
    }

    fn byte(&mut self, byte: u8) {
        if let Some(escaped) = self.string {
            self.keep(byte);
            self.string = match byte {
                _ if escaped => Some(false),
                b'\\' => Some(true),
                b'"' => None,
                _ => Some(false),
            };
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' => self.keep(byte),
            _ if self.closed => self.unclear = true,
            b'{' if self.depth == 0 => self.depth = 1,
            _ if self.depth == 0 => self.unclear = true,
            b'"' => {
                self.keep(byte);
                self.string = Some(false);
            }
            b'{' | b'[' => {
                self.keep(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_value();
                    self.closed = true;
                }
                self.depth -= 1;
            }
            b':' if self.depth == 1 => self.end_key(),
            b',' if self.depth == 1 => self.end_value(),
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() <= LONGEST {
            self.token.push(byte);
        }
    }

    fn end_key(&mut self) {
        let key = std::mem::take(&mut self.token);
        let mut parser = Parser::default();
        // One that is cut off is no key of the protocol's.
        let name = match parser.parse(&key) {
            Ok(name) => name.as_str(),
            Err(_) if key.len() > LONGEST => return,
            Err(_) => None,
        };
        let Some(name) = name else {
            self.unclear = true;
            return;
        };
        self.has_method |= name == "method";
        self.at_id = fold::folds_to(&name, "id");
        self.ids += usize::from(self.at_id);
        self.unclear = self.at_id && name != "id";
    }

    fn end_value(&mut self) {
        let value = std::mem::take(&mut self.token);
        if std::mem::take(&mut self.at_id) && value.len() <= LONGEST {
            self.id = Some(value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skim(text: &str) -> Option<String> {
        let mut skim = Skim::default();
        text.as_bytes().chunks(3).for_each(|piece| skim.push(piece));
        skim.finish()
    }

    #[test]
    fn the_only_id_at_the_top_is_found() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#, "7"),
            (r#" {"method":"x","params":{"id":1,"a":["}",{"id":2}]},"id" : "a\"}b" } "#, r#""a\"}b""#),
            (r#"{"i\u0064":-3,"method":"x"}"#, "-3"),
        ] {
            assert_eq!(skim(text).as_deref(), Some(id), "{text}");
        }
    }

    #[test]
    fn what_is_unclear_has_none() {
        for text in [
            "",
            r#"[{"id":7,"method":"x"}]"#,
            r#"{"id":7,"method":"x""#,
            r#"{"id":7,"method":"x"} {}"#,
            r#"{"id":7,"id":7,"method":"x"}"#,
            r#"{"id":7,"ID":8,"method":"x"}"#,
            r#"{"ID":8,"method":"x"}"#,
            r#"{"id":7}"#,
            r#"{"id":null,"method":"x"}"#,
            r#"{"id":1.5,"method":"x"}"#,
            r#"{"id":{"a":1},"method":"x"}"#,
            r#"{"id":[7],"method":"x"}"#,
            r#"{"id":7 8,"method":"x"}"#,
        ] {
            assert_eq!(skim(text), None, "{text}");
        }
        assert_eq!(skim(&format!(r#"{{"id":"{}","method":"x"}}"#, "x".repeat(500))), None);
        assert_eq!(skim(&format!(r#"{{"{}":1,"id":7,"method":"x"}}"#, "x".repeat(500))).as_deref(), Some("7"));
    }

    proptest! {
        /// Whatever the strict parser makes of a text, an id that is found is the one that it would find.
        #[test]
        fn it_agrees_with_the_parser(parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "\"id\"", "\"method\"", ":", ",", "7", "\"a\"", "[", "]", " ", "\"\\\"\"", "null",
        ]), 0..14)) {
            let text = parts.concat();
            if let (Some(id), Ok(root)) = (skim(&text), Parser::default().parse(text.as_bytes())) {
                prop_assert_eq!(root.get("id").map(|id| id.raw().to_owned()), Some(id));
            }
        }
    }
}

//! Requests and notifications in what a server sends: where they stand, and the text without some of them.

use std::ops::Range;

use smallvec::SmallVec;

use super::fold;
use super::json::{Error, Parser, Value};

/// Whether a text could hold a request or a notification at all: whether `method` stands in it in any case, or something that
/// could spell it (as in [`may_hold_list`](super::lists::may_hold_list)). Without one there is nothing that must be judged.
pub fn may_hold_method(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| matches!(byte, b'm' | b'M' | b'\\' | 0) || byte >= 0x80) {
        match rest[at] {
            b'm' | b'M' if rest[at..].get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"method")) => return true,
            b'\\' if matches!(rest.get(at + 1), Some(b'u' | b'U')) => return true,
            byte if byte == 0 || byte >= 0x80 => return true,
            // Past an escaped backslash as a whole, so that what follows is not taken for an escape.
            b'\\' => rest = rest.get(at + 2..).unwrap_or_default(),
            _ => rest = &rest[at + 1..],
        }
    }
    false
}

/// The messages of a text: itself, or the elements of a batch (2025-03-26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    batch: bool,
    places: SmallVec<[(Range<usize>, bool); 1]>,
}

/// What is left of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// A batch without some of its messages.
    Some(String),
    /// Nothing.
    None,
}

impl Messages {
    /// Finds the messages of `text`.
    ///
    /// # Errors
    ///
    /// A text that the strict parser refuses: what a client would read out of it cannot be known.
    pub fn find(parser: &mut Parser, text: &[u8]) -> Result<Messages, Error> {
        let root = parser.parse(text)?;
        let place = |message: Value<'_>| (message.start()..message.end(), has_method(message));
        let batch = root.is_array();
        let places = if batch { root.items().map(place).collect() } else { SmallVec::from_buf([place(root)]) };
        Ok(Messages { batch, places })
    }

    /// `text`, in which these messages were found, without the ones with a method that `passes` does not let through. It is
    /// asked once about each, in their order, with the place in the text.
    pub fn retain(&self, text: &[u8], mut passes: impl FnMut(Range<usize>) -> bool) -> Left {
        let kept: SmallVec<[&Range<usize>; 4]> = self
            .places
            .iter()
            .filter(|(place, has_method)| !has_method || passes(place.clone()))
            .map(|(place, _)| place)
            .collect();
        match (kept.len(), self.batch) {
            (count, _) if count == self.places.len() => Left::All,
            (0, _) | (_, false) => Left::None,
            _ => {
                let texts: Vec<_> =
                    kept.into_iter().map(|place| String::from_utf8_lossy(&text[place.clone()])).collect();
                Left::Some(format!("[{}]", texts.join(",")))
            }
        }
    }
}

/// Whether some reader could find a `method` in it.
fn has_method(message: Value<'_>) -> bool {
    message.entries().any(|(key, _)| key.as_str().is_none_or(|key| fold::folds_to(&key, "method")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    /// What is left without the messages that hold `refused`, and those that were asked about.
    fn retain(text: &str) -> (Left, Vec<&str>) {
        let messages = Messages::find(&mut Parser::default(), text.as_bytes()).unwrap();
        let mut asked = Vec::new();
        let left = messages.retain(text.as_bytes(), |place| {
            asked.push(&text[place.clone()]);
            !text[place].contains("refused")
        });
        (left, asked)
    }

    #[test]
    fn what_may_spell_it_is_read() {
        for text in [
            r#"{"method":"x"}"#,
            r#"{"Method":"x"}"#,
            r#"{"a":"\\","METHOD":"x"}"#,
            r#"{"\u006dethod":"x"}"#,
            r#"{"me\u0074hod":"x"}"#,
            "{\"ｍethod\":1}",
            "{\0\"\0m\0e\0",
        ] {
            assert!(may_hold_method(text.as_bytes()), "{text}");
        }
        for text in ["", r#"{"result":{"content":[{"type":"text","text":"a memo \\ \n met hod"}]}}"#, "m", "\\"] {
            assert!(!may_hold_method(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn every_message_with_a_method_is_asked_about_and_no_other() {
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(retain(request), (Left::All, vec![request]));
        let nested = r#" {"id":1,"result":{"method":"refused"}}"#;
        assert_eq!(retain(nested), (Left::All, vec![]));
        assert_eq!(retain("[]"), (Left::All, vec![]));
        assert_eq!(retain(r#""refused method""#), (Left::All, vec![]));
        assert_eq!(retain(r#"{"Method":"refused"}"#), (Left::None, vec![r#"{"Method":"refused"}"#]));
    }

    #[test]
    fn a_batch_keeps_the_bytes_of_what_stays() {
        let text = r#"[ {"id":1.0, "result":{}} , {"method":"refused"},{"method":"a"} ]"#;
        let (left, asked) = retain(text);
        assert_eq!(left, Left::Some(r#"[{"id":1.0, "result":{}},{"method":"a"}]"#.to_owned()));
        assert_eq!(asked, [r#"{"method":"refused"}"#, r#"{"method":"a"}"#]);
        assert_eq!(retain(r#"[{"method":"refused"}]"#).0, Left::None);
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        for text in ["", "{", r#"{"method":1,"method":2}"#, "{} {}", "\u{feff}{}"] {
            assert!(Messages::find(&mut Parser::default(), text.as_bytes()).is_err(), "{text}");
        }
    }
}

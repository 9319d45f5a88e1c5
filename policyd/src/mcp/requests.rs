//! Requests and notifications in what a server sends: where they stand, and the text without some of them.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::json::{Error, Parser, Value};
use super::message::refuse_variant;
use super::{Cause, fold};

/// Whether a text could hold a request or a notification at all: whether a string in it begins like the keys that they stand
/// under, or something that could spell it (as in [`may_hold_list`](super::lists::may_hold_list)). Without one there is nothing
/// that must be judged.
pub fn may_hold_method(text: &[u8]) -> bool {
    fold::may_begin_a_string(text, &[b"method", b"elicitations"])
}

/// The most requests that one result may hold.
const MAX_INPUTS: usize = 100;

/// The messages of a text: itself, or the elements of a batch (2025-03-26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    batch: bool,
    messages: SmallVec<[Place; 1]>,
}

/// Where a message stands, and what of it must be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole message.
    pub message: Range<usize>,
    /// The JSON text of its id, if it has one.
    pub id: Option<Range<usize>>,
    /// Whether some reader could find a `method` in it.
    pub has_method: bool,
    /// The requests that it holds: under `inputRequests` (2026-07-28) of a result, of the result of a task, or of what is told
    /// of a task; under `elicitations` in an error's data (2025-11-25).
    pub inputs: Vec<Input>,
}

/// A request in a result or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The JSON text of its key in `inputRequests`. `None`: it is one of the `elicitations` of an error.
    pub key: Option<Range<usize>>,
    /// The request without an envelope; of an elicitation the params only.
    pub request: Range<usize>,
}

impl Input {
    /// The request without an envelope, out of the text that it was found in.
    pub fn request(&self, text: &Bytes) -> Bytes {
        let request = text.slice(self.request.clone());
        match self.key {
            Some(_) => request,
            None => [br#"{"method":"elicitation/create","params":"#, &request[..], b"}"].concat().into(),
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Keep,
    /// It is left out.
    Drop,
    /// This stands there instead, one JSON text.
    Replace(Bytes),
}

/// What is left of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// Another text: without some messages of a batch, or with others in their place.
    Some(String),
    /// Nothing.
    None,
}

impl Messages {
    /// Finds the messages of `text`.
    ///
    /// # Errors
    ///
    /// A text that the strict parser refuses, or a key on the way to `inputRequests` that only folds to the protocol's: what
    /// a client would read out of it cannot be known.
    pub fn find(parser: &mut Parser, text: &[u8]) -> Result<Messages, Error> {
        let root = parser.parse(text)?;
        let batch = root.is_array();
        let messages = if batch { root.items().map(Place::of).collect() } else { Place::of(root).map(one) };
        Ok(Messages { batch, messages: messages? })
    }

    /// `text`, in which these messages were found, with what `judge` makes of those in which there is something to judge. It
    /// is asked once about each, in their order.
    pub fn judge(&self, text: &[u8], mut judge: impl FnMut(&Place) -> Fate) -> Left {
        let fates: SmallVec<[Fate; 1]> =
            self.messages.iter().map(|place| if place.is_judged() { judge(place) } else { Fate::Keep }).collect();
        if fates.iter().all(|fate| *fate == Fate::Keep) {
            return Left::All;
        }
        let texts: Vec<Cow<'_, str>> = self
            .messages
            .iter()
            .zip(&fates)
            .filter_map(|(place, fate)| match fate {
                Fate::Keep => Some(String::from_utf8_lossy(&text[place.message.clone()])),
                Fate::Drop => None,
                Fate::Replace(instead) => Some(String::from_utf8_lossy(instead)),
            })
            .collect();
        match (&texts[..], self.batch) {
            ([], _) => Left::None,
            (texts, true) => Left::Some(format!("[{}]", texts.join(","))),
            (texts, false) => Left::Some(texts.concat()),
        }
    }
}

fn one(place: Place) -> SmallVec<[Place; 1]> {
    SmallVec::from_buf([place])
}

impl Place {
    fn of(message: Value<'_>) -> Result<Place, Error> {
        let mut place = Place {
            message: message.start()..message.end(),
            id: message.get("id").map(range),
            has_method: folding_to(message, "method").next().is_some(),
            inputs: Vec::new(),
        };
        for holder in ["result", "params"] {
            for (key, value) in folding_to(message, holder) {
                let before = place.inputs.len();
                place.add_inputs(value, 1)?;
                if place.inputs.len() > before {
                    refuse_variant(&key, &[holder])?;
                }
            }
        }
        for (key, value) in folding_to(message, "error") {
            place.add_elicitations(key, value)?;
        }
        match place.inputs.get(MAX_INPUTS) {
            Some(input) => Err(Error { cause: Cause::ManyInputs, at: input.request.start }),
            None => Ok(place),
        }
    }

    /// What stands under `elicitations` in the data of an error (`URLElicitationRequiredError`), whatever its code.
    fn add_elicitations(&mut self, name: Value<'_>, error: Value<'_>) -> Result<(), Error> {
        for (data, value) in folding_to(error, "data") {
            for (key, asked) in folding_to(value, "elicitations") {
                for (key, meant) in [(name, "error"), (data, "data"), (key, "elicitations")] {
                    refuse_variant(&key, &[meant])?;
                }
                if !asked.is_array() && !asked.is_null() {
                    return Err(Error { cause: Cause::BadInputs, at: asked.start() });
                }
                self.inputs.extend(asked.items().map(|params| Input { key: None, request: range(params) }));
            }
        }
        Ok(())
    }

    /// What stands under `inputRequests` of a result or of params. A task's result is a result of its own.
    fn add_inputs(&mut self, holder: Value<'_>, deeper: usize) -> Result<(), Error> {
        for (key, value) in folding_to(holder, "inputRequests") {
            refuse_variant(&key, &["inputRequests"])?;
            if !value.is_object() && !value.is_null() {
                return Err(Error { cause: Cause::BadInputs, at: value.start() });
            }
            let input = |(key, request)| Input { key: Some(range(key)), request: range(request) };
            self.inputs.extend(value.entries().map(input));
        }
        if deeper > 0 {
            for (key, value) in folding_to(holder, "result") {
                let before = self.inputs.len();
                self.add_inputs(value, deeper - 1)?;
                if self.inputs.len() > before {
                    refuse_variant(&key, &["result"])?;
                }
            }
        }
        Ok(())
    }

    fn is_judged(&self) -> bool {
        self.has_method || !self.inputs.is_empty()
    }
}

/// The members of an object that some reader takes for `meant`.
fn folding_to<'a>(object: Value<'a>, meant: &'static str) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
    object.entries().filter(move |(key, _)| key.as_str().is_some_and(|key| fold::folds_to(&key, meant)))
}

fn range(value: Value<'_>) -> Range<usize> {
    value.start()..value.end()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    /// What is left without the messages that hold `refused`, and those that were asked about.
    fn judge(text: &str) -> (Left, Vec<&str>) {
        let messages = Messages::find(&mut Parser::default(), text.as_bytes()).unwrap();
        let mut asked = Vec::new();
        let left = messages.judge(text.as_bytes(), |place| {
            let message = &text[place.message.clone()];
            asked.push(message);
            match place.id.clone() {
                _ if !message.contains("refused") => Fate::Keep,
                Some(id) if !place.has_method => Fate::Replace(format!(r#"{{"instead":{}}}"#, &text[id]).into()),
                _ => Fate::Drop,
            }
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
            r#"{"a":"\\\"","method":1}"#,
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
        assert_eq!(judge(request), (Left::All, vec![request]));
        let nested = r#" {"id":1,"result":{"method":"refused"}}"#;
        assert_eq!(judge(nested), (Left::All, vec![]));
        assert_eq!(judge("[]"), (Left::All, vec![]));
        assert_eq!(judge(r#""refused method""#), (Left::All, vec![]));
        assert_eq!(judge(r#"{"Method":"refused"}"#), (Left::None, vec![r#"{"Method":"refused"}"#]));
    }

    #[test]
    fn a_batch_keeps_the_bytes_of_what_stays() {
        let text = r#"[ {"id":1.0, "result":{}} , {"method":"refused"},{"method":"a"} ]"#;
        let (left, asked) = judge(text);
        assert_eq!(left, Left::Some(r#"[{"id":1.0, "result":{}},{"method":"a"}]"#.to_owned()));
        assert_eq!(asked, [r#"{"method":"refused"}"#, r#"{"method":"a"}"#]);
        assert_eq!(judge(r#"[{"method":"refused"}]"#).0, Left::None);
    }

    #[test]
    fn requests_in_results_are_found_wherever_a_client_looks() {
        let inputs = r#"{"a":{"method":"x"},"b":{"method":"refused"}}"#;
        for (message, found) in [
            (format!(r#"{{"id":7,"result":{{"resultType":"input_required","inputRequests":{inputs}}}}}"#), true),
            (format!(r#"{{"id":7,"result":{{"inputRequests":{inputs}}}}}"#), true),
            (format!(r#"{{"id":7,"result":{{"status":"completed","result":{{"inputRequests":{inputs}}}}}}}"#), true),
            (format!(r#"{{"id":7,"result":{{"structuredContent":{{"inputRequests":{inputs}}}}}}}"#), false),
            (format!(r#"{{"id":7,"result":{{"a":{{"result":{{"inputRequests":{inputs}}}}}}}}}"#), false),
        ] {
            let (left, asked) = judge(&message);
            let expected = if found { Left::Some(r#"{"instead":7}"#.to_owned()) } else { Left::All };
            assert_eq!((left, asked.len()), (expected, usize::from(found)), "{message}");
        }
        let text = format!(r#"[{{"id":1,"result":{{}}}},{{"id":"z","result":{{"inputRequests":{inputs}}}}}]"#);
        let replaced = r#"[{"id":1,"result":{}},{"instead":"z"}]"#;
        assert_eq!(judge(&text).0, Left::Some(replaced.to_owned()));
        let told = format!(r#"{{"method":"notifications/tasks","params":{{"taskId":"t","inputRequests":{inputs}}}}}"#);
        assert_eq!(judge(&told).0, Left::None);
        let places = Messages::find(&mut Parser::default(), told.as_bytes()).unwrap().messages;
        let input =
            |input: &Input| (told[input.key.clone().unwrap()].to_owned(), told[input.request.clone()].to_owned());
        let found: Vec<_> = places[0].inputs.iter().map(input).collect();
        assert_eq!(found[1], (r#""b""#.to_owned(), r#"{"method":"refused"}"#.to_owned()));
        assert_eq!(judge(r#"{"id":1,"result":{"inputRequests":null,"requestState":"method"}}"#).0, Left::All);
    }

    #[test]
    fn elicitations_in_an_error_are_requests() {
        let error = r#"{"id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"refused"}]}}}"#;
        assert_eq!(judge(error).0, Left::Some(r#"{"instead":7}"#.to_owned()));
        assert!(may_hold_method(error.as_bytes()));
        let places = Messages::find(&mut Parser::default(), error.as_bytes()).unwrap().messages;
        let request = places[0].inputs[0].request(&Bytes::from(error));
        assert_eq!(request, r#"{"method":"elicitation/create","params":{"url":"refused"}}"#);
        assert_eq!(judge(&error.replace("refused", "x")).0, Left::All);
        assert_eq!(judge(&error.replace("elicitations", "reasons")).0, Left::All);
        for key in ["error", "data", "elicitations"] {
            let variant = error.replace(key, &key.to_uppercase());
            assert!(Messages::find(&mut Parser::default(), variant.as_bytes()).is_err(), "{variant}");
        }
    }

    #[test]
    fn requests_that_only_some_clients_find_make_a_result_unreadable() {
        let many = |count: usize| {
            let inputs: Vec<_> = (0..count).map(|key| format!(r#""{key}":{{"method":"x"}}"#)).collect();
            format!(r#"{{"id":1,"result":{{"inputRequests":{{{}}}}}}}"#, inputs.join(","))
        };
        assert_eq!(judge(&many(MAX_INPUTS)).0, Left::All);
        for text in [
            r#"{"id":1,"result":{"InputRequests":{"a":{"method":"x"}}}}"#,
            r#"{"id":1,"Result":{"inputRequests":{"a":{"method":"x"}}}}"#,
            r#"{"id":1,"result":{"Result":{"inputRequests":{"a":{"method":"x"}}}}}"#,
            r#"{"id":1,"result":{"inputRequests":[{"method":"x"}]}}"#,
            r#"{"id":1,"result":{"inputRequest\u017f":{"a":{"method":"x"}}}}"#,
            &many(MAX_INPUTS + 1),
        ] {
            assert!(Messages::find(&mut Parser::default(), text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        for text in ["", "{", r#"{"method":1,"method":2}"#, "{} {}", "\u{feff}{}"] {
            assert!(Messages::find(&mut Parser::default(), text.as_bytes()).is_err(), "{text}");
        }
    }
}

//! Batches: arrays of messages, which only 2025-03-26 defines.

use std::ops::Range;

use super::Cause;
use super::json::{Error, Parser};

/// The most messages that a batch may hold.
pub const MAX: usize = 100;

/// Where the messages of a batch stand in its text.
///
/// # Errors
///
/// A text that the strict parser refuses, one that is no array, and an array of no message or of more than [`MAX`].
pub fn elements(parser: &mut Parser, text: &[u8]) -> Result<Vec<Range<usize>>, Error> {
    let root = parser.parse(text)?;
    if !root.is_array() {
        return Err(Error { cause: Cause::Batch, at: root.start() });
    }
    let places: Vec<_> = root.items().map(|message| message.start()..message.end()).collect();
    match places.len() {
        0 => Err(Error { cause: Cause::EmptyBatch, at: root.start() }),
        1..=MAX => Ok(places),
        _ => Err(Error { cause: Cause::LongBatch, at: places[MAX].start }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn finds_the_messages() {
        let elements = |text: &str| elements(&mut Parser::new(), text.as_bytes()).map_err(|error| error.cause);
        assert_eq!(elements(r#" [ {"a":1} ,2]"#), Ok(vec![3..10, 12..13]));
        assert_eq!(elements("[]"), Err(Cause::EmptyBatch));
        assert_eq!(elements("{}"), Err(Cause::Batch));
        assert_eq!(elements(r#"[{"a":1,"a":2}]"#), Err(Cause::DuplicateKey));
        let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(elements(&many(MAX)).unwrap().len(), MAX);
        assert_eq!(elements(&many(MAX + 1)), Err(Cause::LongBatch));
    }
}

//! A definition as a list of its places, each with what stands there.

use serde_json::Value as Json;

use crate::mcp::json::{Kind, Parser, Value};
use crate::visible::{Hidden, hidden};

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// `inputSchema.properties.amount.description`; keys are the server's.
    pub place: String,
    /// A string's text; the JSON of anything else that has no parts.
    pub text: String,
    /// Whether it is a string.
    pub is_text: bool,
}

/// The places of a definition in its canonical form: what is said to a model first, then by name.
pub(super) fn leaves(definition: &str) -> Vec<Leaf> {
    let mut parser = Parser::default();
    let mut found = Vec::new();
    if let Ok(root) = parser.parse(definition.as_bytes()) {
        collect(root, &mut String::new(), &mut found);
    }
    found.sort_by_key(|leaf| match &*leaf.place {
        "name" => 0,
        "title" => 1,
        "description" => 2,
        _ => 3,
    });
    found
}

fn collect(value: Value<'_>, place: &mut String, found: &mut Vec<Leaf>) {
    let length = place.len();
    match value.kind() {
        Kind::Object if value.entries().next().is_some() => {
            for (key, inner) in value.entries() {
                let key = key.as_str().unwrap_or_default();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
                match !key.is_empty() && key.chars().all(is_plain) {
                    true if length == 0 => place.push_str(&key),
                    true => place.push_str(&format!(".{key}")),
                    // No name of a place is that of another.
                    false => place.push_str(&format!("[{}]", Json::from(&*key))),
                }
                collect(inner, place, found);
                place.truncate(length);
            }
        }
        Kind::Array if value.items().next().is_some() => {
            for (index, inner) in value.items().enumerate() {
                place.push_str(&format!("[{index}]"));
                collect(inner, place, found);
                place.truncate(length);
            }
        }
        _ => {
            let text = value.as_str();
            let is_text = text.is_some();
            let text = text.map_or_else(|| value.raw().to_owned(), |text| text.into_owned());
            found.push(Leaf { place: place.clone(), text, is_text });
        }
    }
}

/// What hides anywhere in a definition, in the names of its parts too: in words.
pub(super) fn hides(definition: &str) -> Vec<String> {
    let mut parser = Parser::default();
    let Ok(root) = parser.parse(definition.as_bytes()) else { return Vec::new() };
    let mut all = Vec::new();
    count(root, &mut all);
    all.sort();
    all.into_iter().map(|(kind, count)| kind.words(count)).collect()
}

fn count(value: Value<'_>, all: &mut Vec<(Hidden, usize)>) {
    if let Some(text) = value.as_str() {
        for (kind, count) in hidden(&text) {
            match all.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, sum)) => *sum += count,
                None => all.push((kind, count)),
            }
        }
    }
    value.items().for_each(|item| count(item, all));
    for (key, value) in value.entries() {
        count(key, all);
        count(value, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_comes_and_what_a_model_is_told_comes_first() {
        let definition = r#"{"_meta":{"a":[1,{"b":"c"}],"d.e":{}},"description":"D","e":[],"name":"n","title":"T"}"#;
        let all: Vec<(String, String, bool)> =
            leaves(definition).into_iter().map(|leaf| (leaf.place, leaf.text, leaf.is_text)).collect();
        let expected = [
            ("name", "n", true),
            ("title", "T", true),
            ("description", "D", true),
            ("_meta.a[0]", "1", false),
            ("_meta.a[1].b", "c", true),
            ("_meta[\"d.e\"]", "{}", false),
            ("e", "[]", false),
        ];
        assert_eq!(all, expected.map(|(place, text, is_text)| (place.to_owned(), text.to_owned(), is_text)));
    }

    #[test]
    fn what_hides_is_found_in_keys_too() {
        let definition = "{\"a\u{200b}\":{\"b\":[\"\u{202e}\",\"\u{202c}\"]},\"c\":\"\\u001b[2J\"}";
        assert_eq!(hides(definition), ["1 control character", "2 bidirectional controls", "1 invisible character"]);
        assert_eq!(hides(r#"{"a":"b\n\tc"}"#), [""; 0]);
    }
}

//! Messages where none are expected: other paths, methods and content types of a configured host. A body that any server could
//! decode into JSON is read whole and judged; only what cannot be JSON in any encoding goes on as it is.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::fold;
use super::json::Value;

/// What the beginning of a body says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Nothing yet: only white space so far.
    NeedMore,
    /// A server might read JSON here: collect the whole body, parse it strictly, ask [`is_json_rpc`]; refuse what cannot be parsed.
    MaybeJson,
    /// Not JSON, whoever reads it.
    Other,
}

/// White space beyond which nobody sends a real body: it is treated as JSON then, so that it is bounded.
const MAX_SPACE: usize = 4096;

/// Character sets in which `{`, `[` and white space are the bytes they are in ASCII.
const PLAIN_CHARSETS: &[&str] = &["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"];

/// Looks at the headers and the first bytes of a body; `complete` says that there are no more.
pub fn sniff(headers: &HeaderMap, first: &[u8], complete: bool) -> Sniff {
    if encoded(headers) || declares_json_or_charset(headers) {
        return Sniff::MaybeJson;
    }
    match first {
        // UTF-16 and UTF-32, with or without a mark, show a NUL or a mark within four bytes of an ASCII character.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Sniff::MaybeJson,
        _ if first.iter().take(4).any(|&b| b == 0) => return Sniff::MaybeJson,
        _ => {}
    }
    let rest = after_space(first);
    if first.len() - rest.len() > MAX_SPACE {
        return Sniff::MaybeJson;
    }
    match rest {
        // `+` begins a shifted sequence of UTF-7: `+AHs-` is `{`.
        [b'{' | b'[' | b'+', ..] => Sniff::MaybeJson,
        [] if complete => Sniff::Other,
        [] => Sniff::NeedMore,
        // A character that is not there whole yet could be a space or a mark.
        _ if !complete && cut_short(rest) => Sniff::NeedMore,
        [0xff | 0xfe, ..] if rest.len() < 2 && !complete => Sniff::NeedMore,
        [_] | [_, _] | [_, _, _] if rest.len() == first.len() && !complete => Sniff::NeedMore,
        _ => Sniff::Other,
    }
}

fn encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Whether the content type says JSON, or a character set in which JSON looks different.
fn declares_json_or_charset(headers: &HeaderMap) -> bool {
    content_types(headers).any(|value| value.contains("json") || has_odd_charset(&value))
}

fn content_types(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(CONTENT_TYPE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
}

/// Whether a content type, in lower case, names a character set in which ASCII is not what it seems.
fn has_odd_charset(value: &str) -> bool {
    let mut charsets = value.split(';').skip(1).filter_map(|p| p.trim().strip_prefix("charset"));
    charsets.any(|p| !PLAIN_CHARSETS.contains(&p.trim_matches([' ', '\t', '=', '"', '\''])))
}

/// Whether the head tells a reader to decode the body before it reads it. What such a body says as it stands is not what that
/// reader gets: `{"a":"+ACI-,+ACI-method..."}` is harmless in UTF-8, and a message in UTF-7.
pub fn is_disguised(headers: &HeaderMap) -> bool {
    encoded(headers) || content_types(headers).any(|value| has_odd_charset(&value))
}

/// The body without what a lenient reader trims: ASCII white space and control characters, Unicode's spaces, marks.
fn after_space(body: &[u8]) -> &[u8] {
    let valid = match std::str::from_utf8(&body[..body.len().min(2 * MAX_SPACE)]) {
        Ok(text) => text,
        Err(e) => std::str::from_utf8(&body[..e.valid_up_to()]).unwrap_or_default(),
    };
    let trimmed = valid.trim_start_matches(|c: char| c.is_whitespace() || c <= ' ' || c == '\u{feff}');
    &body[valid.len() - trimmed.len()..]
}

/// Whether a UTF-8 sequence begins here and is cut off.
fn cut_short(rest: &[u8]) -> bool {
    rest.len() < 4 && std::str::from_utf8(rest).is_err_and(|e| e.error_len().is_none())
}

/// Whether a strictly parsed body is a JSON-RPC message to somebody: an object, or an array with an object in it, with a
/// member that is or folds to `jsonrpc` or `method`.
pub fn is_json_rpc(value: Value<'_>) -> bool {
    let message = |object: Value<'_>| {
        object.entries().any(|(key, _)| {
            key.as_str().is_some_and(|key| fold::folds_to(&key, "jsonrpc") || fold::folds_to(&key, "method"))
        })
    };
    message(value) || value.items().any(message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::mcp::json::Parser;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn finds_json_in_every_disguise() {
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16be: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf32: Vec<u8> = "{\"a\":1}".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let bodies: [&[u8]; 12] = [
            b"{}",
            b" \r\n\t[",
            b"\xef\xbb\xbf{",
            b"\xef\xbb\xbf \xef\xbb\xbf{",
            b"\xc2\xa0{",
            b"\xe2\x80\xa8{",
            b"\x0b\x0c\x01{",
            b"+AHs-",
            b"\xff\xfe{\0",
            &utf16,
            &utf16be,
            &utf32,
        ];
        for body in bodies {
            assert_eq!(sniff(&HeaderMap::new(), body, false), Sniff::MaybeJson, "{body:x?}");
        }
        assert_eq!(sniff(&HeaderMap::new(), &[b' '; 5000], false), Sniff::MaybeJson);
    }

    #[test]
    fn headers_alone_can_say_so() {
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "identity, br"),
            ("content-type", "application/vnd.api+JSON"),
            ("content-type", "text/plain; charset=utf-7"),
            ("content-type", "text/plain; Charset = \"UTF-16\""),
            ("content-type", "text/plain;charset=cp037"),
        ] {
            assert_eq!(sniff(&head(&[(name, value)]), b"anything", true), Sniff::MaybeJson, "{value}");
        }
        for value in ["text/html", "text/plain; charset=UTF-8", "application/x-www-form-urlencoded"] {
            assert_eq!(sniff(&head(&[("content-type", value)]), b"a=b&c", false), Sniff::Other, "{value}");
        }
    }

    #[test]
    fn what_is_decoded_before_it_is_read_is_disguised() {
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-type", "application/json; charset=utf-7"),
            ("content-type", "application/json; charset=utf-8; charset=\"utf-7\""),
        ] {
            assert!(is_disguised(&head(&[(name, value)])), "{value}");
        }
        for (name, value) in [
            ("content-encoding", "identity"),
            ("content-type", "application/json"),
            ("content-type", "application/json; charset=UTF-8"),
        ] {
            assert!(!is_disguised(&head(&[(name, value)])), "{value}");
        }
    }

    #[test]
    fn waits_until_it_can_tell() {
        let none = HeaderMap::new();
        for body in [&b""[..], b" \n", b"\xef\xbb\xbf", b"\xef", b"\xef\xbb", b"\xc2", b" \xe2\x80", b"\xff", b"ab"] {
            assert_eq!(sniff(&none, body, false), Sniff::NeedMore, "{body:x?}");
            assert_eq!(sniff(&none, body, true), Sniff::Other, "{body:x?}");
        }
        for body in [&b"--boundary"[..], b"\x89PNG\r\n", b" hello", b"\"text\"", b"GIF89a"] {
            assert_eq!(sniff(&none, body, false), Sniff::Other, "{body:x?}");
        }
    }

    #[test]
    fn knows_a_message() {
        let mut parser = Parser::new();
        for (body, expected) in [
            (r#"{"jsonrpc":"2.0"}"#, true),
            (r#"{"METHOD":1}"#, true),
            (r#"[1,{"\u006dethod":1}]"#, true),
            (r#"{"a":{"method":1}}"#, false),
            (r#"["method"]"#, false),
            ("1", false),
        ] {
            assert_eq!(is_json_rpc(parser.parse(body.as_bytes()).unwrap()), expected, "{body}");
        }
    }
}

//! Header fields on their way through: what belongs to one hop stays on it.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// Fields that concern only one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // Goes with `Upgrade: h2c` (RFC 7540 §3.2.1).
    HeaderName::from_static("http2-settings"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what concerns only the connection that the message came on, and what its `Connection` field names.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    if fields.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .collect();
        for name in named {
            // Naming an end-to-end field must not make it vanish between what was judged and what is sent.
            if !PROTECTED.contains(&name) && !name.as_str().starts_with("mcp-") {
                fields.remove(name);
            }
        }
    }
    // Said again on the next hop: it is what lets trailers through (RFC 9110 §10.1.4).
    let trailers = fields.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Fields that `Connection` cannot take away: they frame, route or authorize the request.
const PROTECTED: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::ACCEPT,
    header::CACHE_CONTROL,
];

/// What a request to a policed server carries in place of the agent's own wishes: responses that must be read come
/// without an encoding.
pub fn ask_for_identity(fields: &mut HeaderMap) {
    fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Removes what would move the agent's next connection to a transport that is not captured (RFC 7838).
pub fn strip_alternatives(fields: &mut HeaderMap) {
    fields.remove(header::ALT_SVC);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn connection_takes_its_own_fields_with_it_and_no_others() {
        let mut headers = fields(&[
            ("connection", "x-hop, Mcp-Session-Id, authorization, keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("mcp-session-id", "s"),
            ("authorization", "Bearer t"),
            ("te", "trailers"),
            ("x-end", "2"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "mcp-session-id", "te", "x-end"]);
    }
}

//! The revisions of the protocol.

use super::json::Parser;

/// A revision of MCP that policyd knows, or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP+SSE.
    V2024_11_05,
    /// Streamable HTTP, batches.
    V2025_03_26,
    /// `MCP-Protocol-Version`, elicitation, structured results.
    V2025_06_18,
    /// Tasks.
    V2025_11_25,
    /// No sessions; `resultType`, mirror headers.
    V2026_07_28,
    /// A date after the newest that is known.
    Later,
}

const KNOWN: [(&str, Version); 5] = [
    ("2024-11-05", Version::V2024_11_05),
    ("2025-03-26", Version::V2025_03_26),
    ("2025-06-18", Version::V2025_06_18),
    ("2025-11-25", Version::V2025_11_25),
    ("2026-07-28", Version::V2026_07_28),
];

impl Version {
    /// Reads a revision's name. `None` for anything but a known revision or a date after the newest.
    pub fn parse(text: &str) -> Option<Version> {
        if let Some((_, version)) = KNOWN.iter().find(|(name, _)| *name == text) {
            return Some(*version);
        }
        let date = text.len() == 10
            && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
        (date && text > KNOWN[KNOWN.len() - 1].0).then_some(Version::Later)
    }

    /// The names of those that policyd knows, oldest first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// Its name as metrics and records show it; `later` for what policyd does not know.
    pub fn name(self) -> &'static str {
        KNOWN.iter().find(|(_, version)| *version == self).map_or("later", |(name, _)| name)
    }

    /// Whether every request stands for itself: no sessions, `resultType` in results (2026-07-28 and later).
    pub fn is_stateless(self) -> bool {
        self >= Version::V2026_07_28
    }
}

/// The revision that a server names in its answer to `initialize`; `None` where that is not strict JSON, or says none.
pub fn agreed_version(parser: &mut Parser, answer: &[u8]) -> Option<Version> {
    let version = parser.parse(answer).ok()?.get("result")?.get("protocolVersion")?.as_str()?;
    Version::parse(&version)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn orders_and_names() {
        for (name, version) in KNOWN {
            assert_eq!(Version::parse(name), Some(version));
            assert_eq!(version.name(), name);
        }
        assert_eq!(Version::parse("2027-01-01"), Some(Version::Later));
        assert!(Version::Later.is_stateless() && !Version::V2025_11_25.is_stateless());
        let agreed = |text: &str| agreed_version(&mut Parser::new(), text.as_bytes());
        let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26","capabilities":{}}}"#;
        assert_eq!(agreed(answer), Some(Version::V2025_03_26));
        assert_eq!((agreed(r#"{"error":{}}"#), agreed("{"), agreed("[]")), (None, None, None));
        for no in ["", "2025-01-01", "DRAFT-2026", "2026-07-2x", "2026-07-280"] {
            assert_eq!(Version::parse(no), None, "{no}");
        }
    }
}

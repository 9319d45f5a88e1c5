//! The names of the protocols that TLS selects (ALPN, RFC 7301).

/// HTTP/2 in ALPN (RFC 9113 §3.1).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Whether the agent offers HTTP/2, and whether HTTP/1.1.
pub(super) fn choices(offered: &[Vec<u8>]) -> (bool, bool) {
    let offers = |protocol: &[u8]| offered.iter().any(|offer| offer == protocol);
    (offers(H2), offers(HTTP1))
}

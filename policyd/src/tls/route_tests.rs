#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::tls::peek::{Peek, peek};
use crate::tls::testing::{host, server};

/// `https://a.example` and `https://shared.example:8443` at 192.0.2.1 (a CDN's edge), `http://plain.example` at 192.0.2.2,
/// and two servers that are configured by their address.
fn servers() -> Vec<Arc<Server>> {
    vec![
        server(true, "a.example", 443),
        server(true, "shared.example", 8443),
        server(false, "plain.example", 80),
        server(true, "192.0.2.3", 443),
        server(false, "127.0.0.1", 3000),
    ]
}

fn protected() -> Protected {
    let entry = |ip: &str, port, name: &str| (ip.parse().unwrap(), port, Arc::from(name));
    let addresses = [
        entry("192.0.2.1", 443, "a"),
        entry("192.0.2.1", 8443, "shared"),
        entry("192.0.2.2", 80, "plain"),
        entry("192.0.2.3", 443, "address"),
        entry("127.0.0.1", 3000, "local"),
    ];
    Protected::new(addresses, ["cover.example".to_owned()])
}

fn capture(other: Other, shared: Shared) -> Capture {
    Capture { instance: "test".into(), cgroups: Vec::new(), ports: vec![443, 80], other, shared }
}

/// TLS for a name, or without one; a trailing `+ech` adds the extension.
fn tls(name: &str) -> Peeked {
    let (name, ech) = name.strip_suffix("+ech").map_or((name, false), |name| (name, true));
    let sni = (!name.is_empty()).then(|| name.to_owned());
    Peeked::Tls(Hello { sni, ech, ..Hello::default() })
}

/// A plain request with this target and Host field.
fn http(target: &str, host: &str) -> Peeked {
    match peek(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()) {
        Peek::Done(peeked @ Peeked::Http(_)) => peeked,
        other => panic!("{other:?}"),
    }
}

fn inspect(name: &str) -> Route {
    Route::Inspect(servers().into_iter().find(|server| server.host == host(name)).unwrap())
}

fn check(other: Other, shared: Shared, table: Vec<(Peeked, &str, Route)>) {
    let allow = ["ok.example".to_owned(), "a.example".to_owned(), "198.51.100.7".to_owned()];
    for (peeked, destination, expected) in table {
        let destination = destination.parse().unwrap();
        let routed = route(&peeked, destination, &servers(), &protected(), &capture(other, shared), &allow);
        assert_eq!(routed, expected, "{peeked:?} to {destination}, {other:?}, {shared:?}");
    }
}

const PASS: Route = Route::Pass(Dial::Original);
/// An address that is nobody's in particular.
const ELSEWHERE: &str = "198.51.100.7:443";
const ELSEWHERE_PLAIN: &str = "198.51.100.7:80";

/// What holds whatever the settings are.
#[test]
fn configured_names_are_inspected_and_what_hides_them_is_refused() {
    for other in [Other::Pass, Other::Refuse] {
        for shared in [Shared::Refuse, Shared::Pass] {
            check(
                other,
                shared,
                vec![
                    // The name routes, at whatever address.
                    (tls("a.example"), "192.0.2.1:443", inspect("a.example")),
                    (tls("a.example"), ELSEWHERE, inspect("a.example")),
                    (tls("a.example+ech"), ELSEWHERE, inspect("a.example")),
                    (tls("shared.example"), "192.0.2.1:8443", inspect("shared.example")),
                    (http("/mcp", "plain.example"), "192.0.2.2:80", inspect("plain.example")),
                    (http("/mcp", "Plain.Example:80"), ELSEWHERE_PLAIN, inspect("plain.example")),
                    (http("http://plain.example/mcp", "plain.example"), ELSEWHERE_PLAIN, inspect("plain.example")),
                    // Servers that are configured by address, in every way to write it.
                    (tls(""), "192.0.2.3:443", inspect("192.0.2.3")),
                    (tls(""), "[::ffff:192.0.2.3]:443", inspect("192.0.2.3")),
                    (http("/mcp", "127.0.0.1:3000"), "127.0.0.1:3000", inspect("127.0.0.1")),
                    (http("/mcp", "127.0.0.1:3000"), "0.0.0.0:3000", inspect("127.0.0.1")),
                    // No name, or no protocol that has one, at a protected address.
                    (tls(""), "192.0.2.1:443", Route::Refuse(Cause::ProtectedAddressNoName)),
                    (tls("+ech"), "192.0.2.1:443", Route::Refuse(Cause::ProtectedAddressNoName)),
                    (http("/mcp", ""), "192.0.2.2:80", Route::Refuse(Cause::ProtectedAddressNoName)),
                    (Peeked::Other, "192.0.2.1:443", Route::Refuse(Cause::ProtectedAddressOtherProtocol)),
                    (Peeked::Silent, "192.0.2.1:443", Route::Refuse(Cause::ProtectedAddressSilent)),
                    (Peeked::H2c, "192.0.2.2:80", Route::Refuse(Cause::H2cToServer)),
                    (Peeked::H2c, "127.0.0.1:3000", Route::Refuse(Cause::H2cToServer)),
                    // TLS and plain HTTP in each other's place.
                    (http("/mcp", "a.example:443"), ELSEWHERE, Route::Refuse(Cause::PlaintextToTlsServer)),
                    (http("/mcp", "a.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::PlaintextToTlsServer)),
                    (http("/mcp", "192.0.2.3"), "192.0.2.3:443", Route::Refuse(Cause::PlaintextToTlsServer)),
                    (tls("plain.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::TlsToPlaintextServer)),
                    (tls(""), "127.0.0.1:3000", Route::Refuse(Cause::TlsToPlaintextServer)),
                    // What cannot be read for certain, wherever it goes.
                    (Peeked::MalformedHello("x"), ELSEWHERE, Route::Refuse(Cause::MalformedHello)),
                    (Peeked::MalformedRequest("x"), ELSEWHERE, Route::Refuse(Cause::MalformedRequest)),
                    (tls("cover.example+ech"), ELSEWHERE, Route::Refuse(Cause::EchPublicName)),
                    (http("http://plain.example/", "ok.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::HostDisagrees)),
                    (http("http://ok.example/", "plain.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::HostDisagrees)),
                    (http("http://ok.example/", "a.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::HostDisagrees)),
                    (http("http://ok.example/", "x.example"), "192.0.2.2:80", Route::Refuse(Cause::HostDisagrees)),
                ],
            );
        }
    }
}

#[test]
fn other_traffic_passes_by_default_but_not_to_protected_addresses() {
    let other_name = Route::Refuse(Cause::ProtectedAddressOtherName);
    check(
        Other::Pass,
        Shared::Refuse,
        vec![
            (tls("b.example"), ELSEWHERE, PASS),
            (tls("b.example+ech"), ELSEWHERE, PASS),
            (tls("cover.example"), ELSEWHERE, PASS),
            (tls(""), ELSEWHERE, PASS),
            (http("/", "b.example"), ELSEWHERE_PLAIN, PASS),
            (http("http://b.example/", "c.example"), ELSEWHERE_PLAIN, PASS),
            (Peeked::Other, ELSEWHERE, PASS),
            (Peeked::Silent, ELSEWHERE, PASS),
            (Peeked::H2c, ELSEWHERE, PASS),
            // A configured name at a port that is not configured is another service.
            (tls("a.example"), "198.51.100.7:9443", PASS),
            (tls("a.example"), "192.0.2.1:8443", other_name.clone()),
            (http("/", "a.example:8080"), "198.51.100.7:8080", PASS),
            (http("/", "shared.example"), ELSEWHERE_PLAIN, PASS),
            (tls("sub.a.example"), ELSEWHERE, PASS),
            (tls("b.example"), "192.0.2.1:443", other_name.clone()),
            (tls("b.example+ech"), "192.0.2.1:443", other_name.clone()),
            (tls("b.example"), "192.0.2.3:443", other_name.clone()),
            (http("/", "b.example"), "192.0.2.2:80", other_name.clone()),
            (http("/", "192.0.2.2"), "192.0.2.2:80", Route::Refuse(Cause::ProtectedAddressNoName)),
            (http("/", "localhost:3000"), "127.0.0.1:3000", other_name.clone()),
            (http("/", "127.0.0.1:3000"), "127.0.0.2:3000", other_name.clone()),
            (http("/", "127.0.0.1:3000"), "[::1]:3000", other_name),
        ],
    );
}

#[test]
fn shared_addresses_may_serve_other_names() {
    check(
        Other::Pass,
        Shared::Pass,
        vec![
            (tls("b.example"), "192.0.2.1:443", PASS),
            (tls("b.example+ech"), "192.0.2.1:443", PASS),
            (http("/", "b.example"), "192.0.2.2:80", PASS),
        ],
    );
}

#[test]
fn strict_egress_lets_only_allowed_names_through_at_their_own_addresses() {
    let refused = || Route::Refuse(Cause::NotAllowed);
    let by_name = |name: &str| Route::Pass(Dial::Name(name.into()));
    check(
        Other::Refuse,
        Shared::Refuse,
        vec![
            (tls("ok.example"), ELSEWHERE, by_name("ok.example")),
            (http("/", "OK.example"), ELSEWHERE_PLAIN, by_name("ok.example")),
            (http("http://ok.example/", "ok.example"), ELSEWHERE_PLAIN, by_name("ok.example")),
            (tls("b.example"), ELSEWHERE, refused()),
            (tls("sub.ok.example"), ELSEWHERE, refused()),
            (tls(""), ELSEWHERE, refused()),
            (http("/", "b.example"), ELSEWHERE_PLAIN, refused()),
            (http("/", ""), ELSEWHERE_PLAIN, refused()),
            (http("http://ok.example/", "b.example"), ELSEWHERE_PLAIN, Route::Refuse(Cause::HostDisagrees)),
            (Peeked::Other, ELSEWHERE, refused()),
            (Peeked::Silent, ELSEWHERE, refused()),
            (Peeked::H2c, ELSEWHERE, refused()),
            (tls("ok.example"), "192.0.2.1:443", Route::Refuse(Cause::ProtectedAddressOtherName)),
        ],
    );
    check(Other::Refuse, Shared::Pass, vec![(tls("ok.example"), "192.0.2.1:443", by_name("ok.example"))]);
}

#[test]
fn plain_http_at_port_80_is_inspected_where_it_is_configured_beside_https() {
    let servers = [server(true, "a.example", 443), server(false, "a.example", 80)];
    let settings = capture(Other::Pass, Shared::Refuse);
    let routed = route(
        &http("/", "a.example"),
        ELSEWHERE_PLAIN.parse().unwrap(),
        &servers,
        &Protected::default(),
        &settings,
        &[],
    );
    assert_eq!(routed, Route::Inspect(servers[1].clone()));
}

#[test]
fn causes_have_words_of_their_own() {
    let mut words: Vec<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Cause::ALL.len());
}

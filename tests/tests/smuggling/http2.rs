//! The same of HTTP/2.

use policyd_tests::frames;
use policyd_tests::server::{McpServer, Options};
use policyd_tests::systems::WORKBENCH;
use policyd_tests::world::World;

use super::{Config, Scene};
use crate::forms::CALL;

/// What comes of a request in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The stream or connection is reset, with this code (RFC 9113, section 7).
    Reset(u32),
    /// A reply of policyd's, with this cause.
    Reply(&'static str),
    /// Forwarded, as one request.
    Passes,
}

/// A form of HTTP/2: what, the fields before the call's body, what comes of it.
type Form = (&'static str, Vec<(&'static str, &'static str)>, End);

/// Forms of HTTP/2.
fn in_frames() -> Vec<Form> {
    use End::{Passes, Reply, Reset};
    const METHOD: (&str, &str) = (":method", "POST");
    const SCHEME: (&str, &str) = (":scheme", "https");
    const AUTHORITY: (&str, &str) = (":authority", "workbench.example");
    const PATH: (&str, &str) = (":path", "/mcp");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const PROTOCOL_ERROR: u32 = 1;
    let with = |field| vec![METHOD, SCHEME, AUTHORITY, PATH, JSON, field];
    let path = |path| vec![METHOD, SCHEME, AUTHORITY, (":path", path), JSON];
    vec![
        ("a good one", with(("accept", "*/*")), Passes),
        ("te: trailers", with(("te", "trailers")), Passes),
        ("a Host that agrees", with(("host", "workbench.example")), Passes),
        ("the right length", with(("content-length", "71")), Passes),
        ("two paths", vec![METHOD, SCHEME, AUTHORITY, PATH, PATH, JSON], Reset(PROTOCOL_ERROR)),
        ("two methods", vec![METHOD, METHOD, SCHEME, AUTHORITY, PATH, JSON], Reset(PROTOCOL_ERROR)),
        ("two authorities", vec![METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH, JSON], Reset(PROTOCOL_ERROR)),
        ("a late path", vec![METHOD, SCHEME, AUTHORITY, JSON, PATH], Reset(PROTOCOL_ERROR)),
        ("no path", vec![METHOD, SCHEME, AUTHORITY, JSON], Reset(PROTOCOL_ERROR)),
        ("no method", vec![SCHEME, AUTHORITY, PATH, JSON], Reset(PROTOCOL_ERROR)),
        ("no scheme", vec![METHOD, AUTHORITY, PATH, JSON], Reset(PROTOCOL_ERROR)),
        ("no authority", vec![METHOD, SCHEME, PATH, JSON], Reply("misdirected")),
        ("an unknown pseudo field", with((":x", "y")), Reset(PROTOCOL_ERROR)),
        ("a status", with((":status", "200")), Reset(PROTOCOL_ERROR)),
        ("another authority", vec![METHOD, SCHEME, (":authority", "other.example"), PATH, JSON], Reply("misdirected")),
        ("another Host", with(("host", "other.example")), Reply("misdirected")),
        ("another scheme", vec![METHOD, (":scheme", "http"), AUTHORITY, PATH, JSON], Reply("misdirected")),
        (
            "a user in the authority",
            vec![METHOD, SCHEME, (":authority", "a@workbench.example"), PATH, JSON],
            Reply("misdirected"),
        ),
        (
            "a path in the authority",
            vec![METHOD, SCHEME, (":authority", "workbench.example/x"), PATH, JSON],
            Reset(PROTOCOL_ERROR),
        ),
        ("capitals in a name", with(("X-Y", "z")), Reset(PROTOCOL_ERROR)),
        ("a space in a name", with(("x y", "z")), Reset(PROTOCOL_ERROR)),
        ("a colon in a name", with(("x:y", "z")), Reset(PROTOCOL_ERROR)),
        ("a line end in a name", with(("x\r\ny", "z")), Reset(PROTOCOL_ERROR)),
        ("a line end in a value", with(("x", "y\r\ntransfer-encoding: chunked")), Reset(PROTOCOL_ERROR)),
        ("a LF in a value", with(("x", "y\nz")), Reset(PROTOCOL_ERROR)),
        ("a CR in a value", with(("x", "y\rz")), Reset(PROTOCOL_ERROR)),
        ("NUL in a value", with(("x", "y\0z")), Reset(PROTOCOL_ERROR)),
        ("connection", with(("connection", "close")), Reset(PROTOCOL_ERROR)),
        ("keep-alive", with(("keep-alive", "1")), Reset(PROTOCOL_ERROR)),
        ("proxy-connection", with(("proxy-connection", "close")), Reset(PROTOCOL_ERROR)),
        ("transfer-encoding", with(("transfer-encoding", "chunked")), Reset(PROTOCOL_ERROR)),
        ("upgrade", with(("upgrade", "websocket")), Reset(PROTOCOL_ERROR)),
        ("te: gzip", with(("te", "gzip")), Reset(PROTOCOL_ERROR)),
        ("a short length", with(("content-length", "10")), Reset(PROTOCOL_ERROR)),
        ("a long length", with(("content-length", "100")), Reset(PROTOCOL_ERROR)),
        ("a length that is no number", with(("content-length", "+71")), Reset(PROTOCOL_ERROR)),
        (
            "two lengths",
            vec![METHOD, SCHEME, AUTHORITY, PATH, JSON, ("content-length", "71"), ("content-length", "71")],
            Reply("repeated-header"),
        ),
        ("an empty path", path(""), Reset(PROTOCOL_ERROR)),
        ("a space in the path", path("/mcp HTTP/1.1"), Reset(PROTOCOL_ERROR)),
        ("a line end in the path", path("/mcp HTTP/1.1\r\nx: y"), Reset(PROTOCOL_ERROR)),
        ("an absolute path", path("https://other.example/mcp"), Reset(PROTOCOL_ERROR)),
        ("a path without a slash", path("mcp"), Reset(PROTOCOL_ERROR)),
        (
            "a line end in the method",
            vec![(":method", "POST /x HTTP/1.1\r\nx: y"), SCHEME, AUTHORITY, PATH, JSON],
            Reset(PROTOCOL_ERROR),
        ),
        ("CONNECT", vec![(":method", "CONNECT"), AUTHORITY], Reply("upgrade")),
        (
            "WebSocket",
            vec![(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, PATH],
            Reset(PROTOCOL_ERROR),
        ),
    ]
}

#[test]
fn http2_that_two_readers_could_read_differently_is_refused() {
    let world = World::new();
    let server = McpServer::with(&world, &WORKBENCH, Options { sessions: false, json: true, ..Options::default() });
    let scene = Scene::new(&world, Config::new());
    let forms = in_frames();
    assert_eq!(CALL.len(), 71);
    let accept = ("accept", "application/json, text/event-stream");
    let write = |fields: &Vec<(&'static str, &'static str)>| {
        let fields = fields.iter().chain([&accept]).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        frames::request(&fields.collect::<Vec<_>>(), CALL.as_bytes())
    };
    let answers = scene.send(true, forms.iter().map(|(_, fields, _)| write(fields)).collect());
    let mut wrong = Vec::new();
    for ((what, _, end), answer) in forms.iter().zip(&answers) {
        let answer = frames::answer(answer);
        let found = match (answer.error, answer.body.strip_prefix("policyd: ")) {
            (Some(code), _) => End::Reset(code),
            (None, None) if answer.body.contains("result") => End::Passes,
            _ => match end {
                End::Reply(word) if scene.counted(word) >= 1.0 => *end,
                _ => End::Reply("?"),
            },
        };
        if found != *end {
            wrong.push(format!("{what}: {found:?} ({answer:?}) instead of {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", scene.daemon.log());
    // A body that is not as long as it was said to be was already on its way to a decision.
    assert!(scene.counted("broken-body") >= 1.0, "{}", scene.daemon.metrics());
    let passed = forms.iter().filter(|(_, _, end)| *end == End::Passes).count();
    let seen = server.seen();
    assert_eq!(seen.len(), passed, "{seen:#?}");
    assert!(seen.iter().all(|seen| seen.path == "/mcp" && seen.body == CALL.as_bytes()), "{seen:#?}");
}

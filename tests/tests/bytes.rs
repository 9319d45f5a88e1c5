//! What is allowed goes through bit for bit: captures at both ends, with policyd and without it, over HTTP/1.1 and HTTP/2.
//!
//! What a hop may change is left out of the comparison, and nothing else is: framing and the fields of one connection,
//! `Accept-Encoding`, `Alt-Svc`. Names of fields are compared in lower case: HTTP/2 has no other, and over HTTP/1.1 policyd
//! writes them so, whatever the sender's case was.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use policyd_tests::agent::binary;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::Serving;
use policyd_tests::site::{ReadWrite, Site, read_head};
use policyd_tests::systems::WORKBENCH;
use policyd_tests::world::World;

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;

/// A message as one side saw it: its first line, its fields with their values in order, its body, its trailers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    line: String,
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    body: Vec<u8>,
    trailers: BTreeMap<String, Vec<Vec<u8>>>,
}

const DATE: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

/// What each hop says for itself, and what policyd changes on purpose.
const OF_THE_HOP: [&str; 9] = [
    "accept-encoding",
    "alt-svc",
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "x-of-this-connection",
];

fn collect<'a>(pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for (name, value) in pairs {
        let name = name.to_ascii_lowercase();
        if !OF_THE_HOP.contains(&name.as_str()) {
            fields.entry(name).or_default().push(value.to_vec());
        }
    }
    fields
}

fn fields(lines: &[u8]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let lines = lines.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    collect(lines.map(|line| {
        let colon = line.iter().position(|&byte| byte == b':').unwrap();
        (std::str::from_utf8(&line[..colon]).unwrap(), line[colon + 1..].trim_ascii())
    }))
}

/// Reads a whole HTTP/1.1 message.
fn read_message(stream: &mut dyn ReadWrite) -> Option<Seen> {
    let head = read_head(stream)?;
    let end = head.iter().position(|&byte| byte == b'\n').unwrap();
    let lower = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
        loop {
            let size = usize::from_str_radix(read_line(stream).trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..]).unwrap();
            read_line(stream);
        }
        loop {
            let line = read_line(stream);
            if line.trim().is_empty() {
                break;
            }
            trailers.extend_from_slice(line.as_bytes());
        }
    } else if let Some((_, rest)) = lower.split_once("\r\ncontent-length: ") {
        body.resize(rest.lines().next().unwrap().trim().parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
    }
    Some(Seen {
        line: String::from_utf8_lossy(&head[..end]).trim().to_owned(),
        fields: fields(&head[end..]),
        body,
        trailers: fields(&trailers),
    })
}

fn read_line(stream: &mut dyn ReadWrite) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

struct Bytes<'a>(&'a [u8]);

impl std::io::Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl std::io::Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bodies that are odd and legal: none of them may come out tidied up.
const MESSAGES: [&str; 7] = [
    // Keys in an odd order, escapes of all kinds, white space of all kinds.
    "\r\n\t {\"params\" : {\"arguments\":{\"z\":1,\"a\":\"\\u0041\\/\\n\\ud83d\\ude00 é\\u007f\"},\"name\":\"\\u0065cho\"},\n\
     \"id\":\"a\\/\\u0062\" , \"method\":\"tools/call\",\"jsonrpc\":\"2.0\"}\t\r\n ",
    // Numbers that no double holds, and several ways to write the same one.
    r#"{"jsonrpc":"2.0","id":12345678901234567,"method":"tools/call","params":{"name":"echo","arguments":{"a":123456789012345678901234567890,"b":1.0E+2,"c":-0,"d":0.1000000000000000055511151231257827,"e":1e-7,"f":100}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":""}}"#,
    r#"{"jsonrpc":"2.0","id":-1,"result":{"roots":[]}}"#,
    r#"{"jsonrpc":"2.0","id":"","method":"resources/read","params":{"uri":"file:///%2e%2e/\u00fc"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":0},"name":"echo","arguments":{"":null,"é":[[],{}]}}}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{}}"#,
];

/// Answers over HTTP/1.1: JSON with odd spaces, an event stream in chunks, and two that carry no message.
fn answers() -> [Vec<u8>; 4] {
    let whole = |head: &[u8], body: &[u8]| {
        let length = format!("Date: {DATE}\r\nContent-Length: {}\r\n\r\n", body.len());
        [head, length.as_bytes(), body].concat()
    };
    let json = whole(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Repeated: one\r\nSet-Cookie: a=1\r\n\
          X-Repeated: two, three\r\nSet-Cookie: b=2; Path=/\r\nX-Empty:\r\nX-Latin: caf\xe9\r\n\
          Alt-Svc: h3=\":443\"\r\nKeep-Alive: timeout=9\r\n",
        br#" {"id":1 ,"result":{"n":1.0E2,"z":"\u0041"},"jsonrpc":"2.0"}"#,
    );
    // Every line end, a comment, a field that nobody knows, and no end of the last event.
    let events = b": ping\r\rid: 7\rdata:{\"jsonrpc\":\"2.0\",\r\ndata: \"id\":1,\"result\":{}}\nx: y\n\ndata: {";
    let mut stream = format!(
        "HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nDate: {DATE}\r\nCache-Control: no-store\r\n\
         Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    stream.extend(chunks(events, 11));
    stream.extend_from_slice(b"0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n");
    let page = whole(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n", b"<b>\xff\0\n\r!");
    let login = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"a, b\"\r\nWWW-Authenticate: Basic\r\n";
    [json, stream, page, whole(login, b"")]
}

/// `bytes` in chunks of `size`, without the last one that is empty.
fn chunks(bytes: &[u8], size: usize) -> Vec<u8> {
    bytes
        .chunks(size)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect()
}

/// The requests of one connection each: all messages to the endpoint, and a body of every byte to another path.
fn requests() -> Vec<Vec<u8>> {
    let head = |target: &str, more: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: workbench.example\r\nX-Repeated: one\r\nACCEPT: application/json\r\n\
             X-Repeated: two, three\r\nAccept: text/event-stream;q=0.5\r\nX-Empty:\r\nCookie: a=1; b=2\r\nTE: trailers\r\n\
             Authorization: Bearer  t\r\nAccept-Encoding: br\r\nOrigin: null\r\nX-Of-This-Connection: x\r\n\
             Connection: close, x-of-this-connection\r\n{more}\r\n"
        )
    };
    let json = "Content-Type: application/json\r\nMcp-Session-Id: \"s\"\r\n";
    let mut requests = Vec::new();
    for message in MESSAGES {
        let length = format!("{json}Content-Length: {}\r\n", message.len());
        requests.push([head("/mcp?a=%2f&b=", &length).as_bytes(), message.as_bytes()].concat());
    }
    // The same in chunks that split it anywhere, in the middle of a character too.
    let mut chunked = head("/mcp", &format!("{json}Transfer-Encoding: chunked\r\n")).into_bytes();
    chunked.extend(chunks(MESSAGES[0].as_bytes(), 7));
    chunked.extend_from_slice(b"0\r\n\r\n");
    requests.push(chunked);
    // It begins with a letter: what could be JSON in any encoding would be refused here.
    let every: Vec<u8> = (0..=u8::MAX).map(|byte| byte.wrapping_add(b'P')).collect();
    let form = "Content-Type: application/octet-stream\r\nContent-Length: 256\r\n";
    requests.push([head("/upload/..//%41", form).as_bytes(), &every].concat());
    requests
}

#[test]
fn over_http1_both_ends_see_the_same_bytes_as_without_policyd() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
    let remembered = Arc::clone(&seen);
    let _server = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let Some(request) = read_message(stream) else { return };
        let answer = request.fields["x-answer"][0][0] - b'0';
        remembered.lock().unwrap().push(request);
        stream.write_all(&answers()[usize::from(answer)]).ok();
    });
    let daemon = daemon(&world);
    let send = |mut prefix: Command, roots: &std::path::Path, request: &[u8]| -> (Seen, Seen) {
        prefix.arg(binary("agent")).args(["raw", &format!("{}:443", WORKBENCH.host.v4())]);
        prefix.args(["--sni", WORKBENCH.host.name, "--roots"]).arg(roots);
        let mut client = prefix.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(request).unwrap();
        let finished = client.wait_with_output().unwrap();
        let answer = read_message(&mut Bytes(&finished.stdout)).unwrap_or_else(|| panic!("no answer: {finished:?}"));
        (seen.lock().unwrap().pop().unwrap_or_else(|| panic!("nothing arrived: {answer:?}")), answer)
    };
    let (system, own) = (world.path("test-root.pem"), daemon.root());
    for (number, request) in requests().iter().enumerate() {
        let answer = format!("\r\nX-Answer: {}\r\n", number % 4);
        let end = request.windows(2).position(|two| two == b"\r\n").unwrap();
        let request = [&request[..end], answer.as_bytes(), &request[end + 2..]].concat();
        let direct = send(world.inside(), &system, &request);
        let through = send(daemon.agent("anna"), &own, &request);
        assert_eq!(direct.0, through.0, "request {number} at the server");
        assert_eq!(direct.1, through.1, "answer to request {number} at the client");
        // The comparison compares something.
        assert_eq!(direct.0.fields["x-repeated"], [b"one".to_vec(), b"two, three".to_vec()]);
        assert!(!direct.0.body.is_empty());
    }
}

#[test]
fn over_http2_both_ends_see_the_same_bytes_as_without_policyd() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
    let remembered = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| answer_h2(Arc::clone(&remembered), request));
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["h2"]);
    let address = (WORKBENCH.host.v4(), 443).into();
    let _server = Serving::start(|work| world.on_servers_side(work), address, Some(tls), router);
    let daemon = daemon(&world);
    let send = |mut prefix: Command, roots: &std::path::Path, target: &str, body: &std::path::Path| {
        prefix.args(["curl", "--silent", "--show-error", "--http2", "--path-as-is", "--max-time", "20", "--cacert"]);
        prefix.arg(roots).arg("--dump-header").arg(world.path("head")).arg("--output").arg(world.path("body"));
        for field in
            ["X-Repeated: one", "Accept: application/json", "X-Repeated: two, three", "Content-Type: application/json"]
        {
            prefix.args(["--header", field]);
        }
        for field in ["Accept: text/event-stream", "X-Empty;", "TE: trailers", "Cookie: a=1", "Cookie: b=2"] {
            prefix.args(["--header", field]);
        }
        prefix.arg("--data-binary").arg(format!("@{}", body.display()));
        let finished = Running::start(with(prefix, &format!("https://{}{target}", WORKBENCH.host.name))).finish();
        assert!(finished.status.success(), "{finished:?}");
        // Trailers stand behind an empty line in what curl writes of the head.
        let head = std::fs::read(world.path("head")).unwrap();
        let end = head.iter().position(|&byte| byte == b'\n').unwrap();
        let answer = Seen {
            line: String::from_utf8_lossy(&head[..end]).trim().to_owned(),
            fields: fields(&head[end..]),
            body: std::fs::read(world.path("body")).unwrap(),
            trailers: BTreeMap::new(),
        };
        (seen.lock().unwrap().pop().unwrap_or_else(|| panic!("nothing arrived: {answer:?}")), answer)
    };
    let (system, own) = (world.path("test-root.pem"), daemon.root());
    for (number, message) in MESSAGES.iter().enumerate() {
        let body = world.file("message", message);
        let direct = send(world.inside(), &system, "/mcp?a=%2f&b=", &body);
        let through = send(daemon.agent("anna"), &own, "/mcp?a=%2f&b=", &body);
        assert_eq!(direct.0, through.0, "request {number} at the server");
        assert_eq!(direct.1, through.1, "answer to request {number} at the client");
        assert_eq!(direct.0.body, message.as_bytes());
        assert!(direct.1.line.starts_with("HTTP/2 "), "{}", direct.1.line);
        assert_eq!(direct.1.fields["x-sum"].len(), 2, "the trailers: {:?}", direct.1.fields);
    }
}

fn daemon(world: &World) -> Daemon<'_> {
    let policy = world.file("policy.json", ALLOW);
    Daemon::start(world, &Config::new().system(world, &WORKBENCH, &policy, &["anna"]))
}

fn with(mut command: Command, argument: &str) -> Command {
    command.arg(argument);
    command
}

async fn answer_h2(seen: Arc<Mutex<Vec<Seen>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let fields = collect(head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let line = format!("{} {} {:?}", head.method, head.uri, head.version);
    seen.lock().unwrap().push(Seen { line, fields, body, trailers: BTreeMap::new() });
    let mut trailers = http::HeaderMap::new();
    trailers.append("x-sum", "1".parse().unwrap());
    trailers.append("x-sum", "2".parse().unwrap());
    let data = |text: &'static str| Frame::data(bytes::Bytes::from_static(text.as_bytes()));
    let frames = [
        data(" {\"id\":1 ,\"result\":{\"n\":1.0E2,"),
        data("\"z\":\"\\u0041\"},\"jsonrpc\":\"2.0\"}\n"),
        Frame::trailers(trailers),
    ];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, std::io::Error>)));
    Response::builder()
        .header("date", DATE)
        .header("content-type", "application/json")
        .header("x-repeated", "one")
        .header("x-repeated", "two, three")
        .header("alt-svc", "h3=\":443\"")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2; Path=/")
        .body(Body::new(body))
        .unwrap()
}

//! HTTP/2 by hand (RFC 9113), for requests that no library would make.

/// What a client sends first: the preface and empty settings.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A field, as it goes into a header block.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// A connection with one request: its fields as they are given, its body in one frame.
pub fn request(fields: &[Field<'_>], body: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal without indexing, neither name nor value in Huffman's code (RFC 7541, 6.2.2).
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    let mut bytes = OPENING.to_vec();
    let end = if body.is_empty() { END_STREAM } else { 0 };
    frame(&mut bytes, HEADERS, END_HEADERS | end, &block);
    if !body.is_empty() {
        frame(&mut bytes, DATA, END_STREAM, body);
    }
    bytes
}

/// A POST to `path` of `host` over TLS, with more fields.
pub fn post(host: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", path)];
    let all: Vec<Field<'_>> = pseudo.iter().chain(fields).map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    request(&all, body)
}

/// Whether what a server sent holds the end of its answer.
pub fn is_over(answer: &[u8]) -> bool {
    frames(answer).any(|(kind, flags, _)| match kind {
        DATA | HEADERS => flags & END_STREAM != 0,
        RST_STREAM | GOAWAY => true,
        _ => false,
    })
}

/// How a request was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether there was a head.
    pub head: bool,
    /// The body.
    pub body: String,
    /// The code of a RST_STREAM or GOAWAY, unless it is NO_ERROR.
    pub error: Option<u32>,
}

/// Reads what a server sent.
pub fn answer(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    for (kind, _, payload) in frames(bytes) {
        let code =
            |at: usize| payload.get(at..at + 4).map(|code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
        match kind {
            HEADERS => answer.head = true,
            DATA => answer.body.push_str(&String::from_utf8_lossy(payload)),
            RST_STREAM => answer.error = answer.error.or(code(0).filter(|code| *code != 0)),
            GOAWAY => answer.error = answer.error.or(code(4).filter(|code| *code != 0)),
            _ => {}
        }
    }
    answer
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
    // An integer with a prefix of seven bits (RFC 7541, 5.1).
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some((head[3], head[4], payload))
    })
}

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::mcp::Cause;

const LIMITS: Limits = Limits { head: 4096, fields: 20 };
const GOOD: &str = "POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";

/// What comes through a gate when `bytes` are written in pieces, then the end, and what it says of the requests.
async fn through(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<io::ErrorKind>, Refused) {
    let (mut agent, near) = duplex(piece);
    let (mut gate, refused) = Gate::new(near, LIMITS);
    let reading = async {
        let (mut passed, mut error, mut buffer) = (Vec::new(), None, [0; 100]);
        loop {
            match gate.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => passed.extend_from_slice(&buffer[..read]),
                Err(end) => {
                    error = Some(end.kind());
                    break;
                }
            }
        }
        drop(gate);
        (passed, error)
    };
    let writing = async {
        agent.write_all(bytes).await.ok();
        agent.shutdown().await.ok();
        agent
    };
    let ((passed, error), _agent) = tokio::join!(reading, writing);
    (passed, error, refused)
}

#[tokio::test]
async fn good_requests_come_through_as_they_are() {
    let bytes = GOOD.repeat(30);
    for piece in [1, 10, 1000, 5000] {
        let (passed, error, refused) = through(bytes.as_bytes(), piece).await;
        assert_eq!((passed.as_slice(), error), (bytes.as_bytes(), None));
        assert!((0..40).all(|number| refused.head(number).is_none()));
    }
}

#[tokio::test]
async fn something_stands_in_for_a_refused_head_and_nothing_follows_it() {
    let bytes = [GOOD, GOOD, "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", GOOD].concat();
    for piece in [1, 10, 1000] {
        let (passed, error, refused) = through(bytes.as_bytes(), piece).await;
        assert_eq!((passed, error), ([GOOD.as_bytes(), GOOD.as_bytes(), STAND_IN].concat(), None));
        assert_eq!(refused.head(3).unwrap().cause, Cause::BadHead);
        assert!(refused.head(2).is_none() && refused.head(4).is_none());
    }
}

#[tokio::test]
async fn a_refused_body_ends_in_an_error() {
    let head = "POST /mcp HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0";
    for piece in [1, 10, 1000] {
        let bytes = [head, ";x\r\n\r\n", GOOD].concat();
        let (passed, error, refused) = through(bytes.as_bytes(), piece).await;
        assert_eq!((passed.as_slice(), error), (head.as_bytes(), Some(io::ErrorKind::InvalidData)));
        assert!((0..4).all(|number| refused.head(number).is_none()));
    }
}

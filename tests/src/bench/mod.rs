//! What `cargo xtask bench` measures with: an upstream server, a load generator and a bare relay, each a process of its
//! own (`tests/src/bin/bench.rs`), and the comparison that runs them in interleaved rounds.

pub mod compare;
pub mod load;
pub mod proc;
pub mod relay;
pub mod report;
mod stored;
pub mod upstream;

/// Reads from `stream` into `buffer` until a whole HTTP/1.1 message with a `content-length` stands at its beginning;
/// gives its length.
///
/// # Errors
/// When the stream fails or ends first, or the message has no length.
async fn message(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    scratch: &mut [u8],
) -> std::io::Result<usize> {
    use tokio::io::AsyncReadExt;
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).map_err(|_| invalid("head"))?;
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>());
            let whole = end + 4 + length.map_err(|_| invalid("content-length"))?;
            if buffer.len() >= whole {
                return Ok(whole);
            }
        }
        let read = stream.read(scratch).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&scratch[..read]);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

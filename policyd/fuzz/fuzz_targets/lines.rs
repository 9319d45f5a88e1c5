//! Lines are the stream without its line ends, whatever its chunks; none is kept beyond the bound, and an id that is picked out
//! of one that is too long is the one that the strict parser finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policyd::mcp::json::Parser;
use policyd::proxy::stdio::{Line, Lines};

const LONGEST: usize = 32;

fn split(stream: &[u8], chunk: usize) -> Vec<Line> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for piece in stream.chunks(chunk) {
        lines.push(piece);
        while let Some(line) = lines.next(LONGEST) {
            found.push(line);
        }
        assert!(lines.kept() <= LONGEST);
    }
    found.extend(lines.finish());
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = split(stream, stream.len().max(1));
    assert_eq!(whole, split(stream, usize::from(size).max(1)));
    let mut texts = stream.split(|&byte| byte == b'\n');
    for line in whole {
        let text = texts.next().expect("a line for each end");
        match line {
            Line::Whole(line) => assert_eq!(line, text),
            Line::TooLong { length, id } => {
                assert!(length > LONGEST && length == text.len());
                if let (Some(id), Ok(root)) = (id, Parser::default().parse(text)) {
                    assert_eq!(root.get("id").map(|id| id.raw()), Some(&*id));
                }
            }
        }
    }
});

//! Bytes split into lines, of which none is kept that is longer than a bound. Pure.

use bytes::{Bytes, BytesMut};

use crate::mcp::skim::Skim;

/// A line without its end (`\n`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// All of it.
    Whole(Bytes),
    /// It is longer than the bound, and was not kept.
    TooLong {
        /// Its length.
        length: usize,
        /// The JSON text of the id that an error about it can carry: the only `id` at its top.
        id: Option<String>,
    },
}

/// Splits a stream.
#[derive(Debug)]
pub struct Lines {
    kept: BytesMut,
    /// How much of `kept` is known to hold no line end.
    searched: usize,
    /// The line that is too long, as far as it has come.
    long: Option<(usize, Skim)>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { kept: BytesMut::new(), searched: 0, long: None }
    }
}

impl Lines {
    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// How many bytes are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The next line that is complete. No more than `longest` bytes of an incomplete one stay.
    pub fn next(&mut self, longest: usize) -> Option<Line> {
        // `contains` is `memchr`: most of a long line's pieces hold no end.
        let new = &self.kept[self.searched..];
        let end = if new.contains(&b'\n') { new.iter().position(|&byte| byte == b'\n') } else { None };
        let Some(end) = end else {
            self.searched = self.kept.len();
            if self.long.is_some() || self.searched > longest {
                self.let_go(self.searched);
            }
            return None;
        };
        let end = self.searched + end;
        if self.long.is_some() || end > longest {
            self.let_go(end);
            self.take(1);
            return self.too_long();
        }
        let mut line = self.take(end + 1);
        line.truncate(end);
        Some(Line::Whole(line.freeze()))
    }

    /// The last line, if the stream ended within one.
    pub fn finish(&mut self) -> Option<Line> {
        if self.long.is_some() {
            self.let_go(self.kept.len());
            return self.too_long();
        }
        let rest = self.take(self.kept.len());
        (!rest.is_empty()).then(|| Line::Whole(rest.freeze()))
    }

    fn take(&mut self, count: usize) -> BytesMut {
        self.searched = 0;
        self.kept.split_to(count)
    }

    /// Looks through the first `count` bytes and forgets them.
    fn let_go(&mut self, count: usize) {
        let part = self.take(count);
        let (length, skim) = self.long.get_or_insert_with(Default::default);
        *length += part.len();
        skim.push(&part);
        if self.kept.is_empty() {
            // What the line took is not held until the next one.
            self.kept = BytesMut::new();
        }
    }

    fn too_long(&mut self) -> Option<Line> {
        let (length, skim) = self.long.take()?;
        Some(Line::TooLong { length, id: skim.finish() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(parts: &[&[u8]], longest: usize) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for part in parts {
            lines.push(part);
            while let Some(line) = lines.next(longest) {
                found.push(line);
            }
            assert!(lines.kept.len() <= longest, "more than {longest} bytes are kept");
        }
        found.extend(lines.finish());
        found
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from(text))
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        assert_eq!(split(&[b"a\nbc\n\nd"], 9), [whole("a"), whole("bc"), whole(""), whole("d")]);
        assert_eq!(split(&[b"a", b"b", b"\n", b"c\r\n"], 9), [whole("ab"), whole("c\r")]);
        assert_eq!(split(&[], 9), []);
    }

    #[test]
    fn a_line_beyond_the_bound_is_left_out_and_named() {
        let long = br#"{"id":7,"method":"ping","params":{"id":8}}"#;
        let told = Line::TooLong { length: long.len(), id: Some("7".into()) };
        assert_eq!(split(&[long, b"\nok\n"], 9), [told.clone(), whole("ok")]);
        assert_eq!(split(&[&long[..20], &long[20..], b"\nok"], 9), [told.clone(), whole("ok")]);
        assert_eq!(split(&[long], 9), [told]);
        assert_eq!(
            split(&[b"123456789\n0123456789\n"], 9),
            [whole("123456789"), Line::TooLong { length: 10, id: None }]
        );
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            text in prop::collection::vec(prop::sample::select(&b"a\"{}:,\\\n"[..]), 0..80),
            cuts in prop::collection::vec(0usize..80, 0..6),
            longest in 1usize..12,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let found = split(&parts, longest);
            prop_assert_eq!(&found, &split(&[&text], longest));
            let mut expected: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::len).collect();
            if expected.last() == Some(&0) {
                expected.pop();
            }
            let lengths: Vec<_> = found.iter().map(|line| match line {
                Line::Whole(line) => line.len(),
                Line::TooLong { length, .. } => *length,
            }).collect();
            prop_assert_eq!(lengths, expected);
            for line in &found {
                prop_assert_eq!(matches!(line, Line::TooLong { length, .. } if *length > longest), !matches!(line, Line::Whole(_)));
            }
        }
    }
}

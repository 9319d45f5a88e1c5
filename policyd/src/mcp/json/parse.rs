//! The pass itself: no recursion, so that no input can exhaust the stack.

use super::super::Cause;
use super::{Error, Kind, MAX_DEPTH, Mark, Mode, Node, Parser, string};

/// Room that is kept from one text to the next: 256 KiB.
const KEPT_NODES: usize = 16 * 1024;

type Step<T> = Result<T, Error>;

fn fail<T>(cause: Cause, at: usize) -> Step<T> {
    Err(Error { cause, at })
}

/// The error of a byte that no rule allows at `at`.
fn unexpected<T>(text: &[u8], at: usize) -> Step<T> {
    fail(if at < text.len() { Cause::Syntax } else { Cause::Truncated }, at)
}

#[inline]
fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

impl Parser {
    /// Fills the list of nodes from `text`, which is shorter than 4 GiB.
    pub(super) fn run(&mut self, text: &str, mode: Mode) -> Step<()> {
        let bytes = text.as_bytes();
        // One huge body must not hold its memory for as long as the connection lives.
        if self.nodes.capacity() > KEPT_NODES {
            *self = Parser::new();
        }
        self.nodes.clear();
        self.open.clear();
        let mut at = skip_space(bytes, 0);
        if at == bytes.len() {
            return fail(Cause::Empty, at);
        }
        'value: loop {
            at = match bytes.get(at) {
                Some(b'"') => self.string(text, at, mode, false)?,
                Some(b'-' | b'0'..=b'9') => self.number(text, at)?,
                Some(b'{') => {
                    self.enter(Kind::Object, at, mode)?;
                    let inside = skip_space(bytes, at + 1);
                    if bytes.get(inside) == Some(&b'}') {
                        inside
                    } else {
                        at = self.key(text, inside, mode)?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.enter(Kind::Array, at, mode)?;
                    at = skip_space(bytes, at + 1);
                    if bytes.get(at) != Some(&b']') {
                        continue 'value;
                    }
                    at
                }
                Some(b't') => self.word(bytes, at, b"true", Kind::Bool)?,
                Some(b'f') => self.word(bytes, at, b"false", Kind::Bool)?,
                Some(b'n') => self.word(bytes, at, b"null", Kind::Null)?,
                _ => return unexpected(bytes, at),
            };
            // A value has ended, or an empty container is about to: close what closes here.
            loop {
                let Some(&top) = self.open.last() else { break 'value };
                at = skip_space(bytes, at);
                match (self.nodes[top as usize].kind, bytes.get(at)) {
                    (Kind::Object, Some(b',')) => {
                        at = self.key(text, skip_space(bytes, at + 1), mode)?;
                        continue 'value;
                    }
                    (Kind::Array, Some(b',')) => {
                        at = skip_space(bytes, at + 1);
                        continue 'value;
                    }
                    (Kind::Object, Some(b'}')) => {
                        self.leave(top, at);
                        if mode == Mode::Strict {
                            self.refuse_duplicates(text, top)?;
                        }
                    }
                    (Kind::Array, Some(b']')) => self.leave(top, at),
                    _ => return unexpected(bytes, at),
                }
                at += 1;
            }
        }
        match skip_space(bytes, at) {
            end if end == bytes.len() => Ok(()),
            extra => fail(Cause::TrailingBytes, extra),
        }
    }

    #[inline]
    fn push(&mut self, kind: Kind, start: usize, end: usize, escaped: bool) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { start: start as u32, end: end as u32, next, kind, escaped, mark: Mark::NONE });
    }

    fn enter(&mut self, kind: Kind, at: usize, mode: Mode) -> Step<()> {
        if self.open.len() == MAX_DEPTH && mode == Mode::Strict {
            return fail(Cause::TooDeep, at);
        }
        self.open.push(self.nodes.len() as u32);
        self.push(kind, at, at, false);
        Ok(())
    }

    /// Closes the innermost container, `top`, whose last byte is at `at`.
    fn leave(&mut self, top: u32, at: usize) {
        self.open.pop();
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[top as usize];
        node.end = at as u32 + 1;
        node.next = next;
    }

    /// Reads a key and its colon; gives the place of its value.
    #[inline]
    fn key(&mut self, text: &str, at: usize, mode: Mode) -> Step<usize> {
        let bytes = text.as_bytes();
        if bytes.get(at) != Some(&b'"') {
            return unexpected(bytes, at);
        }
        let colon = skip_space(bytes, self.string(text, at, mode, true)?);
        if bytes.get(colon) != Some(&b':') {
            return unexpected(bytes, colon);
        }
        Ok(skip_space(bytes, colon + 1))
    }

    #[inline]
    fn string(&mut self, text: &str, at: usize, mode: Mode, key: bool) -> Step<usize> {
        let (end, escaped) = string::scan(text.as_bytes(), at, mode)?;
        if key && escaped && mode == Mode::Strict && string::unescape(&text[at + 1..end - 1]).contains('\0') {
            return fail(Cause::NulInKey, at);
        }
        self.push(Kind::String, at, end, escaped);
        if key
            && !escaped
            && let Some(node) = self.nodes.last_mut()
        {
            node.mark = Mark::of(&text.as_bytes()[at + 1..end - 1]);
        }
        Ok(end)
    }

    fn word(&mut self, bytes: &[u8], at: usize, word: &[u8], kind: Kind) -> Step<usize> {
        let rest = &bytes[at..];
        if rest.starts_with(word) {
            self.push(kind, at, at + word.len(), false);
            return Ok(at + word.len());
        }
        if word.starts_with(rest) { fail(Cause::Truncated, bytes.len()) } else { fail(Cause::Syntax, at) }
    }

    #[inline]
    fn number(&mut self, text: &str, start: usize) -> Step<usize> {
        let bytes = text.as_bytes();
        let mut at = start + usize::from(bytes[start] == b'-');
        let digits = |mut at: usize| {
            while let Some(b'0'..=b'9') = bytes.get(at) {
                at += 1;
            }
            at
        };
        let integer = at;
        at = digits(at);
        if at == integer || (at > integer + 1 && bytes[integer] == b'0') {
            return fail(if at == bytes.len() && at == integer { Cause::Truncated } else { Cause::BadNumber }, start);
        }
        // Only these can be beyond a double: 309 digits, or an exponent.
        let mut large = at - integer > 308;
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return fail(Cause::BadNumber, start);
            }
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let exponent = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = digits(exponent);
            if at == exponent {
                return fail(Cause::BadNumber, start);
            }
            large = true;
        }
        if large && !text[start..at].parse::<f64>().is_ok_and(f64::is_finite) {
            return fail(Cause::NumberRange, start);
        }
        self.push(Kind::Number, start, at, false);
        Ok(at)
    }
}

//! Bounds on an expression's text. The crate's parser recurses for each bracket and conditional, and its tree grows a level
//! with each operator of a chain: both are bounded before it sees the text.
//!
//! What nests is known only to who splits the text into the same tokens as the crate's lexer (`CEL.g4`). That one drops what
//! it cannot read and goes on behind it, so that a quote may begin a string here and none there. So whatever it could not
//! read is refused here.

use super::{BadProgram, SOURCE};

/// Brackets that may be open at once, and conditionals (`? :`) before them: each nests in the one before it.
const NESTING: usize = 10;
/// Operators, `.`, `[` and `in` among them: a chain of them is a tree as deep.
const OPERATORS: usize = 256;

/// Refuses what is too long or too deep to be read, and what no token begins with.
pub(super) fn check(source: &str) -> Result<(), BadProgram> {
    if source.len() > SOURCE {
        return Err(BadProgram::new(format!("this expression is longer than {SOURCE} bytes"), 0..source.len()));
    }
    let mut scan = Scan { source, at: 0, open: Vec::new(), conditionals: 0, operators: 0 };
    while let Some(byte) = scan.byte(0) {
        let start = scan.at;
        scan.token(byte)?;
        if scan.open.len() + scan.conditionals > NESTING {
            scan.at = start;
            return scan.refuse(&format!("has more than {NESTING} brackets and conditionals in each other"));
        }
        if scan.operators > OPERATORS {
            scan.at = start;
            return scan.refuse(&format!("has more than {OPERATORS} operators"));
        }
    }
    Ok(())
}

struct Scan<'a> {
    source: &'a str,
    /// The byte that comes next.
    at: usize,
    /// What closes the brackets that are open.
    open: Vec<u8>,
    conditionals: usize,
    operators: usize,
}

impl Scan<'_> {
    /// The byte so many behind the next one.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    fn begins(&self, with: &str) -> bool {
        self.source.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(with.as_bytes()))
    }

    /// At the character that comes next, or at the last one.
    fn refuse(&self, what: &str) -> Result<(), BadProgram> {
        let start = self.source.floor_char_boundary(self.at.min(self.source.len().saturating_sub(1)));
        let end = self.source.ceil_char_boundary(start + 1);
        Err(BadProgram::new(format!("this expression {what}"), start..end))
    }

    /// Goes behind one token, or a part of one that nests nothing.
    fn token(&mut self, byte: u8) -> Result<(), BadProgram> {
        match byte {
            b'"' | b'\'' => return self.string(false),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => return self.word(),
            b'/' if self.begins("//") => {
                let rest = self.source.get(self.at..).unwrap_or_default();
                self.at += rest.find('\n').unwrap_or(rest.len());
                return Ok(());
            }
            b'(' => self.open.push(b')'),
            b'{' => self.open.push(b'}'),
            b'[' => {
                self.open.push(b']');
                self.operators += 1;
            }
            b')' | b']' | b'}' if self.open.last() == Some(&byte) => {
                self.open.pop();
            }
            b')' | b']' | b'}' => return self.refuse("has a bracket that closes none before it"),
            b'?' => self.conditionals += 1,
            b'=' | b'!' | b'<' | b'>' if self.byte(1) == Some(b'=') => {
                self.operators += 1;
                self.at += 1;
            }
            b'&' | b'|' if self.byte(1) == Some(byte) => {
                self.operators += 1;
                self.at += 1;
            }
            b'=' => return self.refuse("has a single `=`: equality is `==`"),
            b'&' | b'|' => return self.refuse("has a single `&` or `|`: there are `&&` and `||`"),
            b'.' | b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' => self.operators += 1,
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' => {}
            _ => return self.refuse("has a character in it that stands only in strings"),
        }
        self.at += 1;
        Ok(())
    }

    /// A name or a number, and the string that it is the prefix of.
    fn word(&mut self) -> Result<(), BadProgram> {
        let rest = self.source.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let raw = match word {
            "in" | "b" | "B" => Some(false),
            "r" | "R" | "br" | "bR" | "Br" | "BR" => Some(true),
            _ => None,
        };
        self.operators += usize::from(word == "in");
        self.at += end;
        match (self.byte(0), raw) {
            (Some(b'"' | b'\''), Some(raw)) => self.string(raw),
            (Some(b'"' | b'\''), None) => self.refuse("has a string right behind a word"),
            _ => Ok(()),
        }
    }

    /// A string that begins with the quote that comes next.
    fn string(&mut self, raw: bool) -> Result<(), BadProgram> {
        let quotes = if self.byte(0) == Some(b'"') { "\"\"\"" } else { "'''" };
        let long = self.begins(quotes);
        let close = if long { quotes } else { &quotes[..1] };
        let start = self.at;
        self.at += close.len();
        while let Some(byte) = self.byte(0) {
            if self.begins(close) {
                self.at += close.len();
                return Ok(());
            }
            self.at += match byte {
                b'\n' | b'\r' if !long => break,
                b'\\' if !raw => match self.escape() {
                    Some(length) => length,
                    None => return self.refuse("has an escape in a string that the language does not have"),
                },
                _ => 1,
            };
        }
        self.at = start;
        self.refuse("has a string that does not end")
    }

    /// The length of the escape that begins with the backslash that comes next.
    fn escape(&self) -> Option<usize> {
        let digits = |from: usize, count: usize, allowed: fn(&u8) -> bool| {
            (from..from + count)
                .all(|ahead| self.byte(ahead).is_some_and(|byte| allowed(&byte)))
                .then_some(from + count)
        };
        match self.byte(1)? {
            b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
            b'x' | b'X' => digits(2, 2, u8::is_ascii_hexdigit),
            b'u' => self.character(4),
            b'U' => self.character(8),
            b'0'..=b'3' => digits(2, 2, |byte| matches!(byte, b'0'..=b'7')),
            _ => None,
        }
    }

    /// The same for `\u` or `\U` and so many digits. Half of a surrogate pair is no character.
    fn character(&self, digits: usize) -> Option<usize> {
        let text = self.source.get(self.at + 2..self.at + 2 + digits)?;
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(text, 16).ok().filter(|_| hex)?;
        char::from_u32(code).map(|_| 2 + digits)
    }
}

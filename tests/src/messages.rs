//! Messages that are nearly right: made by a grammar that knows what readers differ in, then damaged.

use crate::strictness::{call, rows};

/// A small generator of numbers that are random enough, from a seed that can be said (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Makes messages without end.
#[derive(Debug)]
pub struct Messages {
    random: Random,
    corpus: Vec<Vec<u8>>,
}

const METHODS: &[&str] =
    &["tools/call", "tools/call", "tools/call", "tools/list", "resources/read", "ping", "x", "prompts/get"];
const KEYS: &[&str] = &[
    "a",
    "b",
    "name",
    "arguments",
    "__proto__",
    "constructor",
    "",
    "é",
    "😀",
    "\\u0061",
    "\\u00e9",
    "\\ud83d\\ude00",
    "toString",
    "ſ",
    "A",
    "a.b",
    "0",
    "1",
    "-1",
    "length",
    "\\u0000",
    "\\n",
    "\\\"",
];
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "1.50",
    "-0.0",
    "1e2",
    "1E+2",
    "1e-2",
    "9007199254740993",
    "12345678901234567890123",
    "-12345678901234567890123",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775808",
    "0.1",
    "0.30000000000000004",
    "1e308",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "5e-324",
    "2.4e-324",
    "1e-400",
    "2.2250738585072011e-308",
    "123456789012345678901234567890e-10",
    "1e400",
    "01",
    "+1",
    ".5",
    "1.",
    "0x1",
    "1_0",
    "NaN",
    "9007199254740992.5",
    "0.000000000000000000000000000000000000001",
];
const STRINGS: &[&str] = &[
    "",
    "x",
    "harmless",
    "é",
    "😀",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\ude00",
    "\\u0000",
    "\\n\\t\\/\\\\\\\"",
    "\u{2028}",
    "\\u2028",
    "\u{feff}",
    "\u{7f}",
    "\u{10ffff}",
    "a\\u0062c",
    "null",
    "\\b\\f\\r",
];
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    " ",
    "\n",
    "\t",
    "\r",
    "\0",
    "\u{a0}",
    "\u{feff}",
    "null",
    "true",
    "false",
    "/**/",
    "//",
    "e5",
    "-",
    "\"id\":2,",
    "\"name\":\"other\",",
    "\"jsonrpc\":\"2.0\",",
    "\"method\":\"ping\",",
];

impl Messages {
    /// The messages of a seed.
    pub fn new(seed: u64) -> Self {
        let mut corpus: Vec<_> = rows().into_iter().map(|row| row.body).collect();
        corpus.push(call("echo").into_bytes());
        Self { random: Random::new(seed), corpus }
    }

    /// The next one.
    pub fn next_message(&mut self) -> Vec<u8> {
        let mut message = if self.random.one_in(8) {
            let index = self.random.below(self.corpus.len());
            self.corpus[index].clone()
        } else {
            self.well_formed().into_bytes()
        };
        // Most stay as they are: a damaged message is seldom accepted, and only those that are can be read in two ways.
        if self.random.one_in(3) {
            for _ in 0..=self.random.below(3) {
                self.damage(&mut message);
            }
        }
        message
    }

    fn well_formed(&mut self) -> String {
        let method = self.random.pick(METHODS);
        let mut members = vec![r#""jsonrpc":"2.0""#.to_owned()];
        match self.random.below(12) {
            0 => {}
            1 => members.push(format!("\"id\":{}", self.number())),
            2 => members.push(format!("\"id\":{}", self.value(3))),
            _ => members.push(format!(
                "\"id\":{}",
                self.random.pick(&["1", "\"a\"", "-0", "12345678901234567890123", "\"\\u0061\""])
            )),
        }
        if self.random.one_in(12) {
            members.push(format!("\"{}\":{}", self.random.pick(&["result", "error"]), self.value(3)));
        } else {
            let method = if self.random.one_in(6) { method.replacen('o', "\\u006f", 1) } else { method.to_owned() };
            members.push(format!("\"method\":\"{method}\""));
            let mut params = vec![format!("\"name\":{}", self.string()), format!("\"arguments\":{}", self.object(1))];
            if self.random.one_in(4) {
                params.push(format!("{}:{}", self.key(), self.value(2)));
            }
            self.shuffle(&mut params);
            members.push(format!("\"params\":{{{}}}", params.join(self.comma())));
        }
        if self.random.one_in(20) {
            members.push(format!("{}:{}", self.key(), self.value(3)));
        }
        self.shuffle(&mut members);
        format!("{{{}}}", members.join(self.comma()))
    }

    fn comma(&mut self) -> &'static str {
        self.random.pick(&[",", ",", ", ", "\n,\t"])
    }

    fn shuffle(&mut self, items: &mut [String]) {
        for last in (1..items.len()).rev() {
            let other = self.random.below(last + 1);
            items.swap(last, other);
        }
    }

    fn value(&mut self, depth: usize) -> String {
        match self.random.below(if depth > 4 { 6 } else { 9 }) {
            0 => "null".to_owned(),
            1 => self.random.pick(&["true", "false"]).to_owned(),
            2 | 3 => self.number(),
            4 | 5 => self.string(),
            6 => {
                let items: Vec<_> = (0..self.random.below(4)).map(|_| self.value(depth + 1)).collect();
                format!("[{}]", items.join(self.comma()))
            }
            _ => self.object(depth),
        }
    }

    fn object(&mut self, depth: usize) -> String {
        let members: Vec<_> =
            (0..self.random.below(4)).map(|_| format!("{}:{}", self.key(), self.value(depth + 1))).collect();
        format!("{{{}}}", members.join(self.comma()))
    }

    fn key(&mut self) -> String {
        format!("\"{}\"", self.random.pick(KEYS))
    }

    fn string(&mut self) -> String {
        let count = self.random.below(3);
        let text: String = (0..count).map(|_| self.random.pick(STRINGS)).collect();
        format!("\"{text}\"")
    }

    fn number(&mut self) -> String {
        if self.random.one_in(2) {
            return self.random.pick(NUMBERS).to_owned();
        }
        let mut text = String::from(self.random.pick(&["", "-"]));
        let digits = 1 + self.random.below(30);
        text.extend((0..digits).map(|at| char::from(b'0' + (self.random.below(10).max(usize::from(at == 0))) as u8)));
        if self.random.one_in(3) {
            text.push('.');
            let digits = 1 + self.random.below(20);
            text.extend((0..digits).map(|_| char::from(b'0' + self.random.below(10) as u8)));
        }
        if self.random.one_in(4) {
            text += &format!("{}{}", self.random.pick(&["e", "E", "e-", "E+"]), self.random.below(330));
        }
        text
    }

    fn damage(&mut self, message: &mut Vec<u8>) {
        let at = self.random.below(message.len() + 1);
        match self.random.below(6) {
            0 if at < message.len() => message[at] ^= 1 << self.random.below(8),
            1 if at < message.len() => {
                message.remove(at);
            }
            2 | 3 => {
                let token = self.random.pick(TOKENS);
                message.splice(at..at, token.bytes());
            }
            4 => {
                let until = at + self.random.below(message.len() - at + 1).min(40);
                let piece = message[at..until].to_vec();
                let to = self.random.below(message.len() + 1);
                message.splice(to..to, piece);
            }
            _ => {
                let until = at + self.random.below(message.len() - at + 1).min(20);
                message.drain(at..until);
            }
        }
    }
}

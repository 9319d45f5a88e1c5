//! From ECMA-262's regular expressions to those of the `regex` crate, which reads some of the same characters differently.
//!
//! What cannot be carried over exactly is refused: look-around, back-references, what only the crate knows, and what ECMA-262
//! reads in two ways, depending on the flag `u`.

use std::iter::Peekable;
use std::str::Chars;

/// `\s`: ECMA-262 counts the byte order mark as white space, and NEL not.
const SPACE: &str = r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// `pattern` in the words of the `regex` crate; `None` where that is not possible exactly.
pub(super) fn translated(pattern: &str) -> Option<String> {
    let mut translation =
        Translation { rest: pattern.chars().peekable(), out: String::with_capacity(2 * pattern.len()) };
    // Whether there is something that a quantifier can stand behind.
    let mut repeatable = false;
    while let Some(character) = translation.rest.next() {
        repeatable = match character {
            '\\' => translation.escape()?,
            '[' => translation.class().map(|()| true)?,
            '(' => translation.group().map(|()| false)?,
            '*' | '+' | '?' | '{' if !repeatable => return None,
            '{' => translation.count().map(|()| false)?,
            '*' | '+' | '?' => {
                translation.out.push(character);
                translation.lazy();
                false
            }
            '^' | '$' | '|' => {
                translation.out.push(character);
                false
            }
            ')' => {
                translation.out.push(')');
                true
            }
            '.' => {
                translation.out.push_str(r"[^\n\r\x{2028}\x{2029}]");
                true
            }
            literal => {
                translation.literal(literal);
                true
            }
        };
    }
    Some(translation.out)
}

struct Translation<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
}

/// One thing in brackets.
enum Atom {
    /// A character, which a range can begin or end with.
    One(char),
    /// Several, in the crate's words.
    Several(String),
}

impl Translation<'_> {
    /// Behind a backslash; gives whether a quantifier can follow.
    fn escape(&mut self) -> Option<bool> {
        if let Some(word) = ['b', 'B'].into_iter().find(|word| self.rest.peek() == Some(word)) {
            self.rest.next();
            self.out.push_str(if word == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            return Some(false);
        }
        match self.atom()? {
            Atom::One(one) => self.literal(one),
            Atom::Several(several) => self.out.push_str(&several),
        }
        Some(true)
    }

    /// What an escape stands for, within brackets or outside.
    fn atom(&mut self) -> Option<Atom> {
        let one = match self.rest.next()? {
            't' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            // Before a digit it is an octal number to some.
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => '\0',
            'c' => char::from(u8::try_from(self.rest.next().filter(char::is_ascii_alphabetic)?).ok()? % 32),
            'x' => self.hex(2)?,
            'u' if self.rest.next_if_eq(&'{').is_some() => self.code_point()?,
            'u' => self.hex(4)?,
            'd' => return Some(Atom::Several("[0-9]".to_owned())),
            'D' => return Some(Atom::Several("[^0-9]".to_owned())),
            'w' => return Some(Atom::Several("[0-9A-Za-z_]".to_owned())),
            'W' => return Some(Atom::Several("[^0-9A-Za-z_]".to_owned())),
            's' => return Some(Atom::Several(format!("[{SPACE}]"))),
            'S' => return Some(Atom::Several(format!("[^{SPACE}]"))),
            class @ ('p' | 'P') => return self.property(class).map(Atom::Several),
            // To some readers, these are the borders of words.
            '<' | '>' => return None,
            mark if mark.is_ascii_punctuation() || mark == ' ' => mark,
            _ => return None,
        };
        Some(Atom::One(one))
    }

    /// So many hexadecimal digits. Half of a surrogate pair is no character.
    fn hex(&mut self, digits: usize) -> Option<char> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.rest.next()?.to_digit(16)?;
        }
        char::from_u32(code)
    }

    /// Behind `\u{`.
    fn code_point(&mut self) -> Option<char> {
        let mut code = self.rest.next()?.to_digit(16)?;
        loop {
            match self.rest.next()? {
                '}' => return char::from_u32(code),
                digit => code = code.checked_mul(16)?.checked_add(digit.to_digit(16)?)?,
            }
        }
    }

    /// Behind `\p`: what the crate reads besides, such as `\pL` and `\p{^L}`, is not ECMA-262's.
    fn property(&mut self, class: char) -> Option<String> {
        self.rest.next_if_eq(&'{')?;
        let mut property = format!("\\{class}{{");
        loop {
            match self.rest.next()? {
                '}' => return Some(property + "}"),
                part if part.is_ascii_alphanumeric() || matches!(part, '_' | '=') => property.push(part),
                _ => return None,
            }
        }
    }

    /// Behind `[`. An empty class has no character, and its contrary all of them.
    fn class(&mut self) -> Option<()> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str(if negated { r"[\x{0}-\x{10ffff}]" } else { r"[^\x{0}-\x{10ffff}]" });
            return Some(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while self.rest.next_if_eq(&']').is_none() {
            let first = self.class_atom()?;
            if self.rest.next_if_eq(&'-').is_none() {
                self.members(first);
            } else if self.rest.peek() == Some(&']') {
                self.members(first);
                self.literal('-');
            } else {
                self.range(first)?;
            }
        }
        self.out.push(']');
        Some(())
    }

    fn class_atom(&mut self) -> Option<Atom> {
        match self.rest.next()? {
            '\\' if self.rest.next_if_eq(&'b').is_some() => Some(Atom::One('\u{8}')),
            '\\' => self.atom(),
            one => Some(Atom::One(one)),
        }
    }

    /// Behind `x-`. Where one side is a class such as `\w`, the hyphen stands for itself.
    fn range(&mut self, first: Atom) -> Option<()> {
        match (first, self.class_atom()?) {
            (Atom::One(first), Atom::One(last)) => {
                self.literal(first);
                self.out.push('-');
                self.literal(last);
            }
            (first, last) => {
                self.members(first);
                self.literal('-');
                self.members(last);
            }
        }
        Some(())
    }

    fn members(&mut self, atom: Atom) {
        match atom {
            Atom::One(one) => self.literal(one),
            Atom::Several(several) => self.out.push_str(&several),
        }
    }

    /// Behind `(`. Names of groups decide nothing.
    fn group(&mut self) -> Option<()> {
        self.out.push_str("(?:");
        if self.rest.next_if_eq(&'?').is_none() {
            return Some(());
        }
        match self.rest.next()? {
            ':' => Some(()),
            '<' => loop {
                match self.rest.next()? {
                    '>' => return Some(()),
                    part if part.is_alphanumeric() || matches!(part, '_' | '$') => {}
                    _ => return None,
                }
            },
            _ => None,
        }
    }

    /// Behind `{`: what is no count stands for itself to some readers only.
    fn count(&mut self) -> Option<()> {
        self.out.push('{');
        self.digits()?;
        if self.rest.next_if_eq(&',').is_some() {
            self.out.push(',');
            if self.rest.peek() != Some(&'}') {
                self.digits()?;
            }
        }
        self.rest.next_if_eq(&'}')?;
        self.out.push('}');
        self.lazy();
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        self.out.push(self.rest.next_if(char::is_ascii_digit)?);
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            self.out.push(digit);
        }
        Some(())
    }

    /// The `?` behind a quantifier. It changes what is found first, not whether.
    fn lazy(&mut self) {
        let _ = self.rest.next_if_eq(&'?');
    }

    /// A character that stands for itself, within brackets or outside.
    fn literal(&mut self, character: char) {
        if is_meta(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }
}

/// What means something to the crate, within brackets or outside.
fn is_meta(character: char) -> bool {
    r"\.+*?()|[]{}^$#&-~".contains(character)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use regex::Regex;

    use super::*;

    fn is_found(pattern: &str, text: &str) -> bool {
        let translated = translated(pattern).unwrap_or_else(|| panic!("{pattern}"));
        Regex::new(&translated).unwrap_or_else(|error| panic!("{pattern} {translated}: {error}")).is_match(text)
    }

    #[test]
    fn patterns_mean_what_ecma_says() {
        for (pattern, yes, no) in [
            // Classes are ASCII's.
            (r"^\d$", "5", "٣"),
            (r"^\D$", "٣", "5"),
            (r"^\w$", "_", "ö"),
            (r"^\W$", "ö", "_"),
            (r"^\s$", "\u{feff}", "\u{85}"),
            (r"^\S$", "\u{85}", "\u{2028}"),
            (r"\bcat\b", "öcatö", "scat"),
            (r"\Bcat", "scat", "öcat"),
            (r"^.$", "\u{85}", "\u{2028}"),
            (r"^a$", "a", "a\n"),
            // In brackets, nothing is an operation on sets.
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^[a-z&&[aeiou]$", "&", "u]"),
            (r"^[a-z&&[aeiou]]$", "b]", "b"),
            (r"^[+--]$", ",", "."),
            (r"^[!--/]$", "/", "0"),
            (r"^[a-z--b]$", "_", "{"),
            (r"^[a~~b]$", "~", "c"),
            (r"^[[:alpha:]]$", "a]", "b"),
            (r"^[[]$", "[", "]"),
            (r"^[.]$", ".", "x"),
            (r"^[$^]$", "^", "x"),
            (r"^[a-]$", "-", "b"),
            (r"^[-a]$", "-", "b"),
            (r"^[\w-]+$", "a-b", "a+b"),
            (r"^[\w-.]+$", "a-b.", "+"),
            (r"^[.-\w]+$", "a-b.", "+"),
            (r"^[^\d]$", "x", "5"),
            (r"^[^\W]$", "x", "-"),
            (r"^[\b]$", "\u{8}", "b"),
            (r"^[\]\\]$", "]", "["),
            (r"^[^]$", "\n", ""),
            (r"^([]|a)$", "a", "]"),
            (r"^[\x41-\u0043]$", "B", "x"),
            // Escapes.
            (r"^\/\-\_\.\@\ \{$", "/-_.@ {", "/-_.@_{"),
            (r"^\x41\u00f6\u{1f600}$", "Aö😀", "x41"),
            (r"^\t\v\cJ\0$", "\t\u{b}\n\0", "tvJ0"),
            (r"^\p{L}\P{Lu}$", "öö", "ÖÖ"),
            (r"^\p{Script=Greek}$", "α", "a"),
            // Groups and counts.
            (r"^(?<year>\d{4})-(?:0|1)?$", "2026-", "26-"),
            (r"^a{2,}?b{1}c{0,2}$", "aaabcc", "abcc"),
            (r"^a]}$", "a]}", "a"),
            (r"^#~&-$", "#~&-", "#"),
        ] {
            assert!(is_found(pattern, yes), "{pattern} {yes}");
            assert!(!is_found(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_readers_take_differently_is_refused() {
        for pattern in [
            r"^a\z",
            r"\Aa",
            r"\<a",
            r"a\>",
            r"\Qa\E",
            r"\a",
            r"\e",
            r"\G",
            r"\h",
            r"\x{41}",
            r"\x4",
            r"\u41",
            r"\U00000041",
            r"\u{110000}",
            r"\u{}",
            r"\ud83d\ude00",
            r"\pL",
            r"\p{^L}",
            r"\p{L",
            r"\c1",
            r"\01",
            r"\1",
            r"\k<a>",
            r"\b{start}",
            r"\é",
            r"\",
            r"[\B]",
            r"[\z]",
            r"[\1]",
            r"[a",
            r"(?i)a",
            r"(?i:a)",
            r"(?x) a",
            r"(?-u:a)",
            r"(?P<n>a)",
            r"(?=a)",
            r"(?!a)",
            r"(?<=a)",
            r"(?<!a)",
            r"(?>a)",
            r"(?#a)",
            r"(?<a-b>c)",
            r"*a",
            r"a**",
            r"a++",
            r"a{2}{3}",
            r"a???",
            r"^*",
            r"\b+",
            r"(*a)",
            r"|?",
            r"a{,2}",
            r"a{ 2}",
            r"a{2",
            r"a{b}",
            r"{",
            r"a{1,2,3}",
        ] {
            assert_eq!(translated(pattern), None, "{pattern}");
        }
    }
}

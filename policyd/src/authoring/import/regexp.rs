//! Go's regular expressions as the crate `regex` reads them. Both are RE2's language, with differences that would
//! silently change what matches: `\d`, `\w`, `\s` and `\b` are ASCII's there and Unicode's here; `[` and `&&` in a class,
//! `{` without a number and `\<` stand for themselves there. Source: <https://pkg.go.dev/regexp/syntax>.

use std::iter::Peekable;
use std::str::Chars;

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

/// The pattern that matches here what `pattern` matches there, or why there is none.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut translator = Translator { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len()) };
    translator.pattern()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

/// An element of a class.
enum Item {
    /// One character, which may begin or end a range.
    One(String),
    /// Several.
    Several(String),
}

impl Translator<'_> {
    fn pattern(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' if self.rest.peek() == Some(&'?') => self.group()?,
                '{' => self.brace(),
                '}' | ']' => self.out.extend(['\\', c]),
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    /// Outside of a class, behind the backslash.
    fn escape(&mut self) -> Result<(), String> {
        let c = self.rest.next().ok_or("it ends in a backslash")?;
        match c {
            'd' => self.out.push_str(&format!("[{DIGIT}]")),
            'D' => self.out.push_str(&format!("[^{DIGIT}]")),
            'w' => self.out.push_str(&format!("[{WORD}]")),
            'W' => self.out.push_str(&format!("[^{WORD}]")),
            's' => self.out.push_str(&format!("[{SPACE}]")),
            'S' => self.out.push_str(&format!("[^{SPACE}]")),
            'b' | 'B' => self.out.push_str(&format!(r"(?-u:\{c})")),
            'A' | 'z' => self.out.extend(['\\', c]),
            'Q' => self.quote(),
            c => {
                let escape = self.common(c)?;
                self.out.push_str(&escape);
            }
        }
        Ok(())
    }

    /// The escapes that mean the same in a class and outside.
    fn common(&mut self, c: char) -> Result<String, String> {
        match c {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => Ok(format!(r"\{c}")),
            'x' | 'p' | 'P' => {
                let mut escape = format!(r"\{c}");
                if self.rest.peek() == Some(&'{') {
                    for c in self.rest.by_ref() {
                        escape.push(c);
                        if c == '}' {
                            return Ok(escape);
                        }
                    }
                    return Err(format!(r"`\{c}{{` has no end"));
                }
                escape.extend(self.rest.by_ref().take(if c == 'x' { 2 } else { 1 }));
                Ok(escape)
            }
            '0'..='7' => Err(format!(r"`\{c}` is an octal escape; write it as `\x{{…}}`")),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(literal(c)),
            c => Err(format!(r"`\{c}` is not known")),
        }
    }

    /// `\Q…\E`
    fn quote(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.out.push_str(&literal(c));
        }
    }

    /// `(?…`: names and flags. Here are flags that are not there.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        self.out.extend(self.rest.next());
        let flags: String = self.rest.clone().take_while(|c| !matches!(c, ':' | ')' | '<')).collect();
        let named = self.rest.clone().nth(flags.len()) == Some('<') && matches!(&*flags, "" | "P");
        if !named && flags.contains(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(format!("`(?{flags}` is not known"));
        }
        self.out.extend(self.rest.by_ref().take(flags.len()));
        Ok(())
    }

    /// `{`: a repetition, or itself.
    fn brace(&mut self) {
        let inside: String = self.rest.clone().take_while(|&c| c != '}').collect();
        let closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let repeats = match inside.split_once(',') {
            Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
            None => digits(&inside),
        };
        if closed && repeats {
            self.out.push('{');
            self.out.extend(self.rest.by_ref().take(inside.len() + 1));
        } else {
            self.out.push_str(r"\{");
        }
    }

    /// `[…]`, behind its opening bracket.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if !first && self.rest.next_if_eq(&']').is_some() {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            let item = match self.item()? {
                Item::Several(several) => {
                    self.out.push_str(&several);
                    continue;
                }
                Item::One(one) => one,
            };
            self.out.push_str(&item);
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.rest.next();
                let Item::One(end) = self.item()? else { return Err("a range in it has no end".to_owned()) };
                self.out.push('-');
                self.out.push_str(&end);
            }
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        let c = self.rest.next().ok_or("a class in it has no end")?;
        Ok(match c {
            '[' if self.rest.peek() == Some(&':') => match self.posix() {
                Some(name) => Item::Several(name),
                None => Item::One(literal('[')),
            },
            '\\' => match self.rest.next().ok_or("it ends in a backslash")? {
                'd' => Item::Several(DIGIT.to_owned()),
                'D' => Item::Several(format!("[^{DIGIT}]")),
                'w' => Item::Several(WORD.to_owned()),
                'W' => Item::Several(format!("[^{WORD}]")),
                's' => Item::Several(SPACE.to_owned()),
                'S' => Item::Several(format!("[^{SPACE}]")),
                c @ ('p' | 'P') => Item::Several(self.common(c)?),
                c => Item::One(self.common(c)?),
            },
            c => Item::One(literal(c)),
        })
    }

    /// `[:alpha:]`, behind its first bracket; `None` if it is none, and then nothing is taken.
    fn posix(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        ahead.next();
        let name: String = ahead.by_ref().take_while(|&c| c != ':').collect();
        if ahead.next() != Some(']') || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'^') {
            return None;
        }
        self.rest = ahead;
        Some(format!("[:{name}:]"))
    }
}

/// A character that stands for itself, in a class and outside.
fn literal(c: char) -> String {
    match c {
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#' | '&' | '-' | '~' => {
            format!(r"\{c}")
        }
        c => c.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn what_is_ascii_there_is_ascii_here() {
        for (pattern, yes, no) in [
            (r"^\d+$", "42", "４２"),
            (r"^[\d.]+$", "4.2", "٤"),
            (r"^\w+$", "a_1", "é"),
            (r"^[^\W]+$", "a_1", "é"),
            (r"^\s$", "\t", "\u{a0}"),
            (r"^\S$", "\u{a0}", " "),
            (r"^\S$", "\u{b}", "\t"),
            (r"\brm\b", "é rm é", "xrm"),
            (r"\brm\b", "érm", "arm"),
            (r"x\By", "xy", "x y"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^\<b\>$", "<b>", "b"),
            (r"^a{,3}$", "a{,3}", "aa"),
            (r"^a{x}$", "a{x}", "ax"),
            (r"^a{2}$", "aa", "a{2}"),
            (r"^a{2,}$", "aaa", "a"),
            (r"^{x}$", "{x}", "x"),
            (r"^[[a]]$", "a]", "a"),
            (r"^[a&&b]$", "&", "c"),
            (r"^[!--]+$", "#-", "a"),
            (r"^[a~~b]+$", "a~", "c"),
            (r"^[]a]+$", "]a", "b"),
            (r"^[^]a]+$", "b", "]"),
            (r"^[[:alpha:]_-]+$", "a-_", "é"),
            (r"^[[:^digit:]]$", "x", "1"),
            (r"^[\w.-]+$", "a.b-c", "a b"),
            (r"^[\x41-\x43]$", "B", "D"),
            (r"^\pL\p{Greek}$", "éα", "éa"),
            (r"(?i)^STOP$", "stop", "stops"),
            (r"^(?P<year>\d{4})-(?<month>\d\d)$", "2024-01", "24-1"),
            (r"^(?:a|b)c$", "bc", "ab"),
            (r"(?s)a.b", "a\nb", "ab"),
            (r"a.b", "axb", "a\nb"),
        ] {
            let regex = Regex::new(&translated(pattern).unwrap()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(regex.is_match(yes), "{pattern} {yes:?}: {regex}");
            assert!(!regex.is_match(no), "{pattern} {no:?}: {regex}");
        }
    }

    #[test]
    fn what_means_the_same_stays_as_it_is() {
        for pattern in ["^feat/", r"^[a-z]{2,8}\.example$", r"^(GET|HEAD) /", r"\A[^/]+\z", "größe"] {
            assert_eq!(translated(pattern).unwrap(), pattern);
        }
    }

    #[test]
    fn what_is_not_known_there_or_here_is_refused() {
        for pattern in
            [r"\1", r"\012", r"\y", r"\C", r"a\", "[a", r"[a-\d]", "[a--z]", r"[\b]", "(?x)a b", "(?u:a)", r"\x{41"]
        {
            assert!(
                translated(pattern).is_ok_and(|pattern| Regex::new(&pattern).is_err()) || translated(pattern).is_err(),
                "{pattern}"
            );
        }
    }

    proptest! {
        /// Whatever is quoted there stands for itself here.
        #[test]
        fn quoted_is_literal(text in "[ -~é]{0,12}") {
            prop_assume!(!text.contains(r"\E") && !text.ends_with('\\'));
            let regex = Regex::new(&format!("^(?:{})$", translated(&format!(r"\Q{text}\E")).unwrap())).unwrap();
            prop_assert!(regex.is_match(&text));
        }

        /// A class of characters, each escaped, holds these and no others.
        #[test]
        fn classes_hold_what_they_list(text in "[!-/:-@\\[-`{-~]{1,8}", other in "[ -~]") {
            let class: String = text.chars().flat_map(|c| ['\\', c]).collect();
            let regex = Regex::new(&format!("^(?:{})$", translated(&format!("[{class}]")).unwrap())).unwrap();
            prop_assert_eq!(regex.is_match(&other), text.contains(&other));
        }

        #[test]
        fn never_panics(pattern in "[\\\\\\[\\](){}^$?:<>,\\-aPQEdwx0-9é&]{0,16}") {
            let _ = translated(&pattern).map(|pattern| Regex::new(&pattern).is_ok());
        }
    }
}

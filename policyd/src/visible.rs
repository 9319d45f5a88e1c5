//! Text of servers and agents as a person is shown it: nothing in it hides, and nothing of it steers a terminal.

/// What kind of character does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hidden {
    /// Steers the terminal: escapes, line ends, bells.
    Control,
    /// Turns the reading direction of its neighbours around.
    Bidi,
    /// Takes no room: zero-width spaces and joiners, soft hyphens, fillers.
    Invisible,
    /// Tags (U+E0000 …), in which whole sentences can hide.
    Tag,
    /// Chooses how the character before it looks; a row of them can hold any text.
    Variation,
    /// A space that is none of the usual ones, or the end of a line or paragraph.
    Space,
    /// Nobody knows how it looks: private use, or not assigned.
    Unknown,
}

impl Hidden {
    /// What a person is told: `3 bidirectional controls`.
    pub fn words(self, count: usize) -> String {
        let (one, many) = match self {
            Hidden::Control => ("control character", "control characters"),
            Hidden::Bidi => ("bidirectional control", "bidirectional controls"),
            Hidden::Invisible => ("invisible character", "invisible characters"),
            Hidden::Tag => ("tag character", "tag characters"),
            Hidden::Variation => ("variation selector", "variation selectors"),
            Hidden::Space => ("odd space", "odd spaces"),
            Hidden::Unknown => ("unknown character", "unknown characters"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }

    /// Why a character does not show; `None`: it does, or combines with one that does.
    pub fn of(c: char) -> Option<Hidden> {
        if c.is_ascii() {
            return c.is_ascii_control().then_some(Hidden::Control);
        }
        let kind = match c {
            '\u{80}'..='\u{9f}' => Hidden::Control,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Hidden::Bidi,
            '\u{e0000}'..='\u{e007f}' => Hidden::Tag,
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                Hidden::Variation
            }
            // Fillers, joiners and what else Unicode calls default-ignorable, and the Braille pattern without dots.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' => Hidden::Invisible,
            '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' => {
                Hidden::Invisible
            }
            '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => {
                Hidden::Invisible
            }
            _ if c.is_whitespace() => Hidden::Space,
            // Behind another character, `escape_debug` lets combining ones be.
            _ if !['a', c].iter().collect::<String>().escape_debug().eq(['a', c]) => Hidden::Unknown,
            _ => return None,
        };
        Some(kind)
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// What shows as it is.
    Plain(&'a str),
    /// The name of a character that does not: `⟨U+200B⟩`.
    Mark(String),
}

/// A text in parts in which everything shows. What is `also` to be marked is, too: such as what marks are made of.
pub(crate) fn parts(text: &str, also: impl Fn(char) -> bool) -> Vec<Part<'_>> {
    let (mut parts, mut plain) = (Vec::new(), 0);
    for (at, c) in text.char_indices() {
        if Hidden::of(c).is_none() && !also(c) {
            continue;
        }
        if plain < at {
            parts.push(Part::Plain(&text[plain..at]));
        }
        parts.push(Part::Mark(format!("⟨U+{:04X}⟩", u32::from(c))));
        plain = at + c.len_utf8();
    }
    if plain < text.len() {
        parts.push(Part::Plain(&text[plain..]));
    }
    parts
}

/// A text in which everything shows: what does not is named, as in `⟨U+200B⟩`.
pub(crate) fn visible(text: &str) -> String {
    let parts = parts(text, |_| false);
    parts
        .iter()
        .map(|part| match part {
            Part::Plain(text) => text,
            Part::Mark(name) => name.as_str(),
        })
        .collect()
}

/// Whether a name can stand in a command as it is: whoever copies that runs nothing else.
pub(crate) fn is_plain_word(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('-') && name.chars().all(is_plain)
}

/// A JSON text in which everything shows that its strings hold: what does not is escaped, as JSON can. Line ends between its
/// tokens stay.
pub(crate) fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match Hidden::of(c) {
            Some(_) if c != '\n' => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")))
            }
            _ => out.push(c),
        }
    }
    out
}

/// What hides in a text, each kind with how often. Line ends and tabs are no news in a text of several lines.
pub(crate) fn hidden(text: &str) -> Vec<(Hidden, usize)> {
    let mut found: Vec<(Hidden, usize)> = Vec::new();
    for kind in text.chars().filter(|c| !matches!(c, '\n' | '\t')).filter_map(Hidden::of) {
        match found.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => found.push((kind, 1)),
        }
    }
    found.sort();
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_hides_is_named() {
        for (text, expected, kind) in [
            ("a\u{200b}b", "a⟨U+200B⟩b", Hidden::Invisible),
            ("a\u{ad}b", "a⟨U+00AD⟩b", Hidden::Invisible),
            ("\u{e0049}\u{e0067}", "⟨U+E0049⟩⟨U+E0067⟩", Hidden::Tag),
            ("\u{202e}txt", "⟨U+202E⟩txt", Hidden::Bidi),
            ("\u{1b}[2J\u{7}", "⟨U+001B⟩[2J⟨U+0007⟩", Hidden::Control),
            ("\u{9b}2J", "⟨U+009B⟩2J", Hidden::Control),
            ("a\u{fe0f}\u{e0100}", "a⟨U+FE0F⟩⟨U+E0100⟩", Hidden::Variation),
            ("a\u{a0}b\u{2028}", "a⟨U+00A0⟩b⟨U+2028⟩", Hidden::Space),
            ("\u{3164}\u{ffa0}", "⟨U+3164⟩⟨U+FFA0⟩", Hidden::Invisible),
            ("\u{e000}", "⟨U+E000⟩", Hidden::Unknown),
        ] {
            assert_eq!(visible(text), expected);
            assert_eq!(hidden(text).len(), 1, "{expected}");
            assert_eq!(hidden(text)[0].0, kind, "{expected}");
        }
        assert_eq!(
            parts("a⟨U+0041", |c| c == '⟨'),
            [Part::Plain("a"), Part::Mark("⟨U+27E8⟩".into()), Part::Plain("U+0041")]
        );
        let plain = "Grüße, 日本語, e\u{301}, نص, \u{1f600} and 1 < 2\\n";
        assert_eq!((visible(plain), hidden(plain)), (plain.to_owned(), Vec::new()));
        assert_eq!(hidden("a\tb\nc"), []);
        assert_eq!(visible("a\nb"), "a⟨U+000A⟩b");
        assert_eq!(hidden("\u{200b}\u{1b}\u{200b}"), [(Hidden::Control, 1), (Hidden::Invisible, 2)]);
        assert_eq!(
            (Hidden::Tag.words(1), Hidden::Bidi.words(2)),
            ("1 tag character".into(), "2 bidirectional controls".into())
        );
    }

    proptest! {
        #[test]
        fn nothing_that_hides_is_left(text in any::<String>(), odd in "[\u{0}-\u{20}\u{7f}-\u{a0}\u{200b}-\u{206f}\u{fe00}-\u{feff}\u{e0000}-\u{e01ff}]{0,20}") {
            for text in [text.clone(), odd.clone(), format!("{odd}{text}")] {
                let shown = visible(&text);
                prop_assert!(hidden(&shown).is_empty() && !shown.contains(['\n', '\t']), "{shown:?}");
                prop_assert!(shown.chars().all(|c| !c.is_control()));
                prop_assert_eq!(visible(&shown), shown, "once is enough");
                let json = format!("{:#}", serde_json::json!({ "text": &text }));
                let shown = visible_json(&json);
                prop_assert!(hidden(&shown).is_empty(), "{shown:?}");
                let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
                prop_assert_eq!(back["text"].as_str().unwrap(), text);
            }
        }
    }
}

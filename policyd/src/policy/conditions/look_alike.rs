//! Characters that some reader of a path takes for an ASCII one, or for nothing.
//!
//! The sources: compatibility normalisation (NFKC), the "best fit" conversions of Windows to older code pages, the private
//! use characters in which Cygwin, SMB and macOS store reserved ones, and Unicode's default ignorable code points, which
//! filters strip and HFS+ skips. What only looks alike to a person, and is converted by nobody, is not here.

/// What `c` is taken for; `None`: for itself by everybody.
pub(super) fn meant(c: char) -> Option<&'static str> {
    if c.is_ascii() {
        return None;
    }
    Some(match c {
        '\u{2024}' | '\u{fe52}' | '\u{3002}' | '\u{ff61}' => ".",
        '\u{2025}' | '\u{fe30}' => "..",
        '\u{2026}' | '\u{fe19}' => "...",
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{2571}' | '\u{27cb}' => "/",
        // In Japanese and Korean code pages the currency's sign stands where ASCII has the backslash, and separates.
        '\u{a5}' | '\u{20a9}' | '\u{ffe5}' | '\u{ffe6}' => "/",
        '\u{215f}' => "1/",
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' => "\\",
        '\u{fe6a}' | '\u{66a}' => "%",
        '\u{fe69}' => "$",
        '\u{fe60}' => "&",
        '\u{fe5f}' => "#",
        '\u{fe5b}' | '\u{fe37}' => "{",
        '\u{fe50}' | '\u{fe10}' => ",",
        '\u{fe54}' | '\u{fe14}' | '\u{37e}' => ";",
        '\u{fe55}' | '\u{fe13}' | '\u{2236}' | '\u{a789}' => ":",
        '\u{fe56}' | '\u{fe16}' => "?",
        '\u{2dc}' | '\u{223c}' => "~",
        '\u{1fef}' | '\u{2035}' => "`",
        '\u{ff01}'..='\u{ff5e}' => ascii(u32::from(c) - 0xfee0)?,
        '\u{f001}'..='\u{f07e}' => ascii(u32::from(c) - 0xf000)?,
        c if is_ignorable(c) => "",
        _ => return None,
    })
}

/// The ASCII character with this code.
fn ascii(code: u32) -> Option<&'static str> {
    const ALL: &str = "\
        \0\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\t\n\u{b}\u{c}\r\u{e}\u{f}\
        \u{10}\u{11}\u{12}\u{13}\u{14}\u{15}\u{16}\u{17}\u{18}\u{19}\u{1a}\u{1b}\u{1c}\u{1d}\u{1e}\u{1f}\
        \u{20}!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\u{7f}";
    let at = usize::try_from(code).ok()?;
    ALL.get(at..=at)
}

/// Unicode's `Default_Ignorable_Code_Point`.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_meant() {
        for (c, expected) in [
            ('.', None),
            ('é', None),
            ('資', None),
            ('ノ', None),
            ('．', Some(".")),
            ('／', Some("/")),
            ('＼', Some("\\")),
            ('％', Some("%")),
            ('Ａ', Some("A")),
            ('～', Some("~")),
            ('¥', Some("/")),
            ('\u{f05c}', Some("\\")),
            ('\u{f00a}', Some("\n")),
            ('\u{200d}', Some("")),
        ] {
            assert_eq!(meant(c), expected, "{c:?}");
        }
    }

    #[test]
    fn what_is_meant_is_meant_by_everybody() {
        for text in ('\0'..=char::MAX).filter_map(meant) {
            assert!(text.is_ascii(), "{text:?}");
        }
    }
}

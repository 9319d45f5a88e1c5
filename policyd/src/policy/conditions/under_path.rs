//! `under_path`: a file path that stays below a directory, as far as the text alone can tell.
//!
//! Those who open the path may decode it, expand it or normalise it before. So it is inside only if it is inside however it
//! is read, and outside only if it is outside however it is read. Everything else is undecidable, which refuses: a
//! `require` fails, a `deny_if` holds.
//!
//! What a text cannot tell: whether a symbolic link, a mount or a hard link on the way leads elsewhere, whether the server
//! works in a root of its own, and what a shell would make of it.

use std::borrow::Cow;

use super::BadValue;
use super::look_alike::meant;
use crate::mcp::is_variant;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

/// The directories of an `under_path`.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Directories(Box<[Directory]>);

/// An absolute directory, by its components.
#[derive(Clone, Debug)]
struct Directory(Box<[Box<str>]>);

/// How often a path is decoded. What is encoded more often is no honest path.
const ROUNDS: usize = 3;

impl Directories {
    /// Reads the operator's `value`: absolute directories, written the only way there is to write them.
    ///
    /// # Errors
    ///
    /// The first one that is not, with what to write instead.
    pub fn parse(texts: &[&str]) -> Result<Directories, BadValue> {
        let directory = |(index, text): (usize, &&str)| {
            Directory::parse(text).map_err(|(message, help)| BadValue { index, message, help })
        };
        texts.iter().enumerate().map(directory).collect::<Result<_, _>>().map(Directories)
    }

    /// Whether `path` is one of the directories or stays below one; `None`: it depends on who reads it.
    pub fn hold(&self, path: &str) -> Option<bool> {
        let decoded = decoded(path)?;
        let plain = matches!(decoded, Cow::Borrowed(_));
        if !path.starts_with('/') || doubtful(&decoded, plain).is_some() {
            return None;
        }
        let mut undecided = false;
        for directory in &self.0 {
            match directory.holds(path, &decoded) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => undecided = true,
            }
        }
        (!undecided).then_some(false)
    }
}

impl Directory {
    fn parse(text: &str) -> Result<Directory, (String, Option<String>)> {
        let plainly = || Some("write it plainly, such as `/srv/data`".to_owned());
        if !text.starts_with('/') {
            return Err((format!("the directory `{text}` must be absolute"), plainly()));
        }
        if !matches!(decoded(text), Some(Cow::Borrowed(_))) {
            return Err((format!("the directory `{text}` has encoded characters or look-alikes in it"), plainly()));
        }
        let inner = text.strip_suffix('/').unwrap_or(text);
        if inner.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            let help = resolved(text).map(|normal| format!("write `{normal}`"));
            return Err((format!("the directory `{text}` must be written without `//`, `.` and `..`"), help));
        }
        if let Some(what) = doubtful(text, true) {
            return Err((format!("the directory `{text}` is not read alike by everybody: it has {what}"), plainly()));
        }
        Ok(Directory(components(inner).map(Box::from).collect()))
    }

    /// `path` as it came, and decoded. If they differ, neither has a `..`.
    fn holds(&self, path: &str, decoded: &str) -> Option<bool> {
        let begins = components(path).take(self.0.len()).eq(self.0.iter().map(|name| &**name));
        let inside = if begins { self.0.len() } else { 0 };
        if leaves_by_process(decoded, inside) {
            return None;
        }
        if begins && stays(components(path).skip(inside)) {
            return Some(true);
        }
        let path = match path {
            path if !climbs(path) => Cow::Borrowed(path),
            // In a URL, `..` takes back the empty name between two slashes; in a file path, the name before it.
            path if path.contains("//") => return None,
            path => Cow::Owned(resolved(path)?),
        };
        self.is_clear_of(&path).then_some(false)
    }

    /// Whether a path without `..` is outside, whatever the file system takes for equal.
    fn is_clear_of(&self, path: &str) -> bool {
        let mut pairs = components(path).zip(&self.0);
        match pairs.find(|(component, name)| *component != &***name) {
            Some((component, name)) => is_plain(component) && !could_be(component, name),
            None => components(path).count() < self.0.len(),
        }
    }
}

/// Whether the names never lead above where they begin.
fn stays<'p>(mut names: impl Iterator<Item = &'p str>) -> bool {
    let deeper = |depth: usize, name| if name == ".." { depth.checked_sub(1) } else { depth.checked_add(1) };
    names.try_fold(0, deeper).is_some()
}

/// The names between the separators. An empty one and `.` lead nowhere.
fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

fn climbs(path: &str) -> bool {
    components(path).any(|component| component == "..")
}

/// A path without `.`, `..` and `//`; `None`: it leads above the root.
fn resolved(path: &str) -> Option<String> {
    let mut names = Vec::new();
    for component in components(path) {
        if component == ".." {
            names.pop()?;
        } else {
            names.push(component);
        }
    }
    Some(format!("/{}", names.join("/")))
}

/// The path with nothing left to decode; borrowed if there was nothing. `None`: not UTF-8, or encoded too often.
///
/// Decoding never takes a separator or a `..` away that is there already: what this does not have in it, no reader who
/// decodes less finds.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    let mut text = Cow::Borrowed(path);
    for _ in 0..ROUNDS {
        if is_plain(&text) {
            return Some(text);
        }
        text = Cow::Owned(decode(&text)?);
    }
    is_plain(&text).then_some(text)
}

fn is_plain(text: &str) -> bool {
    let mut bytes = text.as_bytes().windows(3);
    !bytes.any(|window| escape(window).is_some()) && (text.is_ascii() || !text.chars().any(|c| meant(c).is_some()))
}

/// `%2e`
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match *bytes {
        [b'%', high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// Decodes once: escapes first, then look-alikes. `None`: not UTF-8, as overlong forms.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match escape(rest) {
            Some(byte) => (byte, after.get(2..).unwrap_or_default()),
            None => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match meant(c) {
            Some(meant) => folded.push_str(meant),
            None => folded.push(c),
        }
    }
    Some(folded)
}

/// What in an absolute, decoded path is not read alike by everybody. `plain`: it came like this.
fn doubtful(path: &str, plain: bool) -> Option<&'static str> {
    if path.starts_with("//") {
        return Some("two slashes at its beginning, which can name another host");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Some("a control character");
    }
    if path.contains('\\') {
        return Some("a backslash");
    }
    if expands(path) {
        return Some("what some programs expand, such as `$HOME`, `%TEMP%` or `{a,b}`");
    }
    let climbs = climbs(path);
    if climbs && !plain {
        return Some("an encoded character beside a `..`");
    }
    components(path).filter(|&component| component != "..").find_map(|component| {
        // `..;x` is `..` to Java's servers, `..:x` to NTFS, `..?x` to whoever reads a URL.
        let name = component.split([';', ':', '?', '#']).next().unwrap_or_default();
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let no_name = name.chars().all(|c| c == '.' || c.is_whitespace());
        match component.as_bytes() {
            [b'~', ..] => Some("a `~` at the beginning of a name"),
            [drive, b':' | b'|', ..] if drive.is_ascii_alphabetic() => Some("a drive letter"),
            _ if no_name && dots > 1 => Some("a name of dots and spaces, which some take for `..`"),
            // Who takes it for nothing climbs one directory further with the next `..`.
            _ if no_name && climbs => Some("a name beside a `..` that some take for nothing"),
            _ if is_device(name) => Some("the name of a Windows device"),
            _ => None,
        }
    })
}

/// Whether a program that expands variables, braces or character references makes something else of it.
fn expands(path: &str) -> bool {
    let follows = |mark: char, expands: fn(&str) -> bool| path.split(mark).skip(1).any(expands);
    let entity = |rest: &str| {
        let name = rest.trim_start_matches(|c: char| c == '#' || c.is_ascii_alphanumeric());
        rest.starts_with('#') || (name.len() < rest.len() && name.starts_with(';'))
    };
    path.contains('`')
        || follows('$', |rest| !matches!(rest.chars().next(), None | Some('/' | '.' | ',' | ' ')))
        || follows('%', |rest| {
            rest.starts_with(['u', 'U']) && rest.bytes().skip(1).take_while(u8::is_ascii_hexdigit).count() >= 4
        })
        || follows('&', entity)
        || path.split('/').any(has_variable)
        || (path.contains('{') && (path.contains(',') || path.contains("..")))
}

/// `%TEMP%`
fn has_variable(component: &str) -> bool {
    let mut parts = component.split('%').skip(1).peekable();
    while let Some(part) = parts.next() {
        let name = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'(' | b')'));
        if name && !part.is_empty() && parts.peek().is_some() {
            return true;
        }
    }
    false
}

/// `CON`, `nul.txt`, `COM1 .log`
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let is = |other: &str| stem.eq_ignore_ascii_case(other);
    if ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"].into_iter().any(is) {
        return true;
    }
    let port = stem.get(..3).filter(|port| port.eq_ignore_ascii_case("com") || port.eq_ignore_ascii_case("lpt"));
    port.is_some()
        && matches!(stem.get(3..), Some("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
}

/// Whether some file system takes `component` for the directory `name`, though they differ: by case, by width, by Unicode
/// normalisation, by what Windows cuts off at the end.
fn could_be(component: &str, name: &str) -> bool {
    let cut = |text: &'_ str| -> String {
        let stem = text.split([';', ':', '?', '#']).next().unwrap_or_default();
        stem.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).to_owned()
    };
    let (component, name) = (cut(component), cut(name));
    component == name || is_variant(&component, &name) || !(component.is_ascii() || name.is_ascii())
}

/// Whether the path goes through one of the kernel's links into other processes (proc(5)), which lead anywhere, behind the
/// first `inside` components.
fn leaves_by_process(path: &str, inside: usize) -> bool {
    let (mut process, mut pid, mut device) = (false, false, false);
    for (index, component) in components(path).enumerate() {
        let leaves = match component {
            "root" | "cwd" | "exe" | "map_files" => pid,
            "fd" => pid || device,
            "stdin" | "stdout" | "stderr" => device,
            _ => false,
        };
        if leaves {
            if index >= inside {
                return true;
            }
            (process, pid, device) = (false, false, false);
        }
        let number = component.bytes().all(|byte| byte.is_ascii_digit());
        pid |= process && (number || matches!(component, "self" | "thread-self"));
        process |= component == "proc";
        device |= index == 0 && component == "dev";
    }
    false
}

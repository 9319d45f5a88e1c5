//! The files that the policy commands are given: which ones they are, what stands in them, and how what is wrong with
//! them is told.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::diagnostic::{Diagnostic, Places, Report, Severity};

/// No policy, no test file and no log of a test is larger; a path to a device must not fill the memory.
const LARGEST: u64 = 16 << 20;

/// How deep folders are walked.
const DEEPEST: usize = 32;

/// The end of the names of test files.
pub(super) const TESTS: &str = ".tests.json";

/// Which files of a folder are meant. A file that is named itself is always meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `*.json`, but for tests and JSON Schemas.
    Policies,
    /// `*.tests.json`.
    Tests,
    /// Both.
    All,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its name as the user would write it; `<stdin>` for `-`.
    pub name: String,
    /// Where it is; `None` for stdin.
    pub path: Option<PathBuf>,
    /// What stands in it.
    pub text: String,
    /// It was found in a folder, and may be something else altogether.
    pub found: bool,
}

/// A file that could not be read, or a folder in which there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` {why}")]
pub(super) struct Unreadable {
    /// As the user would write it.
    pub name: String,
    /// `cannot be read: …`
    pub why: String,
}

/// How many files were looked at, and what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub files: usize,
    pub errors: usize,
    pub warnings: usize,
}

// === impl Wanted ===

impl Wanted {
    fn wants(self, name: &str) -> bool {
        match self {
            Wanted::Policies => name.ends_with(".json") && !name.ends_with(TESTS) && !name.ends_with(".schema.json"),
            Wanted::Tests => name.ends_with(TESTS),
            Wanted::All => Wanted::Policies.wants(name) || Wanted::Tests.wants(name),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Wanted::Policies => "no policies (`*.json`)",
            Wanted::Tests => "no tests (`*.tests.json`)",
            Wanted::All => "no policies or tests (`*.json`)",
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Counts the problems of a file that was counted already.
    pub fn add(&mut self, report: &Report) {
        for problem in &report.diagnostics {
            match problem.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
                Severity::Note => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    /// `3 files, 0 errors, 2 warnings`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { files, errors, warnings } = *self;
        write!(f, "{}, {}, {}", count(files, "file"), count(errors, "error"), count(warnings, "warning"))
    }
}

/// `1 file`, `2 files`
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Reads what the arguments name, in their order and each file once; folders are walked, by name. Nothing is left out
/// silently: whatever cannot be read is in the second list.
pub(super) fn gather(arguments: &[PathBuf], wanted: Wanted) -> (Vec<Source>, Vec<Unreadable>) {
    let (mut sources, mut unreadable) = (Vec::new(), Vec::new());
    let mut places = HashSet::new();
    // What is named itself is more than found in a folder.
    let named = arguments.iter().filter(|argument| !argument.is_dir());
    let named: HashSet<PathBuf> = named.filter_map(|path| place(path)).collect();
    for argument in arguments {
        if !argument.is_dir() {
            if place(argument).is_some_and(|place| !places.insert(place)) {
                continue;
            }
            match read(argument) {
                Ok(source) => sources.push(source),
                Err(why) => unreadable.push(why),
            }
            continue;
        }
        let mut paths = Vec::new();
        let before = unreadable.len();
        walk(argument, wanted, DEEPEST, &mut paths, &mut unreadable);
        let empty = paths.is_empty() && unreadable.len() == before;
        for path in paths {
            let place = place(&path);
            if place.is_some_and(|place| named.contains(&place) || !places.insert(place)) {
                continue;
            }
            match read(&path) {
                Ok(source) => sources.push(Source { found: true, ..source }),
                Err(why) => unreadable.push(why),
            }
        }
        if empty {
            unreadable.push(Unreadable { name: shown(argument), why: format!("has {} in it", wanted.word()) });
        }
    }
    (sources, unreadable)
}

/// Takes stdin, which can be read only once.
pub(super) fn stdin() -> Result<io::Stdin, String> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    match TAKEN.swap(true, Ordering::Relaxed) {
        false => Ok(io::stdin()),
        true => Err("is read already: `-` can be given once".to_owned()),
    }
}

/// Reads one file; `-` is stdin.
pub(super) fn read(path: &Path) -> Result<Source, Unreadable> {
    let stdin = path == Path::new("-");
    let name = if stdin { "<stdin>".to_owned() } else { shown(path) };
    let text = match stdin {
        true => match self::stdin() {
            Ok(stdin) => text(stdin),
            Err(why) => return Err(Unreadable { name, why }),
        },
        false => fs::File::open(path).map_err(|error| error.to_string()).and_then(text),
    };
    match text {
        Ok(text) => Ok(Source { name, path: (!stdin).then(|| path.to_owned()), text, found: false }),
        Err(why) => Err(Unreadable { name, why: format!("cannot be read: {why}") }),
    }
}

/// A file that could not be read, as scripts read it.
pub(super) fn json_unreadable(Unreadable { name, why }: &Unreadable) -> serde_json::Value {
    serde_json::json!({ "file": name, "severity": "error", "code": "unreadable", "message": why })
}

/// Problems as scripts read them: file, place (lines and columns from 1; the end is the first character behind it),
/// severity, code, message and, if there are any, help and the names that the message counts.
pub(super) fn json(report: &Report) -> Vec<serde_json::Value> {
    let places = report.places();
    let one = |problem: &Diagnostic| {
        let (line, column) = places.line_column(problem.span.start);
        let (end_line, end_column) = places.end_line_column(&problem.span);
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let mut object = serde_json::json!({
            "file": report.file, "line": line, "column": column, "end": { "line": end_line, "column": end_column },
            "severity": severity, "code": problem.code, "message": problem.message,
        });
        if let Some(help) = &problem.help {
            object["help"] = help.as_str().into();
        }
        if !problem.names.is_empty() {
            object["names"] = problem.names.clone().into();
        }
        object
    };
    report.diagnostics.iter().map(one).collect()
}

/// Where a file is, however it was written. A link is a place of its own: what it says is relative to where it stands.
/// None of stdin, and of what is not there.
fn place(path: &Path) -> Option<PathBuf> {
    if path == Path::new("-") {
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

/// Writes problems to stderr, as a person reads them: for commands whose stdout is something else.
pub(super) fn complain(report: &Report) {
    let _ = io::stderr().write_all(report.render(crate::cli::color(&io::stderr())).as_bytes());
}

/// Whether stdout is a terminal with colour.
pub(super) fn color() -> bool {
    crate::cli::color(&io::stdout())
}

/// The wanted files below a folder, by name, and what went wrong.
fn walk(folder: &Path, wanted: Wanted, deeper: usize, paths: &mut Vec<PathBuf>, unreadable: &mut Vec<Unreadable>) {
    let problem = |why: String| Unreadable { name: shown(folder), why };
    if deeper == 0 {
        return unreadable.push(problem(format!("is nested more than {DEEPEST} folders deep")));
    }
    let mut entries = match fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
        Ok(entries) => entries,
        Err(error) => return unreadable.push(problem(format!("cannot be read: {error}"))),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        // Hidden: of version control, of editors, and the versions that a ConfigMap's links lead to.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link to a folder is not followed: it may lead up. One to a file is the file.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, wanted, deeper - 1, paths, unreadable);
        } else if wanted.wants(&name.to_string_lossy()) {
            // To read a pipe waits for whoever writes to it. A link that leads nowhere is told when it is read.
            match fs::metadata(&path) {
                Ok(there) if !there.is_file() => {
                    unreadable.push(Unreadable { name: shown(&path), why: "is not a regular file".to_owned() });
                }
                _ => paths.push(path),
            }
        }
    }
}

fn text(reader: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let (line, column) = Places::of(&before).line_column(valid);
        format!("it is not UTF-8 (line {line}, column {column}): save it as UTF-8")
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_are_walked_by_name_and_files_are_taken_as_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b.json", "a.json", "a.tests.json", "p.schema.json", "readme.md", "deep/c.json", ".git/d.json"] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), name).unwrap();
        }
        symlink(at("readme.md"), at("linked.json")).unwrap();
        symlink(folder.path(), at("deep/up")).unwrap();
        let texts = |arguments: &[PathBuf], wanted| {
            let (sources, unreadable) = gather(arguments, wanted);
            assert_eq!(unreadable, []);
            sources.into_iter().map(|source| (source.text, source.found)).collect::<Vec<_>>()
        };
        let found = |text: &str| (text.to_owned(), true);
        let all = ["a.json", "b.json", "deep/c.json", "readme.md"].map(found);
        assert_eq!(texts(&[folder.path().to_owned()], Wanted::Policies), all);
        assert_eq!(texts(&[folder.path().to_owned()], Wanted::Tests), [found("a.tests.json")]);
        assert_eq!(texts(&[folder.path().to_owned()], Wanted::All).len(), all.len() + 1);
        assert_eq!(texts(&[at("readme.md")], Wanted::Tests), [("readme.md".to_owned(), false)]);
    }

    #[test]
    fn pipes_and_folders_with_a_files_name_are_told_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("fifo.json")).status().unwrap();
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket.json")).unwrap();
        symlink("/dev/zero", at("zero.json")).unwrap();
        symlink(at("gone"), at("dangling.json")).unwrap();
        symlink(folder.path(), at("up.json")).unwrap();
        fs::write(at("a.json"), "{}").unwrap();
        let (sources, unreadable) = gather(&[folder.path().to_owned()], Wanted::Policies);
        assert_eq!(sources.len(), 1);
        let told: Vec<_> = unreadable.iter().map(|one| (one.name.rsplit('/').next().unwrap(), &*one.why)).collect();
        let special = "is not a regular file";
        let expected = [
            ("fifo.json", special),
            ("socket.json", special),
            ("up.json", special),
            ("zero.json", special),
            ("dangling.json", "cannot be read: No such file or directory (os error 2)"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_file_is_read_once_however_often_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("a.json"), "a").unwrap();
        fs::write(at("deep/b.json"), "b").unwrap();
        symlink(at("a.json"), at("linked.json")).unwrap();
        let texts = |arguments: &[PathBuf]| {
            let (sources, unreadable) = gather(arguments, Wanted::Policies);
            assert_eq!(unreadable, []);
            sources.into_iter().map(|source| (source.text, source.found)).collect::<Vec<_>>()
        };
        assert_eq!(texts(&[at("a.json"), at("deep/../a.json")]), [("a".to_owned(), false)]);
        let (a, b) = (("a".to_owned(), false), ("b".to_owned(), true));
        let both = [b.clone(), ("a".to_owned(), true), a.clone()];
        assert_eq!(texts(&[folder.path().to_owned(), at("a.json"), at("deep")]), both, "a link is its own");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("latin1.json"), b"{\n\xc3\xa9\"\xe9\"}").unwrap();
        fs::File::create(at("large.json")).unwrap().set_len(LARGEST + 1).unwrap();
        let arguments = ["missing.json", "empty", "latin1.json", "large.json"].map(at);
        let (sources, unreadable) = gather(&arguments, Wanted::Policies);
        assert_eq!(sources, []);
        let expected = [
            "cannot be read: No such file or directory (os error 2)",
            "has no policies (`*.json`) in it",
            "cannot be read: it is not UTF-8 (line 2, column 3): save it as UTF-8",
            "cannot be read: it is larger than 16 MiB",
        ];
        assert_eq!(unreadable.iter().map(|problem| problem.why.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(unreadable[0].to_string(), format!("`{}` {}", at("missing.json").display(), expected[0]));
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        let tally = Tally { files: 3, errors: 0, warnings: 1 };
        assert_eq!(tally.to_string(), "3 files, 0 errors, 1 warning");
    }
}

//! The configurations of MCP clients, edited where they stand: each server that is a command is run through `policyd stdio`,
//! and not any more. Everything else in the text stays as it is, and what was done can be undone byte for byte. Pure.
//!
//! The command's own text goes behind `--` as it stands, so that the edited text holds all of the one before. An `args` that
//! was not there is told by the form of the option: `--server=NAME` where policyd made the list, `--server NAME` where it
//! put itself before what there was.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::jsonc::{self, Value};

/// Where clients keep their servers: Claude, Cursor, Windsurf and others; VS Code, in `mcp.json` and in its settings; Zed; Amp.
const PLACES: [&[&str]; 5] =
    [&["mcpServers"], &["servers"], &["mcp", "servers"], &["context_servers"], &["amp.mcpServers"]];

/// A server's name is no longer.
const LONGEST: usize = 128;

/// How servers are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapper {
    /// The program to run.
    pub policyd: String,
    /// The policy, if no daemon is to be asked.
    pub policy: Option<String>,
}

/// What became of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name in the client's configuration.
    pub client: String,
    /// What policyd calls it.
    pub server: String,
    /// What was done.
    pub done: Done,
}

/// What was done with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is run through policyd from now on, or not any more.
    Changed,
    /// It is already as it should be.
    Already,
    /// It is reached by a URL, which policyd captures.
    Url,
    /// It is not described as a command is.
    Unclear,
}

impl Done {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Already => "already",
            Self::Url => "url",
            Self::Unclear => "unclear",
        }
    }
}

/// An edited text, and what became of each server that was asked for.
pub type Edited = (String, Vec<Outcome>);

/// Has the servers called one of `only`, or all if that is empty, run by `wrapper`.
///
/// # Errors
///
/// A text that is not JSON with comments.
pub fn wrap(text: &str, only: &[String], wrapper: &Wrapper) -> Result<Edited, jsonc::Error> {
    edit(text, only, |name, launch| match launch.wrapped(text) {
        Some(_) => None,
        None => Some(launch.wrap(text, name, wrapper)),
    })
}

/// Has the servers called one of `only`, or all if that is empty, run as they were before [`wrap`].
///
/// # Errors
///
/// As for [`wrap`].
pub fn unwrap(text: &str, only: &[String]) -> Result<Edited, jsonc::Error> {
    edit(text, only, |_, launch| launch.wrapped(text))
}

/// What goes where.
type Cut = (Range<usize>, String);

fn edit(
    text: &str,
    only: &[String],
    change: impl Fn(&str, &Launch<'_>) -> Option<Vec<Cut>>,
) -> Result<Edited, jsonc::Error> {
    let root = jsonc::parse(text)?;
    let names = names(&root);
    let (mut cuts, mut outcomes) = (Vec::new(), Vec::new());
    for (client, entry) in servers(&root) {
        if !only.is_empty() && !only.contains(client) {
            continue;
        }
        let server = names.get(&**client).cloned().unwrap_or_else(|| called(client));
        let done = match Launch::of(entry) {
            Some(launch) => match change(&server, &launch) {
                Some(more) => {
                    cuts.extend(more);
                    Done::Changed
                }
                None => Done::Already,
            },
            None if ["url", "serverUrl", "httpUrl"].iter().any(|key| entry.get(key).is_some()) => Done::Url,
            None => Done::Unclear,
        };
        outcomes.push(Outcome { client: client.clone(), server, done });
    }
    cuts.sort_by_key(|(range, _)| range.start);
    let (mut edited, mut at) = (String::with_capacity(text.len() + 64 * cuts.len()), 0);
    for (range, instead) in cuts {
        edited += &text[at..range.start];
        edited += &instead;
        at = range.end;
    }
    edited += &text[at..];
    Ok((edited, outcomes))
}

/// The servers of a configuration, with those of the projects of Claude Code.
fn servers(root: &Value) -> impl Iterator<Item = &(String, Value)> {
    let projects = root.get("projects").into_iter().flat_map(|projects| projects.members());
    let scopes = std::iter::once(root).chain(projects.map(|(_, project)| project));
    let lists = scopes.flat_map(|scope| {
        PLACES.iter().filter_map(move |place| place.iter().try_fold(scope, |value, key| value.get(key)))
    });
    lists.flat_map(|list| list.members())
}

/// What policyd calls each server. Two of different names are never called the same: they would share grants and counters.
/// Those that are wrapped keep what they are called, then come those whose name can stay, and the others get a number.
fn names(root: &Value) -> HashMap<&str, String> {
    let (mut names, mut taken): (HashMap<&str, String>, HashSet<String>) = Default::default();
    for (client, entry) in servers(root) {
        if let Some(name) = Launch::of(entry).and_then(|launch| launch.ours().map(|ours| ours.server.to_owned())) {
            taken.insert(name.clone());
            names.entry(client).or_insert(name);
        }
    }
    for (client, _) in servers(root) {
        if !names.contains_key(&**client) && called(client) == *client && taken.insert(client.clone()) {
            names.insert(client, client.clone());
        }
    }
    for (client, _) in servers(root) {
        if names.contains_key(&**client) {
            continue;
        }
        let plain = called(client);
        let numbered = |number: u32| format!("{}-{number}", &plain[..plain.len().min(LONGEST - 11)]);
        let mut free = std::iter::once(plain.clone()).chain((2..=u32::MAX).map(numbered));
        if let Some(name) = free.find(|name| !taken.contains(name)) {
            taken.insert(name.clone());
            names.insert(client, name);
        }
    }
    names
}

/// The name that policyd's configuration can have for a server: what a name cannot hold becomes `-`. None stands in front,
/// where the command line takes it for an option.
fn called(client: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':') { c } else { '-' };
    let name: String = client.chars().map(plain).skip_while(|c| *c == '-').take(LONGEST).collect();
    if name.is_empty() { "server".to_owned() } else { name }
}

/// How a server is started.
struct Launch<'a> {
    command: &'a Value,
    args: Option<&'a [Value]>,
    /// The place of `args`.
    list: Option<Range<usize>>,
    /// The members of which `args` may be one.
    members: &'a [(String, Value)],
}

/// What [`Launch::wrap`] put before a command.
struct Ours<'a> {
    /// What policyd calls the server.
    server: &'a str,
    /// Whether there was no `args` before.
    made: bool,
    /// Where in `args` the command is.
    original: usize,
}

impl<'a> Launch<'a> {
    /// `command` and `args`; in older configurations of Zed both stand in an object `command`, as `path` and `args`.
    fn of(entry: &'a Value) -> Option<Self> {
        let (holder, key) = match entry.get("command") {
            Some(command) if command.as_str().is_some() => (entry, "command"),
            Some(command) => (command, "path"),
            None => return None,
        };
        let command = holder.get(key).filter(|command| command.as_str().is_some())?;
        let twice = holder.members().iter().filter(|(key, _)| key == "args").count() > 1;
        let args = holder.get("args");
        let strings = |args: &Value| args.elements().is_some_and(|args| args.iter().all(|arg| arg.as_str().is_some()));
        if twice || args.is_some_and(|args| !strings(args)) {
            return None;
        }
        let list = args.map(|args| args.span.clone());
        Some(Self { command, args: args.and_then(Value::elements), list, members: holder.members() })
    }

    fn wrap(&self, text: &str, name: &str, wrapper: &Wrapper) -> Vec<Cut> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let command = &text[self.command.span.clone()];
        let policy = wrapper.policy.as_ref().map(|policy| format!("\"--policy\", {}, ", quoted(policy)));
        let policy = policy.unwrap_or_default();
        let mut cuts = vec![(self.command.span.clone(), quoted(&wrapper.policyd))];
        match (&self.list, self.args) {
            (Some(list), Some(args)) => {
                let comma = if args.is_empty() { "" } else { ", " };
                let before = format!("\"stdio\", \"--server\", {}, {policy}\"--\", {command}{comma}", quoted(name));
                cuts.push((list.start + 1..list.start + 1, before));
            }
            _ => {
                let option = quoted(&format!("--server={name}"));
                let end = self.command.span.end;
                cuts.push((end..end, format!(", \"args\": [\"stdio\", {option}, {policy}\"--\", {command}]")));
            }
        }
        cuts
    }

    /// What [`Launch::wrap`] put there; `None` if it is not wrapped.
    fn ours(&self) -> Option<Ours<'a>> {
        let program = self.command.as_str()?.rsplit(['/', '\\']).next()?;
        let args = self.args?;
        let word = |at: usize| args.get(at).and_then(Value::as_str);
        if !program.starts_with("policyd") || word(0) != Some("stdio") {
            return None;
        }
        let (server, made, mut at) = match word(1)?.strip_prefix("--server=") {
            Some(server) => (server, true, 2),
            None if word(1) == Some("--server") => (word(2)?, false, 3),
            None => return None,
        };
        if word(at) == Some("--policy") {
            at += 2;
        }
        let original = at + 1;
        (word(at) == Some("--") && word(original).is_some()).then_some(Ours { server, made, original })
    }

    /// What undoes [`Launch::wrap`]; `None` if it is not wrapped.
    fn wrapped(&self, text: &str) -> Option<Vec<Cut>> {
        let (Ours { made, original: at, .. }, args) = (self.ours()?, self.args?);
        let original = args.get(at)?;
        let mut cuts = vec![(self.command.span.clone(), text[original.span.clone()].to_owned())];
        let next = args.get(at + 1);
        if made && next.is_none() {
            cuts.extend(self.without_args(text)?);
        } else {
            let end = match next {
                // What `wrap` put there, or whatever an editor made of it.
                Some(_) if text[original.span.end..].starts_with(", ") => original.span.end + 2,
                Some(next) => next.span.start,
                None => original.span.end,
            };
            cuts.push((args.first()?.span.start..end, String::new()));
        }
        Some(cuts)
    }

    /// Takes `args` away, wherever it stands now: with its key and the comma before that, or behind it where it is the first.
    /// Comments stay.
    fn without_args(&self, text: &str) -> Option<Vec<Cut>> {
        let at = self.members.iter().position(|(key, _)| key == "args")?;
        let (_, args) = self.members.get(at)?;
        let member = args.key?..args.span.end;
        let blank = |range: Range<usize>| text[range].trim().is_empty();
        // The comma, with white space next to it.
        let separator = match at.checked_sub(1).and_then(|before| self.members.get(before)) {
            Some((_, before)) => {
                let comma = before.comma?;
                comma..if blank(comma + 1..member.start) { member.start } else { comma + 1 }
            }
            None => {
                let comma = args.comma?;
                let next = text.len() - text[comma + 1..].trim_start().len();
                (if blank(member.end..comma) { member.end } else { comma })..next
            }
        };
        Some([separator, member].map(|range| (range, String::new())).into())
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;

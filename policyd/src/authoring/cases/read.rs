//! The text of a test file → suites. Strict, and every problem at once.

mod step;

use std::collections::HashSet;

use super::{Case, Suite, Tools};
use crate::authoring::reader::{self, Keys, Reader, member};
use crate::authoring::simulation::Caller;
use crate::authoring::{times, tools};
use crate::diagnostic::Report;
use crate::policy::document::{Json, Member, Node};

pub(super) use step::{DECISIONS, MOST_TIMES, SENDERS};

/// The keys of a test file.
pub(super) const FILE: Keys = Keys {
    of: "a test file",
    known: &[
        "$schema",
        "description",
        "policy",
        "tools",
        "start",
        "grant",
        "server",
        "session",
        "identity",
        "cases",
        "suites",
    ],
};
pub(super) const SUITE: Keys = Keys {
    of: "a suite",
    known: &["description", "policy", "tools", "start", "grant", "server", "session", "identity", "cases"],
};
/// Of a case with several steps.
pub(super) const CASE: Keys = Keys {
    of: "a case with `steps`",
    known: &["name", "description", "start", "grant", "server", "session", "identity", "steps"],
};

/// The keys of a step, behind others.
macro_rules! step_keys {
    ($($first:literal),*) => {
        &[
            $($first,)*
            "description",
            "call",
            "args",
            "each",
            "method",
            "params",
            "message",
            "from",
            "lists",
            "hides",
            "at",
            "times",
            "every",
            "grant",
            "server",
            "session",
            "identity",
            "unsent",
            "expect",
            "rule",
            "reason",
            "reason_contains",
            "retry_after",
            "counters",
        ]
    };
}

/// Of a case that is one step itself. `steps` is among them for who misspells it.
pub(super) const SHORT_CASE: Keys = Keys { of: "a case", known: step_keys!("name", "start", "steps") };
pub(super) const STEP: Keys = Keys { of: "a step", known: step_keys!() };
pub(super) const IDENTITY: Keys = Keys { of: "an identity", known: &["pid", "uid", "user", "exe", "cgroup", "unit"] };

/// Without `start`: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000_000_000;

/// Reads a test file, or reports everything that is wrong with it. `file` is its name in the report.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Suite>, Report> {
    reader::read(file, text, |reader, node| reader.file(node))
}

/// What outer objects say for inner ones.
#[derive(Clone, Default)]
struct Defaults {
    caller: Caller,
    start: Option<u64>,
    tools: Option<Tools>,
}

impl Reader<'_> {
    fn file(&mut self, node: &Node) -> Option<Vec<Suite>> {
        let members = self.object(node, &FILE)?;
        self.texts(members, &["$schema", "description"]);
        let Some(suites) = member(members, "suites") else {
            return Some(vec![self.suite(node, members, Defaults::default())?]);
        };
        for Member { key, key_span, .. } in members {
            if matches!(&**key, "policy" | "cases") {
                let help = "write it into each suite".to_owned();
                self.problem(key_span.clone(), format!("`{key}` cannot stand beside `suites`"), help);
            }
        }
        let defaults = self.defaults(members, Defaults::default());
        let nodes = self.array(suites)?;
        if nodes.is_empty() {
            self.problem(suites.place(), "a test file needs at least one suite", None);
        }
        let suites: Vec<_> = nodes
            .iter()
            .map(|node| {
                let members = self.object(node, &SUITE)?;
                self.texts(members, &["description"]);
                self.suite(node, members, defaults.clone())
            })
            .collect();
        suites.into_iter().collect()
    }

    fn suite(&mut self, node: &Node, members: &[Member], defaults: Defaults) -> Option<Suite> {
        let policy = self.required(node, members, "policy").and_then(|node| self.name(node));
        let defaults = self.defaults(members, defaults);
        let cases = self.required(node, members, "cases").and_then(|node| self.array(node));
        let nodes = cases?;
        if nodes.is_empty() {
            let place = member(members, "cases").unwrap_or(node).place();
            self.problem(
                place,
                "no case would be run: `cases` is empty",
                "write a case, or remove the file".to_owned(),
            );
        }
        let cases: Vec<_> = nodes.iter().map(|node| self.case(node, &defaults)).collect();
        let mut names = HashSet::new();
        for case in cases.iter().flatten().filter(|case| !names.insert(&case.name)) {
            let message = format!("there is a case `{}` before this one", case.name);
            self.problem(
                case.span.clone(),
                message,
                "give each a name of its own: reports tell them apart by it".to_owned(),
            );
        }
        let cases: Option<Vec<_>> = cases.into_iter().collect();
        Some(Suite { policy: policy?, tools: defaults.tools, cases: cases? })
    }

    /// What `members` say for everything inside.
    fn defaults(&mut self, members: &[Member], outer: Defaults) -> Defaults {
        let start = member(members, "start").and_then(|node| self.start(node));
        let tools = member(members, "tools").and_then(|node| self.tools(node));
        Defaults {
            caller: self.caller(members, &outer.caller),
            start: start.or(outer.start),
            tools: tools.or(outer.tools),
        }
    }

    fn start(&mut self, node: &Node) -> Option<u64> {
        let instant = times::instant(self.string(node)?);
        if instant.is_none() {
            let help = "a date and time such as `2026-01-01T09:30:00Z`".to_owned();
            self.problem(node.place(), "this is no instant", help);
        }
        instant
    }

    fn tools(&mut self, node: &Node) -> Option<Tools> {
        if let Json::String(_) = node.json {
            return self.name(node).map(Tools::File);
        }
        match tools::listed(node, self.text) {
            Ok(tools) => Some(Tools::Here(tools)),
            Err(problem) => {
                let help = "a file with the server's `tools/list`, or an array of tools, each with `name` and \
                            `inputSchema`";
                self.problem(problem.span, problem.message, help.to_owned());
                None
            }
        }
    }

    fn caller(&mut self, members: &[Member], outer: &Caller) -> Caller {
        let mut caller = outer.clone();
        if let Some(node) = member(members, "grant") {
            match node.json {
                Json::Null => caller.grant = None,
                _ => caller.grant = self.name(node).map(|name| name.value).or(caller.grant),
            }
        }
        for (key, place) in [("server", &mut caller.server), ("session", &mut caller.session)] {
            if let Some(name) = member(members, key).and_then(|node| self.name(node)) {
                *place = name.value;
            }
        }
        let identity = member(members, "identity").and_then(|node| self.object(node, &IDENTITY)).unwrap_or(&[]);
        for Member { key, value, .. } in identity {
            let facts = &mut caller.identity;
            match &**key {
                "pid" => facts.pid = self.id(value).unwrap_or(facts.pid),
                "uid" => facts.uid = self.id(value).unwrap_or(facts.uid),
                "user" => facts.user = self.fact(value),
                "unit" => facts.unit = self.fact(value),
                "exe" => facts.exe = self.fact(value).map(Into::into),
                "cgroup" => facts.cgroup = self.string(value).map_or(String::new(), str::to_owned),
                _ => {}
            }
        }
        caller
    }

    fn id(&mut self, node: &Node) -> Option<u32> {
        self.whole(node, 0, u32::MAX.into()).and_then(|id| u32::try_from(id).ok())
    }

    /// A text, or `null` for what is not known of a caller.
    fn fact(&mut self, node: &Node) -> Option<String> {
        match node.json {
            Json::Null => None,
            _ => self.string(node).map(str::to_owned),
        }
    }

    fn case(&mut self, node: &Node, defaults: &Defaults) -> Option<Case> {
        let steps = match &node.json {
            Json::Object(members) => member(members, "steps"),
            _ => None,
        };
        let members = self.object(node, if steps.is_some() { &CASE } else { &SHORT_CASE })?;
        self.texts(members, &["description"]);
        let name = self.required(node, members, "name").and_then(|node| self.name(node));
        let start = member(members, "start").and_then(|node| self.start(node));
        let start = start.or(defaults.start).unwrap_or(START);
        let mut clock = Clock { start, now: 0 };
        let steps: Vec<_> = match steps {
            Some(steps) => {
                let caller = self.caller(members, &defaults.caller);
                let nodes = self.array(steps)?;
                if nodes.is_empty() {
                    self.problem(steps.place(), "a case needs at least one step", None);
                }
                let step = |node| {
                    let members = self.object(node, &STEP)?;
                    self.texts(members, &["description"]);
                    self.step(node, members, &caller, &mut clock)
                };
                nodes.iter().map(step).collect()
            }
            None => vec![self.step(node, members, &defaults.caller, &mut clock)],
        };
        let steps: Option<Vec<_>> = steps.into_iter().collect();
        let name = name?;
        Some(Case { name: name.value, span: name.span, start, steps: steps? })
    }

    /// Texts that only people read.
    fn texts(&mut self, members: &[Member], keys: &[&str]) {
        for key in keys {
            if let Some(node) = member(members, key) {
                self.string(node);
            }
        }
    }
}

/// Where a case is in its time, in nanoseconds.
struct Clock {
    /// Since 1970 in UTC.
    start: u64,
    /// Since the start: the end of the step before.
    now: u64,
}

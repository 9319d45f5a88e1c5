//! What a page of a list changes, before it does.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use super::known::{Definition, Hash, Head, NAME, Server, State, TOOLS, Tool};
use super::{Change, ChangeKind, Page, hexadecimal, sha256};
use crate::mcp::definition::{canonical, differing};
use crate::mcp::json::Value;

/// How long the first list of a server may take, page by page, in milliseconds: one that never ends would have nothing new.
pub(super) const FIRST_LIST: u64 = 60_000;

/// A name with its definitions, as they are spelled, and the hash of that.
type Named<'a> = (&'a str, Vec<Value<'a>>, Hash);

/// The tools of a page by their names.
pub(super) fn by_name<'a>(tools: &'a [(String, Value<'a>)]) -> Vec<Named<'a>> {
    let mut named: BTreeMap<&str, Vec<Value<'_>>> = BTreeMap::new();
    for (name, definition) in tools {
        named.entry(name).or_default().push(*definition);
    }
    named
        .into_iter()
        .map(|(name, all)| {
            // No definition holds the byte between two of them.
            let spelling = sha256(all.iter().flat_map(|one| [one.raw().as_bytes(), b"\0"]));
            (name, all, spelling)
        })
        .collect()
}

/// Whether a page changes nothing.
pub(super) fn is_known(server: &Server, page: &Page<'_>, tools: &[Named<'_>]) -> bool {
    let is_kept =
        |(name, _, spelling): &Named<'_>| server.tools.get(*name).is_some_and(|tool| tool.spelling == Some(*spelling));
    (server.head.listed || !page.is_last) && tools.iter().all(is_kept)
}

/// What is to be changed.
pub(super) struct Plan<'a> {
    pub changes: Vec<Change>,
    head: Head,
    /// What is there of a tool from now on, and whether the store has to be told.
    tools: Vec<(&'a str, Tool, bool)>,
    /// Whether the store has to be told of the head.
    tell: bool,
}

impl<'a> Plan<'a> {
    /// What `page` changes of what is known of its server.
    pub fn of(server: Option<&Server>, page: &Page<'a>, tools: &[Named<'a>]) -> Plan<'a> {
        let before = server.map_or(Head { since: page.now, ..Head::default() }, |server| server.head);
        let mut plan = Plan { changes: Vec::new(), head: before, tools: Vec::new(), tell: false };
        plan.head.listed |= page.now.abs_diff(before.since) > FIRST_LIST;
        let mut count = server.map_or(0, |server| server.tools.len());
        for (name, all, spelling) in tools {
            let kept = server.and_then(|server| server.tools.get(*name));
            if kept.is_some_and(|tool| tool.spelling == Some(*spelling)) {
                continue;
            }
            let text = text_of(all);
            let hash = sha256([text.as_bytes()]);
            match kept {
                Some(tool) if tool.listed.hash == hash => {
                    plan.tools.push((name, Tool { spelling: Some(*spelling), ..tool.clone() }, false));
                }
                Some(tool) => plan.change(name, tool, hash, &text, *spelling, page.now),
                None if count < TOOLS && name.len() <= NAME => {
                    plan.add(name, hash, &text, *spelling, page.now);
                    count += 1;
                }
                // Told once.
                None if plan.head.full => {}
                None => {
                    plan.head.full = true;
                    plan.tell(name, ChangeKind::NotKept, None, hash, None, page.now, page.now);
                }
            }
        }
        plan.head.listed |= page.is_last;
        plan.tell = server.is_none() || (before.listed, before.full) != (plan.head.listed, plan.head.full);
        plan
    }

    /// Does it.
    pub fn carry_out(self, state: &mut State, name: &str) {
        if !state.servers.contains_key(name) {
            state.servers.insert(name.into(), Server::default());
        }
        let Some(server) = state.servers.get_mut(name) else { return };
        server.head = self.head;
        if self.tell {
            state.unsaved.insert((name.into(), None));
        }
        for (tool, now, tell) in self.tools {
            if tell {
                state.unsaved.insert((name.into(), Some(tool.into())));
            }
            server.insert(tool.into(), now);
        }
    }

    fn change(&mut self, name: &'a str, tool: &Tool, hash: Hash, text: &str, spelling: Hash, now: u64) {
        let is = |other: &&Definition| other.hash == hash;
        let known = [&tool.accepted, &tool.pending].into_iter().flatten().find(is).cloned();
        let listed = known.unwrap_or_else(|| self.head.keep(hash, text));
        let pending = match tool.accepted.as_ref().filter(is) {
            Some(_) => tool.pending.clone(),
            None => Some(listed.clone()),
        };
        let fields = tool.listed.text.as_ref().map(|old| differing(old, text));
        let after =
            Tool { listed, pending, changed: now, spelling: Some(spelling), schema: OnceLock::new(), ..tool.clone() };
        self.head.bytes = (self.head.bytes + after.size(name)).saturating_sub(tool.size(name));
        self.tools.push((name, after, true));
        self.tell(name, ChangeKind::Changed, Some(tool.listed.hash), hash, fields, tool.first_seen, now);
    }

    fn add(&mut self, name: &'a str, hash: Hash, text: &str, spelling: Hash, now: u64) {
        let definition = self.head.keep(hash, text);
        let (kind, accepted, pending) = if self.head.listed {
            (ChangeKind::New, None, Some(definition.clone()))
        } else {
            (ChangeKind::First, Some(definition.clone()), None)
        };
        let tool = Tool {
            accepted,
            listed: definition,
            pending,
            first_seen: now,
            changed: now,
            spelling: Some(spelling),
            schema: OnceLock::new(),
        };
        self.head.bytes += tool.size(name);
        self.tools.push((name, tool, true));
        self.tell(name, kind, None, hash, None, now, now);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn tell(
        &mut self,
        tool: &str,
        kind: ChangeKind,
        old: Option<Hash>,
        new: Hash,
        fields: Option<Vec<String>>,
        first_seen: u64,
        now: u64,
    ) {
        self.changes.push(Change {
            tool: tool.to_owned(),
            kind,
            old: old.as_ref().map(hexadecimal),
            new: hexadecimal(&new),
            fields,
            first_seen,
            record: self.head.records.admit(now),
        });
    }
}

/// The canonical text of the definitions of one name: its definition, or, where there are different ones, an array of them.
fn text_of(all: &[Value<'_>]) -> String {
    let (mut texts, mut seen) = (Vec::new(), HashSet::new());
    for definition in all {
        let text = canonical(*definition);
        if seen.insert(sha256([text.as_bytes()])) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(",")) }
}

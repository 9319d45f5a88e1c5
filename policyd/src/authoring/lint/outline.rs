//! A policy document as those who look for mistakes see it: the loader's tree, by the names of its parts, with their
//! places. Read of documents that the loader takes; whatever it would not take is left out.

use std::ops::Range;

use rust_decimal::Decimal;

use crate::policy::conditions::Path;
use crate::policy::document::{Json, Member, Node};
use crate::policy::exact;
use crate::policy::load::condition::{OPERATORS, Operator};
use crate::policy::load::limit::{SCOPES, duration};
use crate::policy::names::Pattern;

pub(super) use crate::policy::Scope;

/// A document.
#[derive(Debug)]
pub(super) struct Outline<'n> {
    pub text: &'n str,
    pub default: Default<'n>,
    pub hide: Vec<Name<'n>>,
    pub all_tools: Rules<'n>,
    pub tools: Vec<Entry<'n>>,
    pub methods: Vec<Entry<'n>>,
}

/// `default`
#[derive(Debug)]
pub(super) struct Default<'n> {
    pub word: &'n str,
    pub span: Range<usize>,
}

/// A name or pattern.
#[derive(Debug)]
pub(super) struct Name<'n> {
    pub text: &'n str,
    pub span: Range<usize>,
    pub pattern: Option<Pattern>,
}

/// An entry of `tools` or `methods`.
#[derive(Debug)]
pub(super) struct Entry<'n> {
    pub name: Name<'n>,
    /// `allow` where it does not say.
    pub action: &'n str,
    pub members: &'n [Member],
    /// None where `action` denies: nobody looks at them.
    pub rules: Rules<'n>,
}

/// The rules of an entry, or of `all_tools`.
#[derive(Debug, Default)]
pub(super) struct Rules<'n> {
    pub require: Vec<Clause<'n>>,
    pub deny_if: Vec<Clause<'n>>,
    pub approve_if: Vec<Clause<'n>>,
    /// `rate_limit` last.
    pub limits: Vec<Limit<'n>>,
}

/// A rule of `require`, `deny_if` or `approve_if`.
#[derive(Debug)]
pub(super) struct Clause<'n> {
    pub place: Range<usize>,
    pub conditions: Vec<Condition<'n>>,
}

/// A condition that is not CEL. (What CEL says, nobody looks into.)
#[derive(Debug)]
pub(super) struct Test<'n> {
    pub path: Path,
    pub path_span: Range<usize>,
    pub op: Operator,
    pub op_span: Range<usize>,
    /// Only `exists` can do without.
    pub value: Option<&'n Node>,
}

/// A condition.
#[derive(Debug)]
pub(super) enum Condition<'n> {
    Test(Test<'n>),
    Cel,
}

/// A limit.
#[derive(Debug)]
pub(super) struct Limit<'n> {
    pub place: Range<usize>,
    /// `None` for a `rate_limit`, whose counter is its own.
    pub counter: Option<&'n str>,
    pub scope: Scope,
    /// Where the scope is written.
    pub scope_span: Option<Range<usize>>,
    /// In nanoseconds.
    pub window: u64,
    pub calendar: bool,
    pub max: Decimal,
    pub max_span: Range<usize>,
    pub increment_from: Option<(Path, Range<usize>)>,
}

// === impl Outline ===

impl<'n> Outline<'n> {
    /// The outline of the document `text`, of which `root` is the tree. `None` if it is no object with a `default`.
    pub fn of(root: &'n Node, text: &'n str) -> Option<Outline<'n>> {
        let members = object(root)?;
        let default = member(members, "default")?;
        let reader = Reader { text };
        Some(Outline {
            text,
            default: Default { word: string(default)?, span: default.span.clone() },
            hide: items(member(members, "hide"))
                .filter_map(|node| Some(Name::new(string(node)?, node.place())))
                .collect(),
            all_tools: member(members, "all_tools").and_then(object).map(|of| reader.rules(of)).unwrap_or_default(),
            tools: reader.entries(member(members, "tools")),
            methods: reader.entries(member(members, "methods")),
        })
    }

    /// The line of a place, from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.get(..span.start).unwrap_or_default().matches('\n').count()
    }

    /// The text at a place.
    pub fn at(&self, span: &Range<usize>) -> &'n str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// All entries' rules and those of `all_tools`.
    pub fn all_rules(&self) -> impl Iterator<Item = &Rules<'n>> {
        std::iter::once(&self.all_tools).chain(self.tools.iter().chain(&self.methods).map(|entry| &entry.rules))
    }

    /// The entry of `entries` that applies to a name.
    pub fn applies<'e>(entries: &'e [Entry<'n>], name: &str) -> Option<&'e Entry<'n>> {
        let exact = entries.iter().find(|entry| entry.name.pattern.is_none() && entry.name.text == name);
        let patterns = entries.iter().filter(|entry| entry.name.pattern.is_some() && entry.name.matches(name));
        exact.or_else(|| patterns.max_by_key(|entry| entry.name.pattern.as_ref().map_or(0, Pattern::literal)))
    }

    /// The name in `hide` that hides a tool.
    pub fn hides(&self, name: &str) -> Option<&Name<'n>> {
        self.hide.iter().find(|hidden| hidden.matches(name))
    }
}

impl<'n> Name<'n> {
    fn new(text: &'n str, span: Range<usize>) -> Name<'n> {
        Name { text, span, pattern: Pattern::parse(text) }
    }

    /// Whether it is this name, or a pattern that matches it.
    pub fn matches(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.matches(name),
            None => self.text == name,
        }
    }

    /// Whether it matches every name that `other` does. A `*` in the other's text can be taken only by a `*` of this one,
    /// which takes whatever stands for it just as well.
    pub fn covers(&self, other: &Name<'_>) -> bool {
        self.matches(other.text)
    }

    /// Whether some name is matched by both.
    pub fn overlaps(&self, other: &Name<'_>) -> bool {
        match (&self.pattern, &other.pattern) {
            (Some(one), Some(two)) => one.overlaps(two),
            (None, _) => other.matches(self.text),
            (_, None) => self.matches(other.text),
        }
    }
}

impl<'n> Entry<'n> {
    /// A key of the entry, with its place and value.
    pub fn member(&self, key: &str) -> Option<&'n Member> {
        self.members.iter().find(|member| member.key == key)
    }
}

impl<'n> Rules<'n> {
    /// The rules of `require`, `deny_if` and `approve_if`, with the key that holds them.
    pub fn clauses(&self) -> impl Iterator<Item = (Kind, &Clause<'n>)> {
        let of = |kind| move |clause| (kind, clause);
        let require = self.require.iter().map(of(Kind::Require));
        require.chain(self.deny_if.iter().map(of(Kind::DenyIf))).chain(self.approve_if.iter().map(of(Kind::ApproveIf)))
    }

    /// All their conditions that are not CEL.
    pub fn tests(&self) -> impl Iterator<Item = (Kind, &Test<'n>)> {
        self.clauses().flat_map(|(kind, clause)| clause.tests().map(move |test| (kind, test)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.require.is_empty() && self.deny_if.is_empty() && self.approve_if.is_empty() && self.limits.is_empty()
    }
}

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Require,
    DenyIf,
    ApproveIf,
}

impl Kind {
    /// Its key.
    pub fn key(self) -> &'static str {
        match self {
            Kind::Require => "require",
            Kind::DenyIf => "deny_if",
            Kind::ApproveIf => "approve_if",
        }
    }
}

impl<'n> Clause<'n> {
    /// Its conditions that are not CEL.
    pub fn tests(&self) -> impl Iterator<Item = &Test<'n>> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Test(test) => Some(test),
            Condition::Cel => None,
        })
    }
}

impl Test<'_> {
    /// The operator's word.
    pub fn word(&self) -> &'static str {
        OPERATORS.iter().find(|(_, op)| *op == self.op).map_or("", |(word, _)| *word)
    }

    /// The constants that it compares with: the elements of an array `value`, or the one.
    pub fn constants(&self) -> &[Node] {
        match self.value {
            Some(Node { json: Json::Array(nodes), .. })
                if matches!(
                    self.op,
                    Operator::In | Operator::NotIn | Operator::HostIn | Operator::Type | Operator::UnderPath
                ) =>
            {
                nodes
            }
            Some(node) => std::slice::from_ref(node),
            None => &[],
        }
    }
}

// === reading ===

struct Reader<'n> {
    text: &'n str,
}

impl<'n> Reader<'n> {
    fn entries(&self, node: Option<&'n Node>) -> Vec<Entry<'n>> {
        let entry = |member: &'n Member| {
            let members = object(&member.value)?;
            let action = self::member(members, "action").and_then(string).unwrap_or("allow");
            let rules = if action == "deny" { Rules::default() } else { self.rules(members) };
            Some(Entry { name: Name::new(&member.key, member.key_span.clone()), action, members, rules })
        };
        node.and_then(object).unwrap_or_default().iter().filter_map(entry).collect()
    }

    fn rules(&self, members: &'n [Member]) -> Rules<'n> {
        let clauses = |key| items(member(members, key)).filter_map(|node| self.clause(node)).collect();
        let mut limits: Vec<_> = items(member(members, "limits")).filter_map(|node| self.limit(node)).collect();
        limits.extend(member(members, "rate_limit").and_then(|node| self.rate_limit(node)));
        Rules { require: clauses("require"), deny_if: clauses("deny_if"), approve_if: clauses("approve_if"), limits }
    }

    fn clause(&self, node: &'n Node) -> Option<Clause<'n>> {
        let conditions = items(member(object(node)?, "conditions"));
        let conditions = conditions.map(|node| self.condition(node)).collect::<Option<_>>()?;
        Some(Clause { place: node.place(), conditions })
    }

    fn condition(&self, node: &'n Node) -> Option<Condition<'n>> {
        let members = object(node)?;
        if member(members, "cel").is_some() {
            return Some(Condition::Cel);
        }
        let (path, op) = (member(members, "path")?, member(members, "op")?);
        let word = string(op)?;
        Some(Condition::Test(Test {
            path: Path::parse(string(path)?).ok()?,
            path_span: path.span.clone(),
            op: OPERATORS.iter().find(|(name, _)| *name == word)?.1,
            op_span: op.span.clone(),
            value: member(members, "value"),
        }))
    }

    fn limit(&self, node: &'n Node) -> Option<Limit<'n>> {
        let members = object(node)?;
        let (max, scope) = (member(members, "max")?, member(members, "scope"));
        let scope_word = scope.map_or(Some("grant"), string)?;
        let increment_from = match member(members, "increment_from") {
            Some(node) => Some((Path::parse(string(node)?).ok()?, node.span.clone())),
            None => None,
        };
        Some(Limit {
            place: node.place(),
            counter: Some(string(member(members, "counter")?)?),
            scope: SCOPES.iter().find(|(name, _)| *name == scope_word)?.1,
            scope_span: scope.map(|node| node.span.clone()),
            window: duration(string(member(members, "window")?)?)?,
            calendar: member(members, "align").and_then(string) == Some("calendar"),
            max: self.number(max)?,
            max_span: max.span.clone(),
            increment_from,
        })
    }

    fn rate_limit(&self, node: &'n Node) -> Option<Limit<'n>> {
        let (max, max_span, window) = match &node.json {
            Json::String(text) => {
                let (max, window) = text.split_once('/')?;
                (exact::parse(max)?, node.span.clone(), duration(window)?)
            }
            _ => {
                let members = object(node)?;
                let (max, window) = (member(members, "max")?, member(members, "window")?);
                let length = match string(window) {
                    Some(text) => duration(text)?,
                    None => {
                        let nanoseconds = self.number(window)?.checked_mul(Decimal::from(1_000_000_000u64))?;
                        u64::try_from(nanoseconds).ok()?
                    }
                };
                (self.number(max)?, max.span.clone(), length)
            }
        };
        Some(Limit {
            place: node.place(),
            counter: None,
            scope: Scope::Session,
            scope_span: None,
            window,
            calendar: false,
            max,
            max_span,
            increment_from: None,
        })
    }

    fn number(&self, node: &Node) -> Option<Decimal> {
        matches!(node.json, Json::Number).then(|| self.text.get(node.span.clone())).flatten().and_then(exact::parse)
    }
}

fn object(node: &Node) -> Option<&[Member]> {
    match &node.json {
        Json::Object(members) => Some(members),
        _ => None,
    }
}

/// The text of a string.
pub(super) fn string(node: &Node) -> Option<&str> {
    match &node.json {
        Json::String(text) => Some(text),
        _ => None,
    }
}

fn items(node: Option<&Node>) -> impl Iterator<Item = &Node> {
    let items: &[Node] = match node.map(|node| &node.json) {
        Some(Json::Array(items)) => items,
        _ => &[],
    };
    items.iter()
}

fn member<'n>(members: &'n [Member], key: &str) -> Option<&'n Node> {
    members.iter().find(|member| member.key == key).map(|member| &member.value)
}

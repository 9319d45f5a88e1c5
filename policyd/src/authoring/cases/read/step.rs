//! One step of a case.

use bytes::Bytes;
use rust_decimal::Decimal;

use super::Clock;
use crate::authoring::cases::{Action, Expected, Messages, Step};
use crate::authoring::reader::{Reader, Spanned, member};
use crate::authoring::simulation::{self, Caller, Decision};
use crate::authoring::times;
use crate::policy::Direction;
use crate::policy::document::{Json, Member, Node};

/// What a step does. Exactly one of them stands in it.
const ACTIONS: [&str; 4] = ["call", "method", "message", "lists"];
/// What only a step with messages has.
const OF_MESSAGES: [&str; 9] =
    ["times", "every", "unsent", "expect", "rule", "reason", "reason_contains", "retry_after", "counters"];

pub(in crate::authoring::cases) const DECISIONS: [(&str, Decision); 3] =
    [("allow", Decision::Allow), ("deny", Decision::Deny), ("approve", Decision::Approve)];
pub(in crate::authoring::cases) const SENDERS: [(&str, Direction); 2] =
    [("agent", Direction::ToServer), ("server", Direction::ToAgent)];

/// How often a step may repeat its messages.
pub(in crate::authoring::cases) const MOST_TIMES: u64 = 1_000_000;

impl Reader<'_> {
    pub(super) fn step(&mut self, node: &Node, members: &[Member], caller: &Caller, clock: &mut Clock) -> Option<Step> {
        let caller = self.caller(members, caller);
        let at = member(members, "at").map_or(Some(clock.now), |node| self.at(node, clock));
        let given: Vec<&Member> = members
            .iter()
            .filter(|member| ACTIONS.contains(&&*member.key) || (member.key == "hides"))
            .filter(|member| member.key != "hides" || !members.iter().any(|other| other.key == "lists"))
            .collect();
        let action = match *given {
            [] => {
                let help = "`call` a tool, send another `method` or a whole `message`, or say what the server's list \
                            of tools shows (`lists`) and leaves out (`hides`)";
                self.problem(node.place(), "this step does nothing", help.to_owned());
                None
            }
            [Member { key, .. }] if matches!(&**key, "lists" | "hides") => self.lists(members),
            [Member { key, .. }] => {
                self.messages(node, members, key).map(|messages| Action::Messages(Box::new(messages)))
            }
            [Member { key, .. }, Member { key: second, key_span, .. }, ..] => {
                let help = "make two steps of it".to_owned();
                self.problem(key_span.clone(), format!("`{second}` cannot stand beside `{key}`"), help);
                None
            }
        };
        let (at, action) = (at?, action?);
        clock.now = at;
        if let Action::Messages(messages) = &action {
            let count = messages.bodies.len() as u64 * messages.times;
            clock.now = at.saturating_add(messages.every.saturating_mul(count.saturating_sub(1)));
        }
        Some(Step { at, caller, action })
    }

    /// An instant of a case, in nanoseconds after its beginning.
    fn at(&mut self, node: &Node, clock: &Clock) -> Option<u64> {
        let text = self.string(node)?;
        let (at, what) = match text.strip_prefix('+') {
            Some(later) => (times::duration(later).and_then(|later| clock.now.checked_add(later)), ""),
            None => match times::duration(text) {
                Some(at) => (Some(at), ""),
                None => match times::instant(text) {
                    Some(utc) => (utc.checked_sub(clock.start), "this is before the case's `start`"),
                    None => (None, ""),
                },
            },
        };
        match at {
            Some(at) if at >= clock.now => Some(at),
            Some(_) => {
                let now = times::show_duration(clock.now);
                let message = format!("this is before the end of the step before it, which is {now} after the start");
                self.problem(node.place(), message, "the steps of a case stand in the order of time".to_owned());
                None
            }
            None => {
                let what = if what.is_empty() { "this is no time" } else { what };
                let help = "since the case's start: `0s`, `1m30s`; since the step before: `+10s`; or a date and time \
                            such as `2026-01-01T09:30:00Z`";
                self.problem(node.place(), what, help.to_owned());
                None
            }
        }
    }

    fn lists(&mut self, members: &[Member]) -> Option<Action> {
        for Member { key, key_span, .. } in members {
            if OF_MESSAGES.contains(&&**key) || matches!(&**key, "args" | "each" | "params" | "from") {
                self.problem(key_span.clone(), format!("`{key}` belongs to a call, not to a list of tools"), None);
            }
        }
        let mut names = |key| member(members, key).map_or(Some(Vec::new()), |node| self.names(node));
        let (shown, hidden) = (names("lists"), names("hides"));
        Some(Action::Lists { shown: shown?, hidden: hidden? })
    }

    fn messages(&mut self, node: &Node, members: &[Member], action: &str) -> Option<Messages> {
        for (key, belongs) in [("args", "call"), ("each", "call"), ("params", "method")] {
            if let Some(Member { key_span, .. }) = members.iter().find(|member| member.key == key)
                && action != belongs
            {
                self.problem(key_span.clone(), format!("`{key}` belongs to `{belongs}`"), None);
            }
        }
        let built = match action {
            "call" => self.calls(members),
            "method" => self.request(members),
            _ => self.message(members),
        };
        let direction = member(members, "from").map_or(Some(Direction::ToServer), |node| self.word(node, &SENDERS));
        if direction == Some(Direction::ToAgent)
            && action == "call"
            && let Some(node) = member(members, "from")
        {
            self.problem(node.place(), "a server calls no tools: name a `method`", None);
        }
        let times = member(members, "times").map_or(Some(1), |node| self.whole(node, 1, MOST_TIMES));
        let every = member(members, "every").map_or(Some(0), |node| self.duration(node));
        let unsent = member(members, "unsent").map_or(Some(false), |node| self.boolean(node));
        let expected = self.expected(node, members);
        let (what, bodies) = built?;
        Some(Messages {
            what,
            bodies,
            direction: direction?,
            times: times?,
            every: every?,
            unsent: unsent?,
            expected: expected?,
        })
    }

    fn calls(&mut self, members: &[Member]) -> Option<(String, Vec<Spanned<Bytes>>)> {
        let node = member(members, "call")?;
        let tool = self.name(node)?.value;
        let bodies = match (member(members, "args"), member(members, "each")) {
            (None, None) => vec![Spanned { value: simulation::call(&tool, None), span: node.place() }],
            (Some(args), None) => vec![self.arguments(&tool, args)?],
            (None, Some(each)) => {
                let bodies: Vec<_> = self.array(each)?.iter().map(|node| self.arguments(&tool, node)).collect();
                if bodies.is_empty() {
                    self.problem(each.place(), "this calls nothing", None);
                }
                bodies.into_iter().collect::<Option<_>>()?
            }
            (Some(_), Some(each)) => {
                let help = "write each call's arguments whole".to_owned();
                self.problem(each.place(), "`each` cannot stand beside `args`", help);
                return None;
            }
        };
        Some((format!("call of `{tool}`"), bodies))
    }

    fn arguments(&mut self, tool: &str, node: &Node) -> Option<Spanned<Bytes>> {
        match &node.json {
            Json::Object(_) => {
                Some(Spanned { value: simulation::call(tool, Some(self.raw(node))), span: node.place() })
            }
            _ => self.wrong(node, "arguments must be an object"),
        }
    }

    fn request(&mut self, members: &[Member]) -> Option<(String, Vec<Spanned<Bytes>>)> {
        let node = member(members, "method")?;
        let method = self.name(node)?;
        if method.value == "tools/call" {
            self.problem(node.place(), "`tools/call` is written as `call`", None);
            return None;
        }
        let params = match member(members, "params") {
            Some(params) if !matches!(params.json, Json::Object(_)) => {
                return self.wrong(params, "params must be an object");
            }
            params => params.map(|params| self.raw(params)),
        };
        let body = Spanned { value: simulation::request(&method.value, params), span: method.span };
        Some((format!("`{}`", method.value), vec![body]))
    }

    fn message(&mut self, members: &[Member]) -> Option<(String, Vec<Spanned<Bytes>>)> {
        let node = member(members, "message")?;
        let text = match &node.json {
            Json::String(text) => text.clone(),
            Json::Object(_) => self.raw(node).to_owned(),
            _ => return self.wrong(node, "a message must be an object, or a string with its text"),
        };
        Some(("message".to_owned(), vec![Spanned { value: text.into(), span: node.place() }]))
    }

    fn expected(&mut self, node: &Node, members: &[Member]) -> Option<Expected> {
        let decision = self
            .required(node, members, "expect")
            .and_then(|node| Some(Spanned { value: self.word(node, &DECISIONS)?, span: node.place() }));
        let mut text = |key| match member(members, key) {
            Some(node) => Some(Some(Spanned { value: self.string(node)?.to_owned(), span: node.place() })),
            None => Some(None),
        };
        let (rule, reason, part) = (text("rule"), text("reason"), text("reason_contains"));
        let retry_after = match member(members, "retry_after") {
            Some(node) => {
                let after = match &node.json {
                    Json::String(text) if text == "never" => Some(None),
                    _ => self.duration(node).map(Some),
                };
                after.map(|value| Some(Spanned { value, span: node.place() }))
            }
            None => Some(None),
        };
        let counters = member(members, "counters").map_or(Some(Vec::new()), |node| self.counters(node));
        let decision = decision?;
        for key in ["reason", "reason_contains", "retry_after"] {
            if let Some(Member { key_span, .. }) = members.iter().find(|member| member.key == key)
                && decision.value == Decision::Allow
            {
                self.problem(key_span.clone(), format!("a call that is allowed has no `{key}`"), None);
            }
        }
        Some(Expected {
            decision,
            rule: rule?,
            reason: reason?,
            reason_contains: part?,
            retry_after: retry_after?,
            counters: counters?,
        })
    }

    fn counters(&mut self, node: &Node) -> Option<Vec<(String, Spanned<Decimal>)>> {
        let Json::Object(members) = &node.json else { return self.wrong(node, "`counters` must be an object") };
        let counter = |Member { key, value, .. }: &Member| {
            let number = match value.json {
                Json::Number => Decimal::from_str_exact(self.raw(value)).ok(),
                _ => None,
            };
            match number {
                Some(number) => Some((key.clone(), Spanned { value: number, span: value.place() })),
                None => {
                    let help = "what the counter holds after the call, such as `10` or `0.5`".to_owned();
                    self.problem(value.place(), "expected a decimal number", help);
                    None
                }
            }
        };
        let counters: Vec<_> = members.iter().map(counter).collect();
        counters.into_iter().collect()
    }

    fn duration(&mut self, node: &Node) -> Option<u64> {
        let duration = match &node.json {
            Json::String(text) => times::duration(text),
            _ => None,
        };
        if duration.is_none() {
            let help = "a string such as `90s`, `1m30s` or `250ms`".to_owned();
            self.problem(node.place(), "this is no duration", help);
        }
        duration
    }
}

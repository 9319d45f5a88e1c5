//! Rules: what must hold, what is denied, what is counted.

use std::ops::Range;

use super::condition::Place;
use super::{Entry, Importer, Keys, Node, Rules, Scope, Yaml, entry, list, object, quoted};

const RULE: Keys = Keys {
    of: "a rule",
    known: &["name", "action", "rate_limit", "conditions", "on_deny", "state", "approval_timeout"],
};
const STATE: Keys = Keys { of: "`state`", known: &["counter", "window", "increment", "increment_from"] };

const WINDOWS: [&str; 3] = ["minute", "hour", "day"];

/// Why approvals are not carried over.
pub(super) const APPROVALS: &str = "there the agent is refused and calls again once a person has agreed, here the call waits; \
     write `approve_if` or `\"action\": \"require_approval\"` after the import";

/// A counter as a rule's `state` describes it.
struct State {
    counter: String,
    window: &'static str,
    /// What a call adds: so much, or an argument's path.
    adds: Result<i64, String>,
    place: Range<usize>,
}

/// What a condition on a rule's own counter allows it to hold.
struct Bound {
    most: i64,
    place: Range<usize>,
}

impl Importer {
    /// The rules of one entry of `tools`; `owner` is the name of its counters' scope.
    pub(super) fn rules(&mut self, owner: &str, nodes: &[Node]) -> Rules {
        let mut rules = Rules::default();
        for node in nodes {
            if rules.deny.is_some() {
                let help = "a rule before it denies every call; remove one of the two";
                self.problem(node.place(), "this rule is never reached", help);
            }
            self.rule(owner, node, &mut rules);
        }
        rules
    }

    fn rule(&mut self, owner: &str, node: &Node, rules: &mut Rules) {
        let entries = self.map(node, &RULE);
        let name = entry(entries, "name").and_then(|node| self.text(node));
        if name.is_none() {
            self.problem(node.place(), "a rule must have a `name`", "it stands in the records there");
        }
        let on_deny = entry(entries, "on_deny").and_then(|node| self.text(node));
        let given = |key: &str| entry(entries, key).filter(|node| !node.is_null());
        if let Some(timeout) = entries.iter().find(|entry| entry.key == "approval_timeout") {
            self.problem(timeout.key_span.clone(), "`approval_timeout` cannot be carried over", APPROVALS);
        }
        let action = match given("action") {
            Some(node) => self.word(node, &["evaluate", "deny", "require_approval"]),
            None => Some("evaluate"),
        };
        let conditions = given("conditions").map_or(&[][..], |node| self.list(node));
        let words = || {
            let text = |key: &'static str, text: &Option<String>| text.as_ref().map(|text| (key, quoted(text)));
            [text("on_deny", &on_deny), text("name", &name)].into_iter().flatten().collect::<Vec<_>>()
        };
        match (action, given("rate_limit"), given("state")) {
            (Some("require_approval"), ..) => {
                let place = given("action").map_or(node.place(), Node::place);
                self.problem(place, "approvals cannot be carried over", APPROVALS);
            }
            (Some("deny"), None, None) if conditions.is_empty() => rules.deny = Some(words()),
            (Some("deny"), ..) => {
                let help = "there it denies every call whatever else it has; move the rest to a rule of its own";
                self.problem(node.place(), "a rule that denies can have no conditions, limit or state", help);
            }
            (_, Some(rate), None) if conditions.is_empty() => {
                let limit = self.rate(rate).map(|(state, most)| {
                    let bound = Bound { most, place: rate.place() };
                    self.limit(owner, &state, bound, on_deny.as_deref())
                });
                self.name_is_lost(&node.place(), false);
                rules.limits.extend(limit.flatten());
            }
            (_, Some(rate), _) => {
                let help = "there it is refused; write two rules";
                self.problem(rate.place(), "`rate_limit` cannot stand beside `conditions` or `state`", help);
            }
            (Some("evaluate"), None, state) => {
                if conditions.is_empty() {
                    let help = "there it is refused; `action: deny` denies every call";
                    self.problem(node.place(), "a rule without conditions cannot be carried over", help);
                }
                let own = state.and_then(|node| counted(node)).map(|counter| format!("state.{owner}.{counter}"));
                let counter = state.and_then(|node| self.state(node));
                let (required, bound) = self.conditions(own.as_deref(), conditions);
                if !required.is_empty() {
                    let clause = [vec![("conditions", list(&required))], words()].concat();
                    rules.require.push(object(&clause));
                }
                let limit = match (&counter, bound) {
                    (Some(counter), Some(bound)) => self.limit(owner, counter, bound, on_deny.as_deref()),
                    (Some(counter), None) => {
                        let message = format!("the counter `{}` is never counted", counter.counter);
                        let help = format!(
                            "there a counter counts only if its own rule has `lt` or `lte` on `state.{owner}.{}`",
                            counter.counter
                        );
                        self.problem(counter.place.clone(), message, help);
                        None
                    }
                    (None, _) => None,
                };
                if limit.is_some() {
                    self.name_is_lost(&node.place(), !required.is_empty());
                }
                rules.limits.extend(limit);
            }
            // Told of above.
            _ => {}
        }
    }

    /// A rule's conditions: those on arguments as JSON, and what the one on its `own` counter allows.
    fn conditions(&mut self, own: Option<&str>, nodes: &[Node]) -> (Vec<String>, Option<Bound>) {
        let (mut required, mut bound) = (Vec::new(), None);
        for node in nodes {
            let Some((place, condition)) = self.condition(node) else { continue };
            let path = match place {
                Place::Arguments(conditions) => {
                    required.extend(conditions);
                    continue;
                }
                Place::State(path) => path,
            };
            if own != Some(&path) {
                let message = format!("`{path}` is not the counter of this rule's own `state`");
                let help =
                    "here a limit counts and bounds in one; there this would only look at what another rule counts";
                self.problem(node.place(), message, help);
                continue;
            }
            let most = match (&*condition.op, condition.whole()) {
                ("lte", Some(most)) => most,
                ("lt", Some(most)) => most.saturating_sub(1),
                ("lt" | "lte", None) => {
                    let help = "there the fraction would be cut off";
                    self.problem(condition.place, "the bound of a counter must be a whole number", help);
                    continue;
                }
                _ => {
                    let message = format!("`{}` on a counter cannot be carried over", condition.op);
                    self.problem(condition.place, message, "a limit has an upper bound: `lt` or `lte`");
                    continue;
                }
            };
            if bound.is_some() {
                self.problem(node.place(), "a second bound on the same counter", "keep the smaller one");
                continue;
            }
            bound = Some(Bound { most, place: condition.place });
        }
        (required, bound)
    }

    fn state(&mut self, node: &Node) -> Option<State> {
        let entries = self.map(node, &STATE);
        let counter = entry(entries, "counter").and_then(|node| self.text(node));
        if counter.is_none() {
            self.problem(node.place(), "`counter` is missing", "name what is counted");
        }
        let window = match entry(entries, "window") {
            Some(node) => self.word(node, &WINDOWS),
            None => {
                self.problem(node.place(), "`window` is missing", "`minute`, `hour` or `day`");
                None
            }
        };
        let path = entry(entries, "increment_from").filter(|node| !node.is_null());
        let fixed = entries.iter().find(|entry| entry.key == "increment" && !entry.value.is_null());
        let adds = match (path, fixed) {
            (Some(path), None) => Err(self.increment_from(path)?),
            (None, fixed) => Ok(fixed.map_or(Some(1), |entry| self.increment(entry))?),
            (Some(_), Some(Entry { key_span, .. })) => {
                let help = "there `increment_from` alone counts; remove `increment`";
                self.problem(key_span.clone(), "`increment` has no effect beside `increment_from`", help);
                return None;
            }
        };
        Some(State { counter: counter?, window: window?, adds, place: node.place() })
    }

    /// What each call adds. Nothing is one there.
    fn increment(&mut self, Entry { value, .. }: &Entry) -> Option<i64> {
        let number = match &value.yaml {
            Yaml::Scalar { text, plain: true } => text.parse().ok().filter(|number: &i64| number.to_string() == *text),
            _ => None,
        };
        match number {
            Some(0) => Some(1),
            Some(number) if number > 0 => Some(number),
            _ => {
                self.problem(value.place(), "`increment` must be a positive whole number", "such as `1`");
                None
            }
        }
    }

    /// `5/hour`, as the counter it is short for, and what that may hold.
    fn rate(&mut self, node: &Node) -> Option<(State, i64)> {
        let text = self.text(node).unwrap_or_default();
        let parts = text.split_once('/').and_then(|(count, window)| {
            let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count = digits.then(|| count.parse::<i64>().ok()).flatten().filter(|&count| count > 0)?;
            Some((count, WINDOWS.into_iter().find(|word| *word == window)?))
        });
        let Some((count, window)) = parts else {
            let help = "a number above zero, a slash, and `minute`, `hour` or `day`";
            self.problem(node.place(), format!("`{text}` is no rate"), help);
            return None;
        };
        let state = State { counter: format!("_rate_{window}"), window, adds: Ok(1), place: node.place() };
        Some((state, count))
    }

    fn limit(&mut self, owner: &str, state: &State, bound: Bound, on_deny: Option<&str>) -> Option<String> {
        let counter = format!("{owner}.{}", state.counter);
        if self.counters.contains(&counter) {
            let help = match state.counter.starts_with("_rate_") {
                true => "two rules of one tool cannot have a `rate_limit` of the same window there",
                false => "give one of the two another name",
            };
            self.problem(state.place.clone(), format!("two rules count into `{counter}`"), help);
            return None;
        }
        if bound.most < 0 {
            self.problem(bound.place, "no call fits under this bound", "`action: deny` denies every call");
            return None;
        }
        self.counters.push(counter.clone());
        let text = "a call that the server answers with an error uses its limits";
        let help = "there what it used is given back; here only for a call that was never sent whole";
        self.note(state.place.clone(), text, help);
        let mut members = vec![("counter", quoted(&counter)), ("window", quoted(state.window))];
        match &state.adds {
            Ok(each) => {
                if *each > 1 {
                    let text = "a counter counts calls, and not by `increment`";
                    let help = "its bound is divided instead, which admits the same calls";
                    self.note(state.place.clone(), text, help);
                }
                members.push(("max", (bound.most / each).to_string()));
            }
            Err(path) => {
                let text = "an amount counts with its fraction, and a negative one is refused";
                let help = "there the fraction is cut off, and a negative amount gives quota back";
                self.note(state.place.clone(), text, help);
                members.push(("max", bound.most.to_string()));
                members.push(("increment_from", quoted(path)));
            }
        }
        let scope = match self.scope {
            Scope::Grant => "grant",
            Scope::Server => "server",
            Scope::Host => "host",
        };
        members.push(("scope", quoted(scope)));
        members.push(("align", quoted("calendar")));
        members.extend(on_deny.map(|text| ("on_deny", quoted(text))));
        let limit = object(&members);
        self.loads(&bound.place, &format!(r#""limits":[{limit}]"#)).then_some(limit)
    }

    /// Limits have no names.
    fn name_is_lost(&mut self, place: &Range<usize>, kept: bool) {
        if !kept {
            let text = "the name of a rule that became a limit is not kept";
            self.note(place.clone(), text, "records here name a rule by its place in the policy");
        }
    }
}

/// The counter that a `state` names, whatever else is wrong with it.
fn counted(node: &Node) -> Option<&str> {
    match &node.yaml {
        Yaml::Map(entries) => match &entry(entries, "counter")?.yaml {
            Yaml::Scalar { text, .. } => Some(text),
            _ => None,
        },
        _ => None,
    }
}

//! Paths: `args.amount`, `args.items[].price`, `args.targets[0]`, `args["a.b"]`; `grant.name`, `identity.user` …

use std::borrow::Cow;
use std::ops::{ControlFlow, Deref};
use std::path::Path as FilePath;

use super::Facts;
use crate::mcp::is_variant;
use crate::mcp::json::{Kind, Mark, Place, Value};

/// Where a condition looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    root: Root,
    steps: Box<[Step]>,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Args,
    Grant,
    Server,
    Tool,
    Identity(Fact),
}

/// `identity.*`: what the kernel says of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Cgroup,
    Unit,
    User,
    Uid,
    Exe,
    Pid,
}

/// One step of a path into the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `.name` or `["name"]`
    Key(Key),
    /// `[0]`
    Index(usize),
    /// `[]`
    Each,
}

/// A key that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    text: Box<str>,
    mark: Mark,
}

/// What stands at a path.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Found<'a> {
    /// Nothing.
    Absent,
    /// Nothing, because the path cannot go into what is on the way: `.name` into a string, `[]` over an object.
    Mismatch,
    /// An object on the way has a key that some readers take for the one that is meant: case-insensitive ones, such as Go's.
    Unclear,
    /// A value of the arguments.
    Json(Value<'a>),
    /// A text that policyd knows itself.
    Text(Cow<'a, str>),
    /// A number that policyd knows itself.
    Number(u32),
}

/// The words that can stand where `args` stands, for suggestions.
pub(crate) const WORDS: [&str; 9] = [
    "grant.name",
    "server.name",
    "tool.name",
    "identity.cgroup",
    "identity.unit",
    "identity.user",
    "identity.uid",
    "identity.exe",
    "identity.pid",
];

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key { text: text.into(), mark: Mark::of(text.as_bytes()) }
    }
}

impl Path {
    /// Reads a path, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        let root = match text {
            "grant.name" => Some(Root::Grant),
            "server.name" => Some(Root::Server),
            "tool.name" => Some(Root::Tool),
            "identity.cgroup" => Some(Root::Identity(Fact::Cgroup)),
            "identity.unit" => Some(Root::Identity(Fact::Unit)),
            "identity.user" => Some(Root::Identity(Fact::User)),
            "identity.uid" => Some(Root::Identity(Fact::Uid)),
            "identity.exe" => Some(Root::Identity(Fact::Exe)),
            "identity.pid" => Some(Root::Identity(Fact::Pid)),
            _ => None,
        };
        if let Some(root) = root {
            return Ok(Path { root, steps: Box::default(), text: text.into() });
        }
        let Some(mut rest) = text.strip_prefix("args") else {
            return Err(format!("the path `{text}` does not start with `args`"));
        };
        let mut steps: Vec<Step> = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[', ']', '"']).unwrap_or(after.len());
                let (key, after) = after.split_at(end);
                if key.is_empty() {
                    return Err(format!("the path `{text}` has an empty name in it"));
                }
                steps.push(Step::Key(key.into()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (step, after) = bracket(after).map_err(|what| format!("the path `{text}` {what}"))?;
                steps.push(step);
                rest = after;
            } else {
                return Err(format!("the path `{text}` must go on with `.name`, `[\"name\"]`, `[0]` or `[]`"));
            }
        }
        if steps.is_empty() {
            return Err(format!("the path `{text}` names no argument"));
        }
        Ok(Path { root: Root::Args, steps: steps.into(), text: text.into() })
    }

    /// Its text in the policy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its steps into the arguments; none of another root.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it looks into the arguments.
    pub fn reads_arguments(&self) -> bool {
        self.root == Root::Args
    }

    /// Whether it leads to one place: there is no `[]` in it.
    pub fn is_single(&self) -> bool {
        !self.steps.contains(&Step::Each)
    }

    /// What stands at a path that leads to one place.
    pub(in crate::policy) fn find<'a>(&self, facts: &Facts<'a>) -> Found<'a> {
        let mut only = Found::Absent;
        let _ = self.visit(facts, &mut |found| {
            only = found;
            ControlFlow::Break(())
        });
        only
    }

    /// Tells `each` what stands at the path, in order: more than once over arrays, and never for an empty one.
    pub(in crate::policy) fn visit<'a>(
        &self,
        facts: &Facts<'a>,
        each: &mut impl FnMut(Found<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let text = |text: Option<&'a str>| text.map_or(Found::Absent, |text| Found::Text(Cow::Borrowed(text)));
        let identity = facts.identity;
        let found = match self.root {
            Root::Args => {
                return match &facts.args {
                    Some(args) => walk(args, args.place(), &self.steps, each),
                    None => each(Found::Absent),
                };
            }
            Root::Grant => text(Some(facts.grant)),
            Root::Server => text(Some(facts.server)),
            Root::Tool => text(facts.tool),
            Root::Identity(Fact::Cgroup) => text(Some(&identity.cgroup)),
            Root::Identity(Fact::Unit) => text(identity.unit.as_deref()),
            Root::Identity(Fact::User) => text(identity.user.as_deref()),
            Root::Identity(Fact::Uid) => Found::Number(identity.uid),
            Root::Identity(Fact::Pid) => Found::Number(identity.pid),
            Root::Identity(Fact::Exe) => {
                // A path that is no text could be taken for several.
                let text =
                    |exe: &'a FilePath| exe.to_str().map_or(Found::Unclear, |exe| Found::Text(Cow::Borrowed(exe)));
                identity.exe.as_deref().map_or(Found::Absent, text)
            }
        };
        each(found)
    }
}

/// The inside of `[…]`, behind its opening bracket.
fn bracket(text: &str) -> Result<(Step, &str), &'static str> {
    if let Some(rest) = text.strip_prefix(']') {
        return Ok((Step::Each, rest));
    }
    let lacks = "lacks a closing `]`";
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let Some(Ok(key)) = strings.next() else { return Err("has a name in brackets that is not a JSON string") };
        let rest = text.get(strings.byte_offset()..).and_then(|rest| rest.strip_prefix(']')).ok_or(lacks)?;
        return Ok((Step::Key(key.as_str().into()), rest));
    }
    let (index, rest) = text.split_once(']').ok_or(lacks)?;
    if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("may hold only `[\"name\"]`, `[0]` or `[]` in brackets");
    }
    let index = index.parse().map_err(|_| "has too large an index")?;
    Ok((Step::Index(index), rest))
}

/// Walks on from `at` in the document of `any`.
fn walk<'a>(
    any: &Value<'a>,
    mut at: Place,
    steps: &[Step],
    each: &mut impl FnMut(Found<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        let value = any.at(at);
        let next = match (step, value.kind()) {
            // Null has nothing in it, whatever it stands for.
            (_, Kind::Null) => return each(Found::Absent),
            (Step::Key(key), Kind::Object) => place_of(&value, &key.text, key.mark),
            (Step::Index(index), Kind::Array) => value.item_places().nth(*index).map_or(Member::Absent, Member::Found),
            (Step::Each, Kind::Array) => {
                return value.item_places().try_for_each(|item| walk(any, item, steps.as_slice(), each));
            }
            _ => return each(Found::Mismatch),
        };
        at = match next {
            Member::Found(place) => place,
            Member::Absent => return each(Found::Absent),
            Member::Unclear => return each(Found::Unclear),
        };
    }
    each(Found::Json(any.at(at)))
}

/// What an object has under a key.
pub(super) enum Member<T> {
    Found(T),
    Absent,
    /// A reader that is not exact about keys might read another member.
    Unclear,
}

/// Looks a key up as every reader would, or says that readers differ.
pub(super) fn member<'a>(object: Value<'a>, key: &str) -> Member<Value<'a>> {
    match place_of(&object, key, Mark::of(key.as_bytes())) {
        Member::Found(place) => Member::Found(object.at(place)),
        Member::Absent => Member::Absent,
        Member::Unclear => Member::Unclear,
    }
}

#[inline]
fn place_of(object: &Value<'_>, key: &str, mark: Mark) -> Member<Place> {
    let mut found = Member::Absent;
    for (name, value) in object.entries_like(mark) {
        let name = object.at(name);
        if name.is_plainly(key) {
            found = Member::Found(value);
            continue;
        }
        // Keys are strings.
        let Some(name) = name.as_str() else { return Member::Unclear };
        if *name == *key {
            found = Member::Found(value);
        } else if is_variant(&name, key) {
            return Member::Unclear;
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::capture::identity::Identity;
    use crate::mcp::json::Parser;

    fn key(text: &str) -> Step {
        Step::Key(text.into())
    }

    #[test]
    fn reads_paths() {
        for (text, steps) in [
            ("args.amount", vec![key("amount")]),
            ("args.order.total", vec![key("order"), key("total")]),
            (r#"args["a.b"].c"#, vec![key("a.b"), key("c")]),
            (r#"args["\u0061]"]"#, vec![key("a]")]),
            (r#"args[""]"#, vec![key("")]),
            ("args.items[].price", vec![key("items"), Step::Each, key("price")]),
            ("args.rows[][0]", vec![key("rows"), Step::Each, Step::Index(0)]),
            ("args[]", vec![Step::Each]),
        ] {
            assert_eq!(Path::parse(text).expect(text).steps(), steps, "{text}");
        }
        for word in WORDS {
            assert!(!Path::parse(word).expect(word).reads_arguments());
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "amount",
            "args",
            "argsamount",
            "args.",
            "args..x",
            "args.x.",
            "args[-1]",
            "args[1x]",
            "args[x]",
            "args[99999999999999999999999]",
            "args[\"x\"",
            "args[\"x\"y]",
            "args.x]",
            "args.x\"",
            "grant",
            "grant.id",
            "grant.name.x",
            "identity",
            "identity.name",
        ] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    /// What a path finds, as text.
    fn found(arguments: &str, path: &str) -> Vec<String> {
        let mut parser = Parser::default();
        let args = Some(parser.parse(arguments.as_bytes()).unwrap());
        let identity = Identity { uid: 7, user: Some("ann".into()), ..Identity::default() };
        let facts = Facts { args, tool: Some("t"), grant: "g", server: "s", identity: &identity };
        let mut found = Vec::new();
        let _ = Path::parse(path).unwrap().visit(&facts, &mut |one| {
            found.push(match one {
                Found::Absent => "-".to_owned(),
                Found::Mismatch => "!".to_owned(),
                Found::Unclear => "?".to_owned(),
                Found::Json(value) => value.raw().to_owned(),
                Found::Text(text) => text.into_owned(),
                Found::Number(number) => number.to_string(),
            });
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn goes_where_it_says() {
        let arguments =
            r#"{"a":{"b":[1,{"c":2},[3,4]]},"n":null,"x.y":"\u0061","Case":1,"größe":1,"GRÖSSE":2,"s":"t"}"#;
        for (path, expected) in [
            ("args.a.b[0]", &["1"][..]),
            ("args.a.b[9]", &["-"]),
            ("args.a.b[]", &["1", r#"{"c":2}"#, "[3,4]"]),
            ("args.a.b[].c", &["!", "2", "!"]),
            ("args.a.b[2][]", &["3", "4"]),
            ("args.a.b.c", &["!"]),
            ("args.a[]", &["!"]),
            ("args.s.x", &["!"]),
            ("args.n", &["null"]),
            ("args.n.x", &["-"]),
            ("args.z", &["-"]),
            ("args.z[].x", &["-"]),
            (r#"args["x.y"]"#, &[r#""\u0061""#]),
            ("args.case", &["?"]),
            ("args.Case", &["1"]),
            ("args.größe", &["?"]),
            ("grant.name", &["g"]),
            ("server.name", &["s"]),
            ("tool.name", &["t"]),
            ("identity.user", &["ann"]),
            ("identity.uid", &["7"]),
            ("identity.unit", &["-"]),
        ] {
            assert_eq!(found(arguments, path), expected, "{path}");
        }
        assert!(found(r#"{"a":[]}"#, "args.a[].b").is_empty());
    }

    proptest::proptest! {
        /// Looking at the marks first changes nothing.
        #[test]
        fn a_key_is_looked_up_as_by_reading_them_all(
            keys in proptest::collection::vec("[aAkK\u{212a}\u{17f}sS@`\"\\\\]{0,3}|stra(ß|ss)e", 0..6),
            meant in "[aAkK\u{212a}\u{17f}sS@`\"\\\\]{0,3}|stra(ß|ss)e",
        ) {
            let keys: std::collections::BTreeSet<String> = keys.into_iter().collect();
            let quoted = |key: &String| serde_json::to_string(key).unwrap();
            let members: Vec<String> = keys.iter().map(|key| format!("{}:{}", quoted(key), quoted(key))).collect();
            let mut parser = Parser::default();
            let text = format!("{{{}}}", members.join(","));
            let object = parser.parse(text.as_bytes()).unwrap();
            let expected = match keys.iter().any(|key| is_variant(key, &meant)) {
                true => None,
                false => Some(keys.get(&meant).cloned()),
            };
            let found = match member(object, &meant) {
                Member::Found(value) => Some(value.as_str().map(Cow::into_owned)),
                Member::Absent => Some(None),
                Member::Unclear => None,
            };
            proptest::prop_assert_eq!(found, expected, "{}", text);
        }
    }
}

//! A line of an audit log → what it says of a call.

use std::borrow::Cow;

use crate::authoring::simulation::{Caller, Decision};
use crate::authoring::times;
use crate::capture::identity::Identity;
use crate::mcp::json::{Kind, Parser, Value};
use crate::policy::Direction;
use crate::state::Selector;

/// A record, as far as a replay needs it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Decision(Box<Decided>),
    Outcome {
        /// In nanoseconds since 1970 in UTC.
        time: u64,
        call: String,
        /// Whether the quota was given back.
        returned: bool,
    },
    /// So many records could not be written.
    Gap {
        time: u64,
        missed: u64,
    },
    /// A server listed another definition of a tool than before.
    Definition {
        time: u64,
    },
    /// Somebody changed something in the running daemon.
    Admin {
        time: u64,
        /// The counters that began anew; `None`: something else was changed.
        reset: Option<Selector>,
    },
}

/// A `decision` record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decided {
    /// In nanoseconds since 1970 in UTC.
    pub time: u64,
    pub call: String,
    pub caller: Caller,
    /// Whose message it is. A record that does not say it is of the agent's.
    pub direction: Direction,
    pub method: Option<String>,
    pub tool: Option<String>,
    /// What was decided; where the policy only observed, what it would have decided.
    pub decision: Decision,
    pub rule: String,
    pub rule_kind: String,
    pub arguments: Arguments,
}

/// The arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// It had none.
    None,
    /// Their text.
    Known(String),
    /// They were not recorded.
    Unknown,
}

/// The action of setting counters back.
const RESET: &str = "counters.reset";

/// How audit records end a text that they cut off, and how long it is at least then.
const CUT: char = '…';
const CUT_FROM: usize = 1000;

impl Record {
    /// When it was written, in nanoseconds since 1970 in UTC.
    pub fn time(&self) -> u64 {
        match self {
            Record::Decision(decided) => decided.time,
            Record::Outcome { time, .. }
            | Record::Gap { time, .. }
            | Record::Admin { time, .. }
            | Record::Definition { time } => *time,
        }
    }

    /// Reads a line, or says why it is no record.
    pub fn parse(parser: &mut Parser, line: &[u8]) -> Result<Record, String> {
        let root = parser.parse(line).map_err(|error| format!("this is no record: {error}"))?;
        if !root.is_object() {
            return Err("this is no record: it is no object".to_owned());
        }
        let text = |key: &'static str| required_text(root, key);
        let time = text("time")?;
        let time = times::instant(&time).ok_or_else(|| format!("`time` is no instant: `{time}`"))?;
        match &*text("record")? {
            "decision" => Decided::of(root, time).map(|decided| Record::Decision(Box::new(decided))),
            "outcome" => {
                let returned = root.get("quota_returned").and_then(|returned| returned.as_bool());
                let returned = returned.ok_or("`quota_returned` is missing")?;
                Ok(Record::Outcome { time, call: text("call")?.into_owned(), returned })
            }
            "gap" => {
                let missed = root.get("missed").and_then(|missed| missed.as_integer()?.parse().ok());
                Ok(Record::Gap { time, missed: missed.ok_or("`missed` is missing")? })
            }
            "admin" => {
                let reset = (text("action")? == RESET).then(|| selector(root)).transpose()?;
                Ok(Record::Admin { time, reset })
            }
            "definition" => Ok(Record::Definition { time }),
            other => Err(format!("there is no record `{other}`")),
        }
    }
}

impl Decided {
    fn of(root: Value<'_>, time: u64) -> Result<Decided, String> {
        let text = |key| required_text(root, key).map(Cow::into_owned);
        let optional = |key| optional_text(root, key);
        let rule_kind = text("rule_kind")?;
        let observed = root.get("observed").and_then(|observed| observed.as_bool()).unwrap_or(false);
        let refused = match &*text("decision")? {
            "allow" => observed,
            "deny" => true,
            other => return Err(format!("there is no decision `{other}`")),
        };
        let decision = match (refused, &*rule_kind) {
            (false, _) => Decision::Allow,
            (true, "approval") => Decision::Approve,
            (true, _) => Decision::Deny,
        };
        let direction = match optional("direction").as_deref() {
            None => Direction::ToServer,
            Some(label) => [Direction::ToServer, Direction::ToAgent]
                .into_iter()
                .find(|direction| direction.label() == label)
                .ok_or_else(|| format!("there is no direction `{label}`"))?,
        };
        let identity = identity(root.get("identity").filter(Value::is_object).ok_or("`identity` is missing")?)?;
        // Without a session the agent's process stands for it.
        let session = optional("session").unwrap_or_else(|| format!("process {}", identity.pid));
        let arguments = match (root.get("arguments"), root.get("arguments_hmac")) {
            (Some(arguments), _) if arguments.is_object() => Arguments::Known(arguments.raw().to_owned()),
            (_, Some(hmac)) if hmac.is_null() => Arguments::None,
            _ => Arguments::Unknown,
        };
        Ok(Decided {
            time,
            call: text("call")?,
            caller: Caller { grant: optional("grant"), server: text("server")?, session, identity },
            direction,
            method: optional("method"),
            tool: optional("tool"),
            decision,
            rule: text("rule")?,
            rule_kind,
            arguments,
        })
    }

    /// The tool, or the method.
    pub fn name(&self) -> &str {
        self.tool.as_deref().or(self.method.as_deref()).unwrap_or("(no method)")
    }

    /// Whether a name is so long that the record does not have all of it.
    pub fn is_cut(&self) -> bool {
        let cut =
            |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > CUT_FROM && text.ends_with(CUT));
        cut(&self.tool) || cut(&self.method)
    }
}

/// Which counters began anew.
fn selector(root: Value<'_>) -> Result<Selector, String> {
    let selector = root.get("selector").ok_or("`selector` is missing")?;
    serde_json::from_str(selector.raw()).map_err(|error| format!("`selector` selects no counters: {error}"))
}

fn identity(value: Value<'_>) -> Result<Identity, String> {
    let id = |key| {
        let id = value.get(key).and_then(|id| id.as_integer()?.parse().ok());
        id.ok_or_else(|| format!("`identity.{key}` is missing"))
    };
    Ok(Identity {
        pid: id("pid")?,
        uid: id("uid")?,
        user: optional_text(value, "user"),
        exe: optional_text(value, "exe").map(Into::into),
        cgroup: optional_text(value, "cgroup").unwrap_or_default(),
        unit: optional_text(value, "unit"),
        ..Identity::default()
    })
}

fn required_text<'a>(object: Value<'a>, key: &str) -> Result<Cow<'a, str>, String> {
    object.get(key).and_then(|value| value.as_str()).ok_or_else(|| format!("`{key}` is missing"))
}

fn optional_text(object: Value<'_>, key: &str) -> Option<String> {
    object.get(key).filter(|value| value.kind() == Kind::String)?.as_str().map(Cow::into_owned)
}

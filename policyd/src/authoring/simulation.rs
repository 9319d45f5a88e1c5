//! A policy at work without a daemon: messages are the bytes of the wire and go the very way of the wire, from the strict
//! parser to the judgement; the time is the caller's.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::tools::Tool;
use crate::capture::identity::Identity;
use crate::mcp;
use crate::mcp::json::Parser;
use crate::policy::judge::{Judgement, Request, judge};
use crate::policy::trace::Trace;
use crate::policy::{
    Context, CounterStates, Denial, Direction, Grant, Lister, Now, Policy, Reply, Reservation, Rule, RuleKind, Schema,
    Schemas, Who,
};
use crate::state::Memory;

/// A policy, the counters that its calls use, and what its servers declare.
#[derive(Debug)]
pub(crate) struct Simulation {
    policy: Arc<Policy>,
    declared: Declared,
    memory: Arc<Memory>,
    parser: Parser,
}

/// The schemas of the tools' arguments by the tools' names; every server declares the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared(HashMap<String, Arc<Schema>>);

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The grant's name; `None`: no grant covers the caller.
    pub grant: Option<String>,
    /// The server's name.
    pub server: String,
    /// The key of scope `session`.
    pub session: String,
    /// The agent.
    pub identity: Identity,
}

/// What a policy says of a call. `Approve`: a person has to allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Decision {
    Allow,
    Deny,
    Approve,
}

/// A decision, and what the records and the agent are told. In observe mode it is what enforcing would do.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub decision: Decision,
    pub rule: Rule,
    /// Why it is refused.
    pub denial: Option<Denial>,
    /// Observe mode lets it pass all the same.
    pub lifted: bool,
    pub counters: CounterStates,
    /// What the call holds; dropped, it is used up.
    pub reservation: Reservation,
}

impl Simulation {
    /// A policy that nobody has called yet.
    pub fn new(policy: Arc<Policy>, declared: Declared) -> Simulation {
        Simulation::with_memory(policy, declared, Memory::default())
    }

    /// With counters of the caller's.
    pub fn with_memory(policy: Arc<Policy>, declared: Declared, memory: Memory) -> Simulation {
        Simulation { policy, declared, memory: Arc::new(memory), parser: Parser::default() }
    }

    /// The counters.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Decides the bytes of one message; `trace` is told of each step.
    pub fn decide(
        &mut self,
        caller: &Caller,
        direction: Direction,
        body: &Bytes,
        now: Now,
        trace: &mut impl Trace,
    ) -> Ruling {
        let message = match mcp::vet(&mut self.parser, body) {
            Ok(message) => message,
            Err(malformed) => return Ruling::malformed(&malformed),
        };
        let grant = caller.grant.as_ref().map(|name| Grant {
            name: name.clone(),
            who: Who::default(),
            server: caller.server.clone(),
            policy_path: PathBuf::new(),
            policy: Arc::clone(&self.policy),
        });
        let context = Context {
            grant: grant.as_ref(),
            server: &caller.server,
            session: &caller.session,
            identity: &caller.identity,
            schemas: &self.declared,
            now,
        };
        Ruling::from(judge(&context, &Request::of(direction, &message), &*self.memory, trace))
    }

    /// Whether the list of tools that the caller gets shows `tool`, if the server lists it.
    pub fn lists(&self, caller: &Caller, tool: &str) -> bool {
        let Some(grant) = &caller.grant else { return false };
        !self.policy.unlists(
            tool,
            &Lister { grant, server: &caller.server, identity: &caller.identity, schemas: &self.declared },
        )
    }
}

impl Declared {
    /// Of each tool its name and the text of its `inputSchema`.
    pub fn new<'a>(tools: impl IntoIterator<Item = (&'a str, &'a str)>) -> Declared {
        let compiled = |(name, schema): (&str, &str)| (name.to_owned(), Arc::new(Schema::new(schema)));
        Declared(tools.into_iter().map(compiled).collect())
    }
}

impl From<&[Tool]> for Declared {
    fn from(tools: &[Tool]) -> Declared {
        Declared::new(tools.iter().map(|tool| (&*tool.name, &*tool.schema)))
    }
}

impl Schemas for Declared {
    fn declared(&self, _: &str, tool: &str) -> Option<Arc<Schema>> {
        self.0.get(tool).cloned()
    }
}

impl Default for Caller {
    /// One whom nothing distinguishes.
    fn default() -> Caller {
        Caller {
            grant: Some("agent".to_owned()),
            server: "server".to_owned(),
            session: "session".to_owned(),
            identity: Identity { pid: 1000, uid: 1000, cgroup: "/".to_owned(), ..Identity::default() },
        }
    }
}

impl Decision {
    /// `allow`, `deny` or `approve`.
    pub fn word(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::Approve => "approve",
        }
    }

    /// What a refusal by a rule of this kind is.
    fn refused(kind: RuleKind) -> Decision {
        if kind == RuleKind::Approval { Decision::Approve } else { Decision::Deny }
    }
}

impl Ruling {
    /// What the proxy answers to a body that is no message.
    fn malformed(malformed: &mcp::Malformed) -> Ruling {
        let denial = Denial::malformed(malformed.to_string(), Reply::Error);
        let rule = denial.rule.clone();
        Ruling {
            decision: Decision::Deny,
            rule,
            denial: Some(denial),
            lifted: false,
            counters: CounterStates::new(),
            reservation: Reservation::default(),
        }
    }

    /// What the agent is told after `Denied by policy: `; of a hidden tool only the record says it.
    pub fn reason(&self) -> Option<&str> {
        self.denial.as_ref().map(|denial| &*denial.reason)
    }

    /// When trying again can help.
    pub fn retry_after(&self) -> Option<Duration> {
        self.denial.as_ref().and_then(|denial| denial.retry_after)
    }
}

impl From<Judgement> for Ruling {
    fn from(judgement: Judgement) -> Ruling {
        let Judgement { rule, refusal, reservation, counters } = judgement;
        let lifted = refusal.as_ref().is_some_and(|refusal| refusal.lifted);
        let denial = refusal.map(|refusal| refusal.denial);
        let decision = denial.as_ref().map_or(Decision::Allow, |denial| Decision::refused(denial.rule.kind));
        Ruling { decision, rule, denial, lifted, counters, reservation }
    }
}

/// The text of a call as a client sends it. `arguments` is JSON.
pub(crate) fn call(tool: &str, arguments: Option<&str>) -> Bytes {
    let tool = serde_json::Value::from(tool);
    let arguments = arguments.map_or(String::new(), |arguments| format!(r#","arguments":{arguments}"#));
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{tool}{arguments}}}}}"#))
}

/// The text of another request, or of a notification. `params` is JSON.
pub(crate) fn request(method: &str, params: Option<&str>) -> Bytes {
    let id = if method.starts_with("notifications/") { "" } else { r#""id":1,"# };
    let method = serde_json::Value::from(method);
    let params = params.map_or(String::new(), |params| format!(r#","params":{params}"#));
    Bytes::from(format!(r#"{{"jsonrpc":"2.0",{id}"method":{method}{params}}}"#))
}

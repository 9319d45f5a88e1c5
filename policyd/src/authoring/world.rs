//! A grant under a policy, and the store behind it: for tests that ask what a policy decides.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::capture::identity::Identity;
use crate::mcp::json::Parser;
use crate::mcp::vet;
use crate::policy::judge::{Request, judge};
use crate::policy::{Context, Direction, Grant, Lister, Now, Policy, Schemas, Time, Who};
use crate::state::Memory;

pub(super) struct World {
    policy: Arc<Policy>,
    identity: Identity,
    memory: Arc<Memory>,
}

/// Who asks, of which server, when.
pub(super) struct Caller<'a> {
    pub grant: &'a str,
    pub server: &'a str,
    pub session: &'a str,
    pub direction: Direction,
    pub schemas: &'a dyn Schemas,
    pub seconds: f64,
}

/// What a message came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub allowed: bool,
    /// It is refused, and observing lets it pass.
    pub lifted: bool,
    pub rule: String,
    /// Empty if it is allowed.
    pub reason: String,
}

impl Default for Caller<'_> {
    fn default() -> Self {
        let direction = Direction::ToServer;
        Caller { grant: "office", server: "shop", session: "s", direction, schemas: &(), seconds: 0.0 }
    }
}

impl World {
    pub fn new(policy: &str) -> World {
        let policy = Policy::load("policy.json", policy).unwrap_or_else(|report| panic!("{}", report.render(false)));
        let identity = Identity {
            uid: 1000,
            pid: 4711,
            user: Some("ann".into()),
            unit: Some("office-agent.service".into()),
            cgroup: "/system.slice/office-agent.service".into(),
            exe: Some("/usr/bin/node".into()),
            ..Identity::default()
        };
        World { policy: Arc::new(policy), identity, memory: Arc::default() }
    }

    /// A tool call at a second.
    pub fn call(&self, tool: &str, arguments: &str, seconds: f64) -> Outcome {
        self.request("tools/call", &call(tool, arguments), &Caller { seconds, ..Caller::default() })
    }

    /// Any request.
    pub fn request(&self, method: &str, params: &str, caller: &Caller<'_>) -> Outcome {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let (mut parser, body) = (Parser::default(), Bytes::from(body));
        let message = match vet(&mut parser, &body) {
            Ok(message) => message,
            Err(malformed) => {
                let (rule, reason) = ("malformed".to_owned(), malformed.to_string());
                return Outcome { allowed: false, lifted: false, rule, reason };
            }
        };
        let grant = Grant {
            name: caller.grant.into(),
            who: Who::default(),
            server: caller.server.into(),
            policy_path: PathBuf::new(),
            policy: self.policy.clone(),
        };
        let context = Context {
            grant: Some(&grant),
            server: caller.server,
            session: caller.session,
            identity: &self.identity,
            schemas: caller.schemas,
            now: Now::at(Time::default().after(Duration::from_secs_f64(caller.seconds))),
        };
        let judgement = judge(&context, &Request::of(caller.direction, &message), &*self.memory, &mut ());
        Outcome {
            allowed: judgement.refusal.is_none(),
            lifted: judgement.refusal.as_ref().is_some_and(|refusal| refusal.lifted),
            rule: judgement.rule.pointer.to_string(),
            reason: judgement.refusal.map(|refusal| refusal.denial.reason).unwrap_or_default(),
        }
    }

    /// Whether lists leave a tool out.
    pub fn unlists(&self, tool: &str, schemas: &dyn Schemas) -> bool {
        self.policy.unlists(tool, &Lister { grant: "office", server: "shop", identity: &self.identity, schemas })
    }
}

/// The params of a tool call.
pub(super) fn call(tool: &str, arguments: &str) -> String {
    format!(r#"{{"name":{},"arguments":{arguments}}}"#, serde_json::to_string(tool).unwrap())
}

//! What several fuzz targets need.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use policyd::capture::identity::Identity;
use policyd::mcp::json::Parser;
use policyd::mcp::vet;
use policyd::policy::{Context, Decision, Direction, Grant, Now, Policy, Who, decide};
use policyd::state::Memory;

/// A grant under a policy that is right.
pub fn grant(policy: &str) -> Grant {
    let policy = Policy::load("policy.json", policy).unwrap_or_else(|report| panic!("{}", report.render(false)));
    Grant {
        name: "office".into(),
        who: Who::default(),
        server: "server".into(),
        policy_path: PathBuf::from("policy.json"),
        policy: Arc::new(policy),
    }
}

/// The bytes of a call.
pub fn call(tool: &str, arguments: &str) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
    .into()
}

/// Whether a message is allowed; `None`: it is not well-formed.
pub fn allowed(grant: &Grant, body: &Bytes) -> Option<bool> {
    let mut parser = Parser::new();
    let message = vet(&mut parser, body).ok()?;
    let context = Context {
        grant: Some(grant),
        server: "server",
        session: "session",
        identity: &Identity::default(),
        schemas: &(),
        now: Now::default(),
    };
    let verdict = decide(&context, Direction::ToServer, &message, &Memory::default());
    Some(matches!(verdict.decision, Decision::Allow(_)))
}

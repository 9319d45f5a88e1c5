//! The five systems whose policies `deploy/policies/` holds: their hosts, their tools' real names, their policies.

use std::path::PathBuf;

use crate::world::{Host, hosts};

/// A system under a policy.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// The name of its policy file in `deploy/policies/`, without `.json`; its server's and tool list's name too.
    pub name: &'static str,
    /// Where its server stands.
    pub host: Host,
    /// The tool that its policy allows ten times a minute.
    pub tool: &'static str,
    /// Another of its tools, which its policy does not name and so denies.
    pub other: &'static str,
    /// Its tools as a JSON array of MCP tool definitions.
    pub tools: &'static str,
}

impl System {
    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("https://{}/mcp", self.host.name)
    }

    /// Its policy as the repository ships it.
    pub fn policy(&self) -> PathBuf {
        repository().join("deploy/policies").join(format!("{}.json", self.name))
    }
}

/// `@axintai/compiler`: its tools as the package itself lists them (Apache-2.0).
pub const AXINT: System = System {
    name: "axint",
    host: hosts::AXINT,
    tool: "axint.session.start",
    other: "axint.status",
    tools: include_str!("tools/axint.json"),
};

/// ContextLayer.
pub const CONTEXTLAYER: System = System {
    name: "contextlayer",
    host: hosts::CONTEXTLAYER,
    tool: "start_session",
    other: "delete_project",
    tools: include_str!("tools/contextlayer.json"),
};

/// Looking Glass.
pub const LOOKING_GLASS: System = System {
    name: "looking-glass",
    host: hosts::LOOKING_GLASS,
    tool: "session_start",
    other: "script_run",
    tools: include_str!("tools/looking-glass.json"),
};

/// PromptFax.
pub const PROMPTFAX: System = System {
    name: "promptfax",
    host: hosts::PROMPTFAX,
    tool: "start_session",
    other: "send_fax",
    tools: include_str!("tools/promptfax.json"),
};

/// Waysway.
pub const WAYSWAY: System = System {
    name: "waysway",
    host: hosts::WAYSWAY,
    tool: "start_session",
    other: "search_hotels",
    tools: include_str!("tools/waysway.json"),
};

/// Not one of the five: a server whose tools serve the tests (see [`crate::server`]).
pub const WORKBENCH: System = System {
    name: "workbench",
    host: hosts::WORKBENCH,
    tool: "echo",
    other: "delete_account",
    tools: include_str!("tools/workbench.json"),
};

/// The five.
pub const ALL: [System; 5] = [AXINT, CONTEXTLAYER, LOOKING_GLASS, PROMPTFAX, WAYSWAY];

/// The root of the checkout.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

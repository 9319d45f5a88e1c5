//! What comes back to an agent in place of the server's answer.

use bytes::Bytes;

use super::{Denial, Reply};
use crate::mcp::{Id, Version, reply};

/// What an agent gets in place of a server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// A JSON-RPC message.
    Message(Bytes),
    /// A line of text, without its end: no answer could carry an id. `id: null` hangs clients.
    Text(String),
    /// Nothing: a notification or a response is dropped.
    Nothing,
}

impl Denial {
    /// What is said of this to an agent that sent a message with `id`, of `tool` if it called one, in a `version` of the
    /// protocol. `None` where no JSON-RPC answer is expected, or no id was read for certain.
    pub fn instead(&self, id: Option<Id<'_>>, tool: Option<&str>, version: Option<Version>) -> Instead {
        Instead::Message(match (self.reply, id) {
            (Reply::Drop, _) => return Instead::Nothing,
            (_, None) => return Instead::Text(format!("policyd: denied by policy: {}", self.reason)),
            (Reply::Result, Some(id)) => reply::denied_call(id, &self.reason, version),
            (Reply::UnknownTool, Some(id)) => reply::unknown_tool(id, tool.unwrap_or_default()),
            (Reply::HeaderMismatch, Some(id)) => reply::header_mismatch(id, &self.rule.pointer, &self.reason),
            (Reply::Error, Some(id)) => reply::denied_request(id, &self.rule.pointer, &self.reason, self.retry_after),
        })
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_reply_says_it_its_own_way() {
        let said = |reply, id: Option<&'static str>| {
            let denial = Denial::malformed("no sense", reply);
            match denial.instead(id.map(Id), Some("pay"), None) {
                Instead::Message(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Instead::Text(text) => text,
                Instead::Nothing => String::new(),
            }
        };
        let text = "policyd: denied by policy: no sense";
        for (reply, with_id, without) in [
            (
                Reply::Result,
                r#"{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"Denied by policy: no sense"}],"isError":true}}"#,
                text,
            ),
            (
                Reply::Error,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32001,"message":"Denied by policy: no sense","data":{"rule":"malformed"}}}"#,
                text,
            ),
            (
                Reply::UnknownTool,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"Unknown tool: pay"}}"#,
                text,
            ),
            (
                Reply::HeaderMismatch,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32020,"message":"Header mismatch: no sense","data":{"rule":"malformed"}}}"#,
                text,
            ),
            (Reply::Drop, "", ""),
        ] {
            assert_eq!((&*said(reply, Some("\"a\"")), &*said(reply, None)), (with_id, without), "{reply:?}");
        }
    }
}

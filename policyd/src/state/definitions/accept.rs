//! What an operator sees of the definitions, and accepting them.

use serde::{Deserialize, Serialize};

use super::known::{Definition, Tool};
use super::{Definitions, hexadecimal};
use crate::policy::{Refused, Standing};

/// The tools of all servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// By server and name.
    pub tools: Vec<Shown>,
    /// The servers that have listed more tools than are kept.
    pub full: Vec<String>,
}

/// A tool as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The server's name.
    pub server: String,
    /// The tool's.
    pub tool: String,
    /// `accepted`, `new` or `changed`.
    pub state: String,
    /// When it was first listed, in milliseconds since 1970.
    pub first_seen: u64,
    /// When its definition last was another one than before, in milliseconds since 1970.
    pub changed: u64,
    /// What was accepted.
    pub accepted: Option<Text>,
    /// What was listed last.
    pub listed: Text,
    /// What was listed last of what is not accepted.
    pub pending: Option<Text>,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The SHA-256 of its canonical form, in hexadecimal digits.
    pub hash: String,
    /// Its canonical form, if it is kept; as the server wrote it but for spaces and the order of keys.
    pub text: Option<String>,
}

/// What is accepted: the definition that was listed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The server; with `all` it may be missing: all servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool; missing with `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The beginning of its hash, [`Acceptance::DIGITS`] or more, if it has to be that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Every tool that waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// Why nothing is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// Neither one tool nor all of them, or too little of a hash.
    #[error("say which tool: `server` and `tool`, or `all`; of a hash 16 digits or more")]
    Senseless,
    /// The server has not listed it.
    #[error("the server has not listed such a tool; `policyd tools list` shows those that there are")]
    NoSuchTool,
    /// It was listed with another definition since it was looked at.
    #[error("the server has listed another definition since, {listed}: look at it (`policyd tools diff`) first")]
    Another {
        /// That definition's hash.
        listed: String,
    },
}

/// An accepted tool: its names, and the hash of its definition.
pub type Accepted = (String, String, String);

impl Acceptance {
    /// Digits of a hash by which a definition can be named: to find another one with the same takes a server 2⁶⁴ attempts.
    pub const DIGITS: usize = 16;

    /// Whether it names nothing, or too little of a hash.
    pub fn is_senseless(&self) -> bool {
        let is_short = self.hash.as_ref().is_some_and(|hash| hash.len() < Self::DIGITS);
        is_short
            || match self.all {
                true => self.tool.is_some() || self.hash.is_some(),
                false => self.tool.is_none() || self.server.is_none(),
            }
    }
}

impl Definitions {
    /// The tools of `server`, or of all servers, by their names. `tool`: only that one.
    pub fn shown(&self, server: Option<&str>, tool: Option<&str>) -> Result<Tools, Refused> {
        if !self.known.is_ready() {
            return Err(Refused::Unavailable);
        }
        let state = self.known.read();
        let (mut tools, mut full) = (Vec::new(), Vec::new());
        for (name, one) in &state.servers {
            if server.is_some_and(|server| server != &**name) {
                continue;
            }
            if one.head.full {
                full.push(name.to_string());
            }
            let wanted = one.tools.iter().filter(|(name, _)| tool.is_none_or(|tool| tool == &***name));
            tools.extend(wanted.map(|(tool, of)| Shown::of(name, tool, of)));
        }
        tools.sort_by(|one, other| (&one.server, &one.tool).cmp(&(&other.server, &other.tool)));
        full.sort();
        Ok(Tools { tools, full })
    }

    /// Accepts what was listed last of one tool, or of all that wait for it. `before` is told how many that are, before it
    /// happens; gives those that had waited.
    ///
    /// # Errors
    ///
    /// What `before` says, [`Unacceptable`], and [`Refused::Unavailable`] if the store cannot be written: then nothing is
    /// accepted.
    pub fn accept<E>(&self, which: &Acceptance, before: impl FnOnce(usize) -> Result<(), E>) -> Result<Vec<Accepted>, E>
    where
        E: From<Refused> + From<Unacceptable>,
    {
        if which.is_senseless() {
            return Err(Unacceptable::Senseless.into());
        }
        if !self.known.is_ready() {
            return Err(Refused::Unavailable.into());
        }
        // The store's lock comes before the one of what is known.
        let mut book = match &self.store {
            Some(store) => Some(store.open().ok_or(Refused::Unavailable)?),
            None => None,
        };
        let mut state = self.known.write();
        let mut waiting = Vec::new();
        let mut found = false;
        for (server, of) in &state.servers {
            if which.server.as_deref().is_some_and(|name| name != &**server) {
                continue;
            }
            for (name, tool) in &of.tools {
                if which.tool.as_deref().is_some_and(|wanted| wanted != &**name) {
                    continue;
                }
                found = true;
                let listed = hexadecimal(&tool.listed.hash);
                if which.hash.as_ref().is_some_and(|hash| !listed.starts_with(&hash.to_ascii_lowercase())) {
                    return Err(Unacceptable::Another { listed }.into());
                }
                if tool.pending.is_some() {
                    waiting.push((server.clone(), name.clone(), tool.clone()));
                }
            }
        }
        if !found && !which.all {
            return Err(Unacceptable::NoSuchTool.into());
        }
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        before(waiting.len())?;
        let mut accepted = Vec::new();
        for (server, name, tool) in &waiting {
            let after = Tool { accepted: Some(tool.listed.clone()), pending: None, ..tool.clone() };
            accepted.push((server.to_string(), name.to_string(), hexadecimal(&tool.listed.hash)));
            state.put(server, name, after);
        }
        drop(state);
        let saved = book.as_mut().is_none_or(|book| book.save_tools(usize::MAX).is_ok());
        if !saved {
            let mut state = self.known.write();
            waiting.into_iter().for_each(|(server, name, tool)| state.put(&server, &name, tool));
            return Err(Refused::Unavailable.into());
        }
        accepted.sort();
        Ok(accepted)
    }
}

impl Shown {
    fn of(server: &str, name: &str, tool: &Tool) -> Shown {
        let state = match tool.standing() {
            Standing::New => "new",
            Standing::Changed => "changed",
            Standing::Accepted | Standing::Unlisted | Standing::Unclear => "accepted",
        };
        Shown {
            server: server.to_owned(),
            tool: name.to_owned(),
            state: state.to_owned(),
            first_seen: tool.first_seen,
            changed: tool.changed,
            accepted: tool.accepted.as_ref().map(Text::of),
            listed: Text::of(&tool.listed),
            pending: tool.pending.as_ref().map(Text::of),
        }
    }
}

impl Text {
    fn of(definition: &Definition) -> Text {
        Text { hash: hexadecimal(&definition.hash), text: definition.text.as_deref().map(str::to_owned) }
    }
}

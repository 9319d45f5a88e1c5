//! JSON-RPC messages, vetted.

use std::borrow::Cow;

use bytes::Bytes;

use super::json::{self, Parser, Value};
use super::{Cause, Version, fold, method};

/// The key of `_meta` that says which revision a request speaks (2026-07-28, `RequestMetaObject`).
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Keys of `_meta` that the protocol gives a meaning to in requests.
const META_KEYS: &[&str] = &[
    META_VERSION,
    "progressToken",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "io.modelcontextprotocol/related-task",
];

/// The answers of an agent that repeats its request (2026-07-28, `InputResponseRequestParams`).
const INPUT_RESPONSES: &str = "inputResponses";

/// What JSON-RPC 2.0 defines at the top.
const TOP_KEYS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

/// A message that the strict parser accepted. Only [`vet`] makes it, and nobody can change what it says of its bytes:
///
/// ```compile_fail,E0616
/// fn disguise(message: &mut policyd::mcp::Message<'static>, id: policyd::mcp::Id<'static>) {
///     message.kind = policyd::mcp::Kind::Response { id };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Message<'a> {
    body: &'a Bytes,
    kind: Kind<'a>,
    tool: Option<Cow<'a, str>>,
    arguments: Option<Value<'a>>,
}

/// Request, notification or response.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// Expects an answer.
    Request {
        /// Its id.
        id: Id<'a>,
        /// Its method, unescaped.
        method: Cow<'a, str>,
        /// Its params, an object.
        params: Option<Value<'a>>,
    },
    /// Expects none.
    Notification {
        /// Its method, unescaped.
        method: Cow<'a, str>,
        /// Its params, an object.
        params: Option<Value<'a>>,
    },
    /// Answers a request of the other side.
    Response {
        /// The request's id.
        id: Id<'a>,
    },
}

/// A request's id: its JSON text, a string or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(pub &'a str);

impl<'a> Message<'a> {
    /// The bytes that were vetted; a cheap clone.
    pub fn bytes(&self) -> Bytes {
        self.body.clone()
    }

    /// What it is. Nobody but the parser can say otherwise: what is judged is what the bytes say.
    pub fn kind(&self) -> &Kind<'a> {
        &self.kind
    }

    /// The id of a request or response.
    pub fn id(&self) -> Option<Id<'a>> {
        match &self.kind {
            Kind::Request { id, .. } | Kind::Response { id } => Some(*id),
            Kind::Notification { .. } => None,
        }
    }

    /// The method of a request or notification.
    pub fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method, .. } => Some(method),
            Kind::Response { .. } => None,
        }
    }

    /// The params of a request or notification, an object.
    pub fn params(&self) -> Option<Value<'a>> {
        match &self.kind {
            Kind::Request { params, .. } | Kind::Notification { params, .. } => *params,
            Kind::Response { .. } => None,
        }
    }

    /// The name of the tool that a `tools/call` is about, unescaped. Every `tools/call` has one.
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// The arguments of a `tools/call`, an object.
    pub fn arguments(&self) -> Option<Value<'a>> {
        self.arguments
    }

    /// Which request this is, for those that belong together: the repetition of a request with the answers to what its server
    /// needed to know has the same subject, and so have all requests about one task (2026-07-28).
    pub fn subject(&self) -> String {
        let method = self.method().unwrap_or_default();
        let about = method::subject_key(method).and_then(|key| self.params()?.get(key)?.as_str()).unwrap_or_default();
        let family = if method.contains("tasks") { "tasks" } else { method };
        format!("{family} {about}")
    }

    /// The keys of `inputResponses`, unescaped: the agent answers what its server needed to know (2026-07-28).
    pub fn input_responses(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let responses = self.params().and_then(|params| params.get(INPUT_RESPONSES));
        responses.into_iter().flat_map(|responses| responses.entries()).filter_map(|(key, _)| key.as_str())
    }

    /// The revision that the message itself names: in `_meta` (2026-07-28), or in the params of `initialize`.
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.version_text()?)
    }

    /// The text of [`Message::version`], whatever it says.
    pub(super) fn version_text(&self) -> Option<Cow<'a, str>> {
        self.meta_version().or_else(|| match self.method() {
            Some("initialize") => self.params()?.get("protocolVersion")?.as_str(),
            _ => None,
        })
    }

    /// What `_meta` says of the revision.
    pub(super) fn meta_version(&self) -> Option<Cow<'a, str>> {
        self.params()?.get("_meta")?.get(META_VERSION)?.as_str()
    }
}

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause} (at byte {at})")]
pub struct Malformed {
    /// What is wrong.
    pub cause: Cause,
    /// Byte offset of the place.
    pub at: usize,
    /// The id's JSON text, if one was read for certain and an answer to it makes sense: the message has a `method`, exactly
    /// one member that can be taken for its id, and the whole text keeps to JSON's grammar.
    pub id: Option<String>,
}

/// Reads one JSON-RPC message strictly, or says what is wrong with it.
///
/// # Errors
///
/// See [`Cause`]: the JSON text first, then the envelope.
pub fn vet<'a>(parser: &'a mut Parser, body: &'a Bytes) -> Result<Message<'a>, Malformed> {
    parser.parse(body).and_then(|root| envelope(body, root)).map_err(|error| refusal(body, error))
}

/// Reads strictly one request of a server that stands in a result under `key` of `inputRequests` (2026-07-28): a method and
/// params, without an envelope of its own. `key` is JSON text and stands for the id.
///
/// # Errors
///
/// As for [`vet`].
pub fn vet_input<'a>(parser: &'a mut Parser, key: Id<'a>, body: &'a Bytes) -> Result<Message<'a>, Malformed> {
    let refusal = |error: json::Error| Malformed { cause: error.cause, at: error.at, id: Some(key.0.to_owned()) };
    parser.parse(body).and_then(|root| input(key, body, root)).map_err(refusal)
}

#[cold]
fn refusal(body: &[u8], error: json::Error) -> Malformed {
    refuse(body, error.cause, error.at)
}

/// The refusal of a body whose text is wrong in a way that its transport knows of.
pub fn refuse(body: &[u8], cause: Cause, at: usize) -> Malformed {
    Malformed { cause, at, id: certain_id(body, true) }
}

/// The id of the request that a body which cannot be read strictly answers, if one was read for certain.
pub fn answered(body: &[u8]) -> Option<String> {
    certain_id(body, false)
}

/// The id of a refused body, by the rule of [`Malformed::id`]; a request has a `method`, an answer none.
fn certain_id(body: &[u8], request: bool) -> Option<String> {
    let mut parser = Parser::default();
    let root = parser.parse_grammar(body).ok()?;
    let mut id = None;
    let mut has_method = false;
    for (key, value) in root.entries() {
        let key = key.as_str()?;
        has_method |= key == "method";
        if fold::folds_to(&key, "id") {
            if id.is_some() || key != "id" || !is_id(&value) {
                return None;
            }
            // An id with half a surrogate pair cannot be echoed.
            id = Some(Parser::default().parse(value.raw().as_bytes()).ok()?.raw().to_owned());
        }
    }
    id.filter(|_| has_method == request)
}

#[inline]
fn is_id(value: &Value<'_>) -> bool {
    value.kind() == json::Kind::String || value.as_integer().is_some()
}

fn fail<T>(cause: Cause, place: &Value<'_>) -> Result<T, json::Error> {
    Err(json::Error { cause, at: place.start() })
}

/// The members that JSON-RPC defines.
#[derive(Default)]
struct Top<'a> {
    jsonrpc: Option<Value<'a>>,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params: Option<Value<'a>>,
    result: Option<Value<'a>>,
    error: Option<Value<'a>>,
}

impl<'a> Top<'a> {
    fn of(root: Value<'a>) -> Result<Top<'a>, json::Error> {
        let mut top = Top::default();
        for (key, value) in root.entries() {
            let slot = match key.as_str().as_deref() {
                Some("jsonrpc") => &mut top.jsonrpc,
                Some("id") => &mut top.id,
                Some("method") => &mut top.method,
                Some("params") => &mut top.params,
                Some("result") => &mut top.result,
                Some("error") => &mut top.error,
                _ => {
                    refuse_variant(&key, TOP_KEYS)?;
                    return fail(Cause::UnknownKey, &key);
                }
            };
            *slot = Some(value);
        }
        Ok(top)
    }
}

fn envelope<'a>(body: &'a Bytes, root: Value<'a>) -> Result<Message<'a>, json::Error> {
    match root.kind() {
        json::Kind::Object => {}
        json::Kind::Array => return fail(Cause::Batch, &root),
        _ => return fail(Cause::NotAnObject, &root),
    }
    let top = Top::of(root)?;
    match top.jsonrpc {
        Some(version) if version.is_str("2.0") => {}
        other => return fail(Cause::Version, &other.unwrap_or(root)),
    }
    if let Some(id) = top.id.filter(|id| !is_id(id)) {
        return fail(Cause::BadId, &id);
    }
    match (top.method, top.result.or(top.error)) {
        (Some(_), Some(answer)) => fail(Cause::Hybrid, &answer),
        (Some(method), None) => call(body, method, &top),
        (None, Some(_)) => response(body, root, &top),
        (None, None) => fail(Cause::NoKind, &root),
    }
}

/// A request without an envelope.
fn input<'a>(key: Id<'a>, body: &'a Bytes, root: Value<'a>) -> Result<Message<'a>, json::Error> {
    if !root.is_object() {
        return fail(Cause::NotAnObject, &root);
    }
    let top = Top::of(root)?;
    match (top.jsonrpc, top.method, top.result.or(top.error)) {
        (Some(version), ..) if !version.is_str("2.0") => fail(Cause::Version, &version),
        (_, _, Some(answer)) => fail(Cause::Hybrid, &answer),
        (_, None, _) => fail(Cause::NoKind, &root),
        (_, Some(method), None) => {
            // Whatever stands there as an id, nobody answers to it. That there is one makes it a request.
            let message = call(body, method, &Top { id: Some(method), ..top })?;
            let Kind::Request { method, params, .. } = message.kind else { return fail(Cause::NoKind, &root) };
            Ok(Message { kind: Kind::Request { id: key, method, params }, ..message })
        }
    }
}

/// A request or notification.
fn call<'a>(body: &'a Bytes, name: Value<'a>, top: &Top<'a>) -> Result<Message<'a>, json::Error> {
    let Some(method) = name.as_str().filter(|m| !m.is_empty()) else { return fail(Cause::BadMethod, &name) };
    if method::is_variant(&method) {
        return fail(Cause::MethodVariant, &name);
    }
    let is_call = method == "tools/call";
    let (mut tool, mut arguments) = (None, None);
    if let Some(params) = &top.params {
        if !params.is_object() {
            return fail(Cause::ParamsNotObject, params);
        }
        let known = method::param_keys(&method);
        for (key, value) in params.entries() {
            match key.as_str().as_deref() {
                Some("_meta") => check_meta(&value)?,
                Some("name") if is_call => match value.as_str() {
                    Some(name) => tool = Some(name),
                    None => return fail(Cause::BadToolName, &value),
                },
                Some("arguments") if known.contains(&"arguments") => {
                    if !value.is_object() {
                        return fail(Cause::ArgumentsNotObject, &value);
                    }
                    arguments = Some(value).filter(|_| is_call);
                }
                Some(INPUT_RESPONSES) if !value.is_object() && !value.is_null() => {
                    return fail(Cause::BadInputs, &value);
                }
                Some(other) if known.contains(&other) => {}
                _ => {
                    refuse_variant(&key, &["_meta"])?;
                    refuse_variant(&key, known)?;
                }
            }
        }
    }
    if is_call {
        if tool.is_none() {
            return fail(Cause::BadToolName, &top.params.unwrap_or(name));
        }
        if top.id.is_none() {
            return fail(Cause::CallWithoutId, &name);
        }
    }
    let params = top.params;
    let kind = match top.id {
        Some(id) => Kind::Request { id: Id(id.raw()), method, params },
        None => Kind::Notification { method, params },
    };
    Ok(Message { body, kind, tool, arguments })
}

fn check_meta(meta: &Value<'_>) -> Result<(), json::Error> {
    if !meta.is_object() {
        return fail(Cause::MetaNotObject, meta);
    }
    meta.entries().try_for_each(|(key, _)| refuse_variant(&key, META_KEYS))
}

fn response<'a>(body: &'a Bytes, root: Value<'a>, top: &Top<'a>) -> Result<Message<'a>, json::Error> {
    match (top.result, top.error, top.params) {
        (Some(_), Some(second), _) | (_, _, Some(second)) => return fail(Cause::Hybrid, &second),
        _ => {}
    }
    if let Some(answer) = top.result.or(top.error).filter(|answer| !answer.is_object()) {
        return fail(Cause::ResultNotObject, &answer);
    }
    match top.id {
        Some(id) => Ok(Message { body, kind: Kind::Response { id: Id(id.raw()) }, tool: None, arguments: None }),
        None => fail(Cause::MissingId, &root),
    }
}

/// Refuses a key that only folds to one of `known`.
#[inline]
pub(super) fn refuse_variant(key: &Value<'_>, known: &[&str]) -> Result<(), json::Error> {
    match key.as_str() {
        Some(text) if known.iter().any(|protocol| fold::is_variant(&text, protocol)) => fail(Cause::KeyVariant, key),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;

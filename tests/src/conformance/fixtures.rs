//! The server that the conformance suite expects: rmcp with the suite's fixture tools, resources and prompts.
//!
//! What answers the same each time stands in `fixtures.json`; here is what takes part in the protocol: notifications,
//! requests to the client, inputs that a result requires, subscriptions. Tasks are in [`super::tasks`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, ErrorCode, GetPromptRequestParams,
    GetPromptResponse, GetTaskParams, GetTaskResult, Implementation, InputRequest, InputRequiredResult, InputResponses,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig as McpConfig, ServerNotification, ServerRequest, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::task_manager::TaskManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rustls::ServerConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::tasks;
use crate::server::Serving;
use crate::world::World;

/// What stands in `fixtures.json`.
#[derive(Deserialize)]
struct Fixtures {
    tools: Vec<Tool>,
    answers: BTreeMap<String, Value>,
    asks: BTreeMap<String, Value>,
    inputs: BTreeMap<String, Inputs>,
    resources: Value,
    contents: BTreeMap<String, Value>,
    templates: Value,
    prompts: Value,
    messages: BTreeMap<String, Value>,
}

/// What a result requires of the client before it is complete.
#[derive(Deserialize)]
struct Inputs {
    /// The requests of each round, by their keys.
    rounds: Vec<BTreeMap<String, InputRequest>>,
    /// What is said at the end.
    text: String,
    /// Whether a `requestState` carries the round.
    #[serde(default)]
    state: bool,
    /// Whether only what the client declared is asked for.
    #[serde(default)]
    declared: bool,
}

static FIXTURES: LazyLock<Fixtures> =
    LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).expect("fixtures.json is sound"));

/// How the server behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour<'a> {
    /// The names that it answers to; empty for rmcp's default, those of this machine.
    pub hosts: &'a [&'a str],
    /// Sessions for the versions that know them.
    pub sessions: bool,
    /// Tools on one page of `tools/list`; 0 for all.
    pub page: usize,
}

/// Starts the server on one side of `world`, with or without TLS, until the value is dropped.
pub fn start(
    world: &World,
    side: Side,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    behaviour: Behaviour<'_>,
) -> Serving {
    let mut config = StreamableHttpServerConfig::default().with_legacy_session_mode(behaviour.sessions);
    if !behaviour.hosts.is_empty() {
        config = config.with_allowed_hosts(behaviour.hosts.iter().map(|host| (*host).to_owned()));
    }
    let handler = Handler { page: behaviour.page, ..Handler::default() };
    let sessions = Arc::new(LocalSessionManager::default());
    let mcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    let router = Router::new().route_service("/mcp", mcp);
    match side {
        Side::Agents => Serving::start(|work| world.on_agents_side(work), address, tls, router),
        Side::Servers => Serving::start(|work| world.on_servers_side(work), address, tls, router),
    }
}

/// Where a server stands.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// With the agents, as a server on the same machine does.
    Agents,
    /// Behind the network.
    Servers,
}

#[derive(Clone, Default)]
struct Handler {
    tasks: TaskManager,
    /// The rounds that the states handed out stand for: a state that is not here is not ours.
    states: Arc<Mutex<HashMap<String, usize>>>,
    subscribers: Arc<Mutex<HashMap<u64, SubscriptionSink>>>,
    numbers: Arc<AtomicU64>,
    page: usize,
}

/// `value` as the SDK's type.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// A result of one text.
pub(super) fn said(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text.into())])
}

/// A list as 2026-07-28 wants it: with how long it may be kept, and by whom.
fn listed<T: DeserializeOwned>(name: &str, items: &Value) -> Result<T, ErrorData> {
    typed(json!({ name: items, "ttlMs": 60_000, "cacheScope": "public", "resultType": "complete" }))
}

impl Handler {
    /// What is still required, if anything.
    fn required(
        &self,
        inputs: &Inputs,
        responses: Option<&InputResponses>,
        state: Option<&str>,
        capabilities: &ClientCapabilities,
    ) -> Result<Option<InputRequiredResult>, ErrorData> {
        let asked = |round: usize| -> BTreeMap<String, InputRequest> {
            let requests = inputs.rounds[round].iter();
            let wanted = requests.filter(|(_, request)| !inputs.declared || can(capabilities, request));
            wanted.map(|(key, request)| (key.clone(), request.clone())).collect()
        };
        let answered = |round: usize| {
            asked(round).keys().all(|key| responses.and_then(|all| all.get(key)).is_some_and(Value::is_object))
        };
        let round = match state {
            None => 0,
            Some(state) => {
                let known = self.states.lock().unwrap().get(state).copied();
                known.ok_or_else(|| ErrorData::invalid_params("this requestState is not of this server", None))?
            }
        };
        // A state proves that its round was asked; without one only the responses can tell.
        let seen = state.is_some() || !inputs.state;
        let next = if seen && answered(round) { round + 1 } else { round };
        if next == inputs.rounds.len() {
            return Ok(None);
        }
        let state = inputs.state.then(|| {
            let state = format!("round-{next}-{:x}", self.numbers.fetch_add(1, Ordering::Relaxed));
            self.states.lock().unwrap().insert(state.clone(), next);
            state
        });
        Ok(Some(InputRequiredResult::new(Some(asked(next)), state)))
    }

    async fn special(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let pause = || tokio::time::sleep(Duration::from_millis(50));
        match request.name.as_ref() {
            "test_tool_with_logging" => {
                for line in ["begun", "at work", "done"] {
                    log(context, "info", line).await?;
                    pause().await;
                }
                Ok(said("Logged."))
            }
            "test_logging_tool" => {
                if let Some(level) = context.meta.log_level() {
                    log(context, json!(level).as_str().unwrap_or("info"), "as asked").await?;
                }
                Ok(said("Logged if asked."))
            }
            "test_tool_with_progress" => {
                for progress in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let told = ProgressNotificationParam::new(token, progress).with_total(100.0);
                        context.peer.notify_progress(told).await.ok();
                    }
                    pause().await;
                }
                Ok(said("Reported."))
            }
            "test_reconnection" => {
                pause().await;
                Ok(said("Still there."))
            }
            "test_trigger_tool_change" => {
                for subscriber in self.subscribers() {
                    subscriber.notify_tool_list_changed().await.ok();
                }
                Ok(said("Told."))
            }
            "test_trigger_prompt_change" => {
                for subscriber in self.subscribers() {
                    subscriber.notify_prompt_list_changed().await.ok();
                }
                Ok(said("Told."))
            }
            "test_big" => Ok(said("0123456789abcdef".repeat(5 << 16))),
            "test_custom_header" => {
                let value = request.arguments.as_ref().and_then(|arguments| arguments.get("value")?.as_str());
                Ok(said(value.ok_or_else(|| ErrorData::invalid_params("`value` must be a string", None))?))
            }
            name => Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None)),
        }
    }

    fn subscribers(&self) -> Vec<SubscriptionSink> {
        self.subscribers.lock().unwrap().values().cloned().collect()
    }
}

/// Whether the client declared that it answers `request`.
fn can(capabilities: &ClientCapabilities, request: &InputRequest) -> bool {
    match request {
        InputRequest::Elicitation(_) => capabilities.elicitation.is_some(),
        InputRequest::CreateMessage(_) => capabilities.sampling.is_some(),
        InputRequest::ListRoots(_) => capabilities.roots.is_some(),
        _ => false,
    }
}

async fn log(context: &RequestContext<RoleServer>, level: &str, line: &str) -> Result<(), ErrorData> {
    let params = json!({"level": level, "logger": "fixtures", "data": line});
    let notification: ServerNotification = typed(json!({"method": "notifications/message", "params": params}))?;
    context.peer.send_notification(notification).await.ok();
    Ok(())
}

/// Asks the client `request` and tells what came.
async fn ask(request: &Value, context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let request: ServerRequest = typed(request.clone())?;
    Ok(match context.peer.send_request(request).await {
        Ok(answer) => said(json!(answer).to_string()),
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    })
}

impl ServerHandler for Handler {
    fn get_info(&self) -> McpConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_logging()
            .enable_completions()
            .enable_tasks()
            .build();
        McpConfig::new(capabilities).with_server_info(Implementation::new("fixtures", "1.0.0"))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        FIXTURES.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.page == 0 {
            return listed("tools", &json!(FIXTURES.tools));
        }
        // The empty cursor is as good as any other.
        let number = |cursor: String| cursor.strip_prefix("page ").unwrap_or("1").parse();
        let page: usize = request.and_then(|params| params.cursor).map_or(Ok(0), number).unwrap_or_default();
        let mut pages = FIXTURES.tools.chunks(self.page).skip(page);
        let mut result: ListToolsResult = listed("tools", &json!(pages.next().unwrap_or_default()))?;
        let next = if page == 0 { String::new() } else { format!("page {}", page + 1) };
        result.next_cursor = pages.next().map(|_| next);
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        let capabilities = context.client_capabilities().unwrap_or_default();
        if tasks::TOOLS.contains(&name) {
            return tasks::call(&self.tasks, &request, &capabilities).await;
        }
        if name == "test_missing_capability" && capabilities.sampling.is_none() {
            let needed = ClientCapabilities::builder().enable_sampling().build();
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        if let Some(inputs) = FIXTURES.inputs.get(name) {
            let (responses, state) = (request.input_responses.as_ref(), request.request_state.as_deref());
            let required = self.required(inputs, responses, state, &capabilities)?;
            return Ok(required.map_or_else(|| said(&inputs.text).into(), CallToolResponse::from));
        }
        if let Some(answer) = FIXTURES.answers.get(name) {
            let mut answer = answer.clone();
            answer["resultType"] = "complete".into();
            return typed::<CallToolResult>(answer).map(Into::into);
        }
        match FIXTURES.asks.get(name) {
            Some(asked) => ask(asked, &context).await.map(Into::into),
            None => self.special(&request, &context).await.map(Into::into),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        listed("resources", &FIXTURES.resources)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        listed("resourceTemplates", &FIXTURES.templates)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let of_template = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let content = match (FIXTURES.contents.get(uri), of_template) {
            (Some(content), _) => content.clone(),
            (None, Some(id)) => {
                json!({"uri": uri, "mimeType": "application/json", "text": json!({"id": id}).to_string()})
            }
            (None, None) => {
                let data = Some(json!({ "uri": uri }));
                return Err(ErrorData::resource_not_found(format!("Resource not found: {uri}"), data));
            }
        };
        listed::<rmcp::model::ReadResourceResult>("contents", &json!([content])).map(Into::into)
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.subscribers.lock().unwrap().insert(number, context.sink().clone());
        context.cancelled().await;
        self.subscribers.lock().unwrap().remove(&number);
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        listed("prompts", &FIXTURES.prompts)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Some(inputs) = FIXTURES.inputs.get(&request.name) {
            let capabilities = context.client_capabilities().unwrap_or_default();
            let (responses, state) = (request.input_responses.as_ref(), request.request_state.as_deref());
            if let Some(required) = self.required(inputs, responses, state, &capabilities)? {
                return Ok(required.into());
            }
        }
        let messages = FIXTURES.messages.get(&request.name);
        let messages = messages.ok_or_else(|| ErrorData::invalid_params("Unknown prompt", None))?;
        let arguments = json!(request.arguments);
        let filled = arguments.as_object().into_iter().flatten().fold(messages.to_string(), |text, (key, value)| {
            text.replace(&format!("{{{key}}}"), value.as_str().unwrap_or_default())
        });
        let messages: Value = serde_json::from_str(&filled)
            .map_err(|error| ErrorData::new(ErrorCode::INVALID_PARAMS, error.to_string(), None))?;
        typed::<rmcp::model::GetPromptResult>(json!({ "messages": messages, "resultType": "complete" })).map(Into::into)
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = CompletionInfo::new(vec!["first".to_owned(), "second".to_owned()]);
        Ok(CompleteResult::new(values.map_err(|error| ErrorData::internal_error(error, None))?))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(&self, request: UpdateTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}

//! The rmcp client behind `agent mcp`.
#![expect(deprecated, reason = "sampling and roots are deprecated, and servers ask for them all the same")]

use std::io::BufRead;

use anyhow::{Context, bail};
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, JsonObject, ListRootsResult, ProtocolVersion, Root,
    SamplingMessage,
};
use rmcp::service::{RequestContext, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient, ServiceExt};
use serde_json::{Value, json};

/// Runs the steps (a JSON list, see `tests/clients/python/client.py`) against `url` and prints a JSON line per result.
///
/// # Errors
/// What ended the session, after it was printed as `{"fatal": …}`.
pub fn run(url: &str, steps: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(drive(url, steps));
    if let Err(error) = &result {
        println!("{}", json!({"fatal": format!("{error:#}")}));
    }
    result
}

async fn drive(url: &str, steps: &str) -> anyhow::Result<()> {
    let steps: Vec<Value> = serde_json::from_str(steps)?;
    let transport = StreamableHttpClientTransport::from_uri(url);
    if steps.iter().any(|step| step.get("answer").is_some()) {
        let newest = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        return follow(Answering.serve_with_lifecycle(transport, newest).await.context("no session")?, steps).await;
    }
    follow(().serve(transport).await.context("no session")?, steps).await
}

async fn follow<H: ClientHandler>(client: RunningService<RoleClient, H>, steps: Vec<Value>) -> anyhow::Result<()> {
    let version = client.peer_info().map(|info| info.protocol_version.to_string());
    println!("{}", json!({"ready": version}));
    for step in steps {
        if step.get("list").is_some() {
            let tools = client.list_all_tools().await?;
            println!("{}", json!({"list": tools.iter().map(|tool| &tool.name).collect::<Vec<_>>()}));
        } else if let Some(tool) = step["call"].as_str() {
            for _ in 0..step["times"].as_u64().unwrap_or(1) {
                let arguments = step["arguments"].as_object().cloned().unwrap_or_default();
                println!("{}", call(&client, tool, arguments).await?);
            }
        } else if step.get("wait").is_some() {
            println!("{}", json!({"wait": true}));
            tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
        } else if step.get("answer").is_none() {
            bail!("unknown step {step}");
        }
    }
    client.cancel().await?;
    Ok(())
}

/// Answers what servers ask, and tells of it.
struct Answering;

impl ClientHandler for Answering {
    fn get_info(&self) -> ClientConfig {
        let able = ClientCapabilities::builder().enable_sampling().enable_elicitation().enable_roots().build();
        ClientConfig::new(able, rmcp::model::Implementation::new("policyd-tests", "1.0.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        println!("{}", json!({"asked": "sampling/createMessage"}));
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text("sampled"), "none".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        println!("{}", json!({"asked": "elicitation/create"}));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"name": "Joe"})))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        println!("{}", json!({"asked": "roots/list"}));
        Ok(ListRootsResult::new(vec![Root::new("file:///work")]))
    }
}

async fn call<H: ClientHandler>(
    client: &RunningService<RoleClient, H>,
    tool: &str,
    arguments: JsonObject,
) -> anyhow::Result<Value> {
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    match client.call_tool(request).await {
        Ok(result) => {
            let result = serde_json::to_value(result)?;
            let blocks = result["content"].as_array().into_iter().flatten();
            let text: String = blocks.filter_map(|block| block["text"].as_str()).collect();
            Ok(json!({"call": tool, "isError": result["isError"] == true, "text": text}))
        }
        Err(ServiceError::McpError(error)) => {
            Ok(json!({"call": tool, "error": {"code": error.code.0, "message": error.message}}))
        }
        Err(error) => Err(error.into()),
    }
}

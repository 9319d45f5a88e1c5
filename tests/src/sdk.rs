//! The rmcp client behind `agent mcp`.

use std::io::BufRead;

use anyhow::{Context, bail};
use rmcp::model::CallToolRequestParams;
use rmcp::service::ServiceError;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ServiceExt, model::JsonObject};
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
    let client = ().serve(StreamableHttpClientTransport::from_uri(url)).await.context("no session")?;
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
        } else {
            bail!("unknown step {step}");
        }
    }
    client.cancel().await?;
    Ok(())
}

async fn call(
    client: &rmcp::service::RunningService<rmcp::RoleClient, ()>,
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

//! The suite's fixture tools that run as tasks (the extension `io.modelcontextprotocol/tasks`).

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateTaskResult,
    InputRequest, InputRequiredResult,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::fixtures::{said, typed};

/// The tools of this file.
pub(super) const TOOLS: [&str; 7] = [
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];

/// Those that cannot do without a task.
const REQUIRED: [&str; 4] = ["failing_job", "confirm_delete", "multi_input", "test_tool_with_task"];

/// Calls one of [`TOOLS`]: as a task where the client knows them, at once where it can be done so.
pub(super) async fn call(
    tasks: &TaskManager,
    request: &CallToolRequestParams,
    capabilities: &ClientCapabilities,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.to_string();
    let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
    if name == "greet" {
        return Ok(said(format!("Hello, {}!", arguments["name"].as_str().unwrap_or("friend"))).into());
    }
    if !capabilities.supports_tasks() {
        if REQUIRED.contains(&name.as_str()) {
            let needed = ClientCapabilities::builder().enable_tasks().build();
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        return match at_once(&name, &arguments).await {
            Ok(result) => Ok(result.into()),
            Err(TaskExit::Error(error)) => Err(error),
            Err(_) => Err(ErrorData::internal_error("it was cancelled", None)),
        };
    }
    let input = request.input_responses.as_ref().and_then(|all| all.get("user_name")).cloned();
    if name == "test_tool_with_task" && input.is_none() {
        let asked = [("user_name".to_owned(), question("What is your name?", "name", "string")?)].into();
        return Ok(InputRequiredResult::from_input_requests(asked).into());
    }
    let task = tasks.spawn(TaskOptions::default(), move |context| {
        Box::pin(async move {
            match name.as_str() {
                "confirm_delete" => {
                    let asked = question("Really delete it?", "confirm", "boolean").map_err(TaskExit::Error)?;
                    let answer = context.request_input("confirm", asked).await?;
                    Ok(said(format!("confirmed: {}", answer["content"]["confirm"])))
                }
                "multi_input" => {
                    let (a, b) = tokio::join!(value_of(&context, "input-a"), value_of(&context, "input-b"));
                    Ok(said(format!("{} and {}", a?, b?)))
                }
                "test_tool_with_task" => {
                    sleep(Duration::from_millis(200)).await;
                    let name = input.as_ref().and_then(|input| input["content"]["name"].as_str());
                    Ok(said(format!("Hello, {}!", name.unwrap_or("friend"))))
                }
                _ => tokio::select! {
                    () = context.cancelled() => Err(TaskExit::Cancelled),
                    result = at_once(&name, &arguments) => result,
                },
            }
        })
    });
    Ok(CreateTaskResult::new(task).into())
}

async fn at_once(name: &str, arguments: &Value) -> Result<CallToolResult, TaskExit> {
    match name {
        "slow_compute" => {
            let seconds = arguments["seconds"].as_f64().unwrap_or(1.0).clamp(0.0, 60.0);
            sleep(Duration::from_secs_f64(seconds)).await;
            Ok(said(format!("computed for {seconds} s")))
        }
        "failing_job" => {
            sleep(Duration::from_millis(500)).await;
            Ok(CallToolResult::error(vec![ContentBlock::text("failed, as the test wants it")]))
        }
        _ => {
            sleep(Duration::from_millis(200)).await;
            Err(TaskExit::Error(ErrorData::internal_error("a protocol error, as the test wants it", None)))
        }
    }
}

async fn value_of(context: &TaskContext, key: &str) -> Result<Value, TaskExit> {
    let asked = question("A value?", "value", "string").map_err(TaskExit::Error)?;
    Ok(context.request_input(key, asked).await?["content"]["value"].take())
}

/// A form with one field.
fn question(message: &str, field: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let schema = json!({"type": "object", "properties": { field: { "type": kind } }, "required": [field]});
    typed(
        json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}),
    )
}

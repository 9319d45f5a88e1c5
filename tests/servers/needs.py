"""A Python SDK server (`mcp` 2.x) whose tools need something of the client, in revision 2026-07-28: their results are
`input_required`, and the client repeats the call with what was asked. Every line of standard output is a call that was executed.

    python needs.py PORT
"""

import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

server = MCPServer("needs", log_level="WARNING")

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def elicitation():
    return ElicitRequest(params=ElicitRequestFormParams(message="Who are you?", requested_schema=NAME))


def sampling():
    message = SamplingMessage(role="user", content=TextContent(type="text", text="hi"))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=10))


def told(tool, ctx, inputs):
    """What was answered; asks for it first."""
    given = ctx.input_responses
    print(tool, "asks" if given is None else "done", flush=True)
    if given is None:
        return InputRequiredResult(input_requests=inputs, request_state=f"state of {tool}")
    parts = []
    for key in sorted(given):
        answer = given[key]
        if hasattr(answer, "roots"):
            parts.append(str(answer.roots[0].uri))
        elif hasattr(answer, "action"):
            parts.append(f"{answer.action} {answer.content['name']}")
        else:
            parts.append(answer.content.text)
    return f"{', '.join(parts)} ({ctx.request_state})"


@server.tool()
async def greet(ctx: Context) -> str | InputRequiredResult:
    """Needs a name."""
    return told("greet", ctx, {"who": elicitation()})


@server.tool()
async def write(ctx: Context) -> str | InputRequiredResult:
    """Needs a name and a text."""
    return told("write", ctx, {"a": sampling(), "b": elicitation()})


@server.tool()
async def look(ctx: Context) -> str | InputRequiredResult:
    """Needs the client's roots."""
    return told("look", ctx, {"roots": ListRootsRequest()})


@server.resource("docs://a")
async def public() -> str:
    """A text that may be read."""
    return "public"


@server.resource("docs://draft")
async def draft() -> str:
    """A text that may not."""
    return "draft"


@server.resource("docs://{name}/page")
async def page(name: str) -> str:
    """Any text."""
    return f"page of {name}"


@server.prompt()
async def short() -> str:
    """A prompt."""
    return "short"


@server.prompt()
async def long() -> str:
    """Another prompt."""
    return "long"


server.run(transport="streamable-http", host="0.0.0.0", port=int(sys.argv[1]))

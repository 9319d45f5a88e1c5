"""A Python SDK server (`mcp` 1.x and 2.x) that executes a tool of any name, and notes each execution.

    python executes.py PORT NOTES

Streamable HTTP at /mcp (stateless), HTTP+SSE at /sse; or stdio, where PORT is `stdio`. Each execution appends the tool's name to the file NOTES.
"""

import contextlib
import sys

import anyio
import mcp.types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

port, notes = sys.argv[1], sys.argv[2]


def execute(name):
    with open(notes, "a") as file:
        file.write(name.replace("\n", " ") + "\n")
    return types.TextContent(type="text", text="executed")


if hasattr(Server, "call_tool"):
    server = Server("executes")

    @server.call_tool(validate_input=False)
    async def call(name, arguments):
        return [execute(name)]
else:

    async def call(context, params):
        return types.CallToolResult(content=[execute(params.name)])

    server = Server("executes", on_call_tool=call)


async def over_stdio():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if port == "stdio":
    anyio.run(over_stdio)
    sys.exit()

manager = StreamableHTTPSessionManager(app=server, stateless=True)
sse = SseServerTransport("/messages/")


async def streamable(scope, receive, send):
    await manager.handle_request(scope, receive, send)


async def events(request):
    async with sse.connect_sse(request.scope, request.receive, request._send) as streams:
        await server.run(streams[0], streams[1], server.create_initialization_options())
    return Response()


@contextlib.asynccontextmanager
async def lifespan(app):
    async with manager.run():
        yield


class Endpoint:
    """A path without the redirect that a mount makes."""

    async def __call__(self, scope, receive, send):
        await streamable(scope, receive, send)


routes = [Route("/mcp", Endpoint()), Route("/sse", events), Mount("/messages/", app=sse.handle_post_message)]
uvicorn.run(Starlette(routes=routes, lifespan=lifespan), host="0.0.0.0", port=int(port), log_level="warning")

"""A Python SDK server (`mcp` 1.x) whose tools ask the client for something, and tell what came of it.

    python asks.py PORT
"""

import sys

from mcp import McpError
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

server = FastMCP("asks", host="0.0.0.0", port=int(sys.argv[1]), log_level="WARNING")


class Name(BaseModel):
    name: str


async def told(asking):
    """What the client answered, or the error's code, message and data."""
    try:
        return f"answered: {await asking}"
    except McpError as error:
        return f"refused: {error.error.code} {error.error.message} {error.error.data}"


async def text(sampling):
    return (await sampling).content.text


@server.tool()
async def sample(ctx: Context, prompt: str, here: bool = True) -> str:
    """Asks for sampling: `here` in the answer to this call, else on the session's own stream."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    related = ctx.request_id if here else None
    return await told(text(ctx.session.create_message([message], max_tokens=10, related_request_id=related)))


@server.tool()
async def elicit(ctx: Context) -> str:
    """Asks the user for a name."""

    async def name():
        return (await ctx.elicit("Who are you?", Name)).data.name

    return await told(name())


@server.tool()
async def roots(ctx: Context) -> str:
    """Asks for the client's roots."""

    async def uris():
        return [str(root.uri) for root in (await ctx.session.list_roots()).roots]

    return await told(uris())


@server.tool()
async def ping(ctx: Context) -> str:
    """Asks whether the client lives."""

    async def pong():
        await ctx.session.send_ping()
        return "pong"

    return await told(pong())


server.run(transport="streamable-http")
